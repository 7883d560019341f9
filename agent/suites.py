"""Tests of a problem as a pytest file: one writer a kind of tests. Who runs the file judges programs, whatever the set."""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

from tools.workspace import is_test_name
from trm.data.formats.fields import parsed
from trm.data.formats.problem import Problem, Tests

# LeetCode's programs use these without importing them.
PRELUDE = (
    "from bisect import bisect_left, bisect_right, insort\nfrom collections import *\nfrom functools import *\n"
    "from heapq import *\nfrom itertools import *\nfrom math import *\nfrom typing import *\nimport bisect\n"
    "import collections\nimport functools\nimport heapq\nimport itertools\nimport math\nimport operator\nimport random\n"
    "import re\nimport string\n\n\n"
)
MOST = 100  # test functions of a file; further cases share them


@dataclass(frozen=True)
class Suite:
    """A test file in parts: what stands before the tests, and (name, body) of each. files: others that it needs."""

    head: str
    tests: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    def text(self) -> bytes:
        """The file."""
        parts = [
            self.head,
            *(f"\n\ndef {name}():\n{textwrap.indent(body, '    ')}\n" for name, body in self.tests),
        ]
        return "".join(parts).encode()


def module_of(problem: Problem) -> str:
    """The name of the module that the program of a problem becomes."""
    name = problem.entry_point.partition(".")[0]
    if not name.isidentifier() or name == "Solution" or is_test_name(f"{name}.py"):
        return "program"
    return f"{name}_" if name in sys.stdlib_module_names else name


def program(problem: Problem, code: str) -> str:
    """A program of the problem as the text of its module."""
    return PRELUDE + code if problem.entry_point.startswith("Solution.") else code


def suite(problem: Problem, tests: Tests, *, split: bool = True) -> Suite | None:
    """The test file of `tests`, or None where they are empty or not Python. split: one test an assert where that is possible.

    Raises ValueError for tests that only the reference can tell: `agent.generated.resolved` asks it.
    """
    if tests.kind == "oracle":
        raise ValueError("inputs without results")
    return _WRITERS[tests.kind](problem, tests, split)


def _none(problem: Problem, tests: Tests, split: bool) -> Suite:
    """Syntax is all that can be tested."""
    path = f'Path(__file__).with_name("{module_of(problem)}.py")'
    body = f'compile({path}.read_text(encoding="utf-8"), "{module_of(problem)}.py", "exec")'
    return Suite("from pathlib import Path\n", (("test_syntax", body),))


def _asserts(problem: Problem, tests: Tests, split: bool) -> Suite | None:
    bodies = [body for body, _ in tests.cases]
    try:
        used = {
            n.id
            for body in [tests.setup, *bodies]
            for n in ast.walk(parsed(body))
            if isinstance(n, ast.Name)
        }
    except SyntaxError:
        return None
    names = sorted(used & _defined(problem) | {problem.entry_point} - {""})
    setup = tests.setup.rstrip() + "\n" if tests.setup.strip() else ""
    return Suite(_imports(problem, names) + setup, _numbered(bodies)) if bodies else None


def _defined(problem: Problem) -> set[str]:
    """Functions and classes of the program, as far as it can be read."""
    for code in (problem.code, problem.stub, problem.buggy):
        try:
            body = parsed(code).body
        except SyntaxError:
            continue
        kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
        if found := {node.name for node in body if isinstance(node, kinds)}:
            return found
    return set()


def _imports(problem: Problem, names: Sequence[str]) -> str:
    return "".join(f"from {module_of(problem)} import {name}\n" for name in names)


def _numbered(bodies: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """One test a body, and above MOST of them as many as are needed in each."""
    each = -(-len(bodies) // MOST)
    groups = (bodies[at : at + each] for at in range(0, len(bodies), each or 1))
    return tuple((f"test_{number}", "\n".join(group)) for number, group in enumerate(groups, 1))


def _check(problem: Problem, tests: Tests, split: bool) -> Suite | None:
    """Of a `check(candidate)` function. A few docstring examples are not Python, and some check nothing."""
    entry = problem.entry_point
    if not tests.cases:
        return None
    try:
        tree = parsed(textwrap.dedent(tests.cases[0][0]))
    except SyntaxError:
        return None
    checks = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"
    ]
    if not checks or not checks[0].args.args:
        return None
    check = checks[0]
    helpers = [node for node in tree.body if node is not check and not isinstance(node, ast.Expr)]
    parts = (
        _parts(check.body) if split else (("test_all", "\n".join(map(ast.unparse, check.body))),)
    )
    argument = check.args.args[0].arg
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & (
        _defined(problem) - {entry}
    )
    alias = f" as {argument}" if argument != entry else ""
    head = _imports(problem, [f"{entry}{alias}", *sorted(used)])
    return (
        Suite(head + "".join(f"{ast.unparse(node)}\n" for node in helpers), parts)
        if parts
        else None
    )


def _parts(body: Sequence[ast.stmt]) -> tuple[tuple[str, str], ...]:
    """One test an assert or loop, each after all plain statements that stand before it. Constant asserts are dropped."""
    tests: list[tuple[str, str]] = []
    setup: list[str] = []
    for node in body:
        if isinstance(node, ast.Assert):
            if isinstance(node.test, ast.Constant):
                continue
            # "This prints if this assert fails" says less than the values that pytest shows without it
            lines = [*setup, f"assert {ast.unparse(node.test)}"]
        elif isinstance(node, (ast.For, ast.While, ast.With, ast.Try, ast.If)):
            lines = [*setup, ast.unparse(node)]
        else:
            if not (isinstance(node, ast.Expr) and ast.unparse(node).startswith("print(")):
                setup.append(ast.unparse(node))
            continue
        tests.append((f"test_{len(tests) + 1}", "\n".join(lines)))
    return tuple(tests)


def _unittest(problem: Problem, tests: Tests, split: bool) -> Suite | None:
    """The set runs program and tests as one module: whatever the program imports is there too."""
    head = f"from {module_of(problem)} import *\n" + _imports(problem, [problem.entry_point])
    return Suite(head + tests.cases[0][0]) if tests.cases else None


def _context(problem: Problem, tests: Tests, split: bool) -> Suite | None:
    if not tests.cases:
        return None
    context = tests.cases[0][0]
    head = f'from pathlib import Path\n\nimport context\n\nSOURCE = Path(__file__).with_name("{module_of(problem)}.py")\n'
    both = [name for name in ("test_execution", "test_string") if f"def {name}(" in context]
    bodies = ((name, f'context.{name}(SOURCE.read_text(encoding="utf-8"))') for name in both)
    return Suite(head, tuple(bodies), (("context.py", context),)) if both else None


def _stdin(problem: Problem, tests: Tests, split: bool) -> Suite | None:
    head = f'{_helpers()}\n\nPROGRAM = os.path.join(os.path.dirname(__file__), "{module_of(problem)}.py")\n'
    bodies = [
        f"assert output_of(PROGRAM, {given!r}) == Output({wanted!r})"
        for given, wanted in tests.cases
    ]
    return Suite(head, _numbered(bodies)) if bodies else None


def _call(problem: Problem, tests: Tests, split: bool) -> Suite | None:
    name, _, method = problem.entry_point.partition(".")
    called = f"{name}().{method}" if method else name
    wanted = "Near({}, " + repr(tests.tolerance) + ")" if tests.tolerance else "{}"
    bodies = [f"assert {called}({given}) == {wanted.format(right)}" for given, right in tests.cases]
    head = (
        (_helpers() + "\n\n" if tests.tolerance else "") + tests.setup + _imports(problem, [name])
    )
    return Suite(head, _numbered(bodies)) if bodies else None


def _helpers() -> str:
    return resources.files("agent").joinpath("judging.py").read_text("utf-8")


_WRITERS: dict[str, Callable[[Problem, Tests, bool], Suite | None]] = {
    "none": _none, "asserts": _asserts, "check": _check, "unittest": _unittest, "context": _context, "stdin": _stdin,
    "call": _call,
}  # fmt: skip
