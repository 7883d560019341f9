"""The generated pages are what the program says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import fastjsonschema
import pytest

from agent.events import dumps, loads

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "events.schema.json"
RECORDED = [ROOT / "docs/assets/run.jsonl", *sorted((ROOT / "tests/fixtures/events").glob("*.jsonl"))]  # fmt: skip


@pytest.mark.parametrize("stale", [False, True])
def test_the_page_of_commands_is_up_to_date_and_a_stale_one_is_noticed(
    tmp_path: Path, stale: bool
) -> None:
    script, page = ROOT / "docs" / "make_cli.py", ROOT / "docs" / "cli.md"
    if stale:
        program = (
            "import sys; sys.argv = ['make_cli', '--check']\n"
            f"sys.path.insert(0, {str(ROOT / 'docs')!r})\nimport make_cli, pathlib\n"
            f"make_cli.PAGE = pathlib.Path({str(tmp_path / 'cli.md')!r})\nsys.exit(make_cli.main())"
        )
        (tmp_path / "cli.md").write_text(page.read_text("utf-8").replace("--patch", "--path", 1))
        command = [sys.executable, "-c", program]
    else:
        command = [sys.executable, str(script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == int(stale), done.stdout + done.stderr
    assert ("+| `--patch FILE`" in done.stdout) is stale


@pytest.fixture(scope="module")
def validate():
    return fastjsonschema.compile(json.loads(SCHEMA.read_text("utf-8")))


def test_the_schema_of_the_events_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make_schema.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_lines_follow_the_schema(path: Path, validate) -> None:
    """As `show --json` prints them: what older versions did not record has its default."""
    lines = [json.loads(dumps(loads(line))) for line in path.read_text("utf-8").splitlines()]
    for line in lines:
        validate(line)
    assert [line["event"] for line in lines].count("Finished") == 1
    assert lines[-1]["event"] == "Finished"


@pytest.mark.parametrize(
    "change",
    [{"event": "Nothing"}, {"exit_code": "0"}, {"status": "good"}, {"suspects": [1]}, {"tried": None}],
    ids=str,
)  # fmt: skip
def test_the_schema_refuses_what_is_no_event(change: dict, validate) -> None:
    line = json.loads(RECORDED[0].read_text("utf-8").splitlines()[-1])
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        validate(line | change)
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        validate({key: value for key, value in line.items() if key != "status"})


def test_the_pictures_are_those_of_the_recorded_run() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make_pictures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_holds_against_complaints_is_really_tested() -> None:
    page = (ROOT / "docs" / "complaints.md").read_text("utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| **")]
    assert len(rows) == 33
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        if "fixtures" not in path.parts
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    for row in rows:
        assert re.search(r"\| (works|partly|no)\b", row), row
        missing = set(re.findall(r"`(test_\w+)`", row)) - there
        assert not missing, missing


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "fonts.googleapis" not in page
