"""Each operator's examples, and what enumeration and sampling promise."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.source.edits import EditError, apply_edit, parses
from tools.source.leaves import Module
from tools.source.operators import (
    OPERATORS,
    Scope,
    canonical,
    enumerate_edits,
    patterns,
    sample_edit,
)

EXAMPLES = [
    pytest.param(operator, before, after, id=f"{operator.name}-{number}")
    for operator in OPERATORS
    for number, (before, after) in enumerate(operator.examples)
]

FUNCTION = b'''\
def merge(left, right, key=None):
    """Merge two sorted lists."""
    result = []
    i = j = 0
    while i < len(left) and j < len(right):
        if key is None:
            swap = left[i] > right[j]
        else:
            swap = key(left[i]) > key(right[j])
        if swap:
            result.append(right[j])
            j += 1
        else:
            result.append(left[i])
            i += 1
    result.extend(left[i:])
    result.extend(right[j:])
    return result
'''


def _results(operator, module: Module, scope: Scope) -> set[str]:
    results: set[str] = set()
    unit = module.units[0]
    for index in range(unit.start, unit.end + 1):
        for edit in operator.edits_at(module, unit, scope, index):
            results.add(apply_edit(module, edit).decode().rstrip("\n"))
    return results


@pytest.mark.parametrize(("operator", "before", "after"), EXAMPLES)
def test_example_is_among_the_operators_edits(operator, before: str, after: str) -> None:
    module = Module(before.encode() + b"\n")
    scope = Scope.of(module, module.units[0], extra_literals=("'b'", "'Jupiter'"))
    assert after in _results(operator, module, scope)


def test_every_operator_has_examples_and_a_unique_name() -> None:
    assert all(operator.examples for operator in OPERATORS)
    assert len({operator.name for operator in OPERATORS}) == len(OPERATORS)


def test_enumeration_repeats_itself_without_duplicates_or_no_ops() -> None:
    module = Module(FUNCTION)
    unit = module.units[0]
    scope = Scope.of(module, unit)
    found = list(enumerate_edits(module, unit, scope))
    assert found == list(enumerate_edits(module, unit, scope))
    texts = [leaf.text for leaf in module.leaves]
    results = {(*texts[: c.edit.start], *c.edit.tokens, *texts[c.edit.end :]) for c in found}
    assert len(results) == len(found)
    assert tuple(texts) not in results
    assert [c.tier for c in found] == sorted(c.tier for c in found)


def test_most_enumerated_edits_parse_and_each_can_be_written() -> None:
    module = Module(FUNCTION)
    unit = module.units[0]
    parsed = total = 0
    found = list(enumerate_edits(module, unit, Scope.of(module, unit), tiers=(1, 2, 3, 4, 5)))
    for candidate in found[::23]:
        total += 1
        apply_edit(module, candidate.edit)
        parsed += parses(module, unit, candidate.edit)
    assert parsed > 0.97 * total


def test_canonical_form_is_that_of_the_whole_sequences() -> None:
    module = Module(FUNCTION)
    unit = module.units[0]
    texts = [leaf.text for leaf in module.leaves]
    for candidate in list(enumerate_edits(module, unit, Scope.of(module, unit)))[::3]:
        edit = candidate.edit
        after = [*texts[: edit.start], *edit.tokens, *texts[edit.end :]]
        prefix = 0
        while prefix < min(len(texts), len(after)) and texts[prefix] == after[prefix]:
            prefix += 1
        suffix = 0
        while (
            suffix < min(len(texts), len(after)) - prefix
            and texts[-1 - suffix] == after[-1 - suffix]
        ):
            suffix += 1
        expected = prefix, len(texts) - suffix, tuple(after[prefix : len(after) - suffix])
        assert canonical(texts, edit) == expected


def test_sampling_is_reproducible_and_breaks_code_that_still_parses() -> None:
    module = Module(FUNCTION)
    unit = module.units[0]
    scope = Scope.of(module, unit)

    def draw(seed: int) -> list:
        rng = random.Random(seed)
        return [sample_edit(module, unit, scope, rng, None) for _ in range(300)]

    drawn = draw(1)
    assert drawn == draw(1)
    candidates = [candidate for candidate in drawn if candidate is not None]
    assert len(candidates) > 280
    assert len({candidate.operator for candidate in candidates}) > 30
    good = 0
    for candidate in candidates:
        try:
            ast.parse(apply_edit(module, candidate.edit))
            good += 1
        except (SyntaxError, EditError):
            pass
    assert good > 0.93 * len(candidates)


def test_sampling_follows_the_weights() -> None:
    module = Module(FUNCTION)
    unit = module.units[0]
    rng = random.Random(0)
    scope = Scope.of(module, unit)
    names = {sample_edit(module, unit, scope, rng, {"comparison": 1.0}).operator for _ in range(20)}
    assert names == {"comparison"}
    assert sample_edit(module, unit, scope, rng, {"no such operator": 1.0}) is None


def test_scope_orders_names_and_counts_arguments() -> None:
    module = Module(
        b"LIMIT = 3\ndef g(a, b):\n    return a\n\ndef f(self, x):\n    y = g(x, 1)\n    self.z = y\n    return max(y, LIMIT)\n"
    )
    unit = next(unit for unit in module.units if unit.name == "f")
    scope = Scope.of(module, unit, extra_literals=("7",), extra_names=("other",))
    assert scope.locals == ("x", "y", "LIMIT")
    assert scope.functions[:2] == ("g", "max")
    assert scope.calls["g"] == (2,)
    assert "z" in scope.own and "z" in scope.attributes
    assert scope.literals == ("1",)
    assert scope.mined == ("7",)
    assert "other" in scope.names and scope.names[:3] == scope.locals


def test_docstrings_are_neither_changed_nor_preceded() -> None:
    module = Module(FUNCTION)
    unit = module.units[0]
    at = next(i for i, leaf in enumerate(module.leaves) if leaf.is_text)
    found = list(enumerate_edits(module, unit, Scope.of(module, unit)))
    assert any(c.edit.start == c.edit.end == at + 2 for c in found), "after it there are insertions"
    assert not [c for c in found if c.edit.start <= at < max(c.edit.end, c.edit.start + 1)]


def test_statements_on_loan_use_names_that_are_known() -> None:
    source = """\
class Box:
    def put(self, thing):
        self.things.append(thing)

    def take(self, number):
        if number is None:
            raise KeyError(number)
        found = self.things.pop()
        self.count -= 1
        self.seen.add(other)
        return found

    def look(self):
        for thing in self.things:
            self.show(thing)
            continue
"""
    module = Module(source.encode())
    unit = next(unit for unit in module.units if unit.name.endswith("put"))
    last_tier = enumerate_edits(module, unit, Scope.of(module, unit), (4,))
    found = [c.edit for c in last_tier if c.operator == "statement_borrow"]
    lent = {" ".join(edit.tokens) for edit in found}
    others = {f"self . count {sign} 1 <NEWLINE>" for sign in ("-=", "+=")}
    others.add("self . show ( thing ) <NEWLINE>")
    assert lent == others, "its own statement stands beside every gap"
    assert all(unit.start <= edit.start <= unit.end for edit in found)


def test_no_keyword_is_given_twice() -> None:
    """The parser alone does not see it, so each would cost a run."""
    module = Module(b"def f(a, b):\n    return g(sorted(a, key=len), key=b)\n")
    insert = next(operator for operator in OPERATORS if operator.name == "argument_insert")
    results = _results(insert, module, Scope.of(module, module.units[0]))
    assert any("sorted(a, key=len, reverse=True)" in text for text in results)
    for text in results:
        compile(text, "edited", "exec")


@pytest.mark.parametrize(
    ("operator", "right", "wrong"),
    [("comparison", "a < b", "<="), ("comparison_kind", "a == b", "is"), ("arithmetic", "a // b", "/")],
)  # fmt: skip
def test_operators_are_broken_as_people_break_them(operator, right, wrong) -> None:
    module = Module(f"def f(a, b):\n    return {right}\n".encode())
    (unit,) = module.units
    scope = Scope.of(module, unit)
    rng = random.Random(0)
    drawn = [sample_edit(module, unit, scope, rng, {operator: 1.0}) for _ in range(300)]
    written = Counter(one.edit.tokens[0] for one in drawn if one is not None)
    assert written.most_common(1)[0][0] == wrong
    # and no other way is lost
    assert len(written) >= 4 and min(written.values()) < written[wrong] / 3


@given(st.text("ab.*+?[]()^$|\\\\dw{1,}%:", max_size=12))
def test_varied_regular_expressions_are_others_and_compile(body: str) -> None:
    found = patterns._varied(body)
    assert body not in found and len(set(found)) == len(found)
    for other in found:
        re.compile(other)


def test_a_string_with_escapes_stays_what_it_is() -> None:
    """Only what is written without other escapes is read as a pattern: a newline is no `\\n` of re."""
    for source in (
        b"import re\ndef f(a):\n    re.match('a\\n+', a)\n",
        b"def f(a):\n    g('a+', a)\n",
    ):
        module = Module(source)
        unit = next(unit for unit in module.units if unit.kind == "function")
        found = enumerate_edits(module, unit, Scope.of(module, unit))
        assert "pattern" not in {candidate.operator for candidate in found}
