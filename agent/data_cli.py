"""The commands around training data: data build, data info. Thin: options into calls of `trm.data`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.errors import UsageError

data_app = typer.Typer(help="Corpora to train on.", no_args_is_help=True)

OutOption = Annotated[Path, typer.Option("--out", metavar="D", help="Folder of the corpus.")]


@data_app.command("build")
def build(
    out: OutOption,
    exports: Annotated[
        Path | None,
        typer.Option(
            "--exports", metavar="D", help="Repositories exported by sources.toml, if any."
        ),
    ] = None,
    shards: Annotated[int, typer.Option(metavar="N", min=1, help="Training shards to write.")] = 16,
    first: Annotated[int, typer.Option(metavar="N", min=0, help="Number of the first shard.")] = 0,
    functions: Annotated[int, typer.Option(metavar="N", min=1, help="Functions a shard.")] = 4000,
    variants: Annotated[int, typer.Option(metavar="N", min=1, help="Bugs a function.")] = 4,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes at once.")] = 1,
    only_shards: Annotated[
        bool, typer.Option("--only-shards", help="Keep functions and vocabulary as they are.")
    ] = False,
) -> None:
    """Collect functions from the standard library, installed packages and exports, and break them."""
    if exports is not None and not exports.is_dir():
        raise UsageError(
            f"--exports {exports}: no such folder", "trm/data/sources.py exports there"
        )
    out.mkdir(parents=True, exist_ok=True)
    if only_shards and not (out / "vocab.json").is_file():
        raise UsageError(
            f"--only-shards: {out} has no vocabulary yet", "leave --only-shards out once"
        )
    from trm.config import ModelConfig
    from trm.data import build as building

    if not only_shards:
        sizes = ModelConfig()
        summary = building.build_functions(building.default_roots(exports or out), out, jobs)
        _say(f"{summary['functions']} functions")
        building.build_vocab(out, sizes.vocab, sizes.kinds, sizes.roles)
        _say("vocabulary written")
        _told(building.build_eval(out))
    for line in building.build_shards(
        out, first=first, shards=shards, functions_per_shard=functions, variants=variants, jobs=jobs
    ):
        _told(line)
    print(out)


def _told(line: tuple) -> None:
    name, examples, tried, _ = line
    _say(f"{name}: {examples} examples of {tried} tried")


@data_app.command("info")
def info(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A built corpus.")],
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """What a corpus holds: functions, licences, what was dropped and why, shards and examples."""
    summary_file = folder / "functions.json"
    if not summary_file.is_file():
        raise UsageError(f"{folder} is not a corpus of ours", "trm-agent data build makes one")
    from trm.data.pipeline import Shard

    try:
        summary = json.loads(summary_file.read_text("utf-8"))
        shards = {
            path.parent.name: len(Shard(path.parent)) for path in sorted(folder.glob("*/table.npy"))
        }
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is damaged: {error}", "build it again") from None
    if as_json:
        print(json.dumps({**summary, "shards": shards}, indent=1))
        return
    print(f"functions  {summary['functions']} of {len(summary['packages'])} packages, "
          f"{len(summary['held_out'])} held out")  # fmt: skip
    for name, number in summary["licences"].items():
        print(f"licence    {number:>8}  {name}")
    for name, number in summary["dropped"].items():
        print(f"dropped    {number:>8}  {name}")
    print(f"shards     {len(shards)} with {sum(shards.values())} examples")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
