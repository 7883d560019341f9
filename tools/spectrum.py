"""Which test ran which line, and how suspicious that makes a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Line = tuple[str, int]


@dataclass(slots=True)
class Spectrum:
    """Executed lines per test.

    `lines`: test id -> path relative to the root -> sorted line numbers. `failed`: ids of failing
    tests. `complete`: False where a test was cut before its lines were known.
    """

    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    complete: bool = True

    def lines_of(self, test: str) -> dict[str, list[int]]:
        """Path -> sorted lines that `test` ran; empty for an unknown test."""
        return self.lines.get(test, {})

    def tests_of(self, path: str, line: int | None = None) -> list[str]:
        """Ids of the tests that ran `line` of `path` (any line of it without `line`)."""
        found = []
        for test, files in self.lines.items():
            ran = files.get(path)
            if ran and (line is None or line in ran):
                found.append(test)
        return found

    def counts(self) -> dict[Line, tuple[int, int]]:
        """(path, line) -> (failing, passing) tests that ran it."""
        table: dict[Line, tuple[int, int]] = {}
        for test, files in self.lines.items():
            bad = test in self.failed
            for path, ran in files.items():
                for line in ran:
                    failing, passing = table.get((path, line), (0, 0))
                    table[path, line] = (failing + bad, passing + (not bad))
        return table

    def ochiai(self, exclude: Iterable[str] = ()) -> dict[Line, float]:
        """Ochiai's score per line: failing / sqrt(all failing * (failing + passing)).

        Only lines that a failing test ran; paths in `exclude` (tests, conftest) are left out.
        """
        total = sum(1 for test in self.lines if test in self.failed)
        if not total:
            return {}
        hidden = set(exclude)
        return {
            place: failing / math.sqrt(total * (failing + passing))
            for place, (failing, passing) in self.counts().items()
            if failing and place[0] not in hidden
        }

    def ranked(self, exclude: Iterable[str] = ()) -> list[tuple[Line, float]]:
        """Lines by falling score, then by path and line."""
        return sorted(self.ochiai(exclude).items(), key=lambda entry: (-entry[1], entry[0]))

    def to_json(self) -> dict[str, object]:
        """A JSON-able form; `from_json` takes it back."""
        return {
            "lines": self.lines,
            "failed": sorted(self.failed),
            "complete": self.complete,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Spectrum:
        lines: dict[str, dict[str, list[int]]] = data["lines"]  # type: ignore[assignment]
        failed: list[str] = data["failed"]  # type: ignore[assignment]
        return cls(dict(lines), set(failed), bool(data["complete"]))
