"""The commands around evidence: eval and bisect. Thin: options into one call, its results into lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.errors import UsageError
from agent.settings import PATIENCE


def evaluate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="A set that data info knows (quixbugs, humanevalfix, evalplus, livecodebench, ...), packages, or a folder.",
        ),
    ],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Your copy of the set.")
    ] = None,
    rank: Annotated[
        str, typer.Option(metavar="R[,R...]", help="trm, untrained, ochiai, random.")
    ] = "trm",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N problems.")
    ] = None,
    visible: Annotated[
        str | None,
        typer.Option(metavar="V", help="Tests that the agent sees: half, full, examples."),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            metavar="T",
            help="repair: the set's bug, or one seeded into its solution; generate: from a stub.",
        ),
    ] = "repair",
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples",
            metavar="F",
            help="Nothing is repaired: judge the programs of F (task_id, solution), pass@k.",
        ),
    ] = None,
    max_seconds: Annotated[float, typer.Option(metavar="S", help="Wall time a problem.")] = 60.0,
    max_candidates: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Candidates a problem. [no limit]")
    ] = None,
    patience: Annotated[
        float, typer.Option(metavar="S", min=0, help="Seconds to look on after a first patch.")
    ] = PATIENCE,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="F", help="JSON lines; what is in F already is not run again."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Problems at once.")] = 1,
    checkpoint: Annotated[
        str, typer.Option(metavar="P", help="Weights other than the shipped ones.")
    ] = "",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of all randomness.")] = 0,
    python: Annotated[
        str, typer.Option("--python", metavar="P", help="Interpreter of the tests. [this one]")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Test the problems themselves; nothing is repaired.")
    ] = False,
) -> None:
    """Run the real fix on each problem of SET; hidden tests decide. The table goes to stdout."""
    if json is not None and not json.absolute().parent.is_dir():
        raise UsageError(f"--json {json}: no such folder", "make it first")
    if samples is not None:
        _judge(name, data, samples, limit, python)
        return
    from agent import evaluate as evaluation

    if check:
        problems = evaluation.load(name, data, visible, task=task, limit=limit)
        odd = 0
        for line in evaluation.check(problems, python):
            print(line, flush=True)
            odd += 1
        print(f"{len(problems)} problems, {odd} remarks", file=sys.stderr)
        raise typer.Exit(1 if odd else 0)
    from agent.evalreport import table

    settings = evaluation.EvalSettings(max_seconds=max_seconds, max_candidates=max_candidates, checkpoint=checkpoint,
                                       seed=seed, python=python, patience=patience, task=task)  # fmt: skip
    results = evaluation.run_eval(
        name, data, tuple(rank.split(",")), limit, visible, json, jobs, settings
    )
    print(table(results))


def _judge(name: str, data: Path | None, file: Path, limit: int | None, python: str) -> None:
    """A line a task and pass@k on stdout."""
    from itertools import islice

    from agent.evalsets import published
    from agent.validators import pass_at_k, read_samples, score

    samples = read_samples(file)
    scored = []
    for one in score(islice(published(name, data), limit), samples, python):
        scored.append(one)
        first = next((each for each in one.judged if not each.passed), None)
        said = f": {first.test} {first.message}".rstrip(": ")[:150] if first else ""
        print(f"{one.task}: {one.right} of {len(one.judged)} right{said}", flush=True)
    fewest = min((len(one.judged) for one in scored), default=0)
    for k in (1, 5, 10, 100):
        if k <= fewest:
            mean = sum(pass_at_k(len(one.judged), one.right, k) for one in scored) / len(scored)
            print(f"pass@{k} {mean:.3f} of {len(scored)} problems")


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command("eval")(evaluate)
