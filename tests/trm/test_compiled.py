"""What was compiled once is read back, and whatever is wrong with the file costs time only."""

import jax
import numpy as np
import pytest

from trm.compiled import Compiled


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # as in a process that does not train: XLA's own cache is not used
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "trm-agent" / "compiled"
    jax.config.update("jax_compilation_cache_dir", before)


def fresh(traced):
    def times(x, y, *, scale):
        traced.append(x.shape)
        return x * y + scale

    return Compiled(times)


A, B = np.arange(3, dtype=np.float32), np.ones(3, np.float32)


def test_a_second_process_does_not_trace(cache):
    traced = []
    np.testing.assert_allclose(fresh(traced)(A, B, scale=2.0), A + 2)
    assert traced == [(3,)] and len(list(cache.glob("*/times-*.pickle"))) == 1
    np.testing.assert_allclose(fresh(traced)(2 * A, B, scale=2.0), 2 * A + 2)
    assert traced == [(3,)]


def test_shapes_and_static_values_are_told_apart(cache):
    traced = []
    function = fresh(traced)
    function(A, B, scale=2.0)
    np.testing.assert_allclose(function(A, B, scale=3.0), A + 3)
    np.testing.assert_allclose(function(A[:2], B[:2], scale=3.0), A[:2] + 3)
    assert len(traced) == 3 and len(list(cache.glob("*/*.pickle"))) == 3
    function(A, B, scale=3.0)
    assert len(traced) == 3


@pytest.mark.parametrize("content", [b"", b"not a pickle", None])
def test_a_file_that_cannot_be_read_is_made_again(cache, content):
    traced = []
    fresh(traced)(A, B, scale=2.0)
    (file,) = cache.glob("*/*.pickle")
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    np.testing.assert_allclose(fresh(traced)(A, B, scale=2.0), A + 2)
    assert len(traced) == 2 and len(file.read_bytes()) > 100


def test_a_cache_that_cannot_be_written_costs_time_only(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    np.testing.assert_allclose(fresh([])(A, B, scale=2.0), A + 2)


def test_old_generations_are_cleared(cache):
    for name in "abcdef":
        (cache / name).mkdir(parents=True)
    fresh([])(A, B, scale=2.0)
    assert len(list(cache.iterdir())) == 4
