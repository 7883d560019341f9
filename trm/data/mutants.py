"""Mutants of packages that a test killed, with all that `fix` would see of them; shards of these to train on.

Records are kept as text, not as arrays: another vocabulary or another encoding makes new shards of them without running a test.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.source.edits import Edit
from tools.source.leaves import Module, SourceError
from trm.data.corrupt import shown_names, targets_of
from trm.data.functions import held_out
from trm.data.pipeline import ShardWriter
from trm.encode import (
    LENGTHS,
    Encoded,
    Execution,
    FailureText,
    Target,
    carry_to_continuations,
    encode,
)
from trm.vocab import Vocab


@dataclass(frozen=True)
class Mutant:
    """A unit under failing tests. source: its dedented text, with the fault; lines count from 1 there.

    fixes: what repairs it, in the leaf coordinates of `source`; none where the fault is elsewhere. names: in reach, those
    that it uses first. origin: "path:unit"; licence: as trm/data/sources.toml has it, "" for a project that is not there.
    """

    package: str
    licence: str
    origin: str
    source: str
    fixes: tuple[Edit, ...]
    operators: tuple[str, ...]
    names: tuple[str, ...]
    execution: Execution
    failure: FailureText

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        record = asdict(self)
        record["fixes"] = [[fix.start, fix.end, list(fix.tokens)] for fix in self.fixes]
        return record

    @staticmethod
    def from_json(record: dict[str, Any]) -> Mutant:
        """The inverse of `to_json`."""
        execution = dict(record["execution"])
        for key in ("cover_fail", "cover_pass", "frames", "evidence"):
            execution[key] = {int(line): count for line, count in execution[key].items()}
        execution["values"] = {name: tuple(pair) for name, pair in execution["values"].items()}
        return Mutant(**{
            **record,
            "fixes": tuple(Edit(start, end, tuple(tokens)) for start, end, tokens in record["fixes"]),
            "operators": tuple(record["operators"]), "names": tuple(record["names"]),
            "execution": Execution(**execution), "failure": FailureText(**record["failure"]),
        })  # fmt: skip


def write(path: Path, mutants: Iterable[Mutant]) -> int:
    """Write as gzipped JSON lines, whole or not at all; returns how many."""
    partial, total = path.with_name(path.name + ".partial"), 0
    try:
        with gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as out:
            for mutant in mutants:
                out.write(json.dumps(mutant.to_json(), ensure_ascii=False) + "\n")
                total += 1
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return total


def read(path: Path) -> Iterator[Mutant]:
    """The inverse of `write`."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield Mutant.from_json(json.loads(line))


def example(
    vocab: Vocab, mutant: Mutant, rng: random.Random, *, told: float = 0.95
) -> tuple[Encoded, list[Target]] | None:
    """One training example; None where the heads cannot express the fix or the unit is too long.

    told: share that has the failure as text. Names in reach are a random part of those there are.
    """
    try:
        leaves = Module(mutant.source.encode("utf-8")).leaves
    except SourceError:
        return None
    seen = mutant.execution
    carry_to_continuations(leaves, seen.cover_fail, seen.cover_pass)
    encoded = encode(
        vocab, leaves, names=shown_names(mutant.names, rng), execution=seen,
        failure=mutant.failure if mutant.failure != FailureText() and rng.random() < told else None,
    )  # fmt: skip
    if encoded.length > LENGTHS[-1]:
        return None
    targets = targets_of(vocab, encoded, mutant.fixes)
    return (encoded, targets) if targets or not mutant.fixes else None


def build_shards(
    folder: Path, vocab: Vocab, *, per_shard: int = 4000,
    kept_out: Callable[[Mutant], bool] = lambda mutant: held_out(mutant.package),
) -> Iterator[tuple[str, int, int]]:  # fmt: skip
    """Write `folder`/shards anew from `folder`/parts; yields (shard, examples, mutants tried).

    shard-NNNNN hold the mutants that may be trained on, mixed; eval-00000 those that are `kept_out` and have one fix.
    The folder has the vocabulary too, so that it is a corpus for `train`.
    """
    shards = folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    vocab.save(shards / "vocab.json")
    rng = random.Random(0)
    training: list[tuple[Path, int]] = []
    measured_by: list[Mutant] = []
    for part in sorted((folder / "parts").glob("*.jsonl.gz")):
        for number, mutant in enumerate(read(part)):
            if not kept_out(mutant):
                training.append((part, number))
            elif len(mutant.fixes) == 1:
                measured_by.append(mutant)
    rng.shuffle(training)
    if measured_by:
        rng.shuffle(measured_by)
        yield _shard(shards / "eval-00000", vocab, measured_by, rng)
    # a part at a time is read again, so that memory holds one shard and not the corpus
    for first in range(0, len(training), per_shard):
        wanted: dict[Path, set[int]] = {}
        for part, number in training[first : first + per_shard]:
            wanted.setdefault(part, set()).add(number)
        chosen = [
            mutant
            for part, numbers in wanted.items()
            for number, mutant in enumerate(read(part))
            if number in numbers
        ]
        yield _shard(shards / f"shard-{first // per_shard:05d}", vocab, chosen, rng)


def _shard(
    path: Path, vocab: Vocab, mutants: Sequence[Mutant], rng: random.Random
) -> tuple[str, int, int]:
    writer = ShardWriter()
    for mutant in mutants:
        made = example(vocab, mutant, rng)
        if made is not None:
            writer.add(*made)
    if len(writer.table):
        writer.write(path)
    return path.name, len(writer.table), len(mutants)


def shown(mutant: Mutant) -> str:
    """For the eye: the text with failing and passing tests a line, `>` where the failure came through, and the fixes."""
    seen = mutant.execution
    rows = [f"{mutant.package} {mutant.origin}  ({', '.join(mutant.operators)})"]
    for number, line in enumerate(mutant.source.splitlines(), 1):
        mark = ">" if number in seen.frames else " "
        bad, good = seen.cover_fail.get(number, ""), seen.cover_pass.get(number, "")
        rows.append(f"{mark}{bad:>3}{good:>4}  {line}")
    failure = mutant.failure
    rows.append(f"     test       {failure.test}")
    if failure.actual or failure.expected:
        rows.append(f"     values     {failure.actual} is not {failure.expected}")
    rows.append(f"     exception  {failure.exception}")
    rows += [f"     {name} = {text}" for name, (_, text) in seen.values.items()]
    leaves = Module(mutant.source.encode("utf-8")).leaves
    for fix in mutant.fixes:
        removed = " ".join(leaf.text for leaf in leaves[fix.start : fix.end])
        rows.append(
            f"     fix, line {leaves[fix.start].line}: {removed or '(nothing)'} -> {' '.join(fix.tokens) or '(nothing)'}"
        )
    return "\n".join(rows)


def sample(folder: Path, number: int, seed: int = 0) -> list[Mutant]:
    """A few random records of `folder`/parts, each part as likely as another."""
    rng = random.Random(seed)
    parts = sorted((folder / "parts").glob("*.jsonl.gz"))
    rng.shuffle(parts)
    found: list[Mutant] = []
    for part in parts:
        if len(found) == number:
            break
        everything = list(read(part))
        if everything:
            found.append(rng.choice(everything))
    return found


def summary(folder: Path) -> dict[str, Any]:
    """Counts of what `folder`/parts hold: mutants, innocent units, packages, operators, exceptions, licences."""
    counts: dict[str, Counter[str]] = {
        key: Counter() for key in ("package", "operator", "exception", "licence")
    }
    mutants = innocent = 0
    for part in sorted((folder / "parts").glob("*.jsonl.gz")):
        for mutant in read(part):
            mutants += bool(mutant.fixes)
            innocent += not mutant.fixes
            counts["package"][mutant.package] += 1
            counts["operator"].update(mutant.operators)
            counts["exception"][mutant.failure.exception.partition(":")[0] or "none told"] += 1
            counts["licence"][mutant.licence or "not recorded"] += 1
    tables = {key: dict(table.most_common()) for key, table in counts.items()}
    return {"mutants": mutants, "innocent": innocent, **tables}
