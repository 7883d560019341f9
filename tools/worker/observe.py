"""What the worker watches: executed lines, code run at import, writes and spawns.

Standard library only, Python >= 3.8.
"""

import os
import sys
import threading

MONITORING = getattr(sys, "monitoring", None)
# How often the lines of a function run again in a test before no new one is looked for: without sys.monitoring each takes time.
ENOUGH = 3000


class Tree:
    """Decides which files are the project's own: below the root, not installed packages."""

    def __init__(self, root):
        self.root = os.path.realpath(root)
        self._prefix = self.root.rstrip(os.sep) + os.sep
        self._known = {}

    def relative(self, filename):
        """Path relative to the root with '/', or None for a foreign file."""
        try:
            return self._known[filename]
        except KeyError:
            pass
        found = None
        if filename and not filename.startswith("<"):
            path = filename if os.path.isabs(filename) else os.path.join(self.root, filename)
            if not path.startswith(self._prefix):
                path = os.path.realpath(path)
            if path.startswith(self._prefix):
                inner = os.path.normpath(path[len(self._prefix) :]).replace(os.sep, "/")
                parts = inner.split("/")
                if not ({"site-packages", "dist-packages", ".tox", ".nox"} & set(parts)):
                    found = inner
            if found is not None and not os.path.exists(path):
                found = None
        self._known[filename] = found
        return found

    def modules(self):
        """{relative path: module} of the project's imported modules."""
        found = {}
        for module in list(sys.modules.values()):
            name = getattr(module, "__file__", None)
            path = self.relative(name) if isinstance(name, str) else None
            if path is not None:
                found[path] = module
        return found

    def loaded(self):
        """{relative path: file name} of the project's imported modules."""
        return {path: module.__file__ for path, module in self.modules().items()}


class RanCode:
    """Records every code object of the project that starts to run (import and collection).

    Recording begins when the first of the project's modules is executed: what plugins import
    before is not slowed down.
    """

    def __init__(self, tree):
        self.tree, self.codes = tree, set()
        self._tool, self._waiting, self._on = None, False, False
        self._rewrite = None  # pytest's own, while another one stands in its place

    def start(self):
        self._waiting = True
        sys.addaudithook(self._executed)

    def _executed(self, event, arguments):
        if self._waiting and event == "exec":
            code = arguments[0]
            if self.tree.relative(getattr(code, "co_filename", "")) is not None:
                self._waiting = False
                self.codes.add(code)
                self._record()

    def _record(self):
        self._on = True
        if MONITORING is not None:
            for tool in (4, 3, 5, 2):
                if MONITORING.get_tool(tool) is None:
                    break
            MONITORING.use_tool_id(tool, "trm-agent")
            events = MONITORING.events
            MONITORING.register_callback(tool, events.PY_START, self._started)
            MONITORING.register_callback(tool, events.PY_RESUME, self._started)
            MONITORING.set_events(tool, events.PY_START | events.PY_RESUME)
            self._tool = tool
        else:
            # A tracer that wants no lines is called per call only; a profiler also for C calls.
            tracer = self._tracer()
            sys.settrace(tracer)
            threading.settrace(tracer)
            self._spare_rewriting(tracer)

    def stop(self):
        self._waiting = False
        if self._tool is not None:
            MONITORING.set_events(self._tool, 0)
            MONITORING.free_tool_id(self._tool)
            self._tool = None
        elif self._on:
            sys.settrace(None)
            threading.settrace(None)
        if self._rewrite is not None:
            sys.modules["_pytest.assertion.rewrite"]._rewrite_test = self._rewrite
            self._rewrite = None

    def _spare_rewriting(self, tracer):
        """Not traced while pytest rewrites assertions: no code of the project runs, and many small calls would."""
        module = sys.modules.get("_pytest.assertion.rewrite")
        rewrite = getattr(module, "_rewrite_test", None)
        if rewrite is None:
            return

        def untraced(*arguments):
            traced = sys.gettrace() is tracer
            if traced:
                sys.settrace(None)
            try:
                return rewrite(*arguments)
            finally:
                if traced:
                    sys.settrace(tracer)

        self._rewrite = rewrite
        module._rewrite_test = untraced

    def _started(self, code, offset):
        if self.tree.relative(code.co_filename) is not None:
            self.codes.add(code)
        return MONITORING.DISABLE

    def _tracer(self):
        """Called for each call of any function: one look at a set for all but the project's."""
        foreign, relative, seen = set(), self.tree.relative, self.codes.add

        def tracer(frame, event, argument):
            code = frame.f_code
            name = code.co_filename
            if name in foreign:
                return
            if relative(name) is None:
                foreign.add(name)
            else:
                seen(code)

        return tracer


class Lines:
    """Which lines of the project ran since `begin`: sys.monitoring (3.12+) or sys.settrace."""

    def __init__(self, tree):
        self.tree, self.seen, self._tool = tree, {}, None
        self._sizes, self._paused = {}, False
        self._again = {}  # code -> [how often lines ran again since the last new one]
        self._foreign = set()  # files that are not the project's

    def start(self):
        """False where another tool holds every slot."""
        if MONITORING is None:
            return True
        for tool in (3, 4, 5, 2):
            if MONITORING.get_tool(tool) is None:
                MONITORING.use_tool_id(tool, "trm-agent")
                events = MONITORING.events
                MONITORING.register_callback(tool, events.LINE, self._line)
                self._tool = tool
                return True
        return False

    def begin(self):
        self.seen, self._again = {}, {}
        if MONITORING is None:
            tracer = self._tracer()
            threading.settrace(tracer)
            sys.settrace(tracer)
        elif self._tool is not None:
            MONITORING.set_events(self._tool, MONITORING.events.LINE)
            MONITORING.restart_events()

    def end(self):
        """{path: sorted lines} since `begin`."""
        if MONITORING is None:
            sys.settrace(None)
            threading.settrace(None)
        elif self._tool is not None:
            MONITORING.set_events(self._tool, 0)
        return self.so_far()

    def so_far(self):
        """{path: sorted lines} since `begin`, while it goes on."""
        merged = {}
        for code, lines in list(self.seen.items()):
            path = self.tree.relative(code.co_filename)
            if path is not None:
                merged.setdefault(path, set()).update(lines)
        return {path: sorted(lines) for path, lines in merged.items()}

    def unseen(self, function):
        """The function, with nothing seen of what it runs."""

        def call(*arguments, **named):
            before, self._paused = self._paused, True
            try:
                return function(*arguments, **named)
            finally:
                self._paused = before

        return call

    def _line(self, code, line):
        if self._paused:
            return None  # it may count later
        if self.tree.relative(code.co_filename) is not None:
            self.seen.setdefault(code, set()).add(line)
        return MONITORING.DISABLE

    def _tracer(self):
        """What sys.settrace calls for each frame of a test.

        Most frames are of others' code, and few calls of ours show a new line: what is known of a code object is found by its
        identity, as to hash it takes longer than all the rest.
        """
        foreign, relative, watched = self._foreign, self.tree.relative, {}

        def call(frame, event, argument):
            code = frame.f_code
            if code.co_filename in foreign or self._paused:
                return None
            known = watched.get(id(code))
            if known is None:
                if relative(code.co_filename) is None:
                    foreign.add(code.co_filename)
                    return None
                known = watched[id(code)] = self._watch(code)
            lines, size, again, local, _ = known
            return None if len(lines) >= size or again[0] > ENOUGH else local

        return call

    def _watch(self, code):
        """(lines seen, how many there are, [repetitions since the last new one], trace function, code to be kept alive)."""
        lines, again = self.seen.setdefault(code, set()), self._again.setdefault(code, [0])
        size = self._sizes.get(code)
        if size is None:
            import dis

            size = self._sizes[code] = len({line for _, line in dis.findlinestarts(code)})

        def local(frame, event, argument):
            if event == "line":
                line = frame.f_lineno
                if line in lines:
                    again[0] += 1
                    if again[0] > ENOUGH:
                        frame.f_trace_lines = False
                else:
                    lines.add(line)
                    again[0] = 0
                    if len(lines) >= size:
                        frame.f_trace_lines = False
            return local

        return lines, size, again, local, code


_WRITE_EVENTS = {
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.move",
}  # fmt: skip
# Where these events have the folder that a relative path starts from.
_FOLDER_AT = {
    "os.mkdir": 2, "os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
    "os.chmod": 2, "os.chown": 3, "os.utime": 3, "shutil.rmtree": 1,
}  # fmt: skip
_SPAWN_EVENTS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"}


class Audit:
    """What each test does that a swap in memory could not serve (by sys.addaudithook).

    `reads`: source files of the project that are opened; `spawns`: programs started; `writes`:
    paths of the project that are opened for writing or changed.
    """

    def __init__(self, tree):
        self.tree, self.armed = tree, False
        self.reads, self.writes, self.spawns = set(), set(), False

    def install(self):
        sys.addaudithook(self._hook)

    def begin(self):
        self.reads, self.writes, self.spawns, self.armed = set(), set(), False, True

    def end(self):
        self.armed = False

    def _inside(self, path):
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        elif not isinstance(path, str):
            return None
        full = os.path.realpath(path)
        return self.tree.relative(full) if full.startswith(self.tree.root) else None

    def _hook(self, event, arguments):
        if not self.armed:
            return
        if event == "open":
            path, mode, flags = arguments
            if not isinstance(path, (str, bytes)):
                return
            wanted = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) if flags else 0
            if isinstance(mode, str) and any(sign in mode for sign in "wax+"):
                wanted = 1
            if not wanted:
                source = path.endswith(b".py") if isinstance(path, bytes) else path.endswith(".py")
                if not source:
                    return
            self.armed = False
            try:
                inner = self._inside(path)
                if wanted:
                    full = os.path.realpath(os.fsdecode(path))
                    if full.startswith(self.tree.root + os.sep):
                        self.writes.add(inner or full)
                elif inner is not None and not _importing():
                    self.reads.add(inner)
            finally:
                self.armed = True
        elif event in _WRITE_EVENTS or event == "sqlite3.connect":
            path = arguments[0] if arguments else None
            if isinstance(path, (str, bytes)):
                full = os.path.realpath(os.path.join(_folder(event, arguments), os.fsdecode(path)))
                if full.startswith(self.tree.root + os.sep):
                    self.writes.add(full)
        elif event in _SPAWN_EVENTS:
            self.spawns = True


def _folder(event, arguments):
    """The folder that the path of an event is relative to, "" for the working directory."""
    at = _FOLDER_AT.get(event, len(arguments))
    handle = arguments[at] if at < len(arguments) else None
    if isinstance(handle, int) and handle >= 0:
        try:
            return os.readlink("/proc/self/fd/%d" % handle)
        except OSError:
            pass
    return ""


def _importing():
    """Whether an import statement is what opens the file."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap_external>":
            return True
        frame = frame.f_back
    return False
