"""The failing tests: a row a test, what it expected and got under it where there is room."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from textual.content import Content

from agent.faces.tui.state import RunState
from agent.faces.tui.summary import plural
from agent.faces.tui.widgets.panel import LinePanel, bar, cut, ends, pad, styled


class TestsPanel(LinePanel):
    """✗ fails, ✓ turned green by the patch."""

    __test__ = False  # not a pytest class

    def slice_of(self, state: RunState) -> Hashable:
        return (
            len(state.tests),
            state.suite,
            state.suite_progress,
            state.turned_green,
            state.started is None,
            state.finished is None,
        )

    def title(self, state: RunState) -> str:
        suite = state.suite
        if suite is None:
            return "Tests"
        green = len(state.turned_green)
        failing = suite.failed + suite.errors
        text = f"Failing tests · {failing:,} of {failing + suite.passed:,}"
        return text + (f" · {green:,} turned green" if green else "")

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        rows: list[Content] = []
        if state.suite_progress:
            rows.append(self._progress(state, width))
        roomy = 2 * len(state.tests) + len(rows) <= self.room() and width >= 50
        for test in state.tests:
            green = test.nodeid in state.turned_green
            sign, style = ("✓", "$success") if green else ("✗", "$error")
            name = test.nodeid.rpartition("::")[2]
            where = f"{test.path}:{test.line}" if test.line else test.path
            left = styled((f"{sign} ", style), (name, "bold"), ("  " + test.exception, style))
            if not roomy and test.message:
                left = styled(left, (" " + cut(test.message, width), "$muted"))
            right = styled((cut(where, max(12, width // 3), left=True), "$muted"))
            rows.append(ends(left, right, width))
            if roomy:
                if test.expected or test.actual:
                    rows.append(
                        styled(
                            ("  expected ", "$muted"),
                            cut(test.expected, width // 2 - 12),
                            ("  got ", "$muted"),
                            (cut(test.actual, width // 2 - 12), style),
                        )
                    )
                elif test.message:
                    rows.append(styled(("  " + cut(test.message, width - 2), "$muted")))
        if not rows:
            if state.suite:
                rows.append(
                    styled(("✓ ", "$success"), f"{plural(state.suite.passed, 'test')} pass")
                )
            else:
                over = state.finished is not None
                text = "The tests did not run." if over else "Starting the test run …"
                rows.append(styled((text, "$muted")))
        return rows

    def _progress(self, state: RunState, width: int) -> Content:
        progress = state.suite_progress
        assert progress is not None
        full, empty = bar(
            progress.done / progress.total if progress.total else 0, max(8, width // 4)
        )
        count = f"{progress.done:,}/{progress.total:,}"
        return styled(
            (pad(progress.phase, min(24, width // 3)) + " ", "$muted"),
            (full, "$primary"),
            (empty, "$line"),
            f" {count}",
        )
