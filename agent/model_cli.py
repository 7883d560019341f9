"""The commands around the model: train, model info, model release. Thin: options into one call, its progress into lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.data_cli import data_app
from agent.errors import CheckpointError, UsageError

model_app = typer.Typer(help="The model and its weights.", no_args_is_help=True)
HELD_OUT = {
    "eval-00000": "held_out",
    "eval-00001": "held_out_executed",
}  # shards, and their figures' names on the card


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(train)
    app.add_typer(model_app, name="model")
    app.add_typer(data_app, name="data")


def train(
    data: Annotated[
        list[Path],
        typer.Option("--data", metavar="D", help="Folder of a built corpus; repeatable, mixed."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for states and weights.")],
    config: Annotated[
        str, typer.Option("--config", metavar="F", help="A preset's name or a JSON file.")
    ] = "shipped",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="K=V", help="Override one key; repeatable.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="W", help="Start from these weights: a folder, or shipped."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest state in --out.")] = True,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Stop at this step.")] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Stop after that long.")
    ] = None,
) -> None:
    """Train the model on a built corpus. Ctrl-C saves and stops."""
    for folder in data:
        if not folder.is_dir():
            raise UsageError(
                f"--data {folder}: no such folder", "trm-agent data build makes a corpus"
            )
    changes = dict(_assignment(text) for text in assignments or [])
    if steps is not None:
        changes["train.steps"] = str(steps)
    if seconds is not None:
        changes["train.seconds"] = str(seconds)
    settings = _config(config, changes)
    try:
        import optax  # noqa: F401 - only to name what is missing
        import orbax.checkpoint  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"training needs {error.name}, which is not installed", "pip install 'trm-agent[train]'"
        ) from None
    from trm.checkpoint import CheckpointError as Unfit
    from trm.checkpoint import shipped
    from trm.train import train as training

    weights = None if start is None else shipped() if start == "shipped" else Path(start)
    steps_done = training(settings, data, out, resume=resume, start=weights)
    try:
        for progress in steps_done:
            metrics = " ".join(f"{key} {value:.4f}" for key, value in progress.metrics.items())
            saved = " saved" if progress.saved else ""
            print(
                f"step {progress.step} {progress.seconds:.0f} s "
                f"{progress.slots_per_second:.0f} positions/s {metrics}{saved}",
                file=sys.stderr,
                flush=True,
            )
    except Unfit as error:
        hint = "--from, --config, --set and --data must fit; to start anew give another --out"
        raise CheckpointError(str(error), hint) from None
    except FileNotFoundError as error:
        raise UsageError(f"--data: {error}", "trm-agent data build makes a corpus") from None
    finally:
        close = getattr(steps_done, "close", None)
        if close:
            close()
    print(out)


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text}: not KEY=VALUE", "for example --set train.slots=8192")
    return key.strip(), value.strip()


def _config(name: str, changes: dict[str, str]) -> Any:
    from trm.config import PRESETS, Config

    try:
        if name in PRESETS:
            config = PRESETS[name]
        elif Path(name).is_file():
            config = Config.from_dict(json.loads(Path(name).read_text("utf-8")))
        else:
            raise UsageError(
                f"--config {name}: no such preset or file", f"presets: {', '.join(PRESETS)}"
            )
        return config.override(changes)
    except (ValueError, TypeError) as error:
        raise UsageError(f"configuration: {error}", "keys are those of trm/config.py") from None


@model_app.command("info")
def model_info(
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="P", help="Weights other than the shipped."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The card as JSON.")] = False,
) -> None:
    """Size, configuration and card of the weights."""
    from trm.checkpoint import CheckpointError as Unfit
    from trm.checkpoint import load_weights, shipped
    from trm.model import count

    folder = checkpoint or shipped()
    try:
        params, config, card = load_weights(folder)
    except Unfit as error:
        raise CheckpointError(str(error), "trm-agent model info without --checkpoint") from None
    parameters = count(params)
    if as_json:
        print(json.dumps({**card, "parameters": parameters, "folder": str(folder)}, indent=1))
        return
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    print(f"folder      {folder} ({size / 1e6:.1f} MB)")
    print(f"parameters  {parameters:,}")
    for key, value in config.to_dict()["model"].items():
        print(f"{key:<11} {value}")
    for key, value in card.items():
        if key != "config":
            print(f"{key:<11} {json.dumps(value)}")


@model_app.command("release")
def model_release(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="Folder of weights, such as OUT/weights.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="D", help="Folder to write to.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="D", help="Corpus whose held-out shard measures them.")
    ],
) -> None:
    """Measure weights on the held-out shards and write them, with the figures on their card, to --to."""
    if not (data / "eval-00000").is_dir():
        raise UsageError(f"{data} has no held-out shard", "trm-agent data build makes one")
    from trm.checkpoint import VOCAB, load_weights, save_weights
    from trm.checkpoint import CheckpointError as Unfit
    from trm.data.pipeline import Shard, plan_batches
    from trm.evaluate import held_out
    from trm.vocab import Vocab

    try:
        params, config, card = load_weights(weights)
        vocab = Vocab.load(weights / VOCAB)
    except (Unfit, OSError, ValueError) as error:
        raise CheckpointError(
            str(error), "trm-agent train writes weights into OUT/weights"
        ) from None
    if (data / VOCAB).read_bytes() != (weights / VOCAB).read_bytes():
        raise UsageError(
            f"{data} has another vocabulary than {weights}",
            "measure on the corpus they were trained on",
        )
    if not plan_batches(Shard(data / "eval-00000"), config.train.slots, 0):
        raise UsageError(f"the held-out shard of {data} fills no batch", "build a larger corpus")
    kept = {key: value for key, value in card.items() if key not in ("format", "config")}
    for name, title in HELD_OUT.items():
        if not (data / name).is_dir():
            continue
        kept[title] = figures = held_out(params, config.model, data / name, config.train.slots)
        print(title)
        for step, row in enumerate(figures, 1):
            print(f"step {step} " + " ".join(f"{key} {value:.4g}" for key, value in row.items()))
    save_weights(to, params, config, vocab, kept)
