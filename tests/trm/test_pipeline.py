"""Shards give back what was written, and every example has its place in a plan."""

import numpy as np
import pytest

from trm.data.pipeline import (
    MAX_BUGS,
    SLOTS,
    Shard,
    ShardWriter,
    bucket_length,
    hash_seed,
    plan_batches,
)
from trm.encode import FEATURE_VALUES, FEATURES, PIECES, Encoded, Target, padded_length


def random_encoded(rng, length):
    def column(low, high, kind, *more):
        return rng.integers(low, high, (length, *more)).astype(kind)

    return Encoded(column(0, 4096, np.uint16, PIECES), column(0, 160, np.uint8), column(0, 320, np.uint16),
                   column(0, length, np.int16), column(-6, 99, np.int16),
                   column(0, FEATURE_VALUES, np.uint8, FEATURES), column(-1, length, np.int16),
                   column(-1, length, np.int16), length - 2)  # fmt: skip


def random_target(rng, slots):
    def row(low, high):
        return tuple(int(n) for n in rng.integers(low, high, slots))

    previous = tuple(tuple(int(n) for n in rng.integers(1, 4096, rng.integers(1, PIECES + 1)))
                     for _ in range(slots))  # fmt: skip
    return Target(
        int(rng.integers(1, 20)), int(rng.integers(0, 17)), row(-1, 4096), row(-1, 30), previous
    )


def make_shard(folder, examples):
    writer = ShardWriter()
    for encoded, targets in examples:
        writer.add(encoded, targets)
    writer.write(folder)
    return Shard(folder)


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(5, 250, 40), 64, 65, 128, 129]
    return [
        (random_encoded(rng, n), [random_target(rng, rng.integers(1, 5)) for _ in range(i % 4)])
        for i, n in enumerate(lengths)
    ]


def test_what_is_written_is_read(tmp_path, examples):
    shard = make_shard(tmp_path / "shard", examples)
    assert len(shard) == len(examples)
    for row, (encoded, targets) in enumerate(examples):
        length = padded_length(encoded.length)
        assert length is not None
        batch = {key: value[0] for key, value in shard.collate([row], length).items()}
        size = encoded.length
        for key in ("pieces", "kind", "role", "text", "line", "features", "last_use", "last_def"):
            assert np.array_equal(batch[key][:size], getattr(encoded, key)), key
            padding = -1 if key.startswith("last") else 0
            assert (batch[key][size:] == padding).all(), key
        assert batch["mask"].sum() == size and batch["mask"][:size].all()
        assert batch["code"] == encoded.code
        at = 0
        for edit, target in enumerate(targets):
            assert (batch["bug_start"][edit], batch["bug_length"][edit]) == (
                target.start,
                target.length,
            )
            mine = batch["slot_edit"] == edit
            assert mine.sum() == len(target.piece) and mine[at : at + len(target.piece)].all()
            assert tuple(batch["slot_piece"][mine]) == target.piece
            assert tuple(batch["slot_text"][mine]) == target.text
            assert list(batch["slot_index"][mine]) == list(range(len(target.piece)))
            assert (batch["slot_start"][mine] == target.start).all()
            assert (batch["slot_length"][mine] == target.length).all()
            for shown, previous in zip(batch["slot_previous"][mine], target.previous, strict=True):
                assert tuple(shown) == previous + (0,) * (PIECES - len(previous))
            at += len(target.piece)
        assert (batch["slot_edit"][at:] == -1).all()
        # a whole function's one target is NO_BUG
        expected = [1 / max(1, len(targets))] * max(1, len(targets))
        assert list(batch["bug_weight"]) == pytest.approx(
            expected + [0] * (MAX_BUGS - len(expected))
        )


def test_bugs_that_do_not_fit_are_dropped_whole(tmp_path):
    rng = np.random.default_rng(4)
    targets = [
        random_target(rng, slots) for slots in (10, 9, 6)
    ]  # 16 slots in a unit of 64 positions
    shard = make_shard(tmp_path / "shard", [(random_encoded(rng, 50), targets)])
    batch = {key: value[0] for key, value in shard.collate([0], 64).items()}
    assert SLOTS[64] == 16
    assert list(batch["bug_start"][:2]) == [targets[0].start, targets[2].start]
    assert list(batch["bug_weight"]) == [0.5, 0.5, 0, 0]
    assert list(batch["slot_edit"]) == [0] * 10 + [1] * 6
    assert tuple(batch["slot_piece"]) == targets[0].piece + targets[2].piece
    assert list(batch["slot_start"]) == [targets[0].start] * 10 + [targets[2].start] * 6


def test_an_example_of_which_no_bug_fits_weighs_nothing(tmp_path):
    rng = np.random.default_rng(4)
    shard = make_shard(tmp_path / "shard", [(random_encoded(rng, 50), [random_target(rng, 17)])])
    batch = shard.collate([0], 64)
    assert not batch["bug_weight"].any() and (batch["slot_edit"] == -1).all()


def test_more_bugs_than_the_batch_holds_are_cut(tmp_path):
    rng = np.random.default_rng(5)
    targets = [random_target(rng, 1) for _ in range(MAX_BUGS + 2)]
    shard = make_shard(tmp_path / "shard", [(random_encoded(rng, 30), targets)])
    assert list(shard.collate([0], 64)["bug_start"][0]) == [t.start for t in targets[:MAX_BUGS]]


@pytest.mark.parametrize("slots", [64, 256, 512])
def test_batches_are_of_one_padded_length_and_hold_each_example_once(tmp_path, examples, slots):
    shard = make_shard(tmp_path / "shard", examples)
    plan = plan_batches(shard, slots, 3)
    seen = [row for _, rows in plan for row in rows]
    assert len(seen) == len(set(seen))
    for length, rows in plan:
        assert len(rows) == max(1, slots // length)
        assert {bucket_length(examples[row][0].length) for row in rows} == {length}
    left = set(range(len(examples))) - set(seen)
    for length in SLOTS:
        waiting = [row for row in left if bucket_length(examples[row][0].length) == length]
        assert len(waiting) < max(1, slots // length), "only what does not fill a batch is left"
    assert plan_batches(shard, slots, 3) == plan and plan_batches(shard, slots, 4) != plan


@pytest.mark.parametrize(
    ("length", "bucket"),
    [
        (2, 64),
        (64, 64),
        (65, 96),
        (97, 128),
        (129, 192),
        (193, 256),
        (257, 384),
        (385, 512),
        (513, None),
    ],
)
def test_training_pads_to_the_next_bucket(length, bucket):
    assert bucket_length(length) == bucket


def test_leftovers_are_batches_too_where_all_are_wanted(tmp_path, examples):
    shard = make_shard(tmp_path / "shard", examples)
    plan = plan_batches(shard, 512, 3, leftovers=True)
    assert sorted(row for _, rows in plan for row in rows) == list(range(len(examples)))


def test_a_shard_is_replaced_as_a_whole(tmp_path, examples):
    make_shard(tmp_path / "shard", examples)
    assert len(make_shard(tmp_path / "shard", examples[:3])) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]


def test_seeds_differ_by_shard_and_use():
    seeds = {
        hash_seed(s, f"shard-{n:05d}", use) for s in range(3) for n in range(9) for use in range(4)
    }
    assert len(seeds) == 3 * 9 * 4
