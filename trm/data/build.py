"""Building the corpus: roots, functions, vocabulary, shards. `trm-agent data build` is a thin shell around this.

Nothing of it is committed: sources.toml names the repositories with licences and commits, the standard library and the installed
packages come from the machine, and the corpus is rebuilt from them.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import random
import re
import signal
import sysconfig
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from tools.source.leaves import Module, SourceError
from trm.data import functions as fn
from trm.data.alone import Alone, Kept, self_contained
from trm.data.corrupt import WEIGHTS, example
from trm.data.decontaminate import Blocklist
from trm.data.executed import (
    Calls,
    executed_examples,
    innocent_examples,
    with_tests,
)
from trm.data.fixes import Fix
from trm.data.mined import example as example_of_fix
from trm.data.pipeline import ShardWriter
from trm.data.sources import is_excluded, is_test_path, load_sources
from trm.vocab import Vocab, role_of

PERMISSIVE = (
    "MIT",
    "BSD",
    "Apache",
    "ISC",
    "Python Software Foundation",
    "PSF",
    "Unlicense",
    "CC0",
    "Zlib",
)
CAP = 6000  # functions a package, so that no giant dominates
_WORD = re.compile(r"\w+|[^\w\s]|\n")
_FULL = 200  # words and signs of a function that is always drawn
_OURS = frozenset({"agent", "trm", "tools", "trm_agent"})

Root = tuple[str, str, Path]  # package, licence, folder


def standard_library() -> list[Root]:
    """The running interpreter's own library (PSF-2.0), without its tests and site-packages."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [("stdlib", "PSF-2.0", folder)]


def installed(site_packages: Path) -> list[Root]:
    """Packages below `site_packages` whose metadata declare a permissive licence."""
    roots: list[Root] = []
    for metadata in sorted(site_packages.glob("*.dist-info/METADATA")):
        header = HeaderParser().parsestr(metadata.read_text(encoding="utf-8", errors="replace"))
        stated = " ".join([header.get("License-Expression", ""), header.get("License", "")[:60],
                           *(c for c in header.get_all("Classifier", []) if c.startswith("License"))])  # fmt: skip
        if "GPL" in stated or "MPL" in stated or not any(word in stated for word in PERMISSIVE):
            continue
        record = metadata.with_name("RECORD")
        files = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
        tops = {
            line.split("/")[0]
            for line in files
            if line.split(",")[0].endswith(".py") and "/" in line
        }
        for top in sorted(tops - _OURS):
            folder = site_packages / top
            if folder.is_dir() and ".." not in top and is_excluded(Path(top)) is None:
                roots.append((top, stated.strip()[:80], folder))
    return roots


def exported(folder: Path) -> list[Root]:
    """Repositories of sources.toml that have been exported below `folder`."""
    return [
        (s.name, s.licence, folder / s.folder)
        for s in load_sources()
        if (folder / s.folder).is_dir()
    ]


def _skip(path: Path) -> str | None:
    if "site-packages" in path.parts or "idlelib" in path.parts:
        return "installed"
    return is_excluded(path)


def _collect_root(root: Root) -> tuple[list[fn.Function], Counter[str], Counter[str]]:
    return fn.collect([root], _skip, is_test_path, _blocklist())


@functools.cache
def _blocklist() -> Blocklist:
    """Read once a process."""
    return Blocklist.load()


def build_functions(
    roots: Sequence[Root], out: Path, jobs: int = 1,
    progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Collect the functions of all roots into `out`/functions.jsonl.gz; returns and writes the counts.

    Duplicates across packages are dropped too, and a package keeps at most CAP functions. functions.json is written last:
    where it stands, the step is done. `progress(packages done, packages, functions)` is called after each package.
    """
    seen: set[str] = set()
    kept: list[fn.Function] = []
    dropped: Counter[str] = Counter()
    words: Counter[str] = Counter()
    per_package: Counter[str] = Counter()
    rng = random.Random(0)
    collected = in_processes(_collect_root, roots, jobs)
    for done, (found, left_out, counted) in enumerate(collected, 1):
        dropped.update(left_out)
        rng.shuffle(found)
        total = sum(counted.values())
        for function in found:
            digest = fn.token_hash(function.source.split())
            if digest in seen:
                dropped["function: duplicate across packages"] += 1
            elif per_package[function.package] >= CAP:
                dropped["function: over the cap of its package"] += 1
            else:
                seen.add(digest)
                per_package[function.package] += 1
                kept.append(function)
        # a giant package must not decide the vocabulary either
        scale = min(1.0, 200_000 / max(1, total))
        for word, times in counted.items():
            if (scaled := int(times * scale + 0.5)) and len(word) <= 40:
                words[word] += scaled
        if progress is not None:
            progress(done, len(roots), len(kept))
    rng.shuffle(kept)
    fn.write(out / "functions.jsonl.gz", kept)
    summary: dict[str, Any] = {
        "functions": len(kept),
        "packages": dict(per_package.most_common()),
        "dropped": dict(dropped.most_common()),
        "held_out": sorted(p for p in per_package if fn.held_out(p)),
        "licences": dict(Counter(f.licence for f in kept).most_common()),
    }
    with (out / "words.json").open("w", encoding="utf-8") as file:
        json.dump(dict(words.most_common(120_000)), file)
    (out / "functions.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return summary


def build_vocab(corpus: Path, size: int, kinds: int, roles: int, sample: int = 20_000) -> Vocab:
    """Pieces from the counted words, kinds and roles from a sample of functions; written to `corpus`/vocab.json."""
    words = Counter(json.loads((corpus / "words.json").read_text(encoding="utf-8")))
    # the square root flattens the head: pieces for rare names matter more than counts of "("
    flat = Counter({word: max(1, int(count**0.6)) for word, count in words.items() if count >= 3})
    kind_counts: Counter[str] = Counter()
    role_counts: Counter[str] = Counter()
    for index, function in enumerate(fn.read(corpus / "functions.jsonl.gz")):
        if index >= sample:
            break
        for leaf in Module(function.source.encode()).leaves:
            kind_counts[leaf.kind] += 1
            role_counts[role_of(leaf.parent, leaf.field)] += 1
    vocab = Vocab.build(
        flat,
        [k for k, _ in kind_counts.most_common(kinds - 1)],
        [r for r, _ in role_counts.most_common(roles - 1)],
        size,
    )
    partial = corpus / "vocab.json.partial"
    vocab.save(partial)
    partial.replace(corpus / "vocab.json")
    return vocab


@dataclass(frozen=True)
class Recipe:
    """What a shard is made of: functions broken as text, self-contained ones broken, called and so seen to fail, and mined fixes.

    variants, executed_variants: bugs a function; calls: makes the confined process (tools.calls.Caller); fixes: of these a shard.
    A fix that people made costs the network five times as much as a mutant: few of them among many (docs/experiments.md).
    """

    functions: int = 3000
    variants: int = 1
    executed: int = 900
    executed_variants: int = 12
    calls: Callable[[], AbstractContextManager[Calls]] | None = None
    fixes: int = 0


@dataclass(frozen=True)
class Made:
    """A shard that was written: examples, of which executed; functions and fixes tried; bugs by operator, fixes as "mined"."""

    name: str
    examples: int
    executed: int
    tried: int
    operators: Counter[str]


@dataclass(frozen=True)
class _Task:
    corpus: str
    name: str
    seed: int
    lines: Sequence[str]  # functions
    callable: Sequence[str]  # functions that can be called alone
    recipe: Recipe
    fixes: Sequence[Fix] = ()


def _make_shard(task: _Task) -> Made:
    vocab = Vocab.load(Path(task.corpus) / "vocab.json")
    rng = random.Random(task.seed)
    writer = ShardWriter()
    operators: Counter[str] = Counter()
    recipe = task.recipe
    single = task.name.startswith("eval")
    tried = 0
    for line in task.lines:
        function = _function(line)
        try:
            module = Module(function.source.encode())
        except SourceError:
            continue
        if not module.units or module.units[0].kind != "function":
            continue
        for _ in range(recipe.variants):
            tried += 1
            made = example(vocab, function, module, rng, WEIGHTS,
                           multi=0.0 if single else 0.65, no_bug=0.0 if single else 0.05)  # fmt: skip
            if made is not None:
                operators.update(made[2])
                writer.add(made[0], made[1])
    for fix in task.fixes:
        tried += 1
        mined = example_of_fix(vocab, fix, rng)
        if mined is not None:
            operators["mined"] += 1
            writer.add(*mined)
    unexecuted = len(writer.table)
    if task.callable and recipe.calls is not None:
        with recipe.calls() as calls:
            for line in task.callable:
                tried += 1
                for encoded, targets, names in _executed(
                    vocab, _alone(line), calls, rng, recipe, single
                ):
                    operators.update(names)
                    writer.add(encoded, targets)
    if len(writer.table):
        writer.write(Path(task.corpus) / task.name)
    return Made(
        task.name, len(writer.table), len(writer.table) - unexecuted, tried, operators
    )  # fmt: skip


def _executed(vocab, alone: Alone, calls, rng, recipe: Recipe, single: bool):
    tested = with_tests(alone, calls, rng)
    if tested is None:
        return
    yield from executed_examples(
        vocab, tested, calls, rng, WEIGHTS, variants=recipe.executed_variants,
        multi=0.0 if single else 0.4,
    )  # fmt: skip
    if not single:
        yield from innocent_examples(vocab, tested, calls, rng, WEIGHTS)


def build_shards(
    corpus: Path, recipe: Recipe, fixes: Sequence[Fix] = (), *, first: int, shards: int, jobs: int, keep: bool = False
) -> Iterator[Made]:  # fmt: skip
    """Write training shards first..first+shards-1, each from a fresh slice of the functions and fixes; yields as they are done.

    Shard names and contents depend on their number alone, so any part of the corpus can be rebuilt. A shard stands as a whole or
    not at all; with `keep` those that stand are left as they are.
    """
    training = [f for f in fn.read(corpus / "functions.jsonl.gz") if _for_training(f)]
    alone = [line for line in _callable(corpus, recipe) if _for_training(_alone(line).function)]

    def tasks() -> Iterable[_Task]:
        for number in range(first, first + shards):
            if keep and (corpus / f"shard-{number:05d}").is_dir():
                continue
            lines = [_line(training[i]) for i in _slice(len(training), number, recipe.functions)]
            called = [alone[i] for i in _slice(len(alone), number, recipe.executed)]
            mined = [fixes[i] for i in _slice(len(fixes), number, recipe.fixes)]
            yield _Task(str(corpus), f"shard-{number:05d}", number, lines, called, recipe, mined)

    yield from in_processes(_make_shard, tasks(), jobs)


def _for_training(function: fn.Function) -> bool:
    return not fn.held_out(function.package) and drawn(function)


def drawn(function: fn.Function) -> bool:
    """Whether training may see the function: of short ones a part, as faults come by the token and not by the function.

    Of functions of n words and signs, _FULL at most, the share n / _FULL, the same ones each time.
    """
    size = len(_WORD.findall(function.source))
    digest = hashlib.blake2b(function.origin.encode(), digest_size=4).digest()
    return int.from_bytes(digest) * _FULL < size << 32


def _slice(total: int, number: int, size: int) -> list[int]:
    """Indices of the number-th slice of `size` of a shuffled whole, shuffled anew each time it is used up."""
    pass_number, place = divmod(number * size, max(1, total))
    order = list(range(total))
    random.Random(pass_number).shuffle(order)
    return order[place : place + size]


def build_alone(roots: Sequence[Root], corpus: Path) -> int:
    """Find the functions that can be called alone, and what they need, into `corpus`/alone.jsonl.gz; returns how many.

    roots: where `build_functions` found them. Executed examples are made of these.
    """
    packages = Kept({package: functools.partial(_read_in, folder) for package, _, folder in roots})
    partial = corpus / "alone.jsonl.gz.partial"
    total = 0
    with gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as out:
        for one in self_contained(fn.read(corpus / "functions.jsonl.gz"), packages):
            out.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            total += 1
    partial.replace(corpus / "alone.jsonl.gz")
    return total


def _read_in(folder: Path, path: str) -> str | None:
    try:
        return (folder / path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _callable(corpus: Path, recipe: Recipe) -> list[str]:
    """The lines of alone.jsonl.gz, in an order of their own: neighbours are alike."""
    if recipe.calls is None or not recipe.executed:
        return []
    with gzip.open(corpus / "alone.jsonl.gz", "rt", encoding="utf-8") as lines:
        every = list(lines)
    random.Random(0).shuffle(every)
    return every


def build_eval(
    corpus: Path, recipe: Recipe, functions: int = 3000, *, keep: bool = False
) -> Iterator[Made]:
    """Held-out shards, one bug an example, packages never trained on: `eval-00000` as text, `eval-00001` executed.

    keep: do not make again what is there.
    """
    if not (keep and (corpus / "eval-00000").is_dir()):
        every = fn.read(corpus / "functions.jsonl.gz")
        chosen = [_line(f) for f in every if fn.held_out(f.package)][:functions]
        yield _make_shard(_Task(str(corpus), "eval-00000", 1, chosen, (), recipe))
    if keep and (corpus / "eval-00001").is_dir():
        return
    alone = [
        line for line in _callable(corpus, recipe) if fn.held_out(_alone(line).function.package)
    ]
    if alone:
        yield _make_shard(_Task(str(corpus), "eval-00001", 2, (), alone, recipe))


def _function(line: str) -> fn.Function:
    return fn.Function.from_json(json.loads(line))


def _alone(line: str) -> Alone:
    record = json.loads(line)
    return Alone(**{**record, "function": fn.Function.from_json(record["function"])})


def _line(function: fn.Function) -> str:
    return json.dumps(asdict(function))


def in_processes(work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """work(task) of every task, in order; two tasks a process are held at most, so memory stays bounded."""
    if jobs <= 1:
        yield from map(work, tasks)
        return
    # the tokenizer's threads do not survive a fork, and say so on stderr unless told
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    pool = ProcessPoolExecutor(jobs, initializer=_ignore_interrupts)
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) >= 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole process group; only the parent acts on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def default_roots(exports: Path | None, machine: bool = True) -> list[Root]:
    """Exported repositories and, with `machine`, the standard library and the packages of the running interpreter."""
    roots = exported(exports) if exports is not None else []
    if machine:
        roots += [*standard_library(), *installed(Path(sysconfig.get_paths()["purelib"]))]
    return roots
