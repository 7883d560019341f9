"""`trm-agent model`: what the weights are, and releasing them. With it the other commands around the model: train, data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.data_cli import data_app
from agent.errors import CheckpointError, UsageError
from agent.train_cli import train

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
    average: Annotated[
        Path | None,
        typer.Option(
            "--average",
            metavar="W",
            help="First take the mean with these weights, from which they were trained on: it often beats both.",
        ),
    ] = None,
) -> None:
    """Measure weights on the held-out shards and write them, with the figures on their card, to --to.

    The mean of weights before and after further training: Wortsman et al. 2022, arXiv 2109.01903.
    """
    if not (data / "eval-00000").is_dir():
        raise UsageError(f"{data} has no held-out shard", "trm-agent data build makes one")
    import jax

    from trm.checkpoint import VOCAB, load_weights, save_weights
    from trm.checkpoint import CheckpointError as Unfit
    from trm.data.pipeline import Shard, plan_batches
    from trm.deepen import deepened, is_deeper
    from trm.evaluate import held_out
    from trm.vocab import Vocab

    try:
        params, config, card = load_weights(weights)
        vocab = Vocab.load(weights / VOCAB)
        if average is not None:
            others, theirs, _ = load_weights(average)
            same = is_deeper(config.model, theirs.model) and Vocab.load(average / VOCAB).same(vocab)
            if not same:
                raise UsageError(
                    f"--average {average}: another net or vocabulary than {weights}",
                    "take the weights that the training began --from",
                )
            others = deepened(others, config.model.layers)
            params = jax.tree.map(lambda one, other: (one + other) / 2, params, others)
            card["averaged"] = True
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
