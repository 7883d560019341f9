"""The candidates that were run: number, line, edit, verdict, time; newest first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import overload

from rich.cells import cell_len
from textual.content import Content

from agent.events import CandidateTried
from agent.faces.tui.state import RunState
from agent.faces.tui.themes import outcome
from agent.faces.tui.widgets.panel import LinePanel, cut, pad, styled


class CandidatesPanel(LinePanel):
    """A table whose rows are made only when they are drawn: 500 are kept, all are counted."""

    GROWS = True

    def slice_of(self, state: RunState) -> Hashable:
        newest = state.candidates[-1] if state.candidates else None
        return state.tried, newest, state.search, state.finished is None

    def title(self, state: RunState) -> str:
        if not state.tried:
            return "Candidates"
        text = f"Candidates · {state.tried:,} tried"
        if state.search and not state.finished:
            pace = state.search.per_second
            text += f" · {pace:,.0f}/s" if pace >= 10 else f" · {pace:.1f}/s"
            if self.size.width >= 50:
                text += f" · {state.search.queued:,} queued"
        return text

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if not state.candidates:
            return [styled(("no edit tried yet", "$muted"))]
        counts = []
        for name, number in state.outcomes.most_common():
            sign, style = outcome(name)
            counts += [(f"{sign} ", style), f"{number:,} {name}   "]
        return _Rows([styled(*counts)], state.candidates, width)


class _Rows(Sequence[Content]):
    """The heading, then a row a candidate, made on demand."""

    def __init__(
        self, head: list[Content], candidates: Sequence[CandidateTried], width: int
    ) -> None:
        # A snapshot: the state's deque goes on changing between two draws.
        self._head, self._candidates, self._width = head, list(candidates), width
        self._digits = max(3, len(str(self._candidates[-1].number)))

    def __len__(self) -> int:
        return len(self._head) + len(self._candidates)

    @overload
    def __getitem__(self, index: int) -> Content: ...
    @overload
    def __getitem__(self, index: slice) -> list[Content]: ...
    def __getitem__(self, index: int | slice) -> Content | list[Content]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if index < len(self._head):
            return self._head[index]
        return candidate_row(
            self._candidates[len(self._head) - index - 1], self._width, self._digits
        )


def candidate_row(tried: CandidateTried, width: int, digits: int) -> Content:
    """One candidate in `width` cells."""
    sign, style = outcome(tried.outcome)
    verdict = f"{sign} {pad(tried.outcome, 7)}"
    time = _time(tried.seconds)
    source = pad(tried.operator, 20 if width >= 90 else 14) + " " if width >= 76 else ""
    left = f"{tried.number:>{digits}} "
    line = f"{':' + str(tried.line):<5} "
    room = width - len(left) - len(line) - len(verdict) - 8 - len(source) - 1
    before, after = _visible(tried.before), _visible(tried.after)
    half = max(3, (room - 3) // 2)
    short = cut(before, max(half, room - 3 - cell_len(after)))
    edit = styled(
        (short, "$error" if before != "∅" else "$muted"),
        (" → ", "$muted"),
        (cut(after, max(3, room - 3 - cell_len(short))), "$success" if after != "∅" else "$muted"),
    )
    good = tried.outcome == "passed"
    row = styled(
        (left, "bold" if good else "$muted"),
        (line, "$muted"),
        edit,
        " " * max(0, room - edit.cell_length),
        " ",
        (source, "$muted"),
        (verdict, f"bold {style}" if good else style),
        (f"{time:>8}", "$muted"),
    )
    return row


def _visible(text: str) -> str:
    """An edit's side on one line; nothing is shown as ∅."""
    return " ".join(text.split()) or "∅"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
