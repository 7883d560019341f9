"""Building the corpus: roots, functions, vocabulary, shards. `trm-agent data build` is a thin shell around this.

Nothing of it is committed: sources.toml names the repositories with licences and commits, the standard library and the installed
packages come from the machine, and the corpus is rebuilt from them.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import sysconfig
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from tools.source.leaves import Module, SourceError
from trm.data import functions as fn
from trm.data.corrupt import WEIGHTS, example
from trm.data.decontaminate import Blocklist
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
HELD_OUT = 40  # one package in so many is never trained on
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


def held_out(package: str) -> bool:
    """Whether the package belongs to the held-out set: a function of its name alone."""
    return sum(package.lower().encode()) % HELD_OUT == 0


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
    collected = _in_processes(_collect_root, roots, jobs)
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
        "held_out": sorted(p for p in per_package if held_out(p)),
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


def _make_shard(
    task: tuple[str, str, int, int, Sequence[str], int],
) -> tuple[str, int, int, Counter[str]]:
    corpus, name, seed, variants, lines, longest = task
    vocab = Vocab.load(Path(corpus) / "vocab.json")
    rng = random.Random(seed)
    writer = ShardWriter()
    operators: Counter[str] = Counter()
    tried = 0
    order = [line for line in lines for _ in range(variants)]
    rng.shuffle(order)
    parsed: dict[str, Module] = {}
    single = name.startswith("eval")
    for line in order:
        record = json.loads(line)
        function = fn.Function(**{**record, "names": tuple(record["names"])})
        module = parsed.get(line)
        if module is None:
            try:
                module = parsed[line] = Module(function.source.encode())
            except SourceError:
                continue
        if not module.units or module.units[0].kind != "function":
            continue
        tried += 1
        made = example(vocab, function, module, rng, WEIGHTS, longest=longest,
                       multi=0.0 if single else 0.65, no_bug=0.0 if single else 0.05)  # fmt: skip
        if made is None:
            continue
        encoded, targets, names = made
        operators.update(names)
        writer.add(encoded, targets)
    if len(writer.table):
        writer.write(Path(corpus) / name)
    return name, len(writer.table), tried, operators


def build_shards(
    corpus: Path, *, first: int, shards: int, functions_per_shard: int, variants: int, jobs: int, longest: int = 256,
    keep: bool = False,
) -> Iterator[tuple[str, int, int, Counter[str]]]:  # fmt: skip
    """Write training shards first..first+shards-1, each from a fresh slice of the functions; yields a line a shard.

    Shard names and contents depend on their number alone, so any part of the corpus can be rebuilt. A shard stands as a whole or
    not at all; with `keep` those that stand are left as they are.
    """
    everything = fn.read(corpus / "functions.jsonl.gz")
    training = [f for f in everything if not held_out(f.package)]

    def tasks() -> Iterable[tuple[str, str, int, int, Sequence[str], int]]:
        for number in range(first, first + shards):
            if keep and (corpus / f"shard-{number:05d}").is_dir():
                continue
            pass_number, place = divmod(number * functions_per_shard, max(1, len(training)))
            order = list(range(len(training)))
            random.Random(pass_number).shuffle(order)
            chosen = order[place : place + functions_per_shard]
            yield (str(corpus), f"shard-{number:05d}", number, variants,
                   [_line(training[i]) for i in chosen], longest)  # fmt: skip

    yield from _in_processes(_make_shard, tasks(), jobs)


def build_eval(corpus: Path, functions: int = 3000) -> tuple[str, int, int, Counter[str]]:
    """The held-out shard `eval-00000`: one bug a function, packages never trained on."""
    chosen = [f for f in fn.read(corpus / "functions.jsonl.gz") if held_out(f.package)][:functions]
    return _make_shard((str(corpus), "eval-00000", 1, 1, [_line(f) for f in chosen], 256))


def _line(function: fn.Function) -> str:
    return json.dumps(asdict(function))


def _in_processes(work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
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
