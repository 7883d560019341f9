"""The training loop: a generator of metrics around one jitted step, on any mesh; resumes with its data cursor."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from grain.experimental import ThreadPrefetchIterDataset
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from platformdirs import user_cache_path

from trm import loss as losses
from trm.checkpoint import (
    VOCAB,
    CheckpointError,
    StateStore,
    load_vocab,
    load_weights,
    save_weights,
)
from trm.config import Config, ModelConfig, TrainConfig
from trm.data.feed import Batches
from trm.deepen import deepened, is_deeper, with_gradient_of_net
from trm.mesh import agreed, distributed, gathered, local_rows, make_mesh, meet, placed, shardings
from trm.model import count, init_params
from trm.optim import optimizer, schedule
from trm.peak import operations, peak
from trm.vocab import Vocab

_AHEAD = 4  # batches on the devices before they are asked for
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


class TrainState(flax.struct.PyTreeNode):
    """Parameters, their exponential moving average, the optimizer's state, and the step."""

    params: Any
    ema: Any
    optimizer: Any
    step: jax.Array


@dataclass(frozen=True, slots=True)
class Progress:
    """Averages since the last report. seconds: of this process; slots_per_second: token positions; examples: with padding.

    mfu: the share of the devices' peak, see `trm.peak`; None where that is not known.
    """

    step: int
    seconds: float
    slots_per_second: float
    examples: int
    learning_rate: float
    metrics: dict[str, float]
    saved: bool = False
    mfu: float | None = None


def new_state(config: Config, params: Any = None) -> TrainState:
    """A fresh state, of random parameters or of those given."""
    if params is None:
        params = init_params(config.model, config.train.seed)
    params = jax.tree.map(jnp.asarray, params)
    opt = optimizer(config.train, heads=config.model.heads).init(params)
    return TrainState(params, jax.tree.map(jnp.copy, params), opt, jnp.zeros((), jnp.int32))


def advance(
    state: TrainState, gradient: Any, transform: optax.GradientTransformation, ema: float
) -> TrainState:
    """The state after one step of the optimizer; ema: decay of the average."""
    updates, opt = transform.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    # the average starts short, so that early evaluations are not of the initial weights
    decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
    average = jax.tree.map(lambda e, p: e * decay + p * (1 - decay), state.ema, params)
    return TrainState(params, average, opt, state.step + 1)


def trained_step(number: int, steps: int) -> np.int32:
    """Which supervision step is trained: a function of the update's number, so that a resumed run repeats it."""
    return np.int32((number * 2654435761 >> 7) % steps)


def grown(config: ModelConfig, number: int, grow: int) -> ModelConfig:
    """The recursion of update `number`: a third of n, T and steps (rounded up), two thirds from the middle of `grow` updates on,
    all of them from its end on.
    """
    thirds = 3 if number >= grow else 1 + (2 * number >= grow)
    n, cycles, steps = (-(-size * thirds // 3) for size in (config.n, config.T, config.steps))
    return replace(config, n=n, T=cycles, steps=steps)


def make_step(config: ModelConfig, train: TrainConfig, mesh: Mesh | None = None):
    """The jitted step: (state, batch, steps before) -> (state, metrics). One compilation a padded length. mesh: of all devices.

    The state comes and goes as `trm.mesh.shardings` says, the batch as `trm.mesh.batch_sharding`.
    """
    transform = optimizer(train, config.heads)
    mesh = mesh or make_mesh(train.tensor)
    whole = NamedSharding(mesh, PartitionSpec())
    kept = shardings(mesh, jax.eval_shape(lambda: new_state(Config(config, train))))

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=(kept, whole))
    def step(state: TrainState, batch: dict[str, jax.Array], before: jax.Array):
        def objective(params):
            read = with_gradient_of_net(params) if train.kept else params
            return losses.loss(read, config, batch, train, before)

        (_, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        metrics["gradient"] = optax.tree.norm(gradient)
        return advance(state, gradient, transform, train.ema), metrics

    return step


def set_up() -> None:
    """Before the first computation: freed memory is kept, and so are compilations."""
    keep_memory()
    # compiled once a machine and version, as in trm.predict: a resumed training starts at once
    jax.config.update("jax_compilation_cache_dir", str(user_cache_path("trm-agent") / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def keep_memory() -> None:
    """Let the C library keep freed memory, where it is glibc; before the first computation.

    XLA allocates the temporary buffers of a step anew every step. By default glibc maps blocks of that size and unmaps
    them again, and the page faults were a quarter of a step's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def save_run(
    out: Path, store: StateStore, state: TrainState, config: Config, vocab: Vocab, place: dict[str, Any]
) -> None:  # fmt: skip
    """Save the state with its place in the data for resuming, and the averaged weights, unless that is there already.

    Of several processes all must call this at the same step; the first writes the weights.
    """
    number, parameters = int(state.step), count(state.params)
    if store.latest != number:
        store.save(number, state, {"config": config.to_dict(), "parameters": parameters, **place})
        averaged = gathered(state.ema)
        card = {"step": number, "parameters": parameters}
        if jax.process_index() == 0:
            save_weights(out / "weights", averaged, config, vocab, card)


def restored(store: StateStore, state: TrainState, key: str) -> tuple[TrainState, Any]:
    """The newest state, and its place in the data under `key`. Raises CheckpointError where it does not fit."""
    state, meta = store.restore(state)
    if key not in meta:
        raise CheckpointError("--out holds the states of another kind of training")
    return state, meta[key]


def _parameters_of(weights: Path, config: ModelConfig, vocab: Vocab) -> Any:
    """The parameters in the folder, of this vocabulary and shape, or of fewer layers: these are deepened."""
    params, theirs, _ = load_weights(weights)
    # another recursion is the same net, applied more or less often
    recursion = {name: getattr(config, name) for name in ("n", "T", "steps", "gate", "noise")}
    if not is_deeper(config, replace(theirs.model, **recursion)):
        raise CheckpointError(f"{weights} has another model than --config and --set")
    if not load_vocab(weights, theirs).same(vocab):
        raise CheckpointError(f"{weights} has another vocabulary than the corpus")
    return deepened(params, config.layers)


def train(
    config: Config, data: Path | Sequence[Path], out: Path, *, resume: bool = True, start: Path | None = None
) -> Generator[Progress, None, None]:  # fmt: skip
    """Train until `config.train.steps` or `.seconds`; saves every `save_every` seconds and at the end.

    data: a corpus, or several of one vocabulary, which are mixed.
    `out`/states holds what resuming needs, `out`/weights the averaged weights of the newest state, for `--checkpoint`.

    A new run starts from the weights in `start`, else from random ones. Closing the generator saves too. With `resume` the newest
    state below `out` is taken up together with its place in the data, on whatever mesh it was saved.

    On all devices there are, see `trm.mesh`. Several processes share `out` and `data` and must all call this; each then stops at
    a report only, since all must at the same step, and closing the generator of one saves nothing.

    Raises:
      ValueError: the devices are not a multiple of `config.train.tensor`.
      FileNotFoundError: no shards in `data`.
      CheckpointError: the state to resume, `start`, `config.train.kept`, or the vocabulary of a corpus does not fit.
    """
    began = time.monotonic()
    kept, layers = config.train.kept, config.model.layers
    if kept and (layers % kept or kept == layers):
        raise CheckpointError(f"train.kept is no divisor of the {layers} layers, or all of them")
    if kept and start is None:
        raise CheckpointError(
            "train.kept keeps the layers of weights, and there are none to start --from"
        )
    folders = [data] if isinstance(data, Path) else list(data)
    for folder in folders:
        if not (folder / VOCAB).is_file():
            raise FileNotFoundError(f"no {VOCAB} in {folder}")
    set_up()
    vocab = load_vocab(folders[0], config)
    for folder in folders[1:]:
        if not vocab.same(Vocab.load(folder / VOCAB)):
            raise CheckpointError(f"{folder} has another vocabulary than {folders[0]}")
    mesh, alone = make_mesh(config.train.tensor), jax.process_count() == 1
    store = StateStore(out / "states")
    params = None if start is None else _parameters_of(start, config.model, vocab)
    state = placed(mesh, new_state(config, params))
    local = functools.partial(local_rows, mesh)
    batches = Batches(folders, config.train.slots, config.train.seed, local, alone)
    distribute = functools.partial(distributed, mesh)
    feed = iter(ThreadPrefetchIterDataset(batches.map(distribute), prefetch_buffer_size=_AHEAD))
    if resume and store.latest is not None:
        state, place = restored(store, state, "cursor")
        feed.set_state(json.loads(place))
    first = int(state.step)

    @functools.cache
    def stepper(model: ModelConfig):
        return make_step(model, config.train, mesh)

    top = peak(list(mesh.devices.flat), config.model.matmul, config.model.width, config.model.inner)
    sizes: dict[Any, int] = {}  # of steps, in operations
    programs: dict[Any, Any] = {}  # of steps, compiled

    def size_of(model: ModelConfig, before: np.int32, arrays: dict[str, jax.Array]) -> int:
        key = model, int(before), *(array.shape for array in arrays.values())
        if key not in sizes:  # the call after this takes up the same trace
            program = stepper(model).trace(state, arrays, before).jaxpr
            sizes[key] = operations(program, turns=int(before))
        return sizes[key]

    def run(model: ModelConfig, state: TrainState, arrays: dict[str, jax.Array], before: np.int32):
        key = model, *(array.shape for array in arrays.values())
        if key not in programs:
            programs[key] = stepper(model).lower(state, arrays, before).compile()
            meet(f"compiled {len(programs)}")
        return programs[key](state, arrays, before)

    rate = schedule(config.train)
    last_log = last_save = time.monotonic()
    slots = examples = work = 0
    pending: list[dict[str, jax.Array]] = []
    number, done = first, False
    device = ThreadPoolExecutor(1)
    step: Future[tuple[TrainState, dict[str, jax.Array]]] | None = None

    def late() -> bool:
        return bool(config.train.seconds) and time.monotonic() - began > config.train.seconds

    try:
        while number < config.train.steps and not done:
            arrays = next(feed)
            model = grown(config.model, number, config.train.grow)
            before = trained_step(number, model.steps)
            work += size_of(model, before, arrays) if top else 0
            # A signal that comes meanwhile ends the wait, not the step, which takes up the memory of the state before it.
            step = device.submit(run, model, state, arrays, before)
            state, metrics = step.result()
            pending.append(metrics)
            number += 1
            slots += arrays["mask"].size
            examples += len(arrays["mask"])
            if len(pending) >= config.train.log_every or (alone and late()):
                # not by numpy, which takes a signal that comes while it reads an array for a ValueError
                means = {k: sum(float(m[k]) for m in pending) / len(pending) for k in pending[0]}
                now = time.monotonic()
                done, saved = agreed(late(), now - last_save > config.train.save_every)
                if saved:
                    save_run(
                        out, store, state, config, vocab, {"cursor": json.dumps(feed.get_state())}
                    )
                    last_save = time.monotonic()
                spent = now - last_log
                yield Progress(number, now - began, slots / spent, examples, float(np.asarray(rate(number))),
                               means, saved, work / spent / top if top else None)  # fmt: skip
                pending, slots, work, last_log = [], 0, 0, time.monotonic()
        done = True
    finally:
        place = {"cursor": json.dumps(feed.get_state())}
        feed.close()
        device.shutdown(wait=False)
        if alone and step is not None:
            state, _ = step.result()
        if alone or done:
            save_run(out, store, state, config, vocab, place)
        store.close()
