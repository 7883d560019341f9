"""Without `allow_network` what tests a project reaches nothing outside; with it, it does: in every command that runs them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.bisect import bisect
from agent.by_hand import attempt
from agent.events import Event, Finished, Started, Suspect
from agent.loop import FixRequest, fix
from agent.suite import look
from tools.guards import guards_status

CALC = "def add(a, b):\n    return a - b\n"


def fixed(root: Path, allowed: bool) -> list[Event]:
    request = FixRequest(
        root, sys.executable, rank="ochiai", jobs=1, patience=0.0, allow_network=allowed
    )
    return list(fix(request))


def looked_at(root: Path, allowed: bool) -> list[Event]:
    return list(look(root, sys.executable, allow_network=allowed))


def bisected(root: Path, allowed: bool) -> list[Event]:
    return list(bisect(root, python=sys.executable, allow_network=allowed))


def tried_by_hand(root: Path, allowed: bool) -> list[Event]:
    started = Started(1, "r", str(root), sys.executable, "why", "3", (), "trm", "")
    suspect = Suspect(0, "calc.py", "add", 1, CALC.rstrip(), (0.5, 1.0))
    text = CALC.replace("-", "+")
    return attempt(started, ("test_calc.py::test_add",), suspect, text, 1, 0.0, allowed)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture
def root(tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wrong function, and tests of which one connects to the listener. In git, where it always was wrong."""
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "calc.py").write_text(CALC)
    (tmp_path / "test_calc.py").write_text(
        "import socket\nfrom calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n\n\n"
        "def test_far():\n"
        f"    socket.create_connection({listener.getsockname()!r}, 5).close()\n    assert add(0, 0) == 0\n"
    )
    ours = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "."], [*ours, "commit", "-qm", "Wrong"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def connections(listener: socket.socket) -> int:
    """How many were made."""
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("act", [fixed, looked_at, bisected, tried_by_hand], ids=lambda f: f.__name__)  # fmt: skip
def test_the_network_is_reached_only_where_it_is_allowed(
    root: Path, listener: socket.socket, act: Callable[[Path, bool], list[Event]]
) -> None:
    events = act(root, True)
    # the first run, and for a fix its candidate and the last check as well
    assert connections(listener) >= (3 if act is fixed else 1)
    if act is fixed:
        assert isinstance(events[-1], Finished) and events[-1].status == "fixed"
    if not {guard.name: guard.active for guard in guards_status(sys.executable)}["network"]:
        pytest.skip("no network guard here")
    act(root, False)
    assert connections(listener) == 0
