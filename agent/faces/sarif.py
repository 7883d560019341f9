"""A run as a SARIF 2.1.0 log: one result with the patch as its fix, or one a likely place where no patch was found.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from agent.events import Finished

Change = tuple[str, int, str, str]  # path, line, old and new text; see agent.diffs.changes

_RULES = {
    "repair": "A small edit turns failing tests green and breaks none",
    "suspect": "The fault is probably here; no edit was found that repairs it",
}


def log(finished: Finished, changes: Iterable[Change], version: str) -> dict[str, Any]:
    """The log as JSON-able data. Paths are relative to the top of the repository, columns count code points."""
    changes = list(changes)
    results = [_repair(finished, changes)] if changes else _suspects(finished)
    ended = finished.status not in ("error", "interrupted")
    invocation: dict[str, Any] = {"executionSuccessful": ended, "exitCode": finished.exit_code}
    if not ended:
        text = " ".join(filter(None, [finished.message, finished.hint]))
        invocation["toolExecutionNotifications"] = [{"level": "error", "message": {"text": text}}]
    rules = [{"id": name, "shortDescription": {"text": text}} for name, text in _RULES.items()]
    driver = {"name": "trm-agent", "version": version, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "invocations": [invocation],
                "results": results,
            }
        ],
    }


def _repair(finished: Finished, changes: list[Change]) -> dict[str, Any]:
    """The patch: all of its changes make one fix, since they belong together."""
    files = [
        {
            "artifactLocation": {"uri": quote(path, errors="surrogateescape")},
            "replacements": [_replacement(*change[1:]) for change in group],
        }
        for path, group in itertools.groupby(changes, key=lambda change: change[0])
    ]
    text = finished.message[:1].upper() + finished.message[1:]
    return {
        **_result("repair", "warning", text, *changes[0][:2]),
        "relatedLocations": [_location(path, line) for path, line, _, _ in changes[1:]],
        "fixes": [{"description": {"text": "The verified patch"}, "artifactChanges": files}],
    }


def _replacement(line: int, old: str, new: str) -> dict[str, Any]:
    """Exact to the character: from the line's start to where the old text ends."""
    ends = old.count("\n")
    last = len(old) - (old.rfind("\n") + 1)
    region = {"startLine": line, "startColumn": 1, "endLine": line + ends, "endColumn": last + 1}
    return {"deletedRegion": region, **({"insertedContent": {"text": new}} if new else {})}


def _suspects(finished: Finished) -> list[dict[str, Any]]:
    found = [re.fullmatch(r"(.+?):(\d+): (.*)", suspect) for suspect in finished.suspects]
    return [_result("suspect", "note", f"{finished.message}; probably here: {place[3]}", place[1], int(place[2]))
            for place in found if place]  # fmt: skip


def _result(rule: str, level: str, text: str, path: str, line: int) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(rule),
        "level": level,
        "message": {"text": text},
        "locations": [_location(path, line)],
    }


def _location(path: str, line: int) -> dict[str, Any]:
    place = {"uri": quote(path, errors="surrogateescape")}
    return {"physicalLocation": {"artifactLocation": place, "region": {"startLine": line}}}
