"""Candidates are random programs: what they try to destroy is still there afterwards."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.guards import guards_status
from tools.runner import Limits, Outcome, Runner, Verdict

TESTS = "test_victim.py::test_act"
MODULE = "import os, pathlib, shutil, signal, socket, subprocess, sys, time\n\n\ndef act():\n    return 1\n"
TEST = "import victim\n\n\ndef test_act():\n    assert victim.act() == 1\n"


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything below `folder`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (mode, digest)
    return found


@pytest.fixture(scope="module", autouse=True)
def lean():
    """No plugins in the projects' pytest, and a home that may be attacked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        yield patch


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, lean: pytest.MonkeyPatch) -> Path:
    """A home, a neighbour folder and a project, to be found unchanged."""
    tmp_path = tmp_path_factory.mktemp("world")
    repo, home = tmp_path / "work" / "repo", tmp_path / "home"
    repo.mkdir(parents=True)
    home.mkdir()
    (repo / "victim.py").write_text(MODULE)
    (repo / "test_victim.py").write_text(TEST)
    (home / ".bashrc").write_text("export A=1\n")
    (tmp_path / "work" / "program").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "work" / "program").chmod(0o755)
    lean.setenv("HOME", str(home))
    return tmp_path


@pytest.fixture(scope="module")
def runners(world: Path) -> Iterator[Callable[..., Runner]]:
    """Runners of the project, one for each set of guards that is left out and each limit in seconds."""
    with contextlib.ExitStack() as stack:
        made: dict[tuple[tuple[str, ...], float], Runner] = {}

        def get(guards_off: tuple[str, ...] = (), seconds: float = 20.0) -> Runner:
            key = guards_off, seconds
            if key not in made:
                limits = Limits(memory_bytes=512 << 20, setup_seconds=seconds)
                repo = world / "work" / "repo"
                runner = Runner(repo, sys.executable, limits=limits, guards_off=guards_off)
                made[key] = stack.enter_context(runner)
                assert runner.baseline().green
            return made[key]

        yield get


@pytest.fixture
def judge(world: Path, runners: Callable[..., Runner]) -> Callable[..., Verdict]:
    """The verdict on a candidate that does `act` in the code under test."""

    def judge(act: str, guards_off: tuple[str, ...] = (), seconds: float = 20.0) -> Verdict:
        body = "import os, pathlib, shutil, signal, socket, subprocess, sys, time\n\n\n"
        body += "def act():\n    " + act.format(work=str(world / "work")) + "\n    return 1\n"
        return runners(guards_off, seconds).validate({"victim.py": body.encode()}, [TESTS])

    return judge


ACTS = {
    "unlink": "os.unlink({work!r} + '/program')",
    "rmtree of the parent": "shutil.rmtree(pathlib.Path(__file__).parent.parent)",
    "rmtree of the project": "shutil.rmtree(pathlib.Path(__file__).parent, ignore_errors=True)",
    "write to home": "open(os.path.expanduser('~/.bashrc'), 'w').write('x')",
    "append by a shell": "subprocess.check_call('echo x >> ~/.bashrc', shell=True)",
    "rename": "os.rename({work!r} + '/program', {work!r} + '/gone')",
    "truncate": "os.truncate({work!r} + '/program', 0)",
    "a new file": "open({work!r} + '/new', 'w').close()",
    "a link": "os.symlink('/etc/passwd', {work!r} + '/link')",
    "a hard link": "os.link({work!r} + '/program', {work!r} + '/link')",
    "own source": "open(__file__, 'w').write('')",
}
# Landlock does not see these; only the private read-only mounts refuse them.
METADATA = {
    "chmod": "os.chmod({work!r} + '/program', 0)",
    "utime": "os.utime({work!r} + '/program', (1, 1))",
}


@pytest.fixture(scope="module")
def active() -> dict[str, bool]:
    return {guard.name: guard.active for guard in guards_status()}


@functools.cache
def without(guards_off: tuple[str, ...]) -> dict[str, bool]:
    return {guard.name: guard.active for guard in guards_status(guards_off=guards_off)}


def test_guards_are_tried_and_hold_here(active: dict[str, bool]) -> None:
    if not Path("/proc/self/ns/user").exists():
        pytest.skip("not Linux")
    assert active["writes outside"] and active["deletes outside"]
    assert active["memory"] and active["file size"] and active["CPU time"] and active["open files"]


def test_without_guards_the_probe_says_so() -> None:
    found = {g.name: g for g in guards_status(guards_off=["namespaces", "landlock"])}
    assert not found["writes outside"].active
    assert "it was allowed" in found["writes outside"].how_known
    assert found["CPU time"].active


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_files_outside_are_refused(act: str, world: Path, judge) -> None:
    before = snapshot(world)
    verdict = judge(act)
    assert snapshot(world) == before
    assert not verdict.passed or "ignore_errors" in act


@pytest.mark.slow
@pytest.mark.parametrize("guards_off", [("namespaces",), ("landlock",)])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_either_barrier_suffices(act: str, guards_off: tuple[str, ...], world: Path, judge) -> None:
    left = without(guards_off)
    if not (left["writes outside"] and left["deletes outside"]):
        pytest.skip(f"this kernel has no guard left without {guards_off[0]}")
    before = snapshot(world)
    judge(act, guards_off)
    assert snapshot(world) == before


@pytest.mark.parametrize("act", METADATA.values(), ids=METADATA.keys())
def test_metadata_outside_is_refused(act: str, world: Path, judge, active: dict[str, bool]) -> None:
    if not active["chmod outside"]:
        pytest.skip("needs private read-only mounts")
    before = snapshot(world)
    assert not judge(act).passed
    assert snapshot(world) == before


@pytest.mark.parametrize("how", ["-1", "host", "0"])
def test_signals_stay_inside(how: str, world: Path, judge, active: dict[str, bool]) -> None:
    # The guard was just proven by a probe that signals one process of ours only.
    if not active["signals"]:
        pytest.skip("signals are not confined here")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        target = str(os.getpid()) if how == "host" else how
        act = f"os.kill({target}, 9) if {how != '0'} else os.killpg(0, 9)"
        verdict = judge(act)
        assert bystander.poll() is None
        # It may find nobody to kill (-1), be refused (host), or end itself (its group).
        if how == "0":
            assert verdict.outcome is Outcome.CRASHED
        elif how == "host":
            assert not verdict.passed
    finally:
        bystander.kill()
        bystander.wait()


def test_mounts_cannot_be_undone(world: Path, judge, active: dict[str, bool]) -> None:
    if not active["chmod outside"]:
        pytest.skip("needs private read-only mounts")
    before = snapshot(world)
    act = (
        "import ctypes; c = ctypes.CDLL(None); "
        "assert c.umount2(b'/proc', 2) == -1; "
        "assert c.mount(None, b'/', None, 0x20 | 0x1000, None) == -1; "
        "assert c.unshare(0x20000) == -1; "
        "open({work!r} + '/new', 'w')"
    )
    verdict = judge(act)
    assert verdict.outcome is Outcome.BLOCKED, verdict.message
    assert snapshot(world) == before


def test_no_network(world: Path, judge, active: dict[str, bool]) -> None:
    if not active["network"]:
        pytest.skip("no network guard here")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        verdict = judge(f"socket.create_connection(('127.0.0.1', {port}), 2)")
        assert not verdict.passed
        with pytest.raises(TimeoutError):
            listener.accept()


def test_the_network_can_be_allowed(world: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        body = f"import socket\n\n\ndef act():\n    socket.create_connection(('127.0.0.1', {port}), 2)\n    return 1\n"
        with Runner(world / "work" / "repo", sys.executable, allow_network=True) as runner:
            assert runner.baseline().green
            verdict = runner.validate({"victim.py": body.encode()}, [TESTS])
            assert verdict.passed, verdict.message
        listener.settimeout(2)
        listener.accept()[0].close()


def test_own_loopback_works(world: Path, judge) -> None:
    act = (
        "s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(s.getsockname(), 2).close()"
    )
    verdict = judge(act)
    assert verdict.passed, verdict.message


# None: filling something up may take longer than the test may, on a busy machine.
HUNGRY: dict[str, tuple[str, Outcome | None]] = {
    "loop": ("while True: pass", Outcome.TIMEOUT),
    "loop in C": ("sum(range(10**12))", Outcome.TIMEOUT),
    "sleep": ("time.sleep(1e6)", Outcome.TIMEOUT),
    "ignores signals": (
        "[signal.signal(n, signal.SIG_IGN) for n in (2, 15, 1)]; time.sleep(1e6)",
        Outcome.TIMEOUT,
    ),
    "memory": ("bytearray(10**11)", Outcome.FAILED),
    "memory by pieces": ("x = [bytearray(10**8) for _ in range(10**6)]", None),
    "disk": (
        "import tempfile; f = tempfile.TemporaryFile(); "
        "[f.write(b'x' * 10**7) for _ in range(10**6)]",
        None,
    ),
    "open files": ("[open('/dev/null') for _ in range(2000)]", Outcome.FAILED),
    "one large file": ("open(os.environ['TMPDIR'] + '/f', 'wb').truncate(1 << 30)", Outcome.FAILED),
    "output": ("[print('x' * 10**7) for _ in range(10**6)]", None),
    "recursion": ("f = lambda: f(); f()", Outcome.FAILED),
    "C stack": ("import ctypes; ctypes.string_at(0)", Outcome.CRASHED),
    "exit": ("os._exit(0)", Outcome.CRASHED),
}


@pytest.mark.parametrize(("act", "outcome"), HUNGRY.values(), ids=HUNGRY.keys())
def test_resources_are_bounded(act: str, outcome: Outcome | None, judge) -> None:
    # what never ends need not be waited for long
    verdict = judge(act, seconds=3.0 if outcome is Outcome.TIMEOUT else 20.0)
    assert not verdict.passed
    assert outcome in (None, verdict.outcome), verdict


def test_fork_bomb_is_bounded(world: Path, judge, active: dict[str, bool]) -> None:
    if not active["processes"]:
        pytest.skip("the number of processes is not bounded here")
    assert judge("pass", seconds=3.0).passed  # the worker runs now
    before = inside(world)
    assert not judge("while True: os.fork()", seconds=3.0).passed
    assert inside(world) == before


def inside(world: Path) -> set[str]:
    """Processes whose working directory is below `world`."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                folder = os.readlink(entry / "cwd")
            except OSError:
                continue
            if folder.startswith(str(world)):
                found.add(entry.name)
    return found


def test_what_calls_setsid_is_ended(world: Path, judge) -> None:
    act = "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(1e6))"
    assert judge("pass").passed  # the worker runs now
    before = inside(world)
    assert judge(act).passed
    assert inside(world) == before


def test_nothing_is_left_in_the_temporary_folder(world: Path, monkeypatch) -> None:
    place = world / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    act = b"os.makedirs(os.environ['TMPDIR'] + '/a/b'); os.chmod(os.environ['TMPDIR'], 0)"
    data = b"import os\n\n\ndef act():\n    " + act + b"\n    return 1\n"
    with Runner(world / "work" / "repo", sys.executable) as runner:
        runner.baseline()
        assert runner.validate({"victim.py": data}, [TESTS]).passed
        assert list(place.iterdir())
    assert list(place.iterdir()) == []
    place.rmdir()


def test_scratch_places_can_be_written(world: Path, judge) -> None:
    cache = world / "cache"
    cache.mkdir()
    repo = world / "work" / "repo"
    data = f"def act():\n    open({str(cache / 'f')!r}, 'w').close()\n    return 1\n".encode()
    with Runner(repo, sys.executable, writable=[cache]) as runner:
        run = runner.baseline()
        assert runner.validate({"victim.py": data}, [run.results[0].nodeid]).passed
    assert (cache / "f").exists()


def test_copies_are_used_without_mounts(world: Path, judge) -> None:
    repo = world / "work" / "repo"
    (repo / "test_victim.py").write_text(
        "import subprocess, sys\n\n\ndef test_act():\n"
        "    code = 'import victim, sys; sys.exit(victim.act())'\n"
        "    assert subprocess.call([sys.executable, '-c', code]) == 1\n"
    )
    before = snapshot(world)
    with Runner(repo, sys.executable, guards_off=("namespaces",)) as runner:
        run = runner.baseline()
        assert run.green
        tests = [run.results[0].nodeid]
        wrong = runner.validate({"victim.py": MODULE.replace("1", "2").encode()}, tests)
        assert (wrong.outcome, wrong.method) == (Outcome.FAILED, "process")
        assert runner.validate({"victim.py": (MODULE + "\n").encode()}, tests).passed
        assert runner.confirm({}).green
    assert snapshot(world) == before
