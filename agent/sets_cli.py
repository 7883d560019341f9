"""data info and data convert: what a corpus of ours or a published data set holds, and the latter as problems, one a line."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from agent.errors import UsageError

if TYPE_CHECKING:
    from trm.data.formats.problem import Problem
    from trm.data.formats.registry import Report

StrictOption = Annotated[
    bool, typer.Option("--strict", help="End at the first row that is damaged.")
]


def info(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A data set as published, or what data build or data mutate wrote."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    examples: Annotated[
        int, typer.Option(metavar="N", min=0, help="Print so many executed mutants, or problems.")
    ] = 0,
    strict: StrictOption = False,
) -> None:
    """What a data set or a corpus holds: format, rows, tests, licences, what is damaged and where; or shards and examples.

    The format is told from the content, not from the name. Nothing of it is executed.
    """
    if (path / "functions.json").is_file() or list((path / "parts").glob("*.jsonl.gz")):
        _corpus(path, as_json, examples)
    else:
        _data_set(path, as_json, examples, strict)


def _data_set(path: Path, as_json: bool, examples: int, strict: bool) -> None:
    from trm.data.formats.fields import FormatError
    from trm.data.formats.registry import Report, detect, read

    report, licences, has, kinds = Report(), Counter[str](), Counter[str](), Counter[str]()
    shown: list[Problem] = []
    try:
        form = detect(path)
        for problem in read(path, strict=strict, report=report, form=form):
            licences[problem.licence or "not stated"] += 1
            has.update(
                name
                for name in ("prompt", "stub", "code", "buggy", "entry_point")
                if getattr(problem, name)
            )
            kinds[problem.hidden.kind] += 1
            if len(shown) < examples:
                shown.append(problem)
    except FormatError as error:
        raise UsageError(
            str(error),
            "trm-agent data info lists what is damaged without --strict" if strict else "",
        ) from None
    if as_json:
        print(json.dumps({
            "format": form.name, "title": form.title, "judged": form.judged, "rows": report.rows, "problems": report.problems,
            "other_languages": report.other, "damaged": dict(report.damaged), "places": report.places,
            "licences": dict(licences.most_common()), "fields": dict(has), "tests": dict(kinds),
        }, indent=1))  # fmt: skip
    else:
        print(f"format     {form.title}{', for evaluation only' if form.judged else ''}")
        print(f"rows       {report.rows}: {report.problems} problems, {report.other} in other languages, "
              f"{sum(report.damaged.values())} damaged")  # fmt: skip
        for name, found in (("with", has), ("tests", kinds), ("licence", licences)):
            for each, number in found.most_common(20):
                print(f"{name:10} {number:>8}  {each}")
        _print_damage(report, print)
    for problem in shown:
        print(json.dumps(json.loads(problem.to_json()), indent=1))


def _print_damage(report: Report, say: Any) -> None:
    for said, number in report.damaged.most_common(20):
        say(f"{'damaged':10} {number:>8}  {said}")
    for place in report.places:
        say(f"{'at':10} {place}")


def convert(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A data set as published.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="JSON lines; gzipped if called .gz.")
    ],
    strict: StrictOption = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N problems.")
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Only the part I, from 0, of N equal ones.")
    ] = "0/1",
) -> None:
    """Write a data set as problems of one form, one a line: what all other commands read too.

    One pass, one row in memory. Damaged rows are left out, and told on stderr. FILE is there when it is complete.
    """
    from trm.data.formats.fields import FormatError
    from trm.data.formats.registry import Report, read

    index, count = _shard(shard)
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: no such folder", "make it first")
    report, part = Report(), out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        written = _write(
            part,
            out.suffix == ".gz",
            islice(read(path, strict=strict, shard=(index, count), report=report), limit),
        )
        part.replace(out)
    except FormatError as error:
        raise UsageError(
            str(error), "without --strict it is left out" if strict and report.rows else ""
        ) from None
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}", "another place, or more room") from None
    finally:
        part.unlink(missing_ok=True)
    _print_damage(report, _say)
    _say(f"{written} problems of {report.rows} rows")
    print(out)


def _write(part: Path, zipped: bool, problems: Iterable[Problem]) -> int:
    written = 0
    with _opened(part, zipped) as lines:
        for problem in problems:
            lines.write(problem.to_json() + "\n")
            written += 1
    return written


def _opened(part: Path, zipped: bool) -> IO[str]:
    if zipped:
        return gzip.open(part, "wt", encoding="ascii", compresslevel=6)
    return part.open("w", encoding="ascii")


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and int(index) < int(count):
        return int(index), int(count)
    raise UsageError(f"--shard {text}: not a part", "for example 0/4 for the first of four")


def _corpus(folder: Path, as_json: bool, examples: int) -> None:
    """What data build or data mutate wrote."""
    from trm.data import mutants
    from trm.data.pipeline import Shard

    executed = bool(list((folder / "parts").glob("*.jsonl.gz")))
    try:
        if executed:
            summary = mutants.summary(folder)
        else:
            summary = json.loads((folder / "functions.json").read_text("utf-8"))
        shards = {
            path.parent.name: len(Shard(path.parent))
            for path in sorted((folder / "shards" if executed else folder).glob("*/table.npy"))
        }
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UsageError(f"{folder} is damaged: {error}", "build it again") from None
    if as_json:
        print(json.dumps({**summary, "shards": shards}, indent=1))
        return
    for line in _corpus_lines(summary, executed):
        print(line)
    print(f"shards     {len(shards)} with {sum(shards.values())} examples")
    for mutant in mutants.sample(folder, examples) if executed else ():
        print(f"\n{mutants.shown(mutant)}")


def _corpus_lines(summary: dict[str, Any], executed: bool) -> Iterator[str]:
    if executed:
        yield (f"mutants    {summary['mutants']} killed, {summary['innocent']} innocent units, "
               f"{len(summary['package'])} projects")  # fmt: skip
        groups = ("licence", "package", "operator", "exception")
    else:
        yield (f"functions  {summary['functions']} of {len(summary['packages'])} packages, "
               f"{len(summary['held_out'])} held out")  # fmt: skip
        groups = ("licences", "dropped")
    for group in groups:
        for name, number in list(summary[group].items())[:60]:
            yield f"{group.rstrip('s') if group == 'licences' else group:10} {number:>8}  {name}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
