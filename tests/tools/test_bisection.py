"""Exact search is logarithmic and right, noisy search finds the turn, skipped items only widen the answer."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.bisection import Bisection, Contradiction, bisect


def run(search, oracle, **options):
    probes = []
    steps = bisect(search, oracle, **options)
    while True:
        try:
            probes.append(next(steps))
        except StopIteration as stop:
            return probes, stop.value


def noisy(rng, turn, rate_from_turn_on, rate_before):
    """An oracle that says "bad" at the two rates."""
    return lambda item: rng.random() < (rate_from_turn_on if item >= turn else rate_before)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_exact_search_finds_the_first_bad_item_in_log2_probes(case):
    size, turn = case
    probes, search = run(Bisection(size), lambda item: item >= turn)
    assert search.best == turn
    assert search.interval() == (turn, turn, 1.0)
    assert len(probes) <= math.ceil(math.log2(size))
    assert len({probe.item for probe in probes}) == len(probes)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60).filter(any), st.data())
def test_a_prior_shortens_the_way_to_what_it_favours(prior, data):
    possible = [i for i, weight in enumerate(prior) if weight]
    turn = data.draw(st.sampled_from(possible))
    probes, search = run(Bisection(len(prior), prior), lambda item: item >= turn, mass=1.0)
    assert search.best == turn
    assert len(probes) <= math.log2(sum(prior) / prior[turn]) + 2


def test_every_probe_tells_what_it_left():
    probes, _ = run(Bisection(8), lambda item: item >= 5, mass=1.0)
    assert [(p.item, p.bad, p.first, p.last) for p in probes] == [
        (3, False, 4, 7), (5, True, 4, 5), (4, False, 5, 5)
    ]  # fmt: skip
    assert [p.number for p in probes] == [1, 2, 3]
    assert probes[0].margin == 0.0


@given(st.integers(2, 60), st.data())
def test_skipped_items_leave_an_interval_that_holds_the_turn(size, data):
    turn = data.draw(st.integers(0, size - 1))
    broken = data.draw(st.sets(st.integers(0, size - 2)))
    asked = []

    def oracle(item):
        asked.append(item)
        return None if item in broken else item >= turn

    _, search = run(Bisection(size), oracle)
    assert len(asked) == len(set(asked))
    first, last, mass = search.interval()
    assert first <= turn <= last
    assert mass == pytest.approx(1.0)
    # all that is left between are items that could not be judged
    assert set(range(first, last)) <= broken


def test_exact_answers_that_contradict_are_an_error():
    search = Bisection(8)
    search.answer(5, bad=False)
    with pytest.raises(Contradiction, match="item 2 was found bad"):
        search.answer(2, bad=True)


@pytest.mark.parametrize("accuracy", [0.7, 0.9])
def test_noisy_answers_find_the_turn(accuracy):
    right = 0
    for seed in range(60):
        rng = random.Random(seed)
        turn = rng.randrange(100)
        _, search = run(Bisection(100, accuracy=accuracy), noisy(rng, turn, accuracy, 1 - accuracy))
        right += search.best == turn
    # the search stops at 95 % of the mass, so about one in twenty is wrong
    assert right >= 52


def test_noisy_update_is_bayes_rule():
    search = Bisection(4, accuracy=0.8)
    search.answer(1, bad=True)
    assert search.posterior == pytest.approx([0.4, 0.4, 0.1, 0.1])
    search.answer(2, bad=False)
    assert search.posterior == pytest.approx([0.08 / 0.26, 0.08 / 0.26, 0.02 / 0.26, 0.08 / 0.26])


def test_a_flaky_test_is_bisected_by_counts():
    right, asked = 0, []
    for seed in range(30):
        rng = random.Random(seed)
        turn = rng.randrange(40)
        search = Bisection(40, accuracy=None, runs_before=(0, 10), runs_after=(7, 3))
        probes, search = run(search, noisy(rng, turn, 0.7, 0.02), max_probes=100)
        asked.append(len(probes))
        right += search.best == turn
    assert right >= 28
    assert statistics.median(asked) <= 25


def test_counts_follow_the_beta_bernoulli_posterior():
    search = Bisection(2, accuracy=None)
    for bad in (True, False, False):
        search.answer(0, bad)
    for bad in (True, True, True):
        search.answer(1, bad)

    def log_beta(a, b):
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    first = log_beta(0.5, 0.5) + log_beta(4.5, 2.5)
    second = log_beta(1.5, 2.5) + log_beta(3.5, 0.5)
    expected = 1 / (1 + math.exp(second - first))
    assert search.posterior == pytest.approx([expected, 1 - expected])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40),
    st.sampled_from([0.6, 0.95, None]),
)
def test_the_posterior_stays_a_distribution(answers, accuracy):
    search = Bisection(10, accuracy=accuracy)
    for item, bad in answers:
        search.answer(item, bad)
        assert math.fsum(search.posterior) == pytest.approx(1.0)
        assert min(search.posterior) >= 0.0
        first, last, mass = search.interval(0.9)
        assert 0 <= first <= last < 10
        assert mass == pytest.approx(math.fsum(search.posterior[first : last + 1]))
        assert mass >= 0.9 - 1e-9


def test_shortest_interval():
    search = Bisection(6, [1, 1, 6, 8, 2, 2])
    assert search.interval(0.7) == (2, 3, pytest.approx(0.7))
    assert search.interval(0.3) == (2, 2, pytest.approx(0.3)) or search.interval(0.3)[:2] == (3, 3)
    assert search.interval()[:2] == (0, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "0 items"), ((3, [1, 1]), "3 items with 2 weights"), ((2, [0, 0]), "not all 0"),
     ((2, [1, -1]), "at least 0"), ((2, None, 0.5), "tells nothing")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bisection(*arguments)
