"""Weights on disk are those in memory to bf16, and files that do not fit are named; states come back to the bit."""

import json
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from trm.checkpoint import (
    CARD,
    FORMAT,
    VOCAB,
    WEIGHTS,
    CheckpointError,
    StateStore,
    load_vocab,
    load_weights,
    save_weights,
    shipped,
)
from trm.config import Config


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "weights")


def edit_card(folder, **changes):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, **changes}))


def test_weights_come_back_as_bf16_rounds_them(checkpoint, params, config):
    loaded, found, card = load_weights(checkpoint)
    assert found == Config(model=config) and card["step"] == 7 and card["format"] == FORMAT
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for mine, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(loaded), strict=True):
        assert theirs.dtype == np.float32 and theirs.shape == mine.shape
        assert np.array_equal(
            theirs, np.asarray(mine).astype(ml_dtypes.bfloat16).astype(np.float32)
        )
    assert loaded["heads"]["halt_bias"].shape == (), "a single number stays one"


def test_transposed_arrays_are_saved_in_their_order(tmp_path, params, config, vocab):
    turned = {
        **params,
        "embed": {**params["embed"], "kind": np.asfortranarray(params["embed"]["kind"])},
    }
    save_weights(tmp_path / "w", turned, Config(model=config), vocab, {})
    loaded = load_weights(tmp_path / "w")[0]["embed"]["kind"]
    np.testing.assert_allclose(loaded, params["embed"]["kind"], rtol=0.01)


def test_saving_over_weights_leaves_nothing_else(copy, params, config, vocab):
    half = jax.tree.map(lambda p: p * 0.5, params)
    save_weights(copy, half, Config(model=config), vocab, {"step": 8})
    assert {path.name for path in copy.iterdir()} == {WEIGHTS, VOCAB, CARD}
    loaded, _, card = load_weights(copy)
    np.testing.assert_allclose(loaded["heads"]["start"], half["heads"]["start"], rtol=0.01)
    assert card["step"] == 8


def test_another_format_is_refused(copy):
    edit_card(copy, format=FORMAT + 1)
    with pytest.raises(
        CheckpointError, match=f"has format {FORMAT + 1}, this program reads {FORMAT}"
    ):
        load_weights(copy)


@pytest.mark.parametrize(
    "change", [{"width": 64}, {"layers": 1}, {"vocab": 999}, {"decoder_inner": 48}]
)
def test_weights_of_another_configuration_are_named(copy, config, change):
    data = Config(model=config).to_dict()
    data["model"].update(change)
    edit_card(copy, config=data)
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} does not fit its configuration at '"):
        load_weights(copy)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (CARD, b"[]", f"{CARD} cannot be read"),
        (CARD, b'{"format": 1}', f"{CARD} cannot be read"),
        (CARD, b'{"format": 1, "config": {"model": {"width": 30, "heads": 4}}}', "width 30"),
        (CARD, b"\xff\xfe", f"{CARD} cannot be read"),
        (WEIGHTS, b"", f"{WEIGHTS} cannot be read"),
        (WEIGHTS, b"\x08\0\0\0\0\0\0\0{}      ", f"{WEIGHTS} does not fit"),
    ],
)
def test_foreign_files_are_named(copy, name, content, said):
    (copy / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_weights(copy)
    assert said in str(caught.value) and str(copy) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere has no card"):
        load_weights(tmp_path / "nowhere")


def test_what_ships_can_be_loaded():
    loaded, config, card = load_weights(shipped())
    assert load_vocab(shipped(), config).size <= config.model.vocab
    assert sum(leaf.size for leaf in jax.tree.leaves(loaded)) == card["parameters"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded))


@pytest.fixture
def state():
    return {"a": jnp.arange(6.0).reshape(2, 3) / 7, "b": {"step": jnp.zeros((), jnp.int32) + 5}}


def test_states_come_back_to_the_bit_and_two_are_kept(tmp_path, state):
    store = StateStore(tmp_path / "states")
    assert store.latest is None
    with pytest.raises(CheckpointError, match="nothing to resume"):
        store.restore(state)
    for step in (1, 2, 3):
        store.save(
            step, jax.tree.map(lambda leaf, by=step: leaf * by, state), {"cursor": f"at {step}"}
        )
    store.close()
    again = StateStore(tmp_path / "states")
    assert again.latest == 3
    restored, meta = again.restore(state)
    again.close()
    assert meta == {"cursor": "at 3"}
    assert np.array_equal(restored["a"], state["a"] * 3) and restored["b"]["step"] == 15
    assert restored["b"]["step"].dtype == jnp.int32
    kept = {path.name for path in (tmp_path / "states").iterdir() if path.name.isdigit()}
    assert kept == {"2", "3"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax
def test_a_state_that_does_not_fit_says_which_step(tmp_path, state):
    store = StateStore(tmp_path / "states")
    store.save(4, state, {})
    with pytest.raises(CheckpointError, match="the state of step 4 does not fit"):
        store.restore({**state, "a": jnp.zeros((5, 5))})
    with pytest.raises(CheckpointError, match="the state of step 4 does not fit"):
        store.restore({"other": jnp.zeros(3)})
    store.close()
