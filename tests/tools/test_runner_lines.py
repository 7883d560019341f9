"""Windows line ends are exchanged like others; files that cannot be cut into statements are imported anew."""

import sys
from pathlib import Path

import pytest

from tools.runner import Runner
from tools.verdicts import Outcome

BROKEN = "def double(n):\n    return n + 2\n"


@pytest.mark.parametrize(
    ("prefix", "end", "method"),
    [("", "\r\n", "swap"), ("\ufeff", "\n", "overlay"), ("\f", "\n", "overlay")],
)
def test_other_line_ends_are_judged_too(tmp_path: Path, prefix: str, end: str, method: str) -> None:
    root = tmp_path / "project"
    root.mkdir()
    write = lambda text: (prefix + text.replace("\n", end)).encode()  # noqa: E731
    (root / "twice.py").write_bytes(write(BROKEN))
    (root / "test_twice.py").write_text(
        "from twice import double\n\n\ndef test_double():\n    assert double(3) == 6\n"
    )
    with Runner(root, sys.executable) as runner:
        failing = runner.baseline().failing
        assert failing == ["test_twice.py::test_double"]
        right = runner.validate({"twice.py": write(BROKEN.replace("n + 2", "n * 2"))}, failing)
        assert (right.outcome, right.method) == (Outcome.PASSED, method)
        wrong = runner.validate({"twice.py": write(BROKEN.replace("n + 2", "n - 2"))}, failing)
        assert wrong.outcome is Outcome.FAILED
