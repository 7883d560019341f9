"""One run as the CLI sees it. Only the loop is scripted; files, records and git are real."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import agent.apply
from agent.apply import apply_patch, make_diff, undo
from agent.errors import TestsCannotRun, UsageError
from agent.events import Event, Finished, Note, PatchFound, Started
from agent.runs import Run, new_run
from agent.session import Session, commit_message

OLD, NEW = b"def f():\n    return 1\n", b"def f():\n    return 2\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "calc.py").write_bytes(OLD)
    return root


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "run"
    folder.mkdir()
    return Run(folder)


class Script:
    """A loop that yields given events and raises given exceptions; `closed` says that it was stopped."""

    def __init__(self, *steps: Event | BaseException) -> None:
        self.steps = steps
        self.closed = False

    def __call__(self) -> Iterator[Event]:
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.closed = True


def started(root: Path) -> Started:
    return Started(1, "theirs", str(root), "python", "why", "3.11.7", (), "trm", "")


def found(root: Path) -> PatchFound:
    diff = make_diff(root, {"calc.py": (OLD, NEW)})
    return PatchFound(diff, ("calc.py",), ("t.py::test_f",), 7, 1.5, "pytest", at=1.5)


def fixed(root: Path) -> Finished:
    return Finished("fixed", 0, "1 test turned green", diff=found(root).diff, tried=7, at=2.0)


def test_all_events_pass_and_are_recorded_under_the_runs_own_name(root: Path, run: Run) -> None:
    session = Session(Script(started(root), found(root), fixed(root)), run=run)
    seen = list(session.events())
    assert [type(event) for event in seen] == [Started, PatchFound, Finished]
    assert isinstance(seen[0], Started)
    assert seen[0].run == run.id
    assert list(run.events()) == seen
    assert (session.root, session.patch, session.finished) == (root, seen[1], seen[2])
    assert (root / "calc.py").read_bytes() == OLD


def test_apply_happens_before_the_terminal_event_and_is_told(root: Path, run: Run) -> None:
    session = Session(Script(started(root), found(root), fixed(root)), "apply", run)
    for event in session.events():
        if isinstance(event, Finished):
            assert (root / "calc.py").read_bytes() == NEW
    *_, note, last = run.events()
    assert isinstance(note, Note)
    assert note.text == "applied to calc.py; trm-agent undo takes it back"
    assert isinstance(last, Finished)
    assert last.exit_code == 0
    assert session.deed_done == "apply"


def test_a_conflict_turns_the_end_into_an_error_that_keeps_the_diff(root: Path, run: Run) -> None:
    script = Script(started(root), found(root), fixed(root))
    (root / "calc.py").write_bytes(OLD + b"# mine\n")
    session = Session(script, "apply", run)
    *_, last = session.events()
    assert isinstance(last, Finished)
    assert (last.status, last.exit_code) == ("error", 1)
    assert "calc.py changed since the run" in last.message
    assert last.diff
    assert (root / "calc.py").read_bytes() == OLD + b"# mine\n"
    assert session.deed_done == ""


def test_commit_outside_git_is_refused_before_anything_is_written(root: Path, run: Run) -> None:
    *_, last = Session(Script(started(root), found(root), fixed(root)), "commit", run).events()
    assert isinstance(last, Finished)
    assert (last.exit_code, last.hint) == (2, "use --apply instead of --commit")
    assert (root / "calc.py").read_bytes() == OLD


def test_commit_makes_one_commit_of_the_patch(root: Path, run: Run) -> None:
    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    git("config", "user.name", "Ada")
    git("config", "user.email", "ada@example.org")
    git("add", ".")
    git("commit", "-qm", "first")
    session = Session(Script(started(root), found(root), fixed(root)), "commit", run)
    *_, note, _ = session.events()
    assert isinstance(note, Note)
    assert note.text.startswith(f"committed {git('rev-parse', '--short', 'HEAD').strip()}: calc.py")
    assert git("log", "-1", "--format=%an %s") == "Ada Fix test_f\n"
    assert "- t.py::test_f" in git("log", "-1", "--format=%b")


def test_an_error_of_the_loop_is_the_terminal_event(root: Path, run: Run) -> None:
    script = Script(started(root), TestsCannotRun("no tests found", "write one"))
    *_, last = Session(script, run=run).events()
    assert last == Finished("error", 3, "no tests found", "write one")
    assert script.closed


def test_a_loop_that_ends_without_a_terminal_event_still_has_one(root: Path, run: Run) -> None:
    *_, last = Session(Script(started(root)), run=run).events()
    assert isinstance(last, Finished)
    assert last.exit_code == 130


def test_a_key_press_of_ctrl_c_ends_in_interrupted_and_never_applies(root: Path, run: Run) -> None:
    script = Script(started(root), found(root), KeyboardInterrupt())
    *_, last = Session(script, "apply", run).events()
    assert isinstance(last, Finished)
    assert (last.status, last.exit_code, last.at) == ("interrupted", 130, 1.5)
    assert last.diff  # what was found is not lost
    assert (root / "calc.py").read_bytes() == OLD


def test_stop_ends_the_loop_at_its_next_event(root: Path, run: Run) -> None:
    script = Script(started(root), Note("a"), Note("b"), Note("c"))
    session = Session(script, run=run)
    events = session.events()
    next(events)
    session.stop()
    rest = list(events)
    assert script.closed
    assert isinstance(rest[-1], Finished)
    assert rest[-1].exit_code == 130
    assert Note("c") not in rest


def test_stop_with_a_patch_in_hand_counts_as_fixed_and_applies_nothing(
    root: Path, run: Run
) -> None:
    session = Session(Script(started(root), found(root), Note("better?")), "apply", run)
    events = session.events()
    while not isinstance(next(events), PatchFound):
        pass
    session.stop()
    *_, last = events
    assert isinstance(last, Finished)
    assert (last.status, last.exit_code) == ("fixed", 0)
    assert last.diff == found(root).diff
    assert (root / "calc.py").read_bytes() == OLD


def test_a_signal_while_an_event_is_shown_lets_it_be_shown_whole(root: Path, run: Run) -> None:
    """The terminal event still comes, and is in the record; a second signal is not put off."""
    session = Session(Script(started(root), found(root), Note("better?")), "apply", run)
    events = session.events()
    while not isinstance(next(events), PatchFound):
        pass
    session.interrupt()
    *_, last = events
    assert isinstance(last, Finished)
    assert (last.status, last.diff) == ("interrupted", found(root).diff)
    assert list(run.events())[-1] == last
    with pytest.raises(KeyboardInterrupt):
        session.interrupt()


def test_a_signal_between_the_success_and_the_writing_writes_nothing_and_says_so(
    root: Path, run: Run
) -> None:
    def loop() -> Iterator[Event]:
        try:
            yield from (started(root), found(root), fixed(root))
        finally:
            session.interrupt()  # the loop's end, which Finished has left behind

    session = Session(loop, "apply", run)
    *_, last = session.events()
    assert isinstance(last, Finished)
    assert (last.status, last.exit_code, last.diff) == ("interrupted", 130, found(root).diff)
    assert (root / "calc.py").read_bytes() == OLD


def test_signals_while_the_patch_is_written_wait_and_the_end_tells_the_truth(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, real = (
        Session(Script(started(root), found(root), fixed(root)), "apply", run),
        agent.apply.exchange,
    )

    def disturbed(made: Path, target: Path) -> bool:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        return real(made, target)

    monkeypatch.setattr(agent.apply, "exchange", disturbed)
    before = signal.signal(signal.SIGTERM, session.interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(session.events())
    finally:
        signal.signal(signal.SIGTERM, before)
        monkeypatch.undo()
    assert (root / "calc.py").read_bytes() == NEW
    *_, last = run.events()
    assert isinstance(last, Finished)
    assert last.message == "interrupted: the patch is applied; trm-agent undo takes it back"
    undo(run.folder)
    assert (root / "calc.py").read_bytes() == OLD


def test_a_patch_that_a_kill_left_half_written_is_taken_back_by_the_next_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    killed = new_run()
    (root / "other.py").write_bytes(b"x = 1\n")
    apply_patch(root, {"calc.py": (OLD, NEW), "other.py": (b"x = 1\n", b"x = 2\n")}, killed.folder)
    record = (killed.folder / "patch.json").read_text()
    (killed.folder / "patch.json").write_text(record.replace('"applied"', '"writing"'))
    (root / "other.py").write_bytes(b"x = 1\n")  # as if it had not come to this one
    events = list(Session(Script(started(root), fixed(root))).events())
    text = f"run {killed.id} was killed while it wrote: calc.py put back as before it"
    assert Note(text, "warning") in events
    assert (root / "calc.py").read_bytes() == OLD
    with pytest.raises(UsageError, match="undone already"):
        undo(killed.folder)


def test_a_signal_in_the_loop_ends_it_at_once(root: Path, run: Run) -> None:
    def loop() -> Iterator[Event]:
        yield started(root)
        session.interrupt()
        yield Note("not reached")

    session = Session(loop, run=run)
    *before, last = session.events()
    assert isinstance(last, Finished) and last.status == "interrupted"
    assert before == list(run.events())[:-1] and len(before) == 1


def test_closing_the_events_stops_the_loop_and_the_record_says_interrupted(
    root: Path, run: Run
) -> None:
    script = Script(started(root), Note("a"), Note("b"))
    events = Session(script, run=run).events()
    next(events)
    events.close()
    assert script.closed
    *_, last = run.events()
    assert isinstance(last, Finished)
    assert last.status == "interrupted"


def test_without_a_state_folder_the_run_goes_on_elsewhere_and_says_so(
    root: Path, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    session = Session(Script(started(root), fixed(root)))
    events = list(session.events())
    assert any(isinstance(event, Note) and "this run is kept in" in event.text for event in events)
    assert list(session.run.events()) == events


def test_the_commit_message_names_the_tests(root: Path) -> None:
    patch = PatchFound("", ("calc.py",), ("t.py::test_a", "t.py::test_b"), 1, 1.0, "pytest")
    assert commit_message(patch).splitlines()[0] == "Fix test_a and 1 more"
    patch = PatchFound("", ("calc.py",), (), 1, 1.0, "pytest")
    assert commit_message(patch).splitlines()[0] == "Fix calc.py"
