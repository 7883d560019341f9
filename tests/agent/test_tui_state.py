"""The state behind the terminal app: events in, what the screen shows out; no user interface."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import events as ev
from agent.faces.tui.playback import Playback
from agent.faces.tui.state import SNAPSHOT_EVERY, RunState, Timeline, unit_is
from agent.faces.tui.summary import summary_lines

EVENTS = Path(__file__).parent.parent / "fixtures" / "events"


def read(name: str) -> list[ev.Event]:
    text = (EVENTS / f"{name}.jsonl").read_text(encoding="utf-8")
    return [ev.loads(line) for line in text.split("\n") if line]


FIXED = read("fixed")


def candidate(number: int, outcome: str = "failed") -> ev.CandidateTried:
    return ev.CandidateTried(number, "a.py", 1, "x", "y", "op", 0.0, outcome, "t", 0.01, at=number)


def after(events: list[ev.Event]) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.jsonl")), ids=lambda p: p.stem)
def test_every_recorded_stream_ends_in_exactly_one_terminal_event(path: Path) -> None:
    events = read(path.stem)
    assert isinstance(events[0], ev.Started)
    assert [k for k, e in enumerate(events) if isinstance(e, ev.Finished)] == [len(events) - 1]
    assert [e.at for e in events] == sorted(e.at for e in events)


def test_the_last_state_of_a_fixed_run() -> None:
    state = after(FIXED)
    assert len(state.tests) == 3
    assert state.turned_green == {t.nodeid for t in state.tests}
    assert state.tried == 64 and sum(state.outcomes.values()) == 64
    assert state.outcomes["passed"] == 1
    assert state.finished is not None and state.finished.status == "fixed"
    assert state.visited == {"tests", "locate", "think", "try", "check"}


def test_a_second_recursion_replaces_the_steps_of_the_first() -> None:
    step = ev.RecursionStep("f", 1, 4, (0, 1), 0.1, False, "-a\n+b", 3, 0.5)
    other = ev.RecursionStep("f", 2, 4, (1, 1), 0.9, True, "-a\n+c", 3, 0.7)
    state = after([step, other, step])
    assert [s.step for s in state.steps] == [1]
    assert state.rollout == 2


def test_stage_goes_back_to_thinking_and_remembers_what_was_visited() -> None:
    step = ev.RecursionStep("f", 1, 4, (0,), 0.1, False, "", 0, 0.5)
    state = after([ev.SuiteRan(1, 1, 0, 0, 1.0), step, candidate(1), step])
    assert state.stage == "think"
    assert state.visited == {"tests", "locate", "think", "try"}


def test_progress_after_the_first_run_is_the_final_check() -> None:
    state = after([ev.SuiteRan(1, 1, 0, 0, 1.0), candidate(1), ev.SuiteProgress("check", 1, 2)])
    assert state.stage == "check"


def test_more_candidates_than_are_kept_are_still_counted() -> None:
    state = after([candidate(k) for k in range(1, 1201)])
    assert state.tried == 1200 and state.outcomes["failed"] == 1200
    assert len(state.candidates) == 500 and state.candidates[-1].number == 1200


def test_the_suspect_shown_is_the_one_the_network_reads() -> None:
    suspects = [ev.Suspect(k, "a.py", name, 1, "x", (1.0,)) for k, name in enumerate("fgh")]
    step = ev.RecursionStep("a.py::g", 1, 4, (0,), 0.1, False, "", 0, 0.5)
    assert after(suspects).suspect_shown() == 0
    assert after([*suspects, step]).suspect_shown() == 1
    assert after([]).suspect_shown() is None


@pytest.mark.parametrize("unit", ["f", "a.py::f", "a.py:f"])
def test_a_unit_names_its_suspect(unit: str) -> None:
    assert unit_is(ev.Suspect(0, "a.py", "f", 1, "x", ()), unit)
    assert not unit_is(ev.Suspect(0, "b.py", "g", 1, "x", ()), unit)


def test_a_copy_shares_nothing_that_changes() -> None:
    state = after(FIXED[:90])
    twin, frozen = state.copy(), copy.deepcopy(state)
    for event in FIXED[90:]:
        state.apply(event)
    assert twin == frozen and twin != state


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-5, 3 * SNAPSHOT_EVERY), max_size=6))
def test_seeking_anywhere_equals_starting_over(positions: list[int]) -> None:
    events: list[ev.Event] = [*FIXED[:60], *(candidate(k) for k in range(1, 2 * SNAPSHOT_EVERY))]
    timeline = Timeline(events)
    for position in positions:
        timeline.seek(position)
        clamped = max(0, min(position, len(events)))
        assert timeline.position == clamped
        assert timeline.state == after(events[:clamped])


def test_milestones_are_the_events_that_are_not_progress() -> None:
    timeline = Timeline([ev.Note("a"), candidate(1), candidate(2), ev.Note("b"), candidate(3)])
    seen = []
    while not timeline.at_end:
        timeline.seek(timeline.milestone(+1))
        seen.append(timeline.position)
    assert seen == [1, 4, 5]
    timeline.seek(5)
    assert timeline.milestone(-1) == 4
    timeline.seek(4)
    assert timeline.milestone(-1) == 1
    timeline.seek(1)
    assert timeline.milestone(-1) == 0


def test_a_replay_follows_the_recorded_clock_at_its_speed() -> None:
    play = Playback(Timeline([ev.Note("a", at=0.0), ev.Note("b", at=1.0)]), live=False, speed=2.0)
    play.tick(0.4)
    assert play.timeline.position == 1
    play.tick(0.2)
    assert play.timeline.position == 2 and play.over and not play.playing


def test_a_paused_replay_stands_still_and_goes_on_from_there() -> None:
    play = Playback(Timeline([ev.Note(str(k), at=float(k)) for k in range(9)]), live=False)
    play.tick(2.5)
    play.toggle()
    assert not play.tick(100.0) and play.timeline.position == 3
    play.step(+2)
    play.toggle()
    play.tick(1.0)
    assert play.timeline.position == 6


def test_a_finished_replay_starts_again() -> None:
    play = Playback(Timeline([ev.Note("a")]), live=False)
    play.tick(1.0)
    play.toggle()
    assert play.timeline.position == 0 and play.playing


def test_a_live_view_that_is_paused_catches_up() -> None:
    play = Playback(Timeline(), live=True)
    play.timeline.append(candidate(1))
    play.tick(0)
    play.toggle()
    play.timeline.append(candidate(2))
    play.tick(1.0)
    assert play.state.tried == 1
    play.end()
    assert play.state.tried == 2 and play.playing


def test_speed_moves_along_its_scale_and_stops_at_its_ends() -> None:
    play = Playback(Timeline(), live=False)
    play.faster(+1)
    assert play.speed == 2.0
    for _ in range(20):
        play.faster(-1)
    assert play.speed == 0.125
    for _ in range(20):
        play.faster(+1)
    assert play.speed == 64.0


def test_a_speed_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Playback(Timeline(), live=False, speed=0.0)


def test_summary_of_an_applied_patch_has_the_diff_and_what_was_done() -> None:
    lines = summary_lines(after(FIXED), "applied", "applied to src/shop/pricing.py")
    text = "\n".join(lines)
    assert "3 tests turned green, 64 candidates" in lines[0]
    assert "+        if item.quantity >= tier.minimum:" in text
    assert lines[-1] == "applied to src/shop/pricing.py"


def test_summary_of_a_patch_nobody_took_says_that_nothing_was_written() -> None:
    assert summary_lines(after(FIXED))[-1].startswith("Nothing was written")


def test_summary_without_a_patch_names_the_likeliest_lines() -> None:
    lines = summary_lines(after(read("not_fixed")))
    assert "  src/shop/pricing.py:50: if item.quantity > tier.minimum:" in lines
    assert lines[-1].startswith("hint: ")


def test_summary_of_a_run_left_early_counts_what_was_tried() -> None:
    state = after([candidate(1), candidate(2)])
    assert summary_lines(state) == ["Left before the end: 2 candidates tried, nothing written."]


# -- the search's own time


def patch(at: float) -> ev.PatchFound:
    return ev.PatchFound("diff", ("a.py",), ("t",), 3, at, "pytest", at=at)


def test_the_time_that_a_user_takes_to_answer_is_not_the_searchs() -> None:
    waiting = [candidate(1), patch(5.0)]
    assert after(waiting).seconds == 5.0 and after(waiting).waiting
    rejected = [*waiting, ev.PatchRejected(at=65.0)]
    assert after(rejected).seconds == 5.0 and not after(rejected).waiting
    later = [*rejected, ev.Note("on", at=68.0)]
    assert after(later).seconds == 8.0
    again = [*later, patch(70.0), ev.PatchRejected(at=170.0), ev.Note("on", at=171.0)]
    assert after(again).seconds == 11.0


def test_a_live_clock_stands_still_while_the_search_waits_or_the_view_is_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("agent.faces.tui.playback.time.monotonic", lambda: now[0])
    playback = Playback(Timeline(), live=True)
    now[0] += 3
    assert playback.seconds == 3.0  # nothing came yet, and the search runs
    playback.take(ev.Note("on", at=4.0))
    playback.tick(0)
    now[0] += 2
    assert playback.seconds == 6.0
    playback.toggle()
    assert playback.seconds == 4.0  # that of the event that is shown
    playback.toggle()
    assert playback.seconds == 6.0
    playback.take(patch(7.0))
    playback.tick(0)
    now[0] += 500
    assert playback.seconds == 7.0
    playback.take(ev.PatchRejected(at=507.0))
    playback.tick(0)
    now[0] += 1
    assert playback.seconds == 8.0
    playback.take(ev.Finished("not_fixed", 1, "no", seconds=8.5, at=509.0))
    playback.tick(0)
    now[0] += 500
    assert playback.seconds == 8.5


def test_a_replay_does_not_wait_for_as_long_as_the_user_did() -> None:
    events = [
        ev.Note("on", at=1.0),
        patch(2.0),
        ev.PatchRejected(at=902.0),
        ev.Note("on", at=904.0),
    ]
    playback = Playback(Timeline(events), live=False)
    playback.tick(2.0)
    assert playback.timeline.position == 2
    playback.tick(1.0)
    assert playback.timeline.position == 2  # a glance at the patch
    playback.tick(1.0)
    assert playback.timeline.position == 3
    playback.tick(1.9)
    assert playback.timeline.position == 3
    playback.tick(0.1)
    assert playback.timeline.position == 4 and playback.seconds == 4.0


def test_a_bisect_has_its_own_stations_and_knows_what_is_left() -> None:
    events = read("bisect")
    state, commits = RunState(), []
    for event in events:
        state.apply(event)
        if state.narrowed and state.narrowed[-1].level == "commit" and state.running is None:
            commits.append(state.left)
    assert list(dict.fromkeys(commits)) == [(0, 10), (0, 5), (3, 5), (3, 4), (3, 3)]
    assert state.visited == set(state.stages) and state.running is None
    assert len(state.probes) == sum(
        isinstance(event, ev.Probe) and event.verdict != "running" for event in events
    )
    assert state.diff == events[-1].diff  # type: ignore[attr-defined]
