"""What the loss counts: ways to write a token, bugs of an example, whole functions, and when the halting head is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trm import loss, model
from trm.data.pipeline import Shard, ShardWriter
from trm.encode import target_of

LENGTH = 64


def test_the_ways_to_write_a_token_are_summed():
    """Six outcomes of weights 1..6: words 1, 2, 3 and copies 4, 5, 6 of positions with text ids 7, 8, 7."""
    words, copies = jnp.log(jnp.array([[[1.0, 2, 3]]])), jnp.log(jnp.array([[[4.0, 5, 6]]]))
    ids = jnp.array([[7, 8, 7]])
    cases = {(1, 7): (2 + 4 + 6, True), (1, -1): (2, False), (-1, 8): (5, False), (2, 8): (3 + 5, False),
             (0, 9): (1, False), (-1, 7): (4 + 6, True)}  # fmt: skip
    for (piece, text), (weight, best) in cases.items():
        found, top = loss.slot_log_probability(
            words, copies, jnp.array([[piece]]), jnp.array([[text]]), ids
        )
        assert np.exp(found[0, 0]) == pytest.approx(weight / 21, rel=1e-5)
        assert bool(top[0, 0]) is best


@pytest.fixture(scope="module")
def batch(vocab, encoded, tmp_path_factory):
    """Three examples: one bug, two bugs, none."""
    writer = ShardWriter()
    one = [target_of(vocab, encoded[0], 9, 10, ("<", "="))]
    two = [target_of(vocab, encoded[1], *edit) for edit in ((8, 9, ("1",)), (18, 18, ("+", "row")))]
    for example, targets in ((encoded[0], one), (encoded[1], two), (encoded[1], [])):
        writer.add(example, targets)
    folder = tmp_path_factory.mktemp("shard") / "shard-00000"
    writer.write(folder)
    return Shard(folder).collate([0, 1, 2], LENGTH)


@pytest.fixture(scope="module")
def y(config):
    return jnp.asarray(
        np.random.default_rng(3).standard_normal((3, LENGTH, config.width)), jnp.float32
    )


@pytest.fixture(scope="module")
def weights(params):
    return jax.tree.map(jnp.asarray, params)


@pytest.fixture(scope="module")
def heads(config, weights, y):
    """batch -> log-probabilities of starts and lengths, logits of words and copies, jitted once."""

    @jax.jit
    def run(batch):
        memory = model.decoder_memory(weights, config, y, batch["mask"])
        words, copies = model.content_logits(weights, config, memory, loss.slots_of(batch))
        lengths = model.length_logits(weights, config, y, batch["code"], batch["bug_start"])
        return (
            jax.nn.log_softmax(model.start_logits(weights, config, y, batch)),
            jax.nn.log_softmax(lengths),
            words,
            copies,
            model.halt_logit(weights, config, model.State(y, y)),
        )

    return lambda batch: [np.asarray(part, np.float64) for part in run(batch)]


@pytest.fixture(scope="module")
def measure(config, weights, y):
    """batch -> (loss, metrics), jitted once."""
    run = jax.jit(lambda batch: loss.step_loss(weights, config, model.State(y, y), batch, 0.5))
    return lambda batch: jax.tree.map(float, run(batch))


def test_the_loss_is_the_mean_over_examples_and_their_bugs(batch, heads, measure):
    starts, lengths, words, copies, _ = heads(batch)
    joint = np.concatenate([words, copies], -1)
    joint -= np.logaddexp.reduce(joint, axis=-1, keepdims=True)
    pieces = words.shape[-1]
    start = length = content = 0.0
    for example in range(3):
        bugs = [b for b in range(4) if batch["bug_weight"][example, b] > 0]
        assert len(bugs) == (1, 2, 1)[example]
        for bug in bugs:
            at = batch["bug_start"][example, bug]
            assert (at == 0) == (example == 2)
            start -= starts[example, at] / len(bugs)
            if at:
                size = batch["bug_length"][example, bug]
                length -= lengths[example, bug, size] / len(bugs)
        for slot in np.flatnonzero(batch["slot_edit"][example] >= 0):
            piece, text = batch["slot_piece"][example, slot], batch["slot_text"][example, slot]
            ways = [piece] if piece >= 0 else []
            if text >= 0:
                ways += list(pieces + np.flatnonzero(batch["text"][example] == text))
            content -= np.logaddexp.reduce(joint[example, slot, ways]) / len(bugs)
    total, metrics = measure(batch)
    assert metrics["start"] == pytest.approx(start / 3, rel=1e-4)
    assert metrics["length"] == pytest.approx(length / 3, rel=1e-4)
    assert metrics["content"] == pytest.approx(content / 3, rel=1e-4)
    parts = metrics["start"] + metrics["length"] + metrics["content"] + 0.5 * metrics["halt"]
    assert total == pytest.approx(parts, rel=1e-5)


def answered(batch, heads):
    """The batch whose fixes are what the heads say themselves: the first bug of each example at the top start."""
    out = {key: value.copy() for key, value in batch.items()}
    starts = heads(out)[0]
    out["bug_weight"][2] = (1, 0, 0, 0)
    for example in range(3):
        top = starts[example, 1:].argmax() + 1
        out["bug_start"][example, 0] = top if example < 2 else 0
    edits = np.maximum(out["slot_edit"], 0)
    out["slot_start"] = np.take_along_axis(out["bug_start"], edits, 1)
    lengths = heads(out)[1]
    out["bug_length"][:2, 0] = lengths[:2, 0].argmax(-1)
    out["slot_length"] = np.take_along_axis(out["bug_length"], edits, 1)
    _, _, words, copies, _ = heads(out)
    for example, slot in zip(*np.nonzero(out["slot_edit"] == 0), strict=True):
        word, copy = words[example, slot].argmax(), copies[example, slot].argmax()
        by_word = words[example, slot, word] >= copies[example, slot, copy]
        text = out["text"][example, copy]
        out["slot_piece"][example, slot] = word if by_word else -1
        out["slot_text"][example, slot] = -1 if by_word else text
    return out


def halting(logit, right):
    chance = 1 / (1 + np.exp(-logit))
    return -np.log(np.where(right, chance, 1 - chance)).mean()


def test_the_halting_head_is_asked_for_right_answers_and_for_these_only(batch, heads, measure):
    mine = answered(batch, heads)
    starts, *_, halt = heads(mine)
    sound = starts[2].argmax() == 0  # whether NO_BUG is the answer for the whole function
    top = [starts[i].argmax() != 0 for i in range(2)]
    assert all(top), "else the test below would say nothing"
    _, metrics = measure(mine)
    assert metrics["halt"] == pytest.approx(halting(halt, [True, True, sound]), rel=1e-4)
    assert metrics["exact"] == metrics["top1"] == 1.0

    slot = int(np.flatnonzero(mine["slot_edit"][0] == 0)[-1])
    for key, at in (("slot_piece", (0, slot)), ("bug_length", (0, 0)), ("bug_start", (0, 0))):
        wrong = {name: value.copy() for name, value in mine.items()}
        wrong[key][at] = wrong[key][at] + 1 if wrong[key][at] < 10 else wrong[key][at] - 1
        if key == "slot_piece":
            wrong["slot_text"][at] = -1
        _, metrics = measure(wrong)
        assert metrics["exact"] == 0.5, key
        assert metrics["halt"] == pytest.approx(halting(halt, [False, True, sound]), rel=1e-4), key


def test_the_other_bugs_of_an_example_do_not_make_the_answer_wrong(batch, heads, measure):
    mine = answered(batch, heads)
    for slot in np.flatnonzero(mine["slot_edit"][1] == 1):
        mine["slot_piece"][1, slot], mine["slot_text"][1, slot] = 299, -1
    assert measure(mine)[1]["exact"] == 1.0


def test_a_better_answer_costs_less(batch, heads, measure):
    mine = answered(batch, heads)
    assert measure(mine)[0] < measure(batch)[0]
