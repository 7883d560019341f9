"""Calling functions under all guards: what they return, which lines run, how they fail.

    python -B calls.py SETTINGS      (requests and answers are lines of JSON on stdin and stdout)

For the making of training data (tools.calls is the other side): functions of the corpus and their mutants are called with made-up
arguments. Nobody has read that code, so this process confines itself as the test worker does, and every request
runs in a fork of its own that is confined once more. Standard library only, Python >= 3.8.
"""

import __future__

import builtins
import functools
import importlib.util
import json
import os
import select
import signal
import sys
import time
import types

HERE = os.path.dirname(os.path.abspath(__file__))
UNIT = "<unit>"
# What must not be called even confined: it would wait for somebody, or end or trace the process.
REFUSED = ("breakpoint", "compile", "eval", "exec", "exit", "help", "input", "open", "quit")


class Cut(BaseException):
    """Too many lines: the call is taken to hang."""


def load(name):
    """A file beside this one, under the name that its siblings know it by."""
    full = "_trm_worker" if name == "worker" else "_trm_worker_" + name
    spec = importlib.util.spec_from_file_location(full, os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module


class Recorder:
    """A trace function: lines of the unit that ran, cut after `most` of them."""

    def __init__(self, most):
        self.lines, self.left = set(), most

    def __call__(self, frame, event, _):
        return self._line if frame.f_code.co_filename == UNIT else None

    def _line(self, frame, event, _):
        if event == "line":
            self.lines.add(frame.f_lineno)
            self.left -= 1
            if self.left < 0:
                raise Cut
        return self._line


@functools.lru_cache(maxsize=4)
def provided(prelude):
    """Globals: builtins without the refused ones, and what `prelude` defines."""
    own = {name: value for name, value in vars(builtins).items() if name not in REFUSED}
    module = sys.modules["unit"] = types.ModuleType("unit")  # dataclasses look their module up
    space = vars(module)
    space["__builtins__"] = own
    exec(compile(prelude, "<prelude>", "exec"), space)  # helpers, confined
    return space


@functools.lru_cache(maxsize=4)
def compiled(source):
    """The code of a source; what its annotations name need not be there."""
    return compile(source, UNIT, "exec", flags=__future__.annotations.compiler_flag)


def define(source, name, prelude):
    """The function `name` of `source` in a fresh namespace."""
    space = dict(provided(prelude))
    exec(compiled(source), space)  # confined, which is what this file is for
    return space[name], space


def plain(value, depth=0):
    """Whether a value is made of literals only, so that its repr is an expression."""
    if value is None or type(value) in (bool, int, str, bytes):
        return True
    if type(value) is float:
        return value == value and abs(value) < 1e15
    if type(value) not in (list, tuple, set, dict) or depth > 4 or len(value) > 60:
        return False
    if type(value) in (list, tuple):
        return all(plain(part, depth + 1) for part in value)
    if type(value) is set:
        return bool(value) and all(plain(part, depth + 1) for part in value)
    return all(plain(k, depth + 1) and plain(v, depth + 1) for k, v in value.items())


def state(value):
    """The plain attributes of an object."""
    own = getattr(value, "__dict__", None)
    return {k: v for k, v in own.items() if plain(v)} if type(own) is dict else {}


def arguments_of(space, text):
    """The values of an argument list."""
    return eval("(" + text + ",)" if text else "()", dict(space))


def call(function, values, recorder, listed):
    """function(*values), traced; a generator's values as a list if `listed`."""
    sys.settrace(recorder)
    try:
        result = function(*values)
        return list(result) if listed else result
    finally:
        sys.settrace(None)


def probe(request, answer):
    """Which of the given arguments give a plain result, twice the same: answers [index, repr, lines, attribute] each.

    attribute: see tools.calls.Returned.
    """
    started = time.process_time()
    for number, arguments in enumerate(request["arguments"]):
        if time.process_time() - started > request["seconds"]:
            break
        texts, lines = [], ()
        for _ in range(2):
            try:
                function, space = define(request["source"], request["name"], request["prelude"])
                recorder = Recorder(request["lines"])
                values = arguments_of(space, arguments)
                before = {k: repr(v) for k, v in state(values[0]).items()} if values else {}
                result = call(function, values, recorder, request["listed"])
                lines = recorder.lines
                if not plain(result):
                    break
                attribute = ""
                if result is None and values:
                    after = state(values[0])
                    changed = [k for k in sorted(after) if repr(after[k]) != before.get(k)]
                    attribute = changed[0] if changed else ""
                    result = after.get(attribute)
                texts.append((repr(result), attribute))
            except (Exception, Cut):
                break
        if len(texts) == 2 and texts[0] == texts[1] and len(texts[0][0]) <= request["longest"]:
            answer([number, texts[0][0], sorted(lines), texts[0][1]])


def run(request, answer):
    """Every source against all tests: answers [index, results], a result [outcome, lines, details] a test.

    outcome: 0 passed, 1 another value, 2 an exception, 3 cut; details of the first test with outcome 1 or 2: actual value,
    exception, message, frames as [line, {name: repr}].
    """
    short = sys.modules["_trm_worker_failures"].short
    for number, source in enumerate(request["sources"]):
        results, told = [], False
        for arguments, expected, attribute in request["tests"]:
            recorder, details = Recorder(request["lines"]), None
            try:
                function, space = define(source, request["name"], request["prelude"])
                values = arguments_of(space, arguments)
                result = call(function, values, recorder, request["listed"])
                if attribute:
                    result = getattr(values[0], attribute)
                wanted = eval(expected, {})
                outcome = 0 if result == wanted else 1
                if outcome and not told:
                    details = {"actual": short(result, 200)}
            except Cut:
                outcome = 3
            except Exception as error:
                outcome = 2
                if not told:
                    details = trouble(error, short)
            told = told or details is not None
            results.append([outcome, sorted(recorder.lines), details])
        answer([number, results])


def trouble(error, short):
    """An exception as the details of a result."""
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_filename == UNIT:
            names = {k: short(v) for k, v in list(frame.f_locals.items())[:40] if k[:1] != "."}
            frames.append([traceback.tb_lineno, names])
        traceback = traceback.tb_next
    try:
        message = str(error)[:200]
    except BaseException:
        message = ""
    return {"exception": type(error).__name__, "message": message, "frames": frames[-12:]}


def serve(settings, guards, confine, text):
    """One request in a confined fork; its answers, complete lines only, and how it ended."""
    request = json.loads(text)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            confine.restrict_candidate(settings, guards, settings["folder"], request["cpu"])
            # cuts also what never comes back to the interpreter
            signal.setitimer(signal.ITIMER_PROF, request["cpu"])
            sys.setrecursionlimit(300)

            def answer(value):
                data = memoryview(json.dumps(value).encode() + b"\n")
                while data:
                    data = data[os.write(write_end, data) :]

            {"probe": probe, "run": run}[request["kind"]](request, answer)
        finally:
            os._exit(0)
    os.close(write_end)
    data, limit = bytearray(), time.monotonic() + 3 * request["cpu"] + 1
    while True:
        ready = select.select([read_end], [], [], max(0.0, limit - time.monotonic()))[0]
        part = os.read(read_end, 1 << 16) if ready else b""
        if not part:
            break
        data += part
    try:
        os.kill(child, signal.SIGKILL)
    except OSError:
        pass
    os.waitpid(child, 0)
    os.close(read_end)
    confine.kill_strays(())
    return data[: data.rfind(b"\n") + 1]


def main():
    settings = json.loads(sys.argv[1])
    if sys.path and os.path.abspath(sys.path[0]) == HERE:
        del sys.path[0]
    worker = load("worker")
    namespaces, confine = worker.sibling("namespaces"), worker.sibling("confine")
    for name in ("expectation", "failures"):
        worker.sibling(name)
    settings["fds"] = []
    # what preludes import, once: forks then have it
    for name in settings["modules"]:
        importlib.import_module(name)
    guards = worker.enter(settings, namespaces, confine)
    confine.become_subreaper()
    settings["folder"] = os.path.join(settings["scratch"], "calls")
    os.mkdir(settings["folder"], 0o700)
    out = sys.stdout.buffer
    for text in sys.stdin:
        out.write(bytes(serve(settings, guards, confine, text)) + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
