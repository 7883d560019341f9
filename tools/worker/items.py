"""How a child runs its tests: one after the other, through pytest's own protocol or directly.

Standard library and the user's pytest (7 to 9), Python >= 3.8.
"""

import signal
import sys
import time
import unittest.case

import _pytest.assertion.rewrite
import _pytest.assertion.util
import _pytest.nodes
import pytest

direct = sys.modules["_trm_worker_direct"]
failures = sys.modules["_trm_worker_failures"]
session = sys.modules["_trm_worker_session"]

BLOCKED_ERRNO = {1, 13, 30}  # EPERM, EACCES, EROFS


def _blocked(error):
    """Whether an exception (or one it came from) is a refusal by a guard."""
    for _ in range(8):
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in BLOCKED_ERRNO:
            return True
        error = error.__cause__ or error.__context__
    return False


# What pytest and unittest call once an assertion has failed, to say so.
_TELLERS = (
    (
        _pytest.assertion.rewrite,
        ("_saferepr", "_call_reprcompare", "_format_assertmsg", "_should_repr_global_name"),
    ),
    (unittest.case, ("safe_repr", "_common_shorten_repr")),
)


def leave_out_telling(lines):
    """Let `lines` not see a project's __repr__ that runs to tell of a failed assertion.

    It would run in failing tests only, and be the most suspect code there is. For the rest of this process.
    """
    for module, names in _TELLERS:
        for name in names:
            if hasattr(module, name):
                setattr(module, name, lines.unseen(getattr(module, name)))


class Texts:
    """Whether pytest formats what nobody may read: comparison texts, tracebacks.

    A test may read the text of a failed assertion (``pytest.raises(..., match=...)``), which is then
    not what it would be. `told` counts the assertions that failed, `last` is the last one's text.
    """

    full = _pytest.assertion.rewrite._format_explanation
    full_compare = staticmethod(_pytest.assertion.util.assertrepr_compare)

    def __init__(self):
        self.told, self.last, self.on = 0, None, None

    def switch(self, on):
        if on is self.on:
            return
        self.on = on
        rewrite, util = _pytest.assertion.rewrite, _pytest.assertion.util
        # The traceback text is never used: failures are described from the exception itself.
        _pytest.nodes.Node._repr_failure_py = lambda self, excinfo, style=None: "not formatted"
        if on:
            util.assertrepr_compare = self.full_compare
            rewrite._format_explanation = Texts.full
        else:
            util.assertrepr_compare = lambda *args, **names: []
            rewrite._format_explanation = self._short

    def _short(self, explanation):
        self.told += 1
        self.last = explanation.split("\n", 1)[0]
        return self.last

    def begin(self):
        self.told, self.last = 0, None

    def read(self, error):
        """Whether somebody may have read a text in the test that ended with `error` (or None)."""
        if self.told == 0:
            return False
        text = error.args[0] if isinstance(error, AssertionError) and error.args else None
        return self.told > 1 or text is not self.last


TEXTS = Texts()


class Clock:
    """CPU and wall time of a test, and the limit of the former."""

    def __init__(self, cpu_limit):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        # Default action, not a Python handler: it also cuts a loop inside C.
        signal.setitimer(signal.ITIMER_PROF, cpu_limit)

    def stop(self):
        """(CPU, wall) seconds since the start."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        return time.process_time() - self.cpu, time.perf_counter() - self.wall


def run_items(items, plugin, put, request, lines=None, audit=None, fast=None):
    """Runs `items` in order and reports each.

    Frames: S start [nodeid, wall limit], P lines so far, R result, F failure, A where a verdict needs
    pytest's whole protocol and texts. `request`: stop (at the first that does not pass),
    want_failure, limits {nodeid: [cpu, wall]}, direct (ids of tests that `fast` may run), proof
    (whether that is tried out). Stops where pytest would. True where it came to an end.
    """
    limits, default = request["limits"], request["limit"]
    stop, want = request["stop"], request["want_failure"]
    quick = set(request["direct"]) if fast is not None else ()
    TEXTS.switch(bool(want or request["texts"]))
    plugin.want_compare = want
    for place, item in enumerate(items):
        following = items[place + 1] if place + 1 < len(items) else None
        nodeid = item.nodeid
        cpu_limit, wall_limit = limits.get(nodeid, default)
        if place or not request["first"]:
            put(b"S", [nodeid, wall_limit])
        TEXTS.begin()
        plugin.raised = None
        extra = {}
        if nodeid in quick:
            outcome, error, cpu, wall = fast.run(
                fast.entries[nodeid], following, stop, Clock(cpu_limit)
            )
            extra["direct"] = outcome
            found = error and (error, error.__traceback__)
        elif request.get("chain"):  # others are to run in this process after it
            put(b"A", nodeid)
            return False
        else:
            if fast is not None:
                fast.leave()
            outcome, found, cpu, wall = by_protocol(
                item, following, plugin, put, stop, cpu_limit, extra, lines, audit
            )
        error = found and found[0]
        raised = error if error is not None else plugin.raised
        stop = stop or isinstance(error, pytest.exit.Exception)
        if not request["proof"] and (outcome is None or TEXTS.read(raised)):
            put(b"A", nodeid)
            return False
        kind, message = None, None
        if error is not None and outcome in ("failed", "error"):
            kind, message = failures.describe(error)
            extra["blocked"] = _blocked(error)
        put.hold(b"R", [nodeid, outcome or "error", cpu, wall, kind, message, extra])
        if want and error is not None and outcome in ("failed", "error"):
            path = plugin.tree.relative(str(getattr(item, "path", None) or item.fspath))
            account = failures.failure(nodeid, error, found[1], plugin.tree, path, plugin.compared)
            put.hold(b"F", account)
        plugin.error = error = found = None
        if stop and outcome in ("failed", "error"):
            return True
        if item.session.shouldstop and isinstance(item.session.shouldstop, str) and stop:
            return True
    return True


def by_protocol(item, following, plugin, put, stop, cpu_limit, extra, lines, audit):
    """(outcome, (exception, traceback) or None, CPU and wall seconds) by pytest's protocol."""
    plugin.reports, plugin.error, plugin.compared = [], None, None
    plugin.no_teardown = stop and audit is None
    if audit is not None:
        audit.begin()
    if lines is not None:
        lines.begin()
        # A test that will be cut tells its lines before: half its time is half-way into any hang.
        signal.signal(signal.SIGVTALRM, lambda *_: put(b"P", lines.so_far()))
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_limit / 2)
    clock = Clock(cpu_limit)
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    except pytest.exit.Exception as error:
        plugin.reports.append(("call", "failed", False))
        plugin.error = error, error.__traceback__
    except session.Enough:
        pass
    cpu, wall = clock.stop()
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if lines is not None:
        extra["lines"] = lines.end()
    if audit is not None:
        audit.end()
        extra["reads"], extra["spawns"] = sorted(audit.reads), audit.spawns
        extra["writes"] = sorted(audit.writes)[:20]
    return plugin.outcome(), plugin.error, cpu, wall
