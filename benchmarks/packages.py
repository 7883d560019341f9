"""Problems of `trm-agent eval packages`: faults in packages that were never trained on.

    python benchmarks/packages.py --out problems.jsonl --number 15 CLONE=PYTHON ...
    python benchmarks/packages.py --out fixes.jsonl --fixes mined/fixes.jsonl.gz CLONE=PYTHON ...
    python benchmarks/packages.py --out by_hand.jsonl --by-hand bugs.jsonl

CLONE is a folder "owner+name" with the project, PYTHON the interpreter in which its tests run (`data mutate --install` makes
both). Each fault is one edit of an operator in a function that at least two tests cover; half of these are hidden. With --fixes
the faults are those that somebody repaired (`data mine` finds the fixes), the newest first; CLONE must have the history.
With --by-hand they are those of the given file, a JSON object a line: task, root (the right project), python, path (of a file
below root), source (its faulty text) and bug_type.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import git

from agent.evalsets import sound
from agent.problems import PackageFault, fault_problem, fix_problem, problems
from agent.projects import Project, Task, project_of
from tools.verdicts import RunnerError
from trm.data.fixes import read


def repaired(project: Project, fixes: Path, trees: Path) -> Iterator[PackageFault]:
    """Problems of the project's fixes of a single function in commits that touch tests, the newest first."""
    repository = git.Repo(project.root)
    age = {commit.hexsha: number for number, commit in enumerate(repository.iter_commits())}
    chosen = [
        fix
        for fix in read(fixes)
        if fix.package == project.package
        and fix.functions == 1
        and fix.touches_tests
        and fix.commit in age
    ]
    for fix in sorted(chosen, key=lambda fix: age[fix.commit]):
        try:
            problem = fix_problem(fix, repository, trees, project.python)
        except RunnerError as error:
            print(f"{fix.origin} {fix.commit[:8]}: {error}", file=sys.stderr)
            continue
        if problem is not None:
            yield problem


def by_hand(bugs: Path) -> Iterator[PackageFault]:
    """Problems of bugs that somebody wrote down; those that no test shows are named."""
    for line in bugs.read_text("utf-8").splitlines():
        bug = json.loads(line)
        before = bug["source"].encode("utf-8", "surrogateescape")
        place = bug["task"], Path(bug["root"]), bug["python"], bug["path"]
        try:
            problem = fault_problem(*place, before, bug["bug_type"], random.Random(bug["task"]))
        except RunnerError as error:
            print(f"{bug['task']}: {error}", file=sys.stderr)
            continue
        if problem is None:
            print(f"{bug['task']}: no test shows it, or only one judges it", file=sys.stderr)
        else:
            yield problem


def _write(made: Iterator[PackageFault], most: int | None, out: TextIO) -> int:
    """How many problems were written: those that are sound in a copy of their project."""
    kept = (problem for problem in map(sound, made) if problem is not None)
    written = 0
    for problem in islice(kept, most):
        out.write(problem.to_json() + "\n")
        out.flush()
        written += 1
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the problems; prints how many of each project."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("projects", nargs="*", metavar="CLONE=PYTHON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--number", type=int, default=15, help="problems a project")
    parser.add_argument("--seconds", type=float, default=300.0, help="wall time a project")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fixes", type=Path, help="fixes.jsonl.gz of data mine")
    parser.add_argument("--by-hand", type=Path, metavar="BUGS", help="JSON lines of bugs")
    options = parser.parse_args(arguments)
    with options.out.open("w", encoding="utf-8") as out:
        for given in options.projects:
            path, _, python = given.partition("=")
            task = Task(
                path, options.out.parent, python or None, (), 1, options.seconds, options.seed
            )
            made = (
                problems(
                    project_of(task), options.number, seconds=options.seconds, seed=options.seed
                )
                if options.fixes is None
                else repaired(project_of(task), options.fixes, options.out.parent / "trees")
            )
            found = _write(made, options.number, out)
            print(f"{task.package}: {found} problems")
        if options.by_hand:
            print(f"by hand: {_write(by_hand(options.by_hand), None, out)} problems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
