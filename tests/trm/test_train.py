"""Training goes on where it stopped as if it had never stopped, learns, and leaves weights that can be used."""

import dataclasses
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import trm.train
from trm.checkpoint import CheckpointError, load_weights
from trm.config import Config, TrainConfig
from trm.model import init_params
from trm.optim import _orthogonalized, schedule
from trm.predict import Predictor
from trm.train import train
from trm.vocab import Vocab


@pytest.fixture(scope="module")
def setup(config):
    """The shared tiny model, eight examples a step."""
    training = TrainConfig(learning_rate=3e-3, warmup=5, slots=512, log_every=1, steps=6)
    return Config(config, training)


def run(setup, data, out, steps, **more):
    changed = dataclasses.replace(setup.train, steps=steps)
    return list(train(Config(setup.model, changed), data, out, **more))


def weights(out):
    return jax.tree.leaves(load_weights(out / "weights")[0])


def losses(progress):
    return [row.metrics["loss"] for row in progress]


@pytest.fixture(scope="module")
def straight(setup, data, tmp_path_factory):
    """Thirty steps without a stop, and where they are."""
    out = tmp_path_factory.mktemp("straight")
    return run(setup, data, out, 30), out


def test_the_loss_falls(straight):
    progress, _ = straight
    assert [row.step for row in progress] == list(range(1, 31))
    found = losses(progress)
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])
    assert all(np.isfinite(list(row.metrics.values())).all() for row in progress)
    assert progress[-1].examples == 30 * 8


def test_stop_and_go_is_the_same_training(setup, data, straight, tmp_path):
    """Losses and weights to the bit, through a stop after three steps and one in the middle of a report."""
    first = run(setup, data, tmp_path, 3)
    second = run(setup, data, tmp_path, 6)
    reader = train(setup_with(setup, 30), data, tmp_path)
    third = [next(reader), next(reader)]
    reader.close()
    last = run(setup, data, tmp_path, 30)
    assert losses(first + second + third + last) == losses(straight[0])
    for mine, theirs in zip(weights(tmp_path), weights(straight[1]), strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of one thread")
def test_a_signal_in_the_middle_of_a_step_loses_nothing(
    setup, data, straight, tmp_path, monkeypatch
):
    """By then the step has taken up the memory of the state before it, so that it alone can be saved."""
    made = trm.train.make_step

    def make_step(*arguments, **named):
        step = made(*arguments, **named)

        def lower(*arguments):
            program = step.lower(*arguments).compile()

            def interrupted(state, arrays, before):
                third = int(state.step) == 2
                after = program(state, arrays, before)
                if third:
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                    time.sleep(0.2)  # for the main thread to get it before the result
                return after

            return SimpleNamespace(compile=lambda: interrupted)

        return SimpleNamespace(trace=step.trace, lower=lower)

    monkeypatch.setattr(trm.train, "make_step", make_step)
    with pytest.raises(KeyboardInterrupt):
        run(setup, data, tmp_path, 30)
    assert load_weights(tmp_path / "weights")[2]["step"] == 3
    monkeypatch.undo()
    assert losses(run(setup, data, tmp_path, 30)) == losses(straight[0])[3:]


def setup_with(setup, steps):
    return Config(setup.model, dataclasses.replace(setup.train, steps=steps))


def test_weights_are_what_fix_takes(setup, straight, vocab, encoded):
    predictor = Predictor(straight[1] / "weights")
    assert predictor.card["step"] == 30 and predictor.config == setup.model
    assert predictor.card["parameters"] == sum(leaf.size for leaf in weights(straight[1]))
    analysis = predictor.analyse(encoded[0])
    assert np.isfinite(predictor.score(analysis, [(9, 10, ("<",))])).all()


@pytest.mark.slow
def test_what_a_killed_save_left_does_not_stop_training(setup, data, tmp_path):
    run(setup, data, tmp_path, 2)
    (tmp_path / "states" / "9.orbax-checkpoint-tmp-3" / "state").mkdir(parents=True)
    (tmp_path / "weights" / "model.safetensors.partial").write_bytes(b"half")
    assert [row.step for row in run(setup, data, tmp_path, 4)] == [3, 4]
    assert load_weights(tmp_path / "weights")[2]["step"] == 4


def test_a_state_that_was_saved_while_training_went_on_is_whole(setup, data, straight, tmp_path):
    """The next steps overwrite the arrays that are being saved: a copy must have been made."""
    often = dataclasses.replace(setup.train, steps=30, save_every=0.0)
    list(train(Config(setup.model, often), data, tmp_path))
    states = sorted((tmp_path / "states").iterdir(), key=lambda folder: int(folder.name))
    assert [folder.name for folder in states] == ["29", "30"]
    shutil.rmtree(states[1])
    assert losses(run(setup, data, tmp_path, 30)) == losses(straight[0])[29:]
    for mine, theirs in zip(weights(tmp_path), weights(straight[1]), strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.slow
def test_without_resume_it_begins_anew(setup, data, straight, tmp_path):
    run(setup, data, tmp_path, 1)
    again = run(setup, data, tmp_path, 2, resume=False)
    assert losses(again) == losses(straight[0])[:2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax
def test_a_state_of_another_model_is_refused(setup, data, tmp_path):
    run(setup, data, tmp_path, 1)
    other = dataclasses.replace(setup.model, inner=64)
    with pytest.raises(CheckpointError, match="does not fit"):
        next(train(Config(other, setup.train), data, tmp_path))


def test_no_data_is_said_before_anything_is_written(setup, tmp_path, vocab):
    with pytest.raises(FileNotFoundError, match=r"no vocab\.json in"):
        next(train(setup, tmp_path / "data", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_rates_rise_stay_and_fall_only_over_the_last_steps():
    plain = schedule(TrainConfig(learning_rate=2.0, warmup=10))
    assert [float(plain(step)) for step in (0, 5, 10, 10_000)] == pytest.approx([0, 1, 2, 2])
    branch = schedule(TrainConfig(learning_rate=2.0, warmup=10, decay_steps=100, steps=1100))
    assert float(branch(1000)) == pytest.approx(2)
    assert float(branch(1050)) == pytest.approx(1.02, rel=1e-3) and float(branch(1100)) < 0.05


def test_training_can_start_from_weights(setup, data, tmp_path):
    run(setup, data, tmp_path / "first", 3)
    still = dataclasses.replace(setup.train, steps=1, learning_rate=0.0)
    list(
        train(
            Config(setup.model, still),
            data,
            tmp_path / "second",
            start=tmp_path / "first" / "weights",
        )
    )
    for a, b in zip(weights(tmp_path / "first"), weights(tmp_path / "second"), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.01, atol=1e-6)  # bf16 on disk
    deeper = dataclasses.replace(setup.model, layers=2 * setup.model.layers)
    start = tmp_path / "first" / "weights"
    *_, last = train(Config(deeper, still), data, tmp_path / "deeper", start=start)
    assert last.metrics["loss"] > 0
    assert load_weights(tmp_path / "deeper" / "weights")[1].model == deeper
    added = dataclasses.replace(setup.train, steps=3, kept=setup.model.layers, optimizer="muon")
    list(train(Config(deeper, added), data, tmp_path / "added", start=start))
    before, after = (load_weights(tmp_path / run / "weights")[0] for run in ("deeper", "added"))
    for (path, a), b in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if path[0].key == "net":
            assert np.abs(a[1::2] - b[1::2]).max() > 0, path
            a, b = a[::2], b[::2]
        np.testing.assert_allclose(a, b, rtol=0.01, atol=1e-6)
    odd = Config(deeper, dataclasses.replace(added, kept=3))
    with pytest.raises(ValueError, match="no divisor of the 4 layers"):
        list(train(odd, data, tmp_path / "odd", start=start))
    for kept, begin, said in ((4, start, "or all of them"), (2, None, "none to start --from")):
        odd = Config(deeper, dataclasses.replace(added, kept=kept))
        with pytest.raises(CheckpointError, match=said):
            list(train(odd, data, tmp_path / "odd", start=begin))
    other = dataclasses.replace(setup.model, width=2 * setup.model.width)
    with pytest.raises(CheckpointError, match="has another model"):
        list(
            train(
                Config(other, still), data, tmp_path / "third", start=tmp_path / "first" / "weights"
            )
        )


def test_weights_of_another_vocabulary_are_no_start(setup, data, tmp_path):
    run(setup, data, tmp_path / "first", 1)
    other = Vocab.load(data / "vocab.json")
    other.kinds.reverse()
    other.save(tmp_path / "first" / "weights" / "vocab.json")
    with pytest.raises(CheckpointError, match="has another vocabulary"):
        run(setup, data, tmp_path / "second", 1, start=tmp_path / "first" / "weights")


def test_muon_learns_too_and_only_the_kernels_are_its(setup, data, tmp_path):
    changed = Config(setup.model, dataclasses.replace(setup.train, optimizer="muon"))
    found = losses(run(changed, data, tmp_path, 30))
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])
    axes = _orthogonalized(init_params(setup.model))
    assert axes["net"]["qkv"] == (1, 2) and axes["decoder"]["context"] == (0, 1)
    assert axes["embed"]["piece"] is axes["decoder"]["position"] is axes["heads"]["start"] is None


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(
        ValueError, match="optimizer is one of adamw, adam-mini, atan2, muon, not 'sgd'"
    ):
        Config().override({"train.optimizer": "sgd"})
