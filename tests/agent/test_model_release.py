"""`model release`: measured weights with a card, alone or averaged with those they were trained from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from agent.cli import run
from trm.checkpoint import load_weights, save_weights
from trm.config import Config, TrainConfig
from trm.model import init_params

FEW = TrainConfig(slots=512)


@pytest.fixture
def corpus(data: Path, tmp_path: Path) -> Path:
    """The shared one, whose shard is held out."""
    folder = tmp_path / "corpus"
    shutil.copytree(data, folder)
    (folder / "shard-00000").rename(folder / "eval-00000")
    return folder


@pytest.fixture
def weights(config, vocab, tmp_path: Path):
    """Random weights by their seed."""

    def made(seed: int, model=config) -> Path:
        params = init_params(model, seed)
        save_weights(tmp_path / f"w{seed}", params, Config(model, FEW), vocab, {"step": seed})
        return tmp_path / f"w{seed}"

    return made


def test_the_mean_of_two_is_written_with_its_own_figures(corpus, weights, tmp_path, capsys):
    first, second, out = weights(1), weights(2), tmp_path / "out"
    assert run(["model", "release", str(first), "--to", str(out), "--data", str(corpus),
                "--average", str(second)]) == 0  # fmt: skip
    assert "n 16 " in capsys.readouterr().out
    card = json.loads((out / "card.json").read_text())
    assert card["averaged"] is True and card["step"] == 1 and card["held_out"][0]["n"] == 16
    one, other, mean = (jax.tree.leaves(load_weights(w)[0]) for w in (first, second, out))
    for a, b, c in zip(one, other, mean, strict=True):
        np.testing.assert_allclose(c, (a + b) / 2, rtol=1e-2, atol=1e-3)  # bf16


def test_weights_of_another_net_are_not_averaged(corpus, weights, config, tmp_path, capsys):
    wider = replace(config, inner=config.inner * 2)
    assert run(["model", "release", str(weights(1)), "--to", str(tmp_path / "out"), "--data", str(corpus),
                "--average", str(weights(2, wider))]) == 2  # fmt: skip
    assert "another net" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
