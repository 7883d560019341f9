"""What GitHub Actions is told of a run."""

import io
import subprocess
from pathlib import Path

import pytest

from agent.diffs import changes, make_diff
from agent.events import Finished
from agent.faces import github

BEFORE = "a = 1\nb = 2\n\n\n\n\n\n\n\n\nc = 3\nd = 4\n-- e\n"
AFTER = "a = 1\nb = 5\n\n\n\n\n\n\n\n\nc = 3\nnew = 0\nd = 4\n"


@pytest.fixture
def diff(tmp_path: Path) -> str:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return make_diff(tmp_path, {"src/a.py": (BEFORE.encode(), AFTER.encode()),
                                "b.py": (b"x = '100%'", b"x = '1'\n")})  # fmt: skip


def report(finished: Finished, out: io.StringIO, summary: Path | None) -> None:
    github.report(finished, changes(finished.diff), out, summary)


def test_every_change_has_its_line_before_the_patch(diff: str) -> None:
    assert list(changes(diff)) == [
        ("b.py", 1, "x = '100%'", "x = '1'\n"),
        ("src/a.py", 2, "b = 2\n", "b = 5\n"),
        ("src/a.py", 12, "", "new = 0\n"),
        ("src/a.py", 13, "-- e\n", ""),
    ]


def test_annotations_and_summary_of_a_fix(diff: str, tmp_path: Path) -> None:
    out, summary = io.StringIO(), tmp_path / "summary.md"
    summary.write_text("before\n")
    report(Finished("fixed", 0, "2 tests turned green", diff=diff), out, summary)
    lines = out.getvalue().splitlines()
    assert lines[0] == "::warning file=b.py,line=1,title=trm-agent::x = '100%25' -> x = '1'"
    assert len(lines) == 4
    text = summary.read_text()
    assert text.startswith("before\n### trm-agent\n\n2 tests turned green\n\n```diff\n")
    assert diff in text


def test_without_a_patch_the_reason_and_the_suspects(tmp_path: Path) -> None:
    out, summary = io.StringIO(), tmp_path / "summary.md"
    lost = Finished("not_fixed", 1, "no edit found\nin 60 s", suspects=("a.py:2: return 1",))
    report(lost, out, summary)
    assert out.getvalue() == "::error title=trm-agent::no edit found%0Ain 60 s\n"
    assert "- `a.py:2: return 1`" in summary.read_text()
    out = io.StringIO()
    report(Finished("green", 0, "all 4 tests pass"), out, None)
    assert out.getvalue() == "::notice title=trm-agent::all 4 tests pass\n"
