"""Problems of `trm-agent eval packages`: faults in packages that were never trained on.

    python benchmarks/packages.py --out problems.jsonl --number 15 CLONE=PYTHON ...
    python benchmarks/packages.py --out fixes.jsonl --fixes mined/fixes.jsonl.gz CLONE=PYTHON ...

CLONE is a folder "owner+name" with the project, PYTHON the interpreter in which its tests run (`data mutate --install` makes
both). Each fault is one edit of an operator in a function that at least two tests cover; half of these are hidden. With --fixes
the faults are those that somebody repaired (`data mine` finds the fixes), the newest first; CLONE must have the history.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import git

from agent.evalsets import sound
from agent.problems import PackageFault, fix_problem, problems
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the problems; prints how many of each project."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("projects", nargs="+", metavar="CLONE=PYTHON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--number", type=int, default=15, help="problems a project")
    parser.add_argument("--seconds", type=float, default=300.0, help="wall time a project")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fixes", type=Path, help="fixes.jsonl.gz of data mine")
    options = parser.parse_args(arguments)
    with options.out.open("w", encoding="utf-8") as out:
        for given in options.projects:
            path, _, python = given.partition("=")
            task = Task(
                path, options.out.parent, python or None, (), 1, options.seconds, options.seed
            )
            found = 0
            made = (
                problems(
                    project_of(task), options.number, seconds=options.seconds, seed=options.seed
                )
                if options.fixes is None
                else repaired(project_of(task), options.fixes, options.out.parent / "trees")
            )
            kept = (problem for problem in map(sound, made) if problem is not None)
            for problem in islice(kept, options.number):
                out.write(problem.to_json() + "\n")
                out.flush()
                found += 1
            print(f"{task.package}: {found} problems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
