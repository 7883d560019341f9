"""A tiny model that tests share: made on first use, kept for the session, never below the user's own folders."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CODE = '''
def total(rows, limit=10):
    """Sum of the first rows."""
    result = 0
    for row in rows[:limit]:
        if row > 0 and row != limit:
            result += row
        else:
            result = result - 1
    return result


def first_word(text, words):
    found = []
    for word in text.split(","):
        if word.strip() in words:
            found.append(word.strip())
    if not found:
        return None
    return found[0]
'''


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: one that begins last keeps one worker busy long after the others are done."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def code() -> str:
    """Two functions whose every token the vocabulary knows."""
    return CODE


@pytest.fixture(scope="session")
def vocab() -> Any:
    """A vocabulary of a few hundred pieces, the 256 bytes among them."""
    from tools.source.leaves import Module
    from trm.vocab import Vocab, role_of

    leaves = Module(CODE.encode()).leaves
    words = Counter({leaf.text: 20 for leaf in leaves if not leaf.is_layout})
    kinds = dict.fromkeys(leaf.kind for leaf in leaves)
    roles = dict.fromkeys(role_of(leaf.parent, leaf.field) for leaf in leaves)
    return Vocab.build(words, kinds, roles, 400)


@pytest.fixture(scope="session")
def config(vocab: Any, cache_home: Path) -> Any:
    """The smallest model; f32 throughout, so that sums can be compared."""
    import jax

    from trm.config import ModelConfig

    # compiling is most of the time here: little of it, and each function once
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(cache_home / "trm-agent" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return ModelConfig(
        vocab=vocab.size, width=32, heads=2, inner=32, decoder_inner=32, steps=2, kinds=64,
        roles=96, matmul="f32",
    )  # fmt: skip


@pytest.fixture(scope="session")
def params(config: Any) -> Any:
    """Random parameters of which none is zero: what starts at zero takes part too."""
    import jax
    import numpy as np

    from trm.model import init_params

    rng = np.random.default_rng(2)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        scale = 0.3 if leaf.ndim < 2 or path[0].key != "net" else leaf.shape[-2] ** -0.5
        return scale * rng.standard_normal(leaf.shape, np.float32)

    drawn = jax.tree_util.tree_map_with_path(draw, jax.eval_shape(lambda: init_params(config)))
    drawn["heads"]["halt_bias"] = np.array(-9.0, np.float32)  # no step but the last one is believed
    return drawn


@pytest.fixture(scope="session")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, vocab: Any, config: Any, params: Any
) -> Path:
    """A folder of weights as `fix --checkpoint` takes it."""
    from trm.checkpoint import save_weights
    from trm.config import Config

    folder = tmp_path_factory.mktemp("checkpoint")
    save_weights(folder, params, Config(model=config), vocab, {"step": 7})
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where compiled functions go, instead of the user's cache: one place for all processes of the session."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cache"
    home.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture(scope="session", autouse=True)
def no_plugins() -> Iterator[None]:
    """The plugins beside us cost each process of a test more than the rest of it; tests of plugins take this away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        yield


@pytest.fixture(scope="session")
def predictor(checkpoint: Path) -> Any:
    """The predictor of `checkpoint`."""
    from trm.predict import Predictor

    return Predictor(checkpoint)


@pytest.fixture(scope="session")
def encoded(vocab: Any) -> list[Any]:
    """Two units of fewer than 64 positions, the second executed and with a failure and names."""
    from tools.source.leaves import Module
    from trm.encode import Execution, FailureText, encode

    first = Module(b"def f(a, b):\n    if a > b:\n        return a - 1\n    return b\n").leaves
    second = Module(
        b"def g(rows):\n    n = 0\n    for row in rows:\n        n = row\n    return n\n"
    )
    ran = Execution(1, 2, {2: 1, 3: 1, 4: 1, 5: 1}, {2: 2, 3: 2, 5: 2}, {5: 2}, {"n": ("int", "3")},
                    actual="3", expected="6")  # fmt: skip
    failure = FailureText("assert g([1, 2, 3]) == 6", "3", "6", "AssertionError")
    return [
        encode(vocab, first),
        encode(vocab, second.leaves, names=("g", "total"), execution=ran, failure=failure),
    ]


@pytest.fixture(scope="session")
def data(vocab: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus: a shard of sixteen broken functions that fit 64 positions, and the vocabulary."""
    from tools.source.leaves import Module
    from trm.data.corrupt import WEIGHTS, break_function
    from trm.data.pipeline import ShardWriter
    from trm.encode import encode, padded_length, target_of

    source = b"def f(a, b):\n    if a > b:\n        return a - 1\n    return b\n"
    module, rng, writer = Module(source), random.Random(0), ShardWriter()
    while len(writer.table) < 16:
        broken = break_function(module, 1, rng, WEIGHTS)
        if broken is None:
            continue
        encoded = encode(vocab, broken.module.leaves)
        targets = [target_of(vocab, encoded, f.start, f.end, f.tokens) for f in broken.fixes]
        if padded_length(encoded.length) == 64 and None not in targets:
            writer.add(encoded, [target for target in targets if target is not None])
    folder = tmp_path_factory.mktemp("data")
    writer.write(folder / "shard-00000")
    vocab.save(folder / "vocab.json")
    return folder
