"""The SARIF log: its shape, and that its fix, applied as the standard says, is the patch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fastjsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.diffs import changes, make_diff
from agent.events import Finished
from agent.faces.sarif import log

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ARTIFACT = {
    "type": "object",
    "properties": {"uri": {"type": "string", "pattern": "^[^:\\s]+$"}},
    "required": ["uri"],
}
LINE = {"type": "integer", "minimum": 1}
REGION = {
    "type": "object",
    "properties": dict.fromkeys(("startLine", "startColumn", "endLine", "endColumn"), LINE),
    "required": ["startLine"],
    "additionalProperties": False,
}
LOCATION = {
    "type": "object",
    "properties": {
        "physicalLocation": {
            "type": "object",
            "properties": {"artifactLocation": ARTIFACT, "region": REGION},
            "required": ["artifactLocation", "region"],
            "additionalProperties": False,
        }
    },
    "required": ["physicalLocation"],
}
REPLACEMENT = {
    "type": "object",
    "properties": {"deletedRegion": REGION, "insertedContent": TEXT},
    "required": ["deletedRegion"],
    "additionalProperties": False,
}
FIX = {
    "type": "object",
    "properties": {
        "description": TEXT,
        "artifactChanges": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "artifactLocation": ARTIFACT,
                    "replacements": {"type": "array", "minItems": 1, "items": REPLACEMENT},
                },
                "required": ["artifactLocation", "replacements"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["artifactChanges"],
    "additionalProperties": False,
}
RESULT = {
    "type": "object",
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": TEXT,
        "locations": {"type": "array", "items": LOCATION},
        "relatedLocations": {"type": "array", "items": LOCATION},
        "fixes": {"type": "array", "items": FIX},
    },
    "required": ["message"],
    "additionalProperties": False,
}
# What the standard's own schema (2.1.0, section 3) says of the parts that we write.
VALID = fastjsonschema.compile(
    {
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "version": {"const": "2.1.0"},
            "runs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "tool": {
                            "type": "object",
                            "properties": {
                                "driver": {"type": "object", "required": ["name", "rules"]}
                            },
                            "required": ["driver"],
                        },
                        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                        "invocations": {
                            "type": "array",
                            "items": {"type": "object", "required": ["executionSuccessful"]},
                        },
                        "results": {"type": "array", "items": RESULT},
                    },
                    "required": ["tool"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["version", "runs"],
        "additionalProperties": False,
    }
)


def run_of(finished: Finished) -> dict[str, Any]:
    data = json.loads(json.dumps(log(finished, changes(finished.diff), "1.2")))
    VALID(data)
    [run] = data["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    return run


def applied(text: str, replacements: list[dict[str, Any]]) -> str:
    """The text after the replacements, as section 3.57 has it: each against the text as it was."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for one in reversed(replacements):
        region = one["deletedRegion"]
        begin = starts[region["startLine"] - 1] + region["startColumn"] - 1
        end = starts[region["endLine"] - 1] + region["endColumn"] - 1
        text = text[:begin] + one.get("insertedContent", {"text": ""})["text"] + text[end:]
    return text


LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\r\n", "é𝄞 = 1\n", "\n", "last"]), max_size=12)


@settings(max_examples=200, deadline=None)
@given(LINES, LINES)
def test_the_fix_applied_is_the_patch(tmp_path_factory, old: list[str], new: list[str]) -> None:
    def whole(lines: list[str]) -> str:  # only the last line may lack its end
        return "".join(x if x != "last" or k == len(lines) - 1 else "" for k, x in enumerate(lines))

    before, after = whole(old), whole(new)
    diff = make_diff(Path("/nowhere"), {"pkg/ä b.py": (before.encode(), after.encode())})
    if not diff:
        return
    [result] = run_of(Finished("fixed", 0, "done", diff=diff))["results"]
    [change] = result["fixes"][0]["artifactChanges"]
    assert unquote(change["artifactLocation"]["uri"]) == "pkg/ä b.py"
    assert applied(before, change["replacements"]) == after


def test_a_patch_of_several_files_is_one_fix() -> None:
    files = {"a.py": (b"x = 1\n", b"x = 2\n"), "b.py": (b"y = 1\n\n\nz = 1\n", b"y = 2\n\n\nz = 2\n")}  # fmt: skip
    finished = Finished("fixed", 0, "2 tests turned green", diff=make_diff(Path("/nowhere"), files))
    run = run_of(finished)
    [result] = run["results"]
    [fix] = result["fixes"]
    assert [len(change["replacements"]) for change in fix["artifactChanges"]] == [1, 2]
    assert len(result["relatedLocations"]) == 2
    assert result["message"]["text"] == "2 tests turned green"
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 0}]


def test_without_a_patch_the_likely_places_are_notes() -> None:
    lost = Finished(
        "not_fixed", 1, "no fix found", suspects=("a.py:2: return 1", "b.py:30: f(x: 1)")
    )
    run = run_of(lost)
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [(p["artifactLocation"]["uri"], p["region"]["startLine"]) for p in places] == [
        ("a.py", 2),
        ("b.py", 30),
    ]
    assert {result["level"] for result in run["results"]} == {"note"}


@pytest.mark.parametrize("status", ["error", "interrupted"])
def test_a_run_that_did_not_end_well_is_no_success(status: Any) -> None:
    run = run_of(Finished(status, 3, "no tests", "write one"))
    [invocation] = run["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 3)
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "no tests write one"
    assert run["results"] == []


def test_nothing_red_is_an_empty_list() -> None:
    assert run_of(Finished("green", 0, "all pass"))["results"] == []
