"""Tests that nobody wrote: the reference says what is right, mutants of it tell whether the tests can fail.

Arguments come from hypothesis strategies, read off type hints and published examples, else from what parameters are called.
Every call runs in the confined process of `tools.calls`; nothing of a data set is executed here.
"""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import UsageError
from agent.suites import PRELUDE
from tools.calls import Caller
from tools.source import syntax
from tools.source.leaves import Module, SourceError
from trm.data.corrupt import break_function
from trm.data.formats.contests import FLOATS
from trm.data.formats.fields import expression, parsed
from trm.data.formats.problem import Problem, Tests
from trm.data.inputs import argument_lists, parameters

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ASKED: dict[str, Any] = {
    "lines": 1_000_000,
    "cpu": 20.0,
    "longest": 100_000,
}  # of a reference: see `Caller`
_AT_ONCE = 10  # calls of a request: one that hangs takes the rest of its request with it
_SCALARS = {
    "int": "integers",
    "float": "floats",
    "str": "text",
    "bool": "booleans",
    "bytes": "binary",
    "None": "none",
}
_MANY = {
    "list": "lists",
    "List": "lists",
    "Sequence": "lists",
    "Iterable": "lists",
    "set": "sets",
    "Set": "sets",
}


@dataclass(frozen=True)
class Generated:
    """Tests of kind "call", and of how many mutants of the reference that came to an end they tell."""

    tests: Tests
    killed: int
    mutants: int

    @property
    def can_fail(self) -> bool:
        """Whether any mutant fails them: tests that none fails say nothing."""
        return self.killed > 0


def resolved(problem: Problem, caller: Caller, tests: Tests) -> Tests:
    """`tests` with results for inputs that have none, as the problem's reference returns them.

    Inputs are left out for which that is no plain value, or not the same one twice.
    """
    if tests.kind != "oracle":
        return tests
    cases = _called(problem, [arguments for arguments, _ in tests.cases], caller)
    # a float that is asked to be the same to the bit tells rounding, not bugs
    floats = any(
        isinstance(getattr(n, "value", 0), float)
        for _, text in cases
        for n in ast.walk(expression(text))
    )
    tolerance = tests.tolerance or (FLOATS if floats else 0.0)
    return Tests("call", cases, tests.setup, tolerance) if cases else Tests()


def _called(
    problem: Problem, arguments: Sequence[str], caller: Caller
) -> tuple[tuple[str, str], ...]:
    """(arguments, result) of the calls of the reference that come to a plain result."""
    source, name = _callable(problem, problem.code)
    cases: list[tuple[str, str]] = []
    for at in range(0, len(arguments), _AT_ONCE):
        some = arguments[at : at + _AT_ONCE]
        # one text: `probe` joins what it is given
        cases += [(some[each.index], each.text) for each in caller.probe(source, name, "", some)]
    return tuple(cases)


def _callable(problem: Problem, code: str) -> tuple[str, str]:
    """A program and the name of what is called in it: of a method, a function that makes the object."""
    entry = problem.entry_point
    if not entry.startswith("Solution."):
        return code, entry
    method = entry.partition(".")[2]
    return (
        f"{PRELUDE}{code}\n\n\ndef {method}(*arguments):\n    return Solution().{method}(*arguments)\n",
        method,
    )


def generate(
    problem: Problem, caller: Caller, *, number: int = 20, mutants: int = 20, seed: int = 0
) -> Generated:
    """Up to `number` tests for a problem with a reference and an entry point, and their power over `mutants` mutants.

    Raises UsageError where there is no reference, or hypothesis is not installed.
    """
    if not problem.code or not problem.entry_point:
        raise UsageError(
            f"{problem.source} {problem.task}: no reference to ask",
            "generated tests need a right program",
        )
    arguments = argument_texts(problem, 3 * number, seed)
    cases = _called(problem, arguments, caller)
    # inputs that give another result than the ones before tell more
    seen: set[str] = set()
    fresh = [case for case in cases if not (case[1] in seen or seen.add(case[1]))]
    chosen = (fresh + [case for case in cases if case not in fresh])[:number]
    killed, ended = _killed(problem, chosen, caller, mutants, seed)
    return Generated(Tests("call", tuple(chosen)), killed, ended)


def _killed(
    problem: Problem, cases: Sequence[tuple[str, str]], caller: Caller, number: int, seed: int
) -> tuple[int, int]:  # fmt: skip
    """How many mutants of the reference the tests tell from it, and how many were run."""
    rng = random.Random(f"mutants {seed} {problem.source} {problem.task}")
    try:
        module = Module(problem.code.encode())
    except SourceError:
        return 0, 0
    sources: dict[str, str] = {}
    for _ in range(3 * number if module.units else 0):
        broken = break_function(module, 1, rng, None)
        if broken is not None and len(sources) < number:
            source, name = _callable(problem, broken.module.source.decode())
            sources.setdefault(source, name)
    if not cases or not sources:
        return 0, len(sources)
    tests = [(arguments, expected, "") for arguments, expected in cases]
    results = caller.run(list(sources), next(iter(sources.values())), "", tests)
    # one that ends the process is told as well
    return sum(r is None or any(each.outcome != "passed" for each in r) for r in results), len(
        results
    )


# Arguments.


def argument_texts(problem: Problem, number: int, seed: int) -> list[str]:
    """Up to `number` different argument lists, as source text."""
    definition = _definition(problem)
    if definition is None:
        return []
    arguments = [
        a for a in [*definition.args.posonlyargs, *definition.args.args] if a.arg != "self"
    ]
    needed = arguments[: len(arguments) - len(definition.args.defaults)]
    examples = _examples(problem, len(needed))
    strategies = [
        _both(_of_annotation(each.annotation), _of_values([example[place] for example in examples]))
        for place, each in enumerate(needed)
    ]
    texts = [", ".join(map(repr, example)) for example in examples]
    known = [strategy for strategy in strategies if strategy is not None]
    if len(known) == len(strategies):
        texts += [", ".join(map(repr, values)) for values in _drawn(known, number, seed)]
    else:
        source = ast.unparse(definition)
        wanted = parameters(source) or []
        rng = random.Random(f"arguments {seed} {problem.source} {problem.task}")
        texts += [", ".join(each) for each in argument_lists(wanted[: len(needed)], rng, number)]
    return list(dict.fromkeys(texts))[:number]


def _definition(problem: Problem) -> ast.FunctionDef | None:
    """The function under test."""
    try:
        tree = parsed(problem.code)
    except SyntaxError:
        return None
    name = problem.entry_point.rpartition(".")[2]
    return next(
        (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name), None
    )


def _examples(problem: Problem, number: int) -> list[tuple[Any, ...]]:
    """Arguments of the published examples that are literals, `number` in each."""
    found = []
    for tests in (problem.visible, problem.hidden):
        if tests.kind not in ("call", "oracle"):
            continue
        for text, _ in tests.cases:
            try:
                values = syntax.literal(f"({text},)") if text else ()
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
            if len(values) == number:
                found.append(values)
    return found


def _strategies() -> Any:
    try:
        from hypothesis import strategies
    except ImportError:
        raise UsageError("generated tests need hypothesis", "install trm-agent[data]") from None
    return strategies


def _both(
    hint: SearchStrategy[Any] | None, like: SearchStrategy[Any] | None
) -> SearchStrategy[Any] | None:
    """What the hint allows and what is like the examples, by turns: the former is wider, the latter more often makes sense."""
    if hint is None or like is None:
        return like if hint is None else hint
    return _strategies().one_of(like, hint)


def _of_annotation(node: ast.expr | None) -> SearchStrategy[Any] | None:
    """The strategy of a type hint, which is read and never evaluated; None for what is not plain."""
    st = _strategies()
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            node = expression(node.value)
        except SyntaxError:
            return None
    if isinstance(node, ast.Constant) and node.value is None:
        return st.none()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either([node.left, node.right])
    name = (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )
    if name in _SCALARS:
        return _scalar(name)
    if name in (*_MANY, "tuple", "Tuple", "dict", "Dict"):
        return None  # of what is not said: the examples know better
    if not isinstance(node, ast.Subscript):
        return None
    outer = (
        node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    )
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Union":
        return _either(parts)
    if outer == "Optional":
        return _either([*parts, ast.Constant(None)])
    if (
        outer in ("tuple", "Tuple")
        and len(parts) == 2
        and isinstance(parts[1], ast.Constant)
        and parts[1].value is ...
    ):
        inner = _of_annotation(parts[0])
        return None if inner is None else st.lists(inner, max_size=8).map(tuple)
    inside = [_of_annotation(part) for part in parts]
    if any(each is None for each in inside):
        return None
    if outer in _MANY and len(inside) == 1:
        return getattr(st, _MANY[outer])(inside[0], max_size=8)
    if outer in ("tuple", "Tuple"):
        return st.tuples(*inside)
    if outer in ("dict", "Dict", "Mapping") and len(inside) == 2:
        return st.dictionaries(inside[0], inside[1], max_size=6)
    return None


def _either(nodes: Sequence[ast.expr]) -> SearchStrategy[Any] | None:
    found = [_of_annotation(node) for node in nodes]
    return None if any(each is None for each in found) else _strategies().one_of(*found)


def _scalar(name: str, low: int = -100, high: int = 100) -> SearchStrategy[Any]:
    st = _strategies()
    if name == "int":
        return st.integers(low, high)
    if name == "float":
        return st.floats(low, high, allow_nan=False).map(lambda value: round(value, 3))
    if name == "str":
        return st.text(st.sampled_from("abcxyzABC 0129.,-_()"), max_size=12)
    if name == "bytes":
        return st.binary(max_size=8)
    return getattr(st, _SCALARS[name])()


def _of_values(values: Sequence[Any]) -> SearchStrategy[Any] | None:
    """Values like these: the types of all, numbers within twice their range, lists of elements like theirs, or one of them."""
    st = _strategies()
    if not values:
        return None
    kinds = {type(value) for value in values}
    if kinds <= {int, float} or kinds == {bool}:
        low, high = min(values), max(values)
        room = max(1, high - low)
        # what is never negative has a reason
        first = low - room if low < 0 else max(0, low - room)
        name = "bool" if kinds == {bool} else "float" if float in kinds else "int"
        return _scalar(name, int(first), int(high + room)) if name != "bool" else st.booleans()
    if kinds == {str}:
        signs = sorted(set("".join(values))) or ["a"]
        return st.text(st.sampled_from(signs), max_size=2 * max(map(len, values)) or 1)
    if len(kinds) == 1 and kinds <= {list, tuple, set}:
        (kind,) = kinds
        longest = max(map(len, values))
        fixed = kind is tuple and len({len(value) for value in values}) == 1
        if fixed:
            inside = [_of_values([value[i] for value in values]) for i in range(longest)]
            return None if any(each is None for each in inside) else st.tuples(*inside)
        inner = _of_values([part for value in values for part in value]) if longest else None
        return (
            None
            if inner is None
            else st.lists(inner, max_size=longest + 3, unique=kind is set).map(kind)
        )
    return st.sampled_from(list(values))


def _drawn(
    strategies: Sequence[SearchStrategy[Any]], number: int, seed: int
) -> list[tuple[Any, ...]]:
    """Examples of a tuple of strategies; the same seed gives the same ones."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    found: list[tuple[Any, ...]] = []

    @seeded(seed)
    @settings(max_examples=number, database=None, phases=[Phase.generate], deadline=None,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])  # fmt: skip
    @given(_strategies().tuples(*strategies))
    def take(values: tuple[Any, ...]) -> None:
        found.append(values)

    take()
    return found


# Stubs.


def stub_of(problem: Problem) -> str:
    """A program that does nothing yet: the published stub, or signature and prompt; "pass" for a whole program."""
    if problem.stub.strip():
        for body in ("", "\n    pass\n", "\n        pass\n"):
            stub = f"{problem.stub.rstrip()}{body}"
            try:
                parsed(stub)
            except SyntaxError:
                continue
            return stub.rstrip() + "\n"
        return ""
    if not problem.entry_point:
        return "pass\n"
    definition = _definition(problem)
    if definition is None:
        return ""
    signature = ast.unparse(_emptied(definition))
    note = (
        textwrap.indent(f'"""{problem.prompt.strip()}"""\n', "    ")
        if problem.prompt and '"""' not in problem.prompt
        else ""
    )
    return signature.replace("\n    pass", "\n" + note.replace("\\", "\\\\") + "    pass") + "\n"


def _emptied(definition: ast.FunctionDef) -> ast.FunctionDef:
    """The same signature with an empty body."""
    return ast.FunctionDef(
        name=definition.name, args=definition.args, body=[ast.Pass()], decorator_list=[], returns=definition.returns, lineno=1,
    )  # fmt: skip
