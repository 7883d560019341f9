"""What the switches of the model buy on the edit task: each trained on the same batches, at the same number of updates.

    python benchmarks/variants.py --data CORPUS [--updates 400] [--width 64] [--seeds 2] [--only NAME ...] [--json FILE]

Each variant is `trm.train.train` from random weights, then `trm.evaluate.held_out` of the averaged weights on CORPUS/eval-00000,
after its first and its last supervision step. cpu: seconds of the training, compilation of the step included; so the table is at
equal examples, and --seconds instead of --updates makes it one at equal time. +-: half of the range over seeds. What rollouts and
renamed names buy at inference, for given weights: benchmarks/ablate.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trm.checkpoint import load_weights
from trm.config import Config, ModelConfig, TrainConfig
from trm.evaluate import held_out
from trm.train import train
from trm.vocab import Vocab

DEPTH = {"n": 2, "T": 2, "steps": 3}
# name: changes of the model in training, of the training, of the model at inference
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "one pass, no recursion": ({}, {}, {}),
    "recursion": (DEPTH, {}, {}),
    "recursion, grown": (DEPTH, {"grow": 0.6}, {}),  # of the updates
    "a target per step": (DEPTH, {"step_targets": True}, {}),
    "bits": ({**DEPTH, "binarize": True}, {}, {}),
    "bits decide to halt": ({**DEPTH, "binarize": True, "halt": "bits"}, {}, {}),
    "bits, stop when none changed": ({**DEPTH, "binarize": True, "gate": "changed"}, {}, {}),
    "accept or reject": ({**DEPTH, "gate": "better"}, {}, {}),
    "accept or reject, noise": ({**DEPTH, "gate": "better"}, {}, {"noise": 0.5}),
    "noise": (DEPTH, {}, {"noise": 0.5}),
    "1-bit weights": ({**DEPTH, "matmul": "1-bit"}, {}, {}),
    "Adam-mini": (DEPTH, {"optimizer": "adam-mini"}, {}),
    "Adam-atan2": (DEPTH, {"optimizer": "atan2"}, {}),
    "Muon": (DEPTH, {"optimizer": "muon"}, {}),
}
FIGURES = ("top1", "exact", "nats")


def trained(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one training: CPU seconds, updates, and those of each supervision step."""
    model, training, later = VARIANTS[name]
    vocab = Vocab.load(options.data / "vocab.json")
    width = options.width
    net = ModelConfig(
        vocab=vocab.size, width=width, heads=max(1, width // 32), inner=2 * width, decoder_inner=2 * width, **model
    )  # fmt: skip
    train_config = TrainConfig(
        learning_rate=options.rate, warmup=50, ema=0.99, slots=options.slots, seed=seed, seconds=options.seconds,
        steps=10**9 if options.seconds else options.updates, log_every=20,
    )  # fmt: skip
    if share := training.get("grow"):
        training = {**training, "grow": int(share * options.updates)}
    config = Config(net, dataclasses.replace(train_config, **training))
    with tempfile.TemporaryDirectory(prefix="trm-variants-") as folder:
        used, step = time.process_time(), 0
        for progress in train(config, options.data, Path(folder)):
            step = progress.step
        used = time.process_time() - used
        params, _, _ = load_weights(Path(folder) / "weights")
    found = held_out(
        params, dataclasses.replace(config.model, **later), options.data / "eval-00000"
    )
    return {"name": name, "seed": seed, "updates": step, "cpu": used, "steps": [dict(row) for row in found]}  # fmt: skip


def cell(values: list[float], digits: int) -> str:
    """The mean over seeds, and half of their range."""
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{mean:.{digits}f}" + (f" +- {spread:.{digits}f}" if len(values) > 1 else "")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=0.0, help="of wall time a training")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--slots", type=int, default=4096, help="positions an update")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=list(VARIANTS), nargs="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    records = []
    print("| variant | updates | cpu s | top1 first, last step | exact | nats |\n|---|---|---|---|---|---|")  # fmt: skip
    for name in options.only or VARIANTS:
        found = [trained(name, seed, options) for seed in range(options.seeds)]
        records += found
        cells = [
            ", ".join(cell([row["steps"][at][figure] for row in found], 2 if figure == "nats" else 3) for at in (0, -1))
            for figure in FIGURES
        ]  # fmt: skip
        used = cell([row["cpu"] for row in found], 0)
        print(f"| {name} | {found[0]['updates']} | {used} | {' | '.join(cells)} |", flush=True)
        if options.json:
            options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
