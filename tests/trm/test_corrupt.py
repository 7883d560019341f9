"""Broken functions are repaired by their fixes, and simulated coverage is coverage that tests could have left."""

import ast
import random
import textwrap

import pytest

from tools.source.edits import splice
from tools.source.leaves import Module
from tools.source.minimal import minimal
from tools.source.operators import OPERATORS
from trm.data.corrupt import WEIGHTS, break_function, example, simulate_coverage
from trm.data.functions import Function, functions_of_file
from trm.encode import LENGTHS

FILES = [ast.__file__, textwrap.__file__, random.__file__]


@pytest.fixture(scope="module")
def functions():
    """Functions of the standard library with their modules."""
    from pathlib import Path

    found = []
    for path in FILES:
        rows = [function for function, _ in functions_of_file(Path(path), "stdlib:x", "PSF")]
        found += [(function, Module(function.source.encode())) for function in rows[:14]]
    assert len(found) >= 30
    return found


def tokens(module):
    return [leaf.text for leaf in module.leaves]


def repaired(broken):
    """The broken module with its fixes in place, the last first."""
    module = broken.module
    for fix in reversed(broken.fixes):
        module = Module(splice(module, fix).apply(module.source))
    return module


@pytest.mark.parametrize("bugs", [1, 2, 4])
def test_the_fixes_give_the_function_back(functions, bugs):
    rng = random.Random(bugs)
    made = 0
    for function, module in functions:
        broken = break_function(module, bugs, rng, WEIGHTS, function.names)
        if broken is None:
            continue
        made += 1
        ast.parse(broken.module.source)
        assert tokens(broken.module) != tokens(module)
        assert tokens(repaired(broken)) == tokens(module)
        assert 1 <= len(broken.fixes) == len(broken.operators) == len(broken.families) <= bugs
        for one, other in zip(broken.fixes, broken.fixes[1:], strict=False):
            assert one.end <= other.start, "fixes do not meet"
        for fix in broken.fixes:
            removed = tokens(broken.module)[fix.start : fix.end]
            assert not removed or not fix.tokens or removed[0] != fix.tokens[0], "canonical"
        if bugs == 1:
            (fix,) = broken.fixes
            whole = minimal(tokens(broken.module), tokens(module))
            assert (fix.start, fix.end, fix.tokens) == whole, "canonical, so that scores compare"
    assert made > len(functions) / 2


def test_every_weighted_operator_exists_and_every_operator_is_weighted():
    names = {operator.name for operator in OPERATORS}
    assert set(WEIGHTS) == names and all(weight >= 0 for weight in WEIGHTS.values())


def test_only_weighted_operators_break(functions):
    rng = random.Random(0)
    seen = set()
    for function, module in functions:
        broken = break_function(module, 2, rng, {"constant": 1.0, "name": 1.0}, function.names)
        seen |= set(broken.operators) if broken else set()
    assert seen == {"constant", "name"}


def test_a_failing_test_ran_the_only_bug(functions):
    rng = random.Random(1)
    known = unknown = passed_by = 0
    for _, module in functions:
        lines = sorted({leaf.line for leaf in module.leaves})
        for _ in range(12):
            bug = rng.choice(lines)
            ran = simulate_coverage(module.leaves, [bug], rng)
            if ran is None:
                unknown += 1
                continue
            known += 1
            assert ran.failing >= 1 and ran.passing >= 0
            if bug != lines[0]:  # the line of the signature runs at import, in no test's trace
                assert ran.cover_fail[bug] == ran.failing
            assert lines[0] not in ran.cover_fail and lines[0] not in ran.cover_pass
            assert set(ran.cover_fail) | set(ran.cover_pass) <= set(lines)
            assert max(ran.cover_fail.values(), default=0) <= ran.failing
            assert max(ran.cover_pass.values(), default=0) <= ran.passing
            passed_by += ran.cover_pass.get(bug, 0) > 0
    assert min(known, unknown, passed_by) > 20, "all three kinds are drawn"


def test_a_line_runs_only_where_its_block_is_entered():
    source = b"def f(a):\n    x = 1\n    if a:\n        y = 2\n        if x:\n            z = 3\n    return x\n"
    leaves = Module(source).leaves
    rng = random.Random(2)
    partly = 0
    for _ in range(200):
        ran = simulate_coverage(leaves, [2], rng)
        if ran is None:
            continue
        for table in (ran.cover_fail, ran.cover_pass):
            counts = [table.get(line, 0) for line in (3, 4, 6)]
            assert counts == sorted(counts, reverse=True)
            assert table.get(2, 0) == table.get(3, 0) == table.get(7, 0)
            partly += counts[0] > counts[1] > counts[2] > 0
    assert partly > 5


def test_examples_are_what_they_say(vocab, functions):
    rng = random.Random(3)
    whole = several = executed = 0
    for function, module in functions * 2:
        made = example(vocab, function, module, rng, WEIGHTS, no_bug=0.2)
        if made is None:
            continue
        encoded, targets, names = made
        assert encoded.length <= LENGTHS[-1]
        assert (names == ("none",)) == (not targets)
        whole, several = whole + (not targets), several + (len(targets) > 1)
        executed += bool(encoded.features[:, 1:4].any())
        if not targets:
            assert [encoded.texts[i] for i in encoded.text[1 : encoded.code + 1]] == tokens(module)
        for target in targets:
            assert 1 <= target.start <= encoded.code + 1
            assert target.start + target.length <= encoded.code + 1
    assert min(whole, several, executed) > 3


def test_the_same_seed_makes_the_same_example(vocab, functions):
    function, module = functions[5]
    first, second = (example(vocab, function, module, random.Random(11), WEIGHTS) for _ in range(2))
    assert first is not None and second is not None
    assert first[1:] == second[1:] and (first[0].pieces == second[0].pieces).all()


def test_long_functions_make_no_example(vocab):
    source = "def f(a):\n" + "    a = a + 1\n" * 120
    function = Function(source, "f", (), (), "x:y:f", "MIT")
    module = Module(source.encode())
    for seed in range(4):
        assert example(vocab, function, module, random.Random(seed), WEIGHTS) is None


def test_a_function_without_places_is_left_alone():
    module = Module(b"def f():\n    pass\n")
    weights: dict[str, float] = {}
    assert break_function(module, 1, random.Random(0), weights) is None
