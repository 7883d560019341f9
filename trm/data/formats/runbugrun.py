"""RunBugRun as published: an SQLite database of bugs, with tests a problem. Its rows look like those of the older JSON lines."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm.data.formats.fields import Damaged, FormatError

_WANTED = ("id", "problem_id", "language", "buggy_code", "fixed_code")


def rows_of_database(file: Path) -> Iterator[dict[str, Any] | Damaged]:
    """A row a bug, in the order of problems, with its `tests` as {"input": ..., "output": ...}.

    Raises FormatError if the tables are others.
    """
    uri = f"{file.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        base = sqlite3.connect(uri, uri=True)
    except sqlite3.Error as error:
        raise FormatError(f"{file}: {error}") from None
    try:
        base.row_factory = sqlite3.Row
        columns = {row["name"] for row in base.execute("PRAGMA table_info(bugs)")}
        if not {"problem_id", "buggy_code", "fixed_code"} <= columns:
            raise FormatError(f"{file}: an SQLite database, but not RunBugRun's (no table of bugs)")
        names = ", ".join(name for name in (*_WANTED, "split") if name in columns)
        problem, tests = None, []
        for row in base.execute(f"SELECT {names} FROM bugs ORDER BY problem_id"):
            bug = dict(row)
            if bug["problem_id"] != problem:
                problem = bug["problem_id"]
                found = base.execute(
                    "SELECT input, output FROM tests WHERE problem_id = ?", (problem,)
                )
                tests = [dict(each) for each in found]
            yield {**bug, "tests": tests}
    except sqlite3.Error as error:
        yield Damaged(f"the database is broken here: {error}")
    finally:
        base.close()
