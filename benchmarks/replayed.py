"""Problems of `trm-agent eval FOLDER`: faults that people repaired, in functions that can be called alone.

    python benchmarks/replayed.py --mined MINED --mirror MIRROR --out FOLDER [--list benchmarks/replayed.txt]

Each is a file with the function as it was before the fix, below what it needs of its package at that commit, and tests of calls
that tell it from the version after the fix, or do not: a few are shown and all others hidden. --list names the fixes
(origin@commit); without it, all of which nothing is trained on (`trm.data.mined`) are tried.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from agent.evalsets import write_files
from tools.calls import Caller
from tools.source.leaves import Module
from trm.data.executed import Test
from trm.data.fixes import Fix
from trm.data.mined import repairs, reserved
from trm.data.replay import Apart, told_apart
from trm.data.sources import Source, SourceError, git_directory, load_sources

_SHOWN = 3  # tests that fail, and as many that pass, at most; all others are hidden


def program(fix: Fix, apart: Apart, source: str) -> str:
    """The file with `source` as the function."""
    alone = apart.tested.alone
    head = "from __future__ import annotations\n\nimport typing\n\n" + alone.helpers + "\n\n"
    if not alone.of_class:
        return head + source.rstrip("\n") + "\n"
    module = Module(head.encode("utf-8"))
    (unit,) = (u for u in module.units if u.name == f"{alone.of_class}.{fix.name}")
    start, end = module.line_start(unit.first_line), module.leaves[unit.end - 1].end
    depth = module.source[start:].decode("utf-8")
    indent = depth[: len(depth) - len(depth.lstrip())]
    text = textwrap.indent(source.rstrip("\n"), indent)
    return (module.source[:start] + text.encode("utf-8") + module.source[end:]).decode("utf-8")


def tests(apart: Apart, chosen: Sequence[Test], name: str, stem: str) -> str:
    """A file of tests, one a call."""
    alone = apart.tested.alone
    lines = [f"from {stem} import *", f"from {stem} import {alone.of_class or name}", ""]
    for number, test in enumerate(chosen, 1):
        lines += ["", f"def test_{name.strip('_')}_{number}():"]
        if alone.of_class:
            lines.append(f"    given = {test.arguments[0]}")
            call = f"given.{name}({', '.join(test.arguments[1:])})"
        elif test.attribute:
            lines.append(f"    given = {test.arguments[0]}")
            call = f"{name}({', '.join(['given', *test.arguments[1:]])})"
        else:
            call = f"{name}({', '.join(test.arguments)})"
        call = f"list({call})" if apart.tested.listed else call
        if test.attribute:
            lines += [f"    {call}", f"    assert given.{test.attribute} == {test.expected}"]
        else:
            lines.append(f"    assert {call} == {test.expected}")
        lines.append("")
    return "\n".join(lines)


def write(fix: Fix, apart: Apart, folder: Path, rng: random.Random) -> bool:
    """One task; False where there are too few tests to hide one. Raises ValueError where a method's class has no such method."""
    if len(apart.failing) < 2:
        return False
    kinds = [rng.sample(kind, len(kind)) for kind in (apart.failing, apart.passing)]
    shown = [test for kind in kinds for test in kind[: min(_SHOWN, (len(kind) + 1) // 2)]]
    hidden = [test for kind in kinds for test in kind if test not in shown]
    stem = PurePosixPath(fix.origin.split(":")[1]).stem.strip("_")
    stem = f"{stem}_" if stem in sys.stdlib_module_names or stem == "conftest" else stem
    names = {"repo": fix.before, "reference": fix.after}
    for part, source in names.items():
        write_files(folder / part, {f"{stem}.py": program(fix, apart, source).encode("utf-8")})
    for part, chosen in (("repo/test_", shown), ("hidden/test_hidden_", hidden)):
        text = tests(apart, chosen, fix.name, stem)
        write_files(folder, {f"{part}{stem}.py": text.encode("utf-8")})
    (folder / "meta.json").write_text(json.dumps({"bug_type": fix.kind}) + "\n", encoding="utf-8")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the problems; prints what became of the fixes, and on stderr the list of those that became problems."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mined", type=Path, required=True, help="folder of data mine")
    parser.add_argument("--mirror", type=Path, required=True, help="folder of the histories")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--list", type=Path, help="origin@commit of the fixes, one a line")
    options = parser.parse_args(arguments)
    wanted = set(options.list.read_text().split()) if options.list else None
    sources: dict[str, Source] = {source.name: source for source in load_sources()}
    told: Counter[str] = Counter()
    with Caller() as caller:
        for fix in sorted(repairs(options.mined, all_of_them=True), key=lambda fix: fix.origin):
            name = f"{fix.origin}@{fix.commit}"
            if (
                name not in wanted
                if wanted is not None
                else not (fix.held_out or reserved(fix.commit))
            ):
                continue
            rng = random.Random(name)
            try:
                directory = git_directory(sources[fix.package], options.mirror)
            except SourceError as error:
                print(error, file=sys.stderr)
                return 1
            apart = told_apart(fix, directory, caller, rng)
            if isinstance(apart, str):
                told[apart] += 1
                continue
            task = f"{fix.package.rpartition('/')[2]}-{fix.name.strip('_')}-{fix.commit[:8]}"
            try:
                made = write(fix, apart, options.out / task, rng)
            except ValueError:
                made = False
            told["a problem" if made else "too few calls tell the versions apart"] += 1
            if made:
                print(name, file=sys.stderr, flush=True)
    for reason, number in told.most_common():
        print(f"{number:6} {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
