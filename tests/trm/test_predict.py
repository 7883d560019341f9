"""Scores are the model's probabilities, bounds bound them, and its own edits come best first."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from trm.checkpoint import CARD, VOCAB, WEIGHTS, CheckpointError, save_weights
from trm.config import MAX_SPAN, Config
from trm.data.pipeline import Shard, ShardWriter
from trm.encode import target_of
from trm.evaluate import states as supervision_states
from trm.loss import step_loss
from trm.model import init_params
from trm.predict import Predictor
from trm.vocab import Vocab

EDITS = [(9, 10, (">", "=")), (0, 0, ("return", "<NEWLINE>")), (3, 19, ()), (27, 27, ("b",)), (4, 5, ("zq",)),
         (11, 13, ("a", "-", "limit", "+", "b")), (2, 3, ("<INDENT>",)), (9, 10, (">", "+"))]  # fmt: skip


@pytest.fixture(scope="module")
def analysis(predictor, encoded):
    return predictor.analyse(encoded[0])


@pytest.fixture(scope="module")
def proposals(predictor, analysis):
    return predictor.propose(analysis, 120)


def test_a_score_is_what_the_loss_would_say(predictor, config, encoded, analysis, tmp_path):
    """Another path to the same number: a shard, its batch, the plain recursion and the loss of the last step."""
    writer = ShardWriter()
    for edit in EDITS:
        target = target_of(predictor.vocab, encoded[0], *edit)
        assert target is not None
        writer.add(encoded[0], [target])
    writer.write(tmp_path / "shard")
    shard = Shard(tmp_path / "shard")

    @jax.jit
    def parts(batch):
        *_, state = supervision_states(predictor.params, config, batch)
        metrics = step_loss(predictor.params, config, state, batch, 0.0)[1]
        return metrics["start"] + metrics["length"] + metrics["content"]

    expected = [-float(parts(shard.collate([row], 64))) for row in range(len(EDITS))]
    np.testing.assert_allclose(predictor.score(analysis, EDITS), expected, atol=2e-3)


def test_pieces_that_the_vocabulary_lacks_are_not_written(vocab, config, encoded, tmp_path):
    """A small corpus fills a part of the table of pieces."""
    wide = dataclasses.replace(config, vocab=4 * vocab.size)
    save_weights(tmp_path, init_params(wide), Config(model=wide), vocab, {})
    predictor = Predictor(tmp_path)
    written = predictor.propose(predictor.analyse(encoded[0]), 200)
    assert any(proposal.tokens for proposal in written)


def test_scores_do_not_depend_on_what_else_is_scored(predictor, analysis, proposals):
    edits = EDITS + [(p.start, p.end, p.tokens) for p in proposals]
    together = predictor.score(analysis, edits)
    order = np.random.default_rng(0).permutation(len(edits))
    np.testing.assert_allclose(
        predictor.score(analysis, [edits[i] for i in order]), together[order], atol=1e-4
    )


def test_bounds_are_above_scores(predictor, analysis, proposals):
    edits = EDITS + [(p.start, p.end, p.tokens) for p in proposals]
    bound, score = predictor.score(analysis, edits, 1), predictor.score(analysis, edits)
    assert (bound >= score - 1e-4).all()
    assert (bound > score + 1e-3).any()


def test_slots_that_were_counted_are_not_counted_again(predictor, analysis, proposals):
    edits = EDITS + [(p.start, p.end, p.tokens) for p in proposals]
    targets = predictor.targets(analysis, edits)
    known = [(0, 0.0)] * len(edits)
    for depth in (1, 2, 5, 17):
        slots = [depth + index % 3 for index in range(len(edits))]  # not all as deep
        scores = predictor.score_targets(analysis, targets, slots, known)
        np.testing.assert_allclose(
            scores, predictor.score_targets(analysis, targets, slots), atol=1e-4
        )
        known = [
            (min(count, len(target.piece)), score)
            for count, score, target in zip(slots, scores, targets, strict=True)
        ]
    np.testing.assert_allclose(scores, predictor.score(analysis, edits), atol=1e-4)


def test_what_the_heads_cannot_express_has_no_score(predictor, analysis):
    edits = [(0, MAX_SPAN + 1, ()), (0, 1, ("a",) * 16), (0, 1, ("a",))]
    score, bound = predictor.score(analysis, edits), predictor.score(analysis, edits, 1)
    assert np.isneginf(score[:2]).all() and np.isneginf(bound[:2]).all() and np.isfinite(score[2])
    assert len(predictor.score(analysis, [])) == 0


def test_own_edits_come_best_first_without_repeats(proposals, encoded):
    assert len(proposals) == 120
    values = [p.log_probability for p in proposals]
    assert values == sorted(values, reverse=True)
    keys = {(p.start, p.end, p.tokens) for p in proposals}
    assert len(keys) == len(proposals)
    assert np.exp(values).sum() <= 1 + 1e-5, "distinct outcomes share one probability"
    assert all(0 <= p.start <= p.end <= encoded[0].code for p in proposals)
    assert all(p.start < p.end or p.tokens for p in proposals), "no edit does nothing"


def test_own_edits_have_their_score(predictor, analysis, proposals, encoded):
    """Where a content has one way to be written; of a text with several the likelier is told, so the score may differ."""
    known = set(encoded[0].texts)
    single = [
        p
        for p in proposals
        if len(p.tokens) <= 1
        and all(t in known or len(predictor.vocab.token_pieces(t)) == 1 for t in p.tokens)
    ]
    assert len(single) >= 40 and any(p.tokens for p in single)
    scores = predictor.score(analysis, [(p.start, p.end, p.tokens) for p in single])
    np.testing.assert_allclose(scores, [p.log_probability for p in single], atol=1e-3)


def test_no_edit_that_was_left_out_is_likelier(predictor, analysis, encoded):
    """Searched to the end: all deletions and one-token replacements by a known text, against the last edit that was told."""
    best = predictor.propose(analysis, 40, rounds=1000, places=10_000)
    told = {(p.start, p.end, p.tokens) for p in best}
    texts = [text for text in encoded[0].texts if text]
    code = encoded[0].code
    edits = [(s, e, ()) for s in range(code) for e in range(s + 1, min(code, s + MAX_SPAN) + 1)]
    edits += [(s, s + 1, (text,)) for s in range(code) for text in texts]
    left = [edit for edit in edits if edit not in told]
    assert predictor.score(analysis, left).max() <= best[-1].log_probability + 1e-3


def test_the_greedy_edit_is_the_best_one_of_its_step(predictor, analysis):
    last = analysis.steps[-1]
    assert len(analysis.steps) == predictor.config.steps
    if last.best is not None:
        top = predictor.propose(analysis, 1)[0]
        assert last.best.log_probability == pytest.approx(top.log_probability, abs=1e-3)


def test_an_analysis_has_the_shapes_it_says(analysis, encoded):
    one = encoded[0]
    assert analysis.start.shape == (one.length,) and analysis.length.shape == (
        one.length,
        MAX_SPAN + 1,
    )
    assert np.exp(analysis.start).sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(np.exp(analysis.length[: one.code + 2]).sum(-1), 1, atol=1e-4)
    for step in analysis.steps:
        assert step.start.shape == (one.code + 2,) and step.bits.shape == (one.length, 16)
        assert 0 < step.halt < 1
    np.testing.assert_allclose(analysis.leaf_mass, analysis.steps[-1].start[1:-1], atol=1e-6)


def test_a_unit_beyond_the_longest_is_refused(predictor, encoded):
    one = encoded[0]
    many = {f.name: np.resize(getattr(one, f.name), (513, *getattr(one, f.name).shape[1:]))
            for f in dataclasses.fields(one) if isinstance(getattr(one, f.name), np.ndarray)}  # fmt: skip
    with pytest.raises(ValueError, match="513 positions"):
        predictor.analyse(dataclasses.replace(one, **many))


def test_untrained_is_the_same_model_with_other_weights(checkpoint, predictor, encoded):
    control = Predictor(checkpoint, untrained=True, seed=3)
    assert control.config == predictor.config
    assert control.vocab.token_pieces("result") == predictor.vocab.token_pieces("result")
    shapes = jax.tree.map(lambda p: p.shape, control.params)
    assert shapes == jax.tree.map(lambda p: p.shape, predictor.params)
    found, mine = control.analyse(encoded[0]).start, predictor.analyse(encoded[0]).start
    assert np.abs(found - mine).max() > 0.1


def test_steps_can_be_overridden(checkpoint, predictor, encoded, analysis):
    once = Predictor(checkpoint, steps=1).analyse(encoded[0])
    assert len(once.steps) == 1
    np.testing.assert_allclose(once.steps[0].start, analysis.steps[0].start, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        (CARD, None, "has no card.json"),
        (CARD, b"{", "card.json cannot be read"),
        (CARD, b'{"format": 1, "config": {"model": {"depth": 2}}}', "card.json cannot be read"),
        (WEIGHTS, None, f"has no {WEIGHTS}"),
        (WEIGHTS, b"PK\x03\x04 not ours", f"{WEIGHTS} cannot be read"),
        (VOCAB, None, f"has no {VOCAB}"),
        (VOCAB, b"{}", f"{VOCAB} is not a vocabulary"),
    ],
)
def test_what_is_not_a_checkpoint_is_named(checkpoint, tmp_path, name, damage, said):
    folder = tmp_path / "weights"
    shutil.copytree(checkpoint, folder)
    (folder / name).unlink()
    if damage is not None:
        (folder / name).write_bytes(damage)
    with pytest.raises(CheckpointError) as caught:
        Predictor(folder)
    assert said in str(caught.value) and str(folder) in str(caught.value)


def test_a_truncated_checkpoint_is_named(checkpoint, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(checkpoint, folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} cannot be read"):
        Predictor(folder)


def test_a_vocabulary_of_another_size_is_named(checkpoint, tmp_path, vocab):
    folder = tmp_path / "weights"
    shutil.copytree(checkpoint, folder)
    Vocab(vocab.tokenizer, ["kind"] * 64, vocab.roles).save(folder / VOCAB)
    with pytest.raises(CheckpointError, match=f"{VOCAB} has 64 kinds"):
        Predictor(folder)
