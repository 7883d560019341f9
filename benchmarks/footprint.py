"""What a fix takes, beside what a small language model takes to write as much: files, memory, seconds.

    taskset -c 0 python benchmarks/footprint.py [PROJECT] [--rounds N] [--sides ours,0.1B,0.5B]

Three tables of one run. files: the shipped weights as f32, bf16 and packed bits, and the wheel. fix: `trm-agent fix` on a
copy of PROJECT (examples/broken), with a cache that an earlier start filled: seconds to the first candidate that the network
put in order, and to the end; CPU seconds, tests included; resident memory of the agent itself. writing: a function of about
--prompt tokens is read, and an edit written by our network, of at most 15 pieces; --written tokens by decoder-only
transformers of the shapes of SmolLM-135M and Qwen2.5-0.5B, with random weights and a cache of keys and values. That is about
speed only: random weights write nothing that anybody wants, and what trained ones repair is not measured here.

Each side is a process of its own; they take turns. Figures are medians; cpu is of all threads, which neighbours change less.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))
MARKS = ("first candidate", "end", "cpu", "resident MB")


@dataclass(frozen=True)
class Shape:
    """A decoder-only transformer: grouped queries, gated feed-forward, one table for words in and out."""

    vocab: int
    width: int
    layers: int
    heads: int
    groups: int
    inner: int


SHAPES = {
    "0.1B": Shape(49152, 576, 30, 9, 3, 1536),  # SmolLM-135M
    "0.5B": Shape(151936, 896, 24, 14, 2, 4864),  # Qwen2.5-0.5B
}


def decoder(shape: Shape, dtype: str, prompt: int, written: int) -> tuple[int, Callable[[], Any]]:
    """(parameters, a function that reads `prompt` tokens and writes `written` more, greedily)."""
    import jax
    import jax.numpy as jnp

    kind, size = jnp.dtype(dtype), shape.width // shape.heads
    shapes = {
        "table": (shape.vocab, shape.width),
        "q": (shape.layers, shape.width, shape.width),
        "kv": (shape.layers, shape.width, 2 * shape.groups * size),
        "out": (shape.layers, shape.width, shape.width),
        "up": (shape.layers, shape.width, 2 * shape.inner),
        "down": (shape.layers, shape.inner, shape.width),
    }
    keys = dict(zip(shapes, jax.random.split(jax.random.key(0), len(shapes)), strict=True))
    make = jax.jit(lambda key, of: jax.random.normal(key, of, kind) * 0.02, static_argnums=1)
    params = {name: make(keys[name], of) for name, of in shapes.items()}
    total = prompt + written
    turns = jnp.outer(jnp.arange(total), 1e4 ** (-jnp.arange(0, size, 2) / size))

    def norm(x: jax.Array) -> jax.Array:
        wide = x.astype(jnp.float32)
        return (wide * jax.lax.rsqrt((wide**2).mean(-1, keepdims=True) + 1e-6)).astype(kind)

    def turned(x: jax.Array, at: jax.Array) -> jax.Array:
        cos, sin = (f(turns[at])[:, None].astype(kind) for f in (jnp.cos, jnp.sin))
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def through(params: Any, cache: jax.Array, tokens: jax.Array, start: Any) -> tuple[Any, Any]:
        """The next token after `tokens`, which stand at `start` and on, and the cache with them."""
        at = start + jnp.arange(len(tokens))
        seen = jnp.where(jnp.arange(total)[None] <= at[:, None], 0.0, -1e9)

        def layer(x: jax.Array, given: Any) -> tuple[jax.Array, jax.Array]:
            weights, kept = given
            y = norm(x)
            q = turned((y @ weights["q"]).reshape(-1, shape.heads, size), at)
            k, v = jnp.split((y @ weights["kv"]).reshape(-1, 2 * shape.groups, size), 2, 1)
            new = jnp.stack([turned(k, at), v])
            kept = jax.lax.dynamic_update_slice(kept, new, (0, start, 0, 0))
            grouped = q.reshape(-1, shape.groups, shape.heads // shape.groups, size)
            scores = jnp.einsum("qghd,kgd->ghqk", grouped, kept[0]).astype(jnp.float32)
            share = jax.nn.softmax(scores / size**0.5 + seen, -1).astype(kind)
            mixed = jnp.einsum("ghqk,kgd->qghd", share, kept[1])
            x += mixed.reshape(x.shape) @ weights["out"]
            gate, up = jnp.split(norm(x) @ weights["up"], 2, -1)
            return x + (jax.nn.silu(gate) * up) @ weights["down"], kept

        layers = {name: params[name] for name in ("q", "kv", "out", "up", "down")}
        x, cache = jax.lax.scan(layer, params["table"][tokens], (layers, cache))
        return (norm(x[-1:]) @ params["table"].T).argmax(-1), cache

    @jax.jit
    def generate(params: Any, tokens: jax.Array) -> jax.Array:
        cache = jnp.zeros((shape.layers, 2, total, shape.groups, size), kind)
        token, cache = through(params, cache, tokens, 0)

        def step(carried: Any, at: jax.Array) -> tuple[Any, jax.Array]:
            token, cache = through(params, carried[1], carried[0], at)
            return (token, cache), token

        return jax.lax.scan(step, (token, cache), prompt + jnp.arange(written - 1))[1]

    tokens = jax.random.randint(jax.random.key(1), (prompt,), 0, shape.vocab)
    number = sum(int(value.size) for value in params.values())
    return number, lambda: jax.block_until_ready(generate(params, tokens))


def ours(prompt: int) -> tuple[int, Callable[[], Any]]:
    """(parameters, a function that reads a function of about `prompt` positions and writes the likeliest edit)."""
    import jax

    from tools.source.leaves import Module
    from trm.encode import encode
    from trm.predict import Predictor

    predictor = Predictor()
    line = b"    total = total + item * rate - limit\n"  # ten leaves
    body = b"def price(item, rate, limit, total):\n" + line * ((prompt - 24) // 10)
    encoded = encode(predictor.vocab, Module(body + b"    return total\n").leaves)
    number = sum(int(value.size) for value in jax.tree.leaves(predictor.params))

    def write() -> Any:
        analysis = predictor.analyse(encoded, greedy=False)
        return predictor.propose(analysis, limit=1)

    return number, write


def side(name: str, dtype: str, prompt: int, written: int, rounds: int) -> dict[str, float]:
    """Figures of one side, in this process."""
    number, write = ours(prompt) if name == "ours" else decoder(SHAPES[name], dtype, prompt, written)  # fmt: skip
    write()  # compiled
    times = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        write()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        "parameters": number,
        "s": statistics.median(wall for wall, _ in times),
        "cpu s": statistics.median(cpu for _, cpu in times),
        "resident MB": resident("self"),
    }


def resident(process: str) -> float:
    """The most memory that a process had, in MB; of nothing that it started."""
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def files() -> dict[str, float]:
    """MB of the shipped weights in each form, and of the wheel."""
    import numpy as np
    from safetensors.numpy import save_file

    from trm.checkpoint import _flatten, load_vocab, load_weights, save_weights, shipped

    params, config, _ = load_weights(shipped())
    vocab, sizes = load_vocab(shipped(), config), {}
    with tempfile.TemporaryDirectory(prefix="trm-footprint-") as name:
        folder = Path(name)
        flat = {key: np.ascontiguousarray(value) for key, value in _flatten(params).items()}
        save_file(flat, str(folder / "f32"))
        sizes["f32"] = (folder / "f32").stat().st_size
        for form, matmul in (("bf16", config.model.matmul), ("1-bit", "1-bit")):
            packed = replace(config, model=replace(config.model, matmul=matmul))
            save_weights(folder / form, params, packed, vocab, {})
            sizes[form] = (folder / form / "model.safetensors").stat().st_size
        sizes["vocabulary"] = (folder / "bf16" / "vocab.json").stat().st_size
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", name]
        subprocess.run(command, cwd=HERE, check=True, capture_output=True)
        sizes["wheel"] = next(folder.glob("*.whl")).stat().st_size
    return {key: size / 1e6 for key, size in sizes.items()}


def fixed(project: Path, cache: Path) -> dict[str, float]:
    """One `fix` of a fresh copy."""
    # what the agent itself had, told by itself at its end
    program = (
        "import sys; from agent.cli import run; run(sys.argv[1:]);"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], file=sys.stderr)"
    )
    with tempfile.TemporaryDirectory(prefix="trm-footprint-") as name:
        copy = shutil.copytree(project, Path(name) / "project")
        began, before, found = time.monotonic(), os.times(), {}
        process = subprocess.Popen(
            [sys.executable, "-c", program, "fix", str(copy), "--json", "--python", sys.executable], cwd=HERE, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )  # fmt: skip
        assert process.stdout and process.stderr
        read = False
        for line in process.stdout:
            event = json.loads(line)["event"]
            read = read or event == "RecursionStep"
            if read and event == "CandidateTried":
                found.setdefault("first candidate", time.monotonic() - began)
        found["resident MB"] = int(process.stderr.read().split()[-1]) / 1024
        process.wait()
        after = os.times()
    found["end"] = time.monotonic() - began
    found["cpu"] = after[2] + after[3] - before[2] - before[3]
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("project", nargs="?", type=Path, default=HERE / "examples" / "broken")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", default="ours,0.1B,0.5B")
    parser.add_argument("--dtype", default="float32", help="of the decoders: float32, bfloat16")
    parser.add_argument("--prompt", type=int, default=250)
    parser.add_argument("--written", type=int, default=12)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(side(options.one, options.dtype, options.prompt, options.written, 1)))
        return
    print("| file | MB |\n|---|---|")
    for name, size in files().items():
        print(f"| {name} | {size:.2f} |", flush=True)
    with tempfile.TemporaryDirectory(prefix="trm-cache-") as cache:
        fixed(options.project, Path(cache))
        runs = [fixed(options.project, Path(cache)) for _ in range(options.rounds)]
    print(f"\n| fix | {' | '.join(MARKS)} |\n{'|---' * (len(MARKS) + 1)}|")
    cells = []
    for mark in MARKS:  # the first candidate is none of the network's where the machine is so slow that the fix comes before it
        values = [run[mark] for run in runs if mark in run]
        cells.append(f"{statistics.median(values):.1f}" if values else "")
    print(f"| {options.project.name} | {' | '.join(cells)} |", flush=True)
    names, found = options.sides.split(","), {}
    for _ in range(options.rounds):
        for name in names:
            command = [sys.executable, __file__, "--one", name, "--dtype", options.dtype]
            command += ["--prompt", str(options.prompt), "--written", str(options.written)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
    print("\n| writing | parameters | s | cpu s | resident MB |\n|---|---|---|---|---|")
    for name, rows in found.items():
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(f"| {name} | {middle['parameters'] / 1e6:.1f}M | {middle['s']:.2f} | {middle['cpu s']:.2f} "
              f"| {middle['resident MB']:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
