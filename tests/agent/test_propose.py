"""One stream of candidates: each change once, only what parses, in the order that the rank says."""

import ast
import heapq
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.budget import Budget
from agent.candidates import DOUBT, TIERS, Candidate, CostAware, Unit, by_tier, suggested, valid
from agent.events import RecursionStep
from agent.locate import Sources, execution_of, suspects
from agent.propose import (
    _LINE_WEIGHT,
    _PRIOR,
    _SETTLED,
    _SHARES,
    _TWIN,
    _UNREAD,
    ModelStream,
    _merged,
    biases,
    merged,
    shares,
    twin,
)
from agent.reading import Reader, encode_suspect
from agent.suggest import Suggestion
from tools.source import parts
from tools.source.edits import Edit
from tools.source.operators import OPERATORS
from tools.source.parts import header_of
from tools.spectrum import Spectrum
from tools.verdicts import Outcome, SuiteRun, TestResult
from trm.encode import encode

CALC = """def pick(rows, limit):
    out = []
    for row in rows:
        if row > limit:
            out.append(row)
    return out


def last(rows):
    return rows[0]
"""
RED, GREEN = "test_calc.py::test_red", "test_calc.py::test_green"


@pytest.fixture(scope="module")
def run():
    traces = {RED: {"calc.py": [2, 3, 4, 5, 6, 10]}, GREEN: {"calc.py": [2, 3, 10]}}
    results = [TestResult(RED, Outcome.FAILED, 0.0), TestResult(GREEN, Outcome.PASSED, 0.0)]
    return SuiteRun(results, [], [], Spectrum(traces, {RED}), 0.1)


@pytest.fixture(scope="module")
def found(run, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "calc.py").write_text(CALC)
    rows = suspects(run, Sources(root))
    assert [suspect.unit.name for suspect in rows] == ["pick", "last"]
    return rows


@pytest.fixture(scope="module")
def tiers(found):
    return list(by_tier(found, "ochiai", 0, ["7"], ["spare"]))


@pytest.fixture(scope="module")
def streams(found, run, predictor):
    out = []
    for suspect, bias in zip(found, biases(found), strict=True):
        leaves = suspect.file.module.leaves[suspect.unit.start : suspect.unit.end]
        read = encode(predictor.vocab, leaves, execution=execution_of(suspect, run))
        analysis = predictor.analyse(read)
        out.append(lambda s=suspect, a=analysis, b=bias: ModelStream(s, a, predictor, b, ["7"]))
    return out


@pytest.fixture(scope="module")
def told(streams):
    return [list(stream()) for stream in streams]


def key(candidate):
    return candidate.path, candidate.edit.start, candidate.edit.end, candidate.edit.tokens


def check(candidates):
    """What holds of every stream."""
    sources = [candidate.source() for candidate in candidates]
    assert CALC.encode() not in sources, "no candidate is the file as it is"
    keys = [key(candidate) for candidate in candidates]
    assert len(set(keys)) == len(keys)
    for candidate, source in zip(candidates, sources, strict=True):
        ast.parse(source)
        unit = candidate.suspect.unit
        assert unit.start <= candidate.edit.start <= candidate.edit.end <= unit.end
        assert unit.first_line <= candidate.line <= unit.last_line


def test_controls_go_tier_by_tier_then_by_suspicion(tiers):
    check(tiers)
    assert len(tiers) > 200
    order = [(c.tier, -c.suspect.scores.get(c.line, 0.02)) for c in tiers]
    assert order == sorted(order)
    assert {c.suspect.unit.name for c in tiers if c.tier == 1} == {"pick", "last"}
    changes = {(c.before, c.after) for c in tiers}
    assert {(">", ">="), ("0", "1"), (">", "<")} <= changes
    written = {token for c in tiers for token in c.edit.tokens}
    assert {"7", "spare"} <= written, "literals of the test and further names are tried"


def test_chance_is_seeded_and_stays_within_its_tiers(found, tiers):
    first, again, other = (
        list(by_tier(found, "random", seed, ["7"], ["spare"])) for seed in (1, 1, 2)
    )
    assert [key(c) for c in first] == [key(c) for c in again] != [key(c) for c in other]
    assert {key(c) for c in first} == {key(c) for c in tiers}
    assert [c.tier for c in first] == sorted(c.tier for c in first)


def test_the_models_order_is_its_score_and_the_place(told, streams, predictor, found):
    for suspect, candidates, make in zip(found, told, streams, strict=True):
        check(candidates)
        assert len(candidates) > 100
        scores = [candidate.score for candidate in candidates]
        assert scores == sorted(scores, reverse=True)
        stream, base = make(), suspect.unit.start
        assert scores[0] <= stream.bound
        own = [c for c in candidates if c.operator == "model"]
        some = candidates[:: max(1, len(candidates) // 60)] + own[:20]
        edits = [(c.edit.start - base, c.edit.end - base, c.edit.tokens) for c in some]
        exact = predictor.score(stream.analysis, edits)
        written = 0
        for candidate, score in zip(some, exact, strict=True):
            if not math.isfinite(score) or candidate.operator == "repeated":
                continue
            line = math.log(suspect.scores[candidate.line])
            model = score + _LINE_WEIGHT * line + math.log(1 - _PRIOR) + stream.bias
            if candidate.tier == 0:
                written += 1
                assert candidate.score == pytest.approx(model, abs=1e-3)
            else:
                share = math.log(_PRIOR * _SHARES[candidate.operator]) + stream.share
                assert candidate.score > model - 1e-3, "the prior only adds"
                assert candidate.score < math.log(math.exp(model) + math.exp(share)) + _SETTLED
        assert written


def test_what_the_model_deems_impossible_has_its_turn(streams, found):
    """The prior alone is the order of the control within an operator: by suspicion."""
    stream = streams[0]()
    lines, operators = np.array([1.0, 0.25, 0.5]), ["name", "name", "statement_insert"]
    prior = np.exp(stream._prior(lines, operators) - stream.share)
    assert prior[0] + prior[1] == pytest.approx(_SHARES["name"])
    assert prior[0] == pytest.approx(4 * prior[1])
    assert prior[2] == pytest.approx(_SHARES["statement_insert"])
    mixed = stream._mixed(np.full(3, -np.inf), lines, np.log(prior))
    assert np.argsort(-mixed).tolist() == np.argsort(-prior).tolist() and mixed[0] > mixed[1]


def test_every_operator_that_is_asked_has_a_share():
    asked = {operator.name for operator in OPERATORS if operator.tier in TIERS}
    assert _SHARES.keys() == asked and sum(_SHARES.values()) == pytest.approx(1, abs=1e-3)
    assert min(_SHARES.values()) > 0


def test_the_model_writes(told):
    assert any(c.operator == "model" for c in told[0]), "the model writes edits of its own"


def test_the_model_tries_all_that_the_operators_know(told, found):
    """Ranking changes the order only: no enumerated edit is lost."""
    known = {key(c): c.tier for c in by_tier(found, "ochiai", 0, ["7"])}
    rows = {key(c): c for candidates in told for c in candidates}
    assert set(known) <= set(rows)
    for edit, row in rows.items():
        assert row.tier == known.get(edit, 0), "tier 0 is what only the network writes"
        assert (row.operator in ("model", "repeated")) == (edit not in known)


def test_streams_are_merged_in_order(streams, told):
    rows = list(merged([stream() for stream in streams]))
    expected = list(heapq.merge(*told, key=lambda candidate: -candidate.score))
    assert [key(c) for c in rows] == [key(c) for c in expected]
    assert [c.score for c in rows] == [c.score for c in expected]


def test_what_is_told_between_edits_bounds_those_that_follow(streams):
    for stream in streams:
        bound, told = math.inf, 0
        for step in stream().steps():
            if isinstance(step, Candidate):
                assert step.score <= bound + 1e-5
                told += 1
            else:
                bound = step
        assert told > 100


def test_parts_of_a_unit_are_read_after_its_header(found, run, predictor, monkeypatch):
    """Edits count from the part's first leaf, wherever the header ends; what lies elsewhere is not written there."""
    suspect = found[0]
    leaves, unit = suspect.file.module.leaves, suspect.unit
    begin = next(i for i in range(unit.start, unit.end) if leaves[i].text == "if")
    part = replace(suspect, part=(begin, unit.end))
    encoded = encode_suspect(predictor.vocab, part, run)
    first, last = header_of(suspect.file.module, unit, begin)
    assert leaves[first].text == "def" and leaves[last].line == 2
    assert encoded.header == last - first and encoded.code == encoded.header + unit.end - begin
    analysis = predictor.analyse(encoded)
    assert len(analysis.leaf_mass) == unit.end - begin
    candidates = list(ModelStream(part, analysis, predictor, 0.0, ["7"]))
    check(candidates)
    assert all(c.edit.start >= begin for c in candidates)
    assert any(c.operator == "model" for c in candidates)
    every = {key(c) for c in by_tier(found[:1], "ochiai", 0, ["7"]) if c.edit.start >= begin}
    known = {key(c) for c in by_tier([part], "ochiai", 0, ["7"])}
    assert known <= {key(c) for c in candidates} and known <= every
    assert len(known) > 0.9 * len(every)
    (exact,) = predictor.score(analysis, [(2, 3, (">=",))])
    at = encoded.header + 3
    assert leaves[begin + 2].text == ">" and encoded.texts[encoded.text[at]] == ">"
    assert math.isfinite(exact) and exact <= analysis.start[at] + analysis.length[at, 1]
    monkeypatch.setattr(parts, "_HEADER", 1)
    encoded = encode_suspect(predictor.vocab, part, run)
    assert not encoded.header
    assert "rows" in encoded.texts, "a name that was bound before the part"


def test_a_long_unit_is_read_in_parts_and_nothing_is_lost(found, run, predictor, monkeypatch):
    monkeypatch.setattr(parts, "LONGEST", 24)
    monkeypatch.setattr(parts, "_PART", 20)
    monkeypatch.setattr(parts, "_OVERLAP", 8)
    sources = Sources(Path("."), {"calc.py": found[0].file})
    reader = Reader("trm", None, 0, Budget(1e9, None), predictor)
    told = reader.candidates(run, sources, found, False)
    events: list = []
    rows = list(yielded(told, events))
    check(rows)
    read = {row.suspect.part for row in rows if row.suspect.unit.name == "pick"}
    assert len(read) > 2 and None in read, "what spans several parts comes at the end"
    assert rows[0].suspect.part or rows[0].suspect.unit.name == "last"
    assert {key(c) for c in by_tier(found, "ochiai", 0)} <= {key(c) for c in rows}
    assert any(isinstance(event, RecursionStep) for event in events)


def yielded(told, events):
    """The candidates that the generator `told` returns; its events are added to `events`."""
    while True:
        try:
            events.append(next(told))
        except StopIteration as stop:
            return stop.value


def test_a_stream_is_not_begun_before_it_may_be_next(streams, told):
    """Far less suspect than the other, it waits until that one is used up."""
    near, far = streams[0](), streams[1]()
    far.bias = far.share = told[0][-1].score - 1.0
    begun = []

    class Far:
        bound = far.bias

        def steps(self):
            begun.append(True)
            yield from far.steps()

    rows = merged([near, Far()])
    first = [next(rows) for _ in range(len(told[0]) // 2)]
    assert not begun and {c.suspect.name for c in first} == {near.suspect.name}
    assert len(list(rows)) + len(first) == len(told[0]) + len(told[1]) and begun


def test_a_unit_is_not_read_before_an_edit_of_it_may_be_next(streams, told, found):
    read = []

    def second():
        read.append(True)
        return streams[1]()

    bias = biases(found)[1]
    rows = merged([streams[0]()], [(bias, second)])
    scores = []
    while not read:
        scores.append(next(rows).score)
    least = bias + _UNREAD
    # what was made ahead of the asking is all that may have come before
    assert len(scores) < len(told[0]) and sum(score < least for score in scores) == 0
    assert len(list(rows)) + len(scores) == len(told[0]) + len(told[1])


def test_suspicion_is_shared_among_the_units(found):
    parts = shares(biases(found))
    assert sum(parts) == pytest.approx(1.0) and parts[0] > parts[1] > 0
    assert shares(biases(found[:1])) == [1.0]


def test_the_stream_begins_before_all_is_scored(streams, told, monkeypatch, predictor):
    scored = []
    exact = type(predictor).score_targets
    monkeypatch.setattr(
        type(predictor),
        "score_targets",
        lambda self, a, edits, slots, *known: (
            scored.extend(slots) or exact(self, a, edits, slots, *known)
        ),
    )
    asked = []
    enumerated = Unit.enumerated
    monkeypatch.setattr(
        Unit, "enumerated", lambda self, tiers: asked.append(tiers) or enumerated(self, tiers)
    )
    rows = iter(streams[0]())
    assert key(next(rows)) == key(told[0][0])
    assert len(scored) < len(told[0]), "the first slot of what is likely, and more of a few"
    assert len(asked) < 2, "most edits are not even enumerated"
    assert len(list(rows)) == len(told[0]) - 1 and len(asked) == 2


def candidate(found, index, score, at=0):
    suspect = found[index]
    start = suspect.unit.start
    return Candidate(suspect, Edit(start, start, (str(at),), "calc.py"), "op", 1, score, 1)


def test_a_stream_works_only_while_nothing_better_is_ready(found):
    worked = []

    class Steps:
        def __init__(self, bound, steps):
            self.bound, self.made = bound, steps

        def steps(self):
            for step in self.made:
                worked.append(step)
                yield step

    near = [candidate(found, 0, -1.0), candidate(found, 0, -4.0)]
    far = [-2.0, candidate(found, 1, -3.0), -5.0, candidate(found, 1, -6.0)]
    rows = _merged([Steps(0.0, near), Steps(-0.5, far)], iter(()))
    assert [row.score for row in itertools.islice(rows, 3)] == [-1.0, -3.0, -4.0]
    assert worked[-1] == -5.0, "what is at most that waits"
    assert [row.score for row in rows] == [-6.0]


@given(
    rows=st.lists(st.tuples(st.booleans(), st.floats(-9, 0)), max_size=30),
)
def test_what_is_slow_waits_and_nothing_is_lost(found, rows):
    rows = sorted(rows, key=lambda row: -row[1])
    made = [candidate(found, 0, score, at) for at, (_, score) in enumerate(rows)]
    slow = {key(c) for c, (waits, _) in zip(made, rows, strict=True) if waits}
    stream, taken = CostAware(iter(made), penalty=3.0), []
    for one in stream:
        if key(one) in slow and not stream.was_postponed(one):
            stream.postpone(one)
        else:
            taken.append(one)
    assert not stream.waits
    assert sorted(key(c) for c in taken) == sorted(key(c) for c in made)
    effective = [c.score - 3.0 * (key(c) in slow) for c in taken]
    assert effective == sorted(effective, reverse=True)


def test_what_waits_comes_among_the_candidates_that_follow(found):
    slow, good, last = (candidate(found, 0, score, -int(score)) for score in (-1.0, -2.0, -8.0))
    stream = CostAware(iter([slow]), penalty=3.0)
    stream.postpone(next(stream))
    stream.follow(iter([good, last]))
    assert [key(c) for c in stream] == [key(c) for c in (good, slow, last)]


def test_suggestions_come_as_candidates_of_their_unit(found):
    leaves = found[0].file.module.leaves
    at = next(i for i, leaf in enumerate(leaves) if leaf.text == ">")
    good = Suggestion(Edit(at, at + 1, ("<",), "calc.py"), "NameError")
    broken = Suggestion(Edit(at, at + 1, ("if",), "calc.py"), "NameError")
    elsewhere = Suggestion(Edit(at, at + 1, ("<",), "other.py"), "NameError")
    rows = list(suggested([broken, elsewhere, good], found))
    assert [(c.before, c.after, c.tier, c.operator, c.line) for c in rows] == [
        (">", "<", 0, "NameError", 4)
    ]
    assert valid(rows[0]) and b"row < limit" in rows[0].source()


def test_what_is_put_back_comes_in_its_place_and_not_as_slow(found):
    made = [candidate(found, 0, score, at) for at, score in enumerate((-1.0, -2.0, -3.0))]
    stream = CostAware(iter(made))
    first = next(stream)
    assert next(stream) is made[1]
    stream.put_back(first)
    assert stream.waits and not stream.was_postponed(first)
    assert [key(c) for c in stream] == [key(c) for c in (first, made[2])]


def test_code_that_has_nothing_to_do_with_the_failure_waits(found):
    """Two edits of a line that left the failure as it was: what follows there comes DOUBT nats later, nothing is lost."""
    leaves = found[0].file.module.leaves
    lines = {3: [], 4: []}
    for index in range(found[0].unit.start, found[0].unit.end):
        if leaves[index].line in lines:
            lines[leaves[index].line].append(index)

    def candidate(line, number, score):
        at = lines[line][number]
        return Candidate(found[0], Edit(at, at + 1, ("x",), "calc.py"), "name", 1, score, line)

    made = [candidate(3, 0, -1.0), candidate(3, 1, -1.5), candidate(3, 2, -2.0),
            candidate(4, 0, -2.5), candidate(4, 1, -2.0 - DOUBT - 0.5)]  # fmt: skip

    def taken(same):
        stream, order = CostAware(iter(made)), []
        for each in stream:
            order.append(made.index(each))
            stream.answered(each, same(order))
        return order

    assert taken(lambda order: False) == [0, 1, 2, 3, 4]
    assert taken(lambda order: order[-1] in (0, 1)) == [0, 1, 3, 2, 4]
    assert taken(lambda order: order[-1] == 1) == [0, 1, 2, 3, 4], "the first one changed something"
    other = found[1].unit
    far = [
        Candidate(found[1], Edit(at, at, ("y",), "calc.py"), "name", 1, score, other.last_line + at)
        for at, score in zip(range(other.start, other.end), (-1, -1, -1, -1, -1, -1.5), strict=False)
    ]  # fmt: skip
    stream, order = CostAware(iter([*far, candidate(3, 0, -2.0)])), []
    for each in stream:
        order.append(each)
        stream.answered(each, each in far)
    assert order[:5] == far[:5] and order[5:] == [candidate(3, 0, -2.0), far[5]], "a unit of five"


def test_an_edit_is_repeated_where_the_code_is_alike() -> None:
    def repeated(text: str, start: int, end: int, token: str) -> str | None:
        change = twin(list(text), start, end, [token])
        if change is None:
            return None
        return text[: change[0]] + "".join(change[2]) + text[change[1] :]

    text = "a=f.L(b);c=f.L(d);e=L"
    assert repeated(text, 4, 5, "R") == "a=f.R(b);c=f.R(d);e=L", "the same leaves on either side"
    assert repeated(text, 5, 5, "m") == "a=f.Lm(b);c=f.Lm(d);e=L", "between the same leaves"
    assert repeated(text, 1, 2, "-") == "a-f.L(b);c-f.L(d);e-L", "beside others, all there are"
    assert repeated(text, 6, 7, "x") is None, "stands once"
    assert repeated("x=x=x=x=x=", 1, 2, "-") is None, "too many"


def test_repeated_edits_come_after_what_they_repeat(told):
    repeated = 0
    for candidates in told:
        first: dict[tuple[str, ...], float] = {}
        for candidate in candidates:
            base, texts = candidate.suspect.start, candidate.suspect.file.module.leaves
            unit = [leaf.text for leaf in texts[base : candidate.suspect.end]]
            edit = candidate.edit
            if candidate.operator == "repeated":
                repeated += 1
                assert candidate.score == pytest.approx(first[edit.tokens] - _TWIN)
            made = twin(unit, edit.start - base, edit.end - base, edit.tokens)
            if made is not None:
                first.setdefault(made[2], candidate.score)
    assert repeated > 5
