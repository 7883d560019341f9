"""A plain pytest process whose reports go to a pipe: ``python -B plain.py FD JOB ARGS``.

It does what ``python -m pytest ARGS`` does, with one plugin more that only listens. Standard
library and the user's pytest, Python >= 3.8. Frames are those of ``worker.py``.
"""

import json
import os
import struct
import sys
import time
import types

FD, JOB = int(sys.argv[1]), int(sys.argv[2])


def put(kind, data):
    body = kind + json.dumps(data, separators=(",", ":")).encode("ascii")
    view = memoryview(struct.pack(">II", len(body), JOB) + body)
    while view:
        view = view[os.write(FD, view) :]


class Listener:
    """Reports each test once, after its last phase."""

    def __init__(self):
        self.current, self.items = {}, []

    def pytest_collection_finish(self, session):
        self.items = [item.nodeid for item in session.items]

    def pytest_runtest_logreport(self, report):
        if hasattr(report, "node"):  # a report that xdist brought from a worker
            pass
        entry = self.current.setdefault(report.nodeid, ["passed", 0.0, report.location, None])
        entry[1] += report.duration
        if report.outcome == "failed":
            wrong = "error" if report.when in ("setup", "teardown") else "failed"
            if entry[0] != "failed":
                entry[0] = wrong
            crash = getattr(report.longrepr, "reprcrash", None)
            entry[3] = getattr(crash, "message", None) or str(report.longrepr)[-2000:]
        elif report.outcome == "skipped" and entry[0] == "passed":
            entry[0] = "skipped"
        if report.when == "teardown":
            outcome, seconds, location, message = self.current.pop(report.nodeid)
            kind = None
            if message:
                kind, _, message = message.partition(": ")
                if not kind.isidentifier():
                    kind, message = "AssertionError", message
            extra = {"path": location[0], "line": location[1]}
            put(b"R", [report.nodeid, outcome, seconds, seconds, kind, message, extra])

    def pytest_collectreport(self, report):
        if report.failed:
            put(b"O", [report.nodeid, str(report.longrepr)[-4000:]])


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and sys.path[0] and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    os.set_inheritable(FD, False)
    import pytest

    path = os.path.join(os.path.dirname(pytest.__file__), "__main__.py")
    sys.path.insert(0, os.getcwd())
    args = sys.argv[3:]
    sys.argv = [path] + args
    module = types.ModuleType("__main__")
    module.__file__ = path
    keep = sys.modules["__main__"]
    sys.modules["__main__"] = module
    listener, began = Listener(), time.time()
    code = int(pytest.main(args, plugins=[listener]))
    del keep
    put(b"D", {"code": code, "collected": listener.items, "seconds": time.time() - began})
    return code


if __name__ == "__main__":
    sys.exit(main())
