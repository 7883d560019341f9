"""Problems of `trm-agent eval packages`: faults in packages that were never trained on.

    python benchmarks/packages.py --out problems.jsonl --number 15 CLONE=PYTHON ...

CLONE is a folder "owner+name" with the project, PYTHON the interpreter in which its tests run (`data mutate --install` makes
both). Each fault is one edit of an operator in a function that at least two tests cover; half of these are hidden.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.mutate import Task, project_of
from agent.problems import problems


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
    options = parser.parse_args(arguments)
    with options.out.open("w", encoding="utf-8") as out:
        for given in options.projects:
            path, _, python = given.partition("=")
            task = Task(
                path, options.out.parent, python or None, (), 1, options.seconds, options.seed
            )
            found = 0
            for problem in problems(
                project_of(task), options.number, seconds=options.seconds, seed=options.seed
            ):
                out.write(problem.to_json() + "\n")
                found += 1
            print(f"{task.package}: {found} problems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
