"""One supervision step beside the official PyTorch code and a plain transformer: latency, throughput, memory, first call.

    python benchmarks/infer.py --official TinyRecursiveModels --torch PYTHON [--what infer|train] [--flag xla_cpu_...=...]

--official: a clone of SamsungSAILMontreal/TinyRecursiveModels; --torch: an interpreter with torch, einops and pydantic. Neither
is needed for our own sides (`--sides`). All are of one shape, random weights, random symbols; each in a process of its own, and
they take turns, so that all meet the same load of the machine. Figures are medians; cpu is of all threads, which neighbours
change less.

infer: the forward pass. train: forward, backward, optimizer (ours Adam-atan2, whose official form needs a GPU; there AdamW).
plain: a transformer of distinct blocks, as many as the recursion's passes cost: infer layers (n + 1) T; train fewer, since a
pass without gradient costs a third. official: eager, as its authors run it with DISABLE_COMPILE; `official-compiled` is
torch.compile.
first s: the first call beyond a later one, so compilation. peak: resident memory of the process, libraries included.
`--flag` adds a side like `ours-bf16` with that XLA flag.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
SYMBOLS = 11
SIDES = ("ours-bf16", "ours-f32", "plain-bf16", "official-bf16", "official-f32")
OURS = "ours-bf16"


def ours(shape: dict[str, int], kind: str, what: str) -> Callable[[int], Callable[[], Any]]:
    """rows -> a function that runs one step of our network, or of the plain transformer, and waits for it."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from trm import act
    from trm.config import PRESETS
    from trm.layers import block, rotary
    from trm.optim import optimizer
    from trm.train import keep_memory

    keep_memory()
    side, _, matmul = kind.partition("-")
    length = shape["length"]
    config = dataclasses.replace(
        PRESETS["paper"].model, vocab=SYMBOLS, width=shape["width"], heads=shape["heads"], inner=3 * shape["width"],
        n=shape["n"], T=shape["T"], matmul=matmul, qk_norm=False,
    )  # fmt: skip
    train = dataclasses.replace(PRESETS["paper"].train, optimizer="atan2", clip=0.0)
    passes = config.n + 1
    thirds = passes * (config.T - 1 + 3) if what == "train" else 3 * passes * config.T
    deep = dataclasses.replace(config, layers=round(config.layers * thirds / 3))
    params = act.init_params(deep if side == "plain" else config)

    def plain(params: Any, inputs: jax.Array) -> jax.Array:
        x = params["embed"]["symbol"][inputs] * config.width**0.5
        tables = rotary(length, config.width // config.heads)
        layer = lambda x, kernels: (  # noqa: E731
            block(kernels, x, jnp.zeros((1,) * 4), tables, config.heads, matmul, False), None
        )  # fmt: skip
        return jax.lax.scan(layer, x, params["net"])[0] @ params["heads"]["symbol"]

    transform = optimizer(train, heads=config.heads)

    @jax.jit
    def plain_step(params: Any, state: Any, inputs: jax.Array):
        def objective(params: Any) -> jax.Array:
            return act.stablemax_cross_entropy(plain(params, inputs), inputs).mean()

        gradient = jax.grad(objective)(params)
        updates, state = transform.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    forward, jitted = jax.jit(act.forward, static_argnums=1), jax.jit(plain)

    def prepared(rows: int) -> Callable[[], Any]:
        inputs = jnp.asarray(np.random.default_rng(0).integers(0, SYMBOLS, (rows, length)))
        if what == "infer":
            state = act.empty_carry(config, rows, length).state
            if side == "plain":
                return lambda: jax.block_until_ready(jitted(params, inputs))
            return lambda: jax.block_until_ready(forward(params, config, state, inputs))
        if side == "plain":
            kept = [params, transform.init(params)]

            def step() -> None:
                kept[:] = plain_step(*kept, inputs)
                jax.block_until_ready(kept)

            return step
        learner = [act.new_learner(config, train, rows, length)]
        advance = act.make_step(config, train)

        def trained() -> None:
            learner[0], _ = advance(learner[0], inputs, inputs, jax.random.key(0))
            jax.block_until_ready(learner[0])

        return trained

    return prepared


def official(shape: dict[str, int], kind: str, what: str) -> Callable[[int], Callable[[], Any]]:
    """The same of the official code, whose folder comes first on the path."""
    import torch
    from models.losses import ACTLossHead
    from models.recursive_reasoning.trm import TinyRecursiveReasoningModel_ACTV1

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    dtype = "float32" if kind.endswith("f32") else "bfloat16"

    def prepared(rows: int) -> Callable[[], Any]:
        model = TinyRecursiveReasoningModel_ACTV1({
            "batch_size": rows, "seq_len": shape["length"], "puzzle_emb_ndim": 0, "puzzle_emb_len": 0,
            "num_puzzle_identifiers": 1, "vocab_size": SYMBOLS, "H_cycles": shape["T"], "L_cycles": shape["n"],
            "H_layers": 0, "L_layers": 2, "hidden_size": shape["width"], "expansion": 4.0, "num_heads": shape["heads"],
            "pos_encodings": "rope", "halt_max_steps": 16, "halt_exploration_prob": 0.1, "no_ACT_continue": True,
            "forward_dtype": dtype,
        })  # fmt: skip
        head = ACTLossHead(model, "stablemax_cross_entropy").train(what == "train")
        run = torch.compile(head) if kind.endswith("compiled") else head
        symbols = torch.randint(0, SYMBOLS, (rows, shape["length"]))
        batch = {"inputs": symbols.to(torch.int32), "labels": symbols,
                 "puzzle_identifiers": torch.zeros(rows, dtype=torch.int32)}  # fmt: skip
        place = [head.initial_carry(batch)]
        adam = torch.optim.AdamW(head.parameters(), 1e-4, betas=(0.9, 0.95), weight_decay=0.1)

        def step() -> None:
            if what == "infer":
                with torch.inference_mode():
                    run(return_keys=["logits"], carry=place[0], batch=batch)
                return
            place[0], loss, *_ = run(return_keys=[], carry=place[0], batch=batch)
            (loss / rows).backward()
            adam.step()
            adam.zero_grad()

        return step

    return prepared


def worker(kind: str, what: str, shape: dict[str, int]) -> None:
    """Answer lines "rows steps" with peak megabytes, then wall and CPU seconds of each step."""
    prepared = (official if kind.startswith("official") else ours)(shape, kind, what)
    known: dict[int, Callable[[], Any]] = {}
    for line in sys.stdin:
        rows, steps = map(int, line.split())
        if rows not in known:
            known.clear()
            known[rows] = prepared(rows)
        times = []
        for _ in range(steps):
            began, used = time.perf_counter(), time.process_time()
            known[rows]()
            times += [time.perf_counter() - began, time.process_time() - used]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(peak, *times, flush=True)


def main() -> None:
    """Command line."""
    from train_step import Side

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--official", type=Path, help="clone of the official repository")
    parser.add_argument("--torch", help="interpreter that has PyTorch")
    parser.add_argument("--what", choices=("infer", "train"), default="infer")
    parser.add_argument("--sides", default="", help=f"of {', '.join(SIDES)}, official-compiled")
    parser.add_argument("--flag", action="append", default=[], help="XLA flag of one more side")
    parser.add_argument("--rows", default="1,8", help="batches")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps a side and batch")
    for name, size in (("length", 128), ("width", 512), ("heads", 8), ("n", 6), ("T", 3)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = {name: getattr(options, name) for name in ("length", "width", "heads", "n", "T")}
    if options.worker:
        worker(options.worker, options.what, shape)
        return
    names = options.sides.split(",") if options.sides else list(SIDES)
    if any(name.startswith("official") for name in names) and not (options.official and options.torch):  # fmt: skip
        parser.error("official sides need --official and --torch; or name others with --sides")
    arguments = [f"--{name}={size}" for name, size in shape.items()]
    sides: dict[str, Side] = {}

    def start(title: str, kind: str, python: str, path: Path, **environment: str) -> None:
        command = [python, __file__, "--worker", kind, "--what", options.what, *arguments]
        sides[title] = Side(command, PYTHONPATH=str(path), **environment)

    for name in names:
        foreign = name.startswith("official")
        start(name, name, *((options.torch, options.official) if foreign else (sys.executable, HERE)))  # fmt: skip
    for flag in options.flag:
        start(f"{OURS} {flag}", OURS, sys.executable, HERE, XLA_FLAGS=f"--{flag}")
    print(f"{options.what}: {json.dumps(shape)}, {len(os.sched_getaffinity(0))} threads\n")
    print(f"| side | rows | ms | cpu ms | positions/s | first s | peak MB | times {OURS}'s cpu |\n{'|---' * 8}|")  # fmt: skip
    try:
        for rows in map(int, options.rows.split(",")):
            first = {name: side.ask(rows, 2) for name, side in sides.items()}
            times: dict[str, list[float]] = {name: [] for name in sides}
            peak: dict[str, float] = {}
            for _ in range(options.rounds):
                for name, side in sides.items():
                    peak[name], *spent = side.ask(rows, 1)
                    times[name] += spent
            wall, used = ({name: statistics.median(found[i::2]) for name, found in times.items()} for i in (0, 1))  # fmt: skip
            for name in sides:
                ratio = used[name] / used[OURS] if OURS in used else float("nan")
                speed = rows * shape["length"] / wall[name]
                compiled = max(0.0, first[name][2] - used[name])
                print(f"| {name} | {rows} | {wall[name] * 1e3:.0f} | {used[name] * 1e3:.0f} | {speed:.0f} "
                      f"| {compiled:.1f} | {peak[name]:.0f} | {ratio:.2f} |", flush=True)  # fmt: skip
    finally:
        for side in sides.values():
            side.close()


if __name__ == "__main__":
    main()
