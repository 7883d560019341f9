"""The generated page of commands is what the program says."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
