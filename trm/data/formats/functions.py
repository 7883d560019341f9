"""Sets whose problems are one function: HumanEval and its relatives, MBPP, CRUXEval, BigCodeBench, DS-1000, DebugBench."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Sequence

from trm.data.formats.fields import (
    Damaged,
    Row,
    checked,
    expression,
    listed,
    name_of,
    number,
    parsed,
    text,
    texts,
)
from trm.data.formats.problem import NO_TESTS, Problem, Tests

_LINKED = re.compile(r"\b(TreeNode|ListNode|Node)\b")
_JSON_NAMES = {"true": True, "false": False, "null": None}


def humaneval(row: Row) -> Problem:
    """OpenAI's rows; HumanEval+ of the Hugging Face hub has the same fields."""
    stub, entry = text(row, "prompt"), text(row, "entry_point")
    return Problem(
        "humaneval", name_of(row, "task_id"), stub, stub, stub + text(row, "canonical_solution"), entry_point=entry,
        visible=doctests(stub, entry), hidden=_check(text(row, "test")),
    )  # fmt: skip


def humanevalfix(row: Row) -> Problem:
    """HumanEvalPack: a right and a wrong body for one declaration."""
    head = text(row, "declaration")
    return Problem(
        "humanevalfix", name_of(row, "task_id"), text(row, "prompt", default=head), head,
        head + text(row, "canonical_solution"), head + text(row, "buggy_solution"), text(row, "entry_point"),
        _check(text(row, "example_test", default="")), _check(text(row, "test")), bug_type=text(row, "bug_type", default=""),
    )  # fmt: skip


def evalplus(row: Row) -> Problem:
    """HumanEval+ and MBPP+: inputs only, the reference says what is right."""
    prompt, entry = text(row, "prompt"), text(row, "entry_point")
    tolerance = number(row, "atol", 0.0)
    base, more = (_inputs(row, name, tolerance) for name in ("base_input", "plus_input"))
    return Problem(
        "evalplus", name_of(row, "task_id"), prompt, prompt, prompt + text(row, "canonical_solution"), entry_point=entry,
        visible=base, hidden=more or base,
    )  # fmt: skip


def _inputs(row: Row, name: str, tolerance: float) -> Tests:
    rows = listed(row, name, []) if row.get(name) else []  # MBPP+ has an empty object for none
    if not all(isinstance(each, list) for each in rows):
        raise Damaged(f"{name}: an input is no list of arguments")
    cases = tuple((", ".join(map(repr, each)), "") for each in rows)
    return Tests("oracle", cases, tolerance=tolerance) if cases else NO_TESTS


def mbpp(row: Row) -> Problem:
    """Both forms: `text` or `prompt`, set-up code or imports."""
    code, tests = text(row, "code"), texts(row, "test_list")
    setup = "\n".join(
        filter(None, [*texts(row, "test_imports", []), text(row, "test_setup_code", default="")])
    )
    every = [*tests, *texts(row, "challenge_test_list", [])]
    return Problem(
        "mbpp", name_of(row, "task_id"), text(row, "text", "prompt"), code=code, entry_point=_called(code, tests),
        hidden=Tests("asserts", tuple((each, "") for each in every), setup) if every else NO_TESTS,
    )  # fmt: skip


def _called(code: str, tests: Sequence[str]) -> str:
    """The function of `code` that the first test names; the last one defined where that cannot be told."""
    try:
        defined = [node.name for node in parsed(code).body if isinstance(node, ast.FunctionDef)]
        used = [
            n.id for test in tests[:1] for n in ast.walk(parsed(test)) if isinstance(n, ast.Name)
        ]
    except SyntaxError:
        return ""
    return next((name for name in used if name in defined), defined[-1] if defined else "")


def cruxeval(row: Row) -> Problem:
    """A function, one input, its output."""
    cases = ((text(row, "input"), text(row, "output")),)
    return Problem(
        "cruxeval",
        name_of(row, "id"),
        code=text(row, "code"),
        entry_point="f",
        hidden=Tests("call", cases),
    )


def bigcodebench(row: Row) -> Problem:
    """Complete form; tests are unittest classes."""
    stub = text(row, "complete_prompt")
    return Problem(
        "bigcodebench", name_of(row, "task_id"), text(row, "instruct_prompt", default=stub), stub,
        stub + text(row, "canonical_solution"), entry_point=text(row, "entry_point"),
        hidden=Tests("unittest", ((text(row, "test"), ""),)),
    )  # fmt: skip


def ds1000(row: Row) -> Problem:
    """A snippet that is put into a program of the set's own."""
    known = row.get("metadata")
    known = known if isinstance(known, dict) else {}
    task = "/".join(
        str(known[name])
        for name in ("library", "problem_id", "library_problem_id")
        if name in known
    )
    return Problem(
        "ds1000", task or name_of(row, "problem_id"), text(row, "prompt"), code=text(row, "reference_code"),
        hidden=Tests("context", ((text(row, "code_context"), ""),)),
    )  # fmt: skip


def debugbench(row: Row) -> Problem | None:
    """LeetCode programs with a bug written into them; the tests are the statement's examples. None: another language."""
    if text(row, "language", default="python3").lower() not in ("python3", "python"):
        return None
    code = text(row, "oracle_code", "solution")
    entry = method_of(code)
    kind = "/".join(
        filter(None, [text(row, "category", default=""), text(row, "subtype", default="")])
    )
    return Problem(
        "debugbench", name_of(row, "slug"), text(row, "description", "question", default=""), code=code,
        buggy=text(row, "buggy_code"), entry_point=entry, bug_type=kind,
        hidden=_examples(texts(row, "examples", []), code) if entry else NO_TESTS,
    )  # fmt: skip


def method_of(code: str) -> str:
    """ "Solution.f" of a program with one class Solution, f its first public method; else ""."""
    try:
        body = parsed(code).body
    except SyntaxError:
        return ""
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == "Solution":
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
                    return f"Solution.{each.name}"
    return ""


def _examples(examples: Sequence[str], code: str) -> Tests:
    """Calls of "Input: n = 12, k = 3\\nOutput: 3"; none where nodes of a list or tree are passed."""
    if _LINKED.search(code):
        return NO_TESTS
    cases = []
    for each in examples:
        found = re.search(r"Input:?\s*(.+?)\s*Output:?\s*(.+?)\s*(?:Explanation|\Z)", each, re.S)
        if found is None:
            continue
        try:
            call = expression(f"f({found[1]})")
            assert isinstance(call, ast.Call)
            given = [
                _literal(node)
                for node in [*call.args, *(keyword.value for keyword in call.keywords)]
            ]
            cases.append((", ".join(given), _literal(expression(found[2]))))
        except (SyntaxError, ValueError, TypeError, AssertionError, RecursionError, MemoryError):
            continue
    return Tests("call", tuple(cases), tolerance=1e-5) if cases else NO_TESTS


def _literal(node: ast.expr) -> str:
    """The repr of a literal, Python's or JSON's. Raises ValueError."""
    for name in ast.walk(node):
        if isinstance(name, ast.Name) and name.id not in _JSON_NAMES:
            raise ValueError(name.id)
    plain = _Constants().visit(node)
    return repr(ast.literal_eval(plain))


class _Constants(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_NAMES[node.id])


def doctests(stub: str, entry: str) -> Tests:
    """The calls of `entry` in a docstring's examples whose result is written as a literal."""
    cases = []
    try:
        defined = [
            n for n in parsed(stub).body if isinstance(n, ast.FunctionDef) and n.name == entry
        ]
        examples = doctest.DocTestParser().get_examples(
            ast.get_docstring(defined[0]) or "" if defined else stub
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return NO_TESTS
    for example in examples:
        try:
            call = expression(example.source.strip())
            wanted = ast.literal_eval(example.want.strip())
            if isinstance(call, ast.Call) and ast.unparse(call.func) == entry and not call.keywords:
                given = [repr(ast.literal_eval(node)) for node in call.args]
                cases.append((", ".join(given), repr(wanted)))
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            continue
    return Tests("call", tuple(cases)) if cases else NO_TESTS


def _check(source: str) -> Tests:
    return Tests("check", ((checked("test", source), ""),)) if source.strip() else NO_TESTS
