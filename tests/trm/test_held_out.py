"""Held-out figures are those of the predictor, over every example; calibration error by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.data.pipeline import Shard, ShardWriter
from trm.encode import target_of
from trm.evaluate import answer, calibration_error, held_out, judged, states

EDITS = [(9, 10, ("<",)), (0, 1, ()), (3, 19, ()), (26, 26, ("b",)), (10, 11, ("zq",))]


@pytest.fixture(scope="module")
def folder(predictor, encoded, tmp_path_factory):
    """Five bugs, which make batches of four: one is left over."""
    writer = ShardWriter()
    for edit in EDITS:
        writer.add(encoded[0], [target_of(predictor.vocab, encoded[0], *edit)])
    folder = tmp_path_factory.mktemp("held_out") / "eval-00000"
    writer.write(folder)
    return folder


@pytest.fixture(scope="module")
def figures(predictor, config, folder):
    return held_out(predictor.params, config, folder, slots=256)


def test_every_example_is_measured_at_every_step(figures, config):
    assert len(figures) == config.steps
    for row in figures:
        assert row["n"] == len(EDITS)
        assert 0 <= row["exact"] <= row["top1"] <= row["top5"] <= 1 and 0 <= row["ece"] <= 1


def test_nats_and_ranks_are_the_predictors(figures, predictor, encoded):
    analysis = predictor.analyse(encoded[0])
    assert figures[-1]["nats"] == pytest.approx(-predictor.score(analysis, EDITS).mean(), abs=2e-3)
    for row, step in zip(figures, analysis.steps, strict=True):
        ranks = [int((step.start > step.start[edit[0] + 1]).sum()) for edit in EDITS]
        assert row["top1"] == pytest.approx(np.mean([rank == 0 for rank in ranks]))
        assert row["top5"] == pytest.approx(np.mean([rank < 5 for rank in ranks]))
    assert figures[0]["nats"] != pytest.approx(figures[-1]["nats"], abs=1e-3)


def test_columns_are_in_the_order_of_the_shard(predictor, config, encoded, folder):
    def answers(batch):
        *_, last = states(predictor.params, config, batch)
        yield answer(predictor.params, config, last, batch)

    [columns] = judged(Shard(folder), answers, slots=256)
    wanted = predictor.score(predictor.analyse(encoded[0]), EDITS)
    np.testing.assert_allclose(columns["log_probability"], wanted, atol=2e-2)


def test_states_go_on_from_a_state(predictor, config, folder):
    batch = Shard(folder).collate([0], 64)
    two = replace(config, steps=2)
    first, second = states(predictor.params, two, batch)
    [again] = states(predictor.params, replace(config, steps=1), batch, first)
    np.testing.assert_array_equal(again.y, second.y)
    assert not np.array_equal(first.y, second.y)


def test_calibration_error_by_hand():
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.05, 0.05])
    right = np.array([1, 1, 1, 0, 0, 1], bool)
    expected = abs(0.75 - 0.95) * 4 / 6 + abs(0.5 - 0.05) * 2 / 6
    assert calibration_error(sure, right) == pytest.approx(expected)
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_is_a_mean_of_gaps(rows):
    probability, right = (np.array(column) for column in zip(*rows, strict=True))
    error = calibration_error(probability, right)
    assert 0 <= error <= 1
    assert error >= abs(probability.mean() - right.mean()) - 1e-9, "gaps of bins do not cancel"
