"""A reader that goes on gives the very same batches, alone and as a stage of a grain pipeline that works ahead."""

import itertools
import json

import numpy as np
import pytest
from grain.experimental import ThreadPrefetchIterDataset

from trm.data.feed import Batches
from trm.data.pipeline import Shard, ShardWriter, hash_seed, plan_batches
from trm.encode import FEATURES, PIECES, Encoded, Target


def write(folder, seed, lengths):
    """A shard of examples with random pieces and one bug each."""
    rng, writer = np.random.default_rng(seed), ShardWriter()
    for n in lengths:
        column = np.zeros(n, np.int16)
        pieces = rng.integers(1, 4096, (n, PIECES), np.uint16)
        features = np.zeros((n, FEATURES), np.uint8)
        encoded = Encoded(pieces, column, column, column, column, features, column, column, n - 2)
        writer.add(encoded, [Target(1, 1, (5,), (-1,), ((1,),))])
    writer.write(folder)


@pytest.fixture
def folder(tmp_path):
    lengths = [*np.random.default_rng(0).integers(5, 250, 40), 64, 65, 128, 129]
    for number in range(3):
        write(tmp_path / f"shard-{number:05d}", number, lengths[number * 8 :])
    return tmp_path


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("ahead", [0, 4])
def test_a_reader_that_goes_on_gives_the_same_batches(folder, ahead):
    """Wherever it stopped, also in the middle of a shard, and however many batches it had made ahead."""

    def reader(seed=7):
        stage = Batches([folder], 256, seed).map(lambda batch: dict(batch))
        return iter(ThreadPrefetchIterDataset(stage, prefetch_buffer_size=ahead))

    first = reader()
    places, straight = [json.dumps(first.get_state())], []
    for batch in itertools.islice(first, 140):
        straight.append(batch)
        places.append(json.dumps(first.get_state()))
    first.close()
    uses = json.loads(places[-1])["uses"]
    assert max(uses.values()) >= 2, "every shard was used up more than once"
    for at in (0, 1, 20, 44, 70):
        again = reader()
        again.set_state(json.loads(places[at]))
        for batch, expected in zip(again, straight[at : at + 14], strict=False):
            assert same(batch, expected)
        again.close()
    other = reader(seed=8)
    assert not same(next(other), straight[0])
    other.close()


def test_a_state_is_no_view_of_the_reader(folder):
    reader = iter(Batches([folder], 256, 0))
    next(reader)
    state = reader.get_state()
    kept = json.dumps(state)
    for _ in itertools.islice(reader, 60):
        pass
    assert json.dumps(state) == kept != json.dumps(reader.get_state())


def test_a_shard_is_read_to_its_end_batch_by_batch(folder):
    reader = iter(Batches([folder], 256, 5))
    arrays = next(reader)
    name = reader.get_state()["shard"]
    shard = Shard(folder / name)
    for size, rows in plan_batches(shard, 256, hash_seed(5, name, 0)):
        assert reader.get_state()["shard"] == name and same(arrays, shard.collate(rows, size))
        arrays = next(reader)
    state = reader.get_state()
    assert state["shard"] != name and state["uses"] == {name: 1}


def test_processes_read_their_rows_of_the_same_batches(folder):
    whole = iter(Batches([folder], 512, 3))
    halves = [iter(Batches([folder], 512, 3, lambda rows, k=k: rows[k::2])) for k in (0, 1)]
    for _ in range(30):
        batch, parts = next(whole), [next(half) for half in halves]
        for k, part in enumerate(parts):
            assert same(part, {name: array[k::2] for name, array in batch.items()})


def test_a_new_shard_is_read_before_old_ones_again(folder):
    reader = iter(Batches([folder], 256, 0))
    while min(reader.get_state()["uses"].get(f"shard-{n:05d}", 0) for n in range(3)) < 1:
        next(reader)
    write(folder / "shard-00099", 9, range(40, 60))
    current = reader.get_state()["shard"]
    while reader.get_state()["shard"] == current:
        next(reader)
    assert reader.get_state()["shard"] == "shard-00099"


def test_half_written_shards_are_not_read(folder):
    (folder / "shard-00099.partial").mkdir()
    reader = iter(Batches([folder], 256, 0))
    for _ in itertools.islice(reader, 60):
        assert not reader.get_state()["shard"].endswith(".partial")


def test_no_data_is_an_error_and_not_a_wait(tmp_path):
    with pytest.raises(FileNotFoundError, match="no shard in"):
        next(iter(Batches([tmp_path], 256, 0)))
    write(tmp_path / "shard-00000", 0, [50])
    ahead = iter(ThreadPrefetchIterDataset(Batches([tmp_path], 4096, 0), prefetch_buffer_size=4))
    with pytest.raises(FileNotFoundError, match="fills a batch"):
        next(ahead)
