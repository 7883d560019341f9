"""The suspect code: line numbers, suspicion per line, heat per token, the bisected interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

from pygments.lexers.python import PythonLexer
from textual.content import Content, Span

from agent.events import RecursionStep, Suspect
from agent.faces.tui.state import RunState, unit_is
from agent.faces.tui.themes import PythonHighlight
from agent.faces.tui.widgets.panel import SPARKS, LinePanel, cut, spark, styled

TAB = 4
COLD = 0.02
"""Start probabilities below this are not drawn."""


@lru_cache(maxsize=32)
def highlight(source: str) -> tuple[Content, ...]:
    """The lines of a Python text (split at line feeds only, tabs expanded) with syntax styles."""
    text = "\n".join(line.rstrip("\r").expandtabs(TAB) for line in source.split("\n"))
    spans: list[Span] = []
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    start = 0
    for kind, token in lexer.get_tokens(text):
        end = start + len(token)
        scope = kind
        while scope is not None:
            if style := PythonHighlight.STYLES.get(scope):
                spans.append(Span(start, end, style))
                break
            scope = scope.parent
        start = end
    return tuple(Content(text, spans=spans).split("\n", allow_blank=True))


def shown_column(line: str, column: int) -> int:
    """Index of a source column after tabs were expanded."""
    return len(line[:column].expandtabs(TAB))


LEGEND = f"{SPARKS[2]}{SPARKS[5]}{SPARKS[7]} suspicion  ✗ test fails here  ┃ interval  ▸ proposal"


class CodePanel(LinePanel):
    """One suspect at a time. `pick` chooses which; without a choice it follows the run."""

    LEGEND = LEGEND

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self._picked: int | None = None

    def pick(self, step: int) -> None:
        """Show the next (+1) or previous (-1) suspect."""
        ranks = sorted(self.state.suspects)
        shown = self.rank(self.state)
        if shown is None or len(ranks) < 2:
            return
        self._picked = ranks[(ranks.index(shown) + step) % len(ranks)]
        self._slice = None
        self.show(self.state)

    def rank(self, state: RunState) -> int | None:
        """Rank of the suspect shown, None without suspects."""
        return self._picked if self._picked in state.suspects else state.suspect_shown()

    def _parts(self, state: RunState) -> tuple[Suspect | None, RecursionStep | None]:
        rank = self.rank(state)
        suspect = state.suspects[rank] if rank is not None else None
        step = state.steps[-1] if state.steps and suspect else None
        if step and suspect and not unit_is(suspect, step.unit):
            step = None
        return suspect, step

    def slice_of(self, state: RunState) -> Hashable:
        suspect, step = self._parts(state)
        interval = state.intervals[-1] if state.intervals else None
        return suspect, len(state.suspects), step, interval, len(state.tests), self.app.theme

    def title(self, state: RunState) -> str:
        suspect, _ = self._parts(state)
        if suspect is None:
            return "Suspect code"
        count = f" · suspect {suspect.rank + 1} of {len(state.suspects)}"
        room = max(20, self.size.width - len(count) - 18)
        return cut(f"{suspect.path} · {suspect.name}", room, left=True) + count

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        suspect, step = self._parts(state)
        if suspect is None:
            reason = (
                "Nothing is suspect."
                if state.finished
                else "Which lines did the failing tests run? Waiting for the first test run …"
            )
            return [styled((cut(reason, width), "$muted"))]
        raw = suspect.source.rstrip("\n").split("\n")
        heat = self._heat(step)
        hottest = max((h[2] for spots in heat.values() for h in spots), default=0.0)
        inside = self._inside(state, suspect)
        failing = {t.line for t in state.tests if t.path == suspect.path and t.line}
        digits = len(str(suspect.first_line + len(raw)))
        rows = []
        for index, code in enumerate(highlight(suspect.source)[: len(raw)]):
            number = suspect.first_line + index
            for column, length, probability in heat.get(number, ()):
                first = shown_column(raw[index], column)
                last = shown_column(raw[index], column + length)
                code = code.stylize(self._hot(probability, hottest), first, max(last, first + 1))
            score = suspect.line_scores[index] if index < len(suspect.line_scores) else 0.0
            marker = "▸" if step and step.proposal and step.proposal_line == number else " "
            rows.append(
                styled(
                    (marker, "bold $accent"),
                    (f"{number:>{digits}} ", "$accent" if number in inside else "$muted"),
                    (spark(score) if score > 0 else " ", "$heat"),
                    ("✗" if number in failing else " ", "$error"),
                    ("┃ " if number in inside else "  ", "$accent"),
                    code,
                )
            )
        return rows

    def _heat(self, step: RecursionStep | None) -> dict[int, list[tuple[int, int, float]]]:
        heat: dict[int, list[tuple[int, int, float]]] = {}
        for line, column, length, probability in step.token_heat if step else ():
            if probability >= COLD:
                heat.setdefault(line, []).append((column, length, probability))
        return heat

    def _hot(self, probability: float, hottest: float) -> str:
        # The square root keeps small probabilities visible beside a dominant one.
        top = probability >= hottest
        if self.app.native_ansi_color:
            if top:
                return "bold reverse"
            return "bold $heat" if probability > 0.1 else "$heat"
        share = int(12 + 78 * probability**0.5)
        return f"on $heat {share}%" + (" bold" if top else "")

    def _inside(self, state: RunState, suspect: Suspect) -> range:
        interval = state.intervals[-1] if state.intervals else None
        if interval is None or interval.path != suspect.path:
            return range(0)
        return range(interval.first, interval.last + 1)

    def after_rebuild(self) -> None:
        """Keep what matters in view: the proposal's line, else the middle of the interval, else the worst line."""
        suspect, step = self._parts(self.state)
        height = self.scrollable_content_region.height
        if suspect is None or height <= 0 or len(self._lines) <= height:
            return
        inside = self._inside(self.state, suspect)
        if step and step.proposal_line:
            target = step.proposal_line
        elif inside:
            target = (inside.start + inside.stop - 1) // 2
        elif suspect.line_scores:
            target = suspect.first_line + suspect.line_scores.index(max(suspect.line_scores))
        else:
            target = suspect.first_line
        row = target - suspect.first_line
        top, margin = round(self.scroll_y), min(2, height // 3)
        if not top + margin <= row < top + height - margin:
            self.scroll_to(y=max(0, row - height // 2), animate=False)
