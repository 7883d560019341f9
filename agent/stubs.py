"""Stubs: functions with a signature and a docstring and no body yet, as `write` begins with them."""

from __future__ import annotations

import ast
import difflib
import warnings
from dataclasses import dataclass
from pathlib import Path

from agent.errors import TestsCannotRun, UsageError
from agent.first_run import why
from agent.locate import SourceFile, Sources
from tools.source import syntax
from tools.source.leaves import Module, Unit
from tools.verdicts import SuiteRun

_SHOWN = 5  # names in a hint


@dataclass(frozen=True)
class Stub:
    """A function without a body. source: its file with `pass` for the body, where every search begins.

    body: leaf of `source` at which the body begins; no edit of the body moves it.
    """

    file: SourceFile
    name: str
    source: bytes
    body: int

    def unit_in(self, module: Module) -> Unit:
        """The function in a version of its file."""
        return next(unit for unit in module.units if unit.name == self.name)


def stub_at(file: SourceFile, name: str) -> Stub:
    """The stub `name` of a file: a function, or Class.method where that is needed to tell it from others.

    Raises UsageError for a file that does not parse, a name that is none or several, and a function that has a body.
    """
    module = file.module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = syntax.parse(module.source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        text = f"{file.path}:{line}: {getattr(error, 'msg', error)}"
        raise UsageError(text, "trm-agent fix repairs a file that does not parse") from None
    unit = _unit(file, name)
    node = next(
        n for n in ast.walk(tree)
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and _first_line(n) == unit.first_line
    )  # fmt: skip
    docstring, rest = node.body[: ast.get_docstring(node) is not None], node.body
    rest = rest[len(docstring) :]
    if len(rest) > 1 or (rest and not _says_nothing(rest[0])):
        raise UsageError(
            f"{file.path}::{unit.name} has a body already",
            "put pass in its place to have it written; trm-agent fix repairs what is there",
        )
    emptied = _with_pass(module, node, docstring, rest)
    after = Module(emptied)
    (again,) = (each for each in after.units if each.name == unit.name)
    (written,) = (
        n for n in ast.walk(syntax.parse(emptied)) if isinstance(n, ast.Pass) and _inside(n, again)
    )
    at = after.line_start(written.lineno) + written.col_offset
    body = next(i for i, leaf in enumerate(after.leaves) if leaf.start == at and not leaf.is_layout)
    return Stub(file, unit.name, emptied, body)


def _unit(file: SourceFile, name: str) -> Unit:
    """The function of that name, or the only method of it."""
    functions = [unit for unit in file.module.units if unit.kind == "function"]
    found = [unit for unit in functions if unit.name == name]
    found = found or [unit for unit in functions if unit.name.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    names = list(dict.fromkeys(unit.name for unit in found or functions))
    if len(names) > 1 and found:
        several = ", ".join(names[:_SHOWN])
        raise UsageError(
            f"{file.path}::{name} is several: {several}", f"name one: {file.path}::{names[0]}"
        )
    if found:
        lines = ", ".join(str(unit.first_line) for unit in found)
        raise UsageError(f"{file.path}::{name} is defined several times, in lines {lines}", "leave one of them")  # fmt: skip
    near = difflib.get_close_matches(name, names, 1)
    known = f"its functions: {', '.join(names[:_SHOWN])}" if names else "it has none"
    hint = f"did you mean {file.path}::{near[0]}?" if near else known
    raise UsageError(f"{file.path} has no function {name or 'without a name'}", hint)


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _inside(node: ast.Pass, unit: Unit) -> bool:
    return unit.first_line <= node.lineno <= unit.last_line


def _says_nothing(node: ast.stmt) -> bool:
    """Whether a statement is what people write in the place of a body."""
    if isinstance(node, ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(node, ast.Pass) or (
        isinstance(constant, ast.Constant) and constant.value is ...
    )


def _with_pass(
    module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef, docstring: list[ast.stmt], rest: list[ast.stmt]
) -> bytes:  # fmt: skip
    """The file with one `pass`, on a line of its own, for the body."""
    source = module.source
    last = (rest or docstring)[0]
    # offsets of ast are bytes; it counts no byte order mark
    mark = 3 if source.startswith(b"\xef\xbb\xbf") else 0

    def at(line: int, column: int) -> int:
        return module.line_start(line) + column + (mark if line == 1 else 0)

    assert last.end_lineno is not None and last.end_col_offset is not None
    begin, end = at(last.lineno, last.col_offset), at(last.end_lineno, last.end_col_offset)
    before = source[module.line_start(last.lineno) : begin]
    own_line = module.newline.encode() + b"%s" + b"pass"
    if not rest:
        return source[:end] + (b"; pass" if before.strip() else own_line % before) + source[end:]
    if before.strip() and not docstring:  # def f(): ...
        line = source[module.line_start(node.lineno) :]
        indent = line[: len(line) - len(line.lstrip(b" \t"))] + module.indent_unit.encode()
        return source[:begin].rstrip(b" \t") + own_line % indent + source[end:]
    return source[:begin] + b"pass" + source[end:]


def stub_of(sources: Sources, path: Path, name: str) -> Stub:
    """The stub `name` of the file at `path`. Raises UsageError as `stub_at` does, and for what is no file that may be edited."""
    shown = path.relative_to(sources.root).as_posix()
    if not path.is_file():
        raise UsageError(f"{path} is a folder", f"name the file: {path.name}/FILE.py::{name}")
    file = sources.get(shown)
    if file is None:
        raise UsageError(
            f"{shown}: no file that may be written to",
            "a Python file below the project's root; tests, conftest and configuration are never edited",
        )
    return stub_at(file, name)


def tests_of(stub: Stub, run: SuiteRun) -> list[str]:
    """The failing tests that run the stub. Raises TestsCannotRun where there are none, or the suite does not collect."""
    what = f"{stub.file.path}::{stub.name}"
    if run.collection_errors:
        error = run.collection_errors[0]
        text = f"collection fails in {error.path}:{error.line or 1}: {why(error)}"
        raise TestsCannotRun(text, "trm-agent fix may repair it; then write again")
    unit = stub.unit_in(stub.file.module)
    lines = set(range(unit.first_line, unit.last_line + 1))
    ran = {
        test for test in run.spectrum.tests_of(stub.file.path)
        if not lines.isdisjoint(run.spectrum.lines_of(test)[stub.file.path])
    }  # fmt: skip
    tests = [test for test in run.failing if test in ran and test not in set(run.flaky)]
    if not tests:
        plural = "" if len(ran) == 1 else "s"
        text = (
            f"the {len(ran)} test{plural} that run{'s' * (len(ran) == 1)} it pass already"
            if ran
            else "no test runs it"
        )
        raise TestsCannotRun(
            f"{what}: {text}", "write a test of it that fails: it says what the body is to do"
        )
    return tests


def body_text(stub: Stub, source: bytes) -> str:
    """The body of the function in a version of its file."""
    module = Module(source)
    unit = stub.unit_in(module)
    start = module.line_start(module.leaves[stub.body].line)
    return source[start : module.leaves[unit.end - 1].start].decode().rstrip()
