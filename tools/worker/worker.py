"""The test worker: started by tools.runner under the user's interpreter, told by pipes.

    python -B worker.py A_IN A_OUT B_IN B_OUT      (file descriptors)

Two servers with one protocol. The zygote (A) has imported pytest and nothing of the project; it
forks a child per candidate that imports everything anew with the candidate's files mounted over
the old ones. The session (B) has collected the suite once; it forks a child per candidate that
exchanges code objects. Both relay their children's frames, watch the clock and kill groups.
Standard library only, Python >= 3.8. Frames: length (4 bytes), job (4 bytes), kind (1 byte), JSON.
"""

import gc
import importlib.util
import json
import os
import resource
import select
import shutil
import signal
import struct
import sys
import time
import types

HEADER = struct.Struct(">II")


def sibling(name):
    """Loads a file beside this one under a name that no project has."""
    full = "_trm_worker_" + name
    if full not in sys.modules:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
        spec = importlib.util.spec_from_file_location(full, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


def write_frame(fd, job, kind, data):
    body = kind + json.dumps(data, separators=(",", ":")).encode("ascii")
    write_all(fd, HEADER.pack(len(body), job) + body)


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self, fd):
        self.fd, self.buffer = fd, b""

    def read(self):
        """(still open, [(job, kind, raw JSON)]) after one read."""
        data = os.read(self.fd, 1 << 20)
        self.buffer += data
        found, at = [], 0
        while len(self.buffer) - at >= 8:
            size, job = HEADER.unpack_from(self.buffer, at)
            if len(self.buffer) - at - 8 < size:
                break
            start = at + 8
            found.append((job, self.buffer[start : start + 1], self.buffer[start + 1 : start + size]))
            at = start + size
        if at:
            self.buffer = self.buffer[at:]
        return bool(data), found


class Put:
    """Writes the frames of one job."""

    def __init__(self, writer, number):
        self.writer, self.number = writer, number

    def __call__(self, kind, data):
        write_frame(self.writer, self.number, kind, data)


class Job:
    """A running child."""

    def __init__(self, number, pid, fd, folder, wall):
        self.number, self.pid, self.fd, self.folder = number, pid, fd, folder
        self.frames = Frames(fd)
        self.deadline = time.monotonic() + wall
        self.current, self.timed_out, self.cancelled = None, False, False


class Server:
    """Runs requests in forked children, `jobs` at once, until its input closes."""

    def __init__(self, fd_in, fd_out, settings, guards, body, keep=()):
        """`body(request, put, folder)` runs in the child; `keep`: children that are not jobs."""
        self.inp, self.out, self.settings, self.guards = Frames(fd_in), fd_out, settings, guards
        self.body, self.keep = body, set(keep)
        self.queue, self.jobs = [], {}
        self.poll = select.poll()
        self.poll.register(fd_in, select.POLLIN)

    def run(self):
        while True:
            while self.queue and len(self.jobs) < self.settings["jobs"]:
                self.start(*self.queue.pop(0))
            now = time.monotonic()
            wait = None
            if self.jobs:
                nearest = min(job.deadline for job in self.jobs.values())
                wait = max(0, int((nearest - now) * 1000) + 1)
            for fd, _ in self.poll.poll(wait):
                if fd == self.inp.fd:
                    if not self.listen():
                        for job in list(self.jobs.values()):
                            self.finish(job)
                        return
                elif fd in self.jobs:
                    self.relay(self.jobs[fd])
            now = time.monotonic()
            for job in list(self.jobs.values()):
                if now >= job.deadline:
                    job.timed_out = True
                    self.finish(job)

    def listen(self):
        still_open, frames = self.inp.read()
        for number, kind, raw in frames:
            if kind == b"Q":
                self.queue.append((number, json.loads(raw)))
            elif kind == b"J":
                self.settings["jobs"] = json.loads(raw)
            elif kind == b"K":
                self.queue = [entry for entry in self.queue if entry[0] != number]
                for job in list(self.jobs.values()):
                    if job.number == number:
                        self.finish(job)
        return still_open

    def start(self, number, request):
        folder = os.path.join(self.settings["scratch"], "c%d" % number)
        os.mkdir(folder, 0o700)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.setpgid(0, 0)
                os.close(reader)
                for fd in [self.inp.fd, self.out] + list(self.jobs):
                    os.close(fd)

                if sibling("confine").LINUX:
                    sibling("confine").die_with_parent()
                self.body(request, Put(writer, number), folder)
                code = 0
            except BaseException:
                import traceback

                try:
                    Put(writer, number)(b"X", traceback.format_exc()[-4000:])
                except BaseException:
                    pass
            finally:
                os._exit(code)
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
        os.close(writer)
        self.jobs[reader] = Job(number, pid, reader, folder, request["setup_wall"])
        self.poll.register(reader, select.POLLIN)

    def relay(self, job):
        try:
            still_open, frames = job.frames.read()
        except OSError:
            still_open, frames = False, []
        out = []
        for _, kind, raw in frames:
            if kind == b"S":
                job.current, wall = json.loads(raw)
                job.deadline = time.monotonic() + wall
            else:
                if kind == b"R":
                    job.current = None
                out.append(HEADER.pack(len(raw) + 1, job.number) + kind + raw)
        if out:
            write_all(self.out, b"".join(out))
        if not still_open:
            self.finish(job)

    def finish(self, job):
        """Kills the child's group and what it left, reports how it ended."""
        try:
            os.killpg(job.pid, signal.SIGKILL)
        except OSError:
            pass
        status, usage = 0, None
        try:
            # A child that closed its pipe and goes on is killed above; so this does not block.
            _, status, usage = os.wait4(job.pid, 0)
        except OSError:
            pass
        self.poll.unregister(job.fd)
        os.close(job.fd)
        del self.jobs[job.fd]
        self.sweep()
        remove(job.folder)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        write_frame(
            self.out,
            job.number,
            b"E",
            {
                "current": job.current,
                "timeout": job.timed_out or number in (signal.SIGPROF, signal.SIGXCPU),
                "signal": number,
                "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                "cpu": usage.ru_utime + usage.ru_stime if usage else 0.0,
            },
        )

    def sweep(self):
        mine = {job.pid for job in self.jobs.values()} | self.keep
        if not mine:
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            except AttributeError:
                pass
        sibling("confine").kill_strays(mine)


def remove(folder):
    try:
        os.rmdir(folder)
    except OSError:
        try:
            for base, names, _ in os.walk(folder):
                for name in names:
                    os.chmod(os.path.join(base, name), 0o700)
        except OSError:
            pass
        shutil.rmtree(folder, ignore_errors=True)


def confine_child(settings, guards, folder, cpu_seconds, writable=()):
    """Puts the guards on in a candidate's child. `guards`: namespaces and mounts in place."""
    confine = sibling("confine")
    confine.set_limits(settings["limits"], cpu_seconds)
    if not confine.LINUX:
        return
    confine.become_subreaper()
    allowed = [folder] + list(settings["writable"]) + list(writable)
    if guards["landlock"] is not None:
        guards["landlock"].restrict(allowed)
    else:
        confine.no_new_privileges()
    if "mount" in guards["active"]:
        confine.drop_capabilities()


class InMemory:
    """Serves changed files to imports that come later in this process."""

    def __init__(self, files):
        """`files`: {absolute path: bytes}."""
        from importlib.machinery import SourceFileLoader

        get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

        def patched_data(loader, path):
            found = files.get(os.path.realpath(path))
            return get_data(loader, path) if found is None else found

        def patched_stats(loader, path):
            if os.path.realpath(path) in files:
                raise OSError("changed in memory")  # no cached bytecode then
            return path_stats(loader, path)

        SourceFileLoader.get_data = patched_data
        SourceFileLoader.path_stats = patched_stats


class Zygote:
    """Server A: a child per candidate that imports the project anew."""

    def __init__(self, settings, guards):
        self.settings, self.guards = settings, guards

    def body(self, request, put, folder):
        confine, session = sibling("confine"), sibling("session")
        observe, settings = sibling("observe"), self.settings
        root = settings["root"]
        files = {
            os.path.join(root, path): text.encode("latin-1")
            for path, text in request["files"].items()
        }
        for path, data in files.items():
            if path.endswith(".py"):
                try:
                    sibling("swap").compile_checked(data, path)
                except sibling("swap").Inexact:
                    pass
                except sibling("swap").Invalid as invalid:
                    put(b"I", [type(invalid.error).__name__, str(invalid)])
                    return
        opened = []
        if "mount" in self.guards["active"]:
            confine.private_mounts()
            if (request["writes"] or request["plain"]) and open_root(settings, folder):
                opened.append(root)
                os.chdir(settings["cwd"])
            for number, (path, data) in enumerate(sorted(files.items())):
                patched = os.path.join(folder, "patched%d" % number)
                with open(patched, "wb") as handle:
                    handle.write(data)
                old = os.stat(path)
                os.chmod(patched, old.st_mode & 0o7777)
                # Cached bytecode is matched by whole seconds and size: never the old second.
                os.utime(patched, (old.st_atime, old.st_mtime + 2))
                confine.bind(patched, path)
        elif request["spawns"] or request["plain"]:
            put(b"N", "the tests start programs or read sources, and mounts are not available")
            return
        else:
            InMemory({os.path.realpath(path): data for path, data in files.items()})
        confine_child(settings, self.guards, folder, request["cpu_total"], opened)
        for name in ("TMPDIR", "TEMP", "TMP"):
            os.environ[name] = folder
        if request["plain"]:
            self.plain(request, put, folder)
        tree = observe.Tree(root)
        wanted = request["tests"]

        def serve(config_session):
            config = config_session.config
            session.quiet(config)
            session.private_capture(config)
            session.private_temporary(config, folder)
            items, missing = select_items(config_session.items, wanted)
            put(b"C", [missing, [item.nodeid for item in items]])
            if (missing or plugin.errors) and request["stop"]:
                return
            session.run_items(items, plugin, put, request, observe)

        plugin = session.Plugin(tree, serve, observe)
        args, _ = session.arguments(settings)
        session.run_pytest(request["args"] + args[len(settings["args"]) :], plugin)
        if plugin.errors:
            put(b"L", plugin.errors[:20])
        put(b"D", {})


    def plain(self, request, put, folder):
        """Turns this child into a plain pytest process. Does not return."""
        settings = self.settings
        writer = put.writer
        os.set_inheritable(writer, True)
        null = os.open(os.devnull, os.O_RDWR)
        output = os.open(os.path.join(folder, "output"), os.O_RDWR | os.O_CREAT, 0o600)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plain.py")
        command = [sys.executable, "-B", program, str(writer), str(put.number)]
        cache = "cache_dir=" + os.path.join(folder, "cache")
        command += request["args"] + ["-o", cache]
        os.environ.update(settings["environment"])
        os.execv(sys.executable, command)


def select_items(items, wanted):
    """(items for `wanted`, those of it that were not found); a path stands for all its tests."""
    by_id = {item.nodeid: item for item in items}
    found, missing = [], []
    for entry in wanted:
        if entry in by_id:
            found.append(by_id[entry])
            continue
        inside = [item for item in items if item.nodeid.startswith(entry + "::")]
        if not inside or "::" in entry:
            missing.append(entry)
        else:
            found.extend(inside)
    return found, missing


def open_root(settings, folder):
    """A private writable view of the project; False where that cannot be had."""
    confine = sibling("confine")
    if not settings["overlay"]:
        return False
    upper, work = os.path.join(folder, "upper"), os.path.join(folder, "work")
    os.mkdir(upper)
    os.mkdir(work)
    try:
        confine.overlay(settings["root"], upper, work)
    except confine.GuardError:
        return False
    return True


class Collected:
    """Server B: the suite collected once; a child per candidate with code exchanged."""

    def __init__(self, settings, guards, fds):
        self.settings, self.guards, self.fds = settings, guards, fds
        self.tree = sibling("observe").Tree(settings["root"])
        self.sources, self.modules = {}, {}

    def run(self):
        session, observe = sibling("session"), sibling("observe")
        args, notes = session.arguments(self.settings)
        self.plugin = session.Plugin(self.tree, self.serve, observe)
        self.plugin.notes.extend(notes)
        self.audit = observe.Audit(self.tree)
        self.audit.install()
        self.recorder = observe.RanCode(self.tree)
        self.recorder.start()
        self.served = False
        sibling("confine").become_subreaper()
        code = session.run_pytest(args, self.plugin)
        if not self.served:
            self.recorder.stop()
            write_frame(
                self.fds[1],
                0,
                b"H",
                {
                    "code": code,
                    "errors": self.plugin.errors,
                    "items": None,
                    "notes": self.plugin.notes,
                    "positional": self.plugin.positional,
                    "rootdir": self.plugin.rootdir,
                    "configfile": self.plugin.configfile,
                },
            )

    def serve(self, session):
        self.served = True
        self.recorder.stop()
        self.session, config = session, session.config
        sibling("session").quiet(config)
        import threading

        threads = threading.active_count() - 1
        self.items = {item.nodeid: item for item in session.items}
        data = {
            "code": 0,
            "errors": self.plugin.errors,
            "items": sibling("session").described_items(session),
            "notes": self.plugin.notes,
            "threads": threads,
            "positional": self.plugin.positional,
            "rootdir": self.plugin.rootdir,
            "configfile": self.plugin.configfile,
        }
        for module in list(sys.modules.values()):
            path = self.tree.relative(getattr(module, "__file__", None) or "")
            if path is not None:
                self.modules[path] = module.__file__
        data["modules"] = sorted(self.modules)
        self.index = sibling("swap").Index(self.recorder.codes)
        write_frame(self.fds[1], 0, b"H", data)
        gc.collect()
        gc.freeze()
        Server(self.fds[0], self.fds[1], self.settings, self.guards, self.body).run()
        os._exit(0)

    def body(self, request, put, folder):
        session, observe, swap = sibling("session"), sibling("observe"), sibling("swap")
        config, settings = self.session.config, self.settings
        swaps, late = [], {}
        for path, text in request["files"].items():
            data = text.encode("latin-1")
            try:
                if path in self.modules:
                    source = self.source(path)
                    swaps += swap.plan(source, data, self.index, self.tree)
                elif path in request["late"]:
                    swap.compile_checked(data, path)
                    late[os.path.realpath(os.path.join(settings["root"], path))] = data
                else:
                    raise swap.Inexact("%s is not imported by the suite" % path)
            except swap.Invalid as invalid:
                put(b"I", [type(invalid.error).__name__, str(invalid)])
                return
            except swap.Inexact as reason:
                put(b"N", str(reason))
                return
        opened = []
        lines = audit = None
        if request["baseline"] or request["writes"]:
            confine = sibling("confine")
            if "mount" in self.guards["active"]:
                confine.private_mounts()
                if open_root(settings, folder):
                    opened.append(settings["root"])
                    os.chdir(settings["cwd"])
        if request["baseline"]:
            audit = self.audit
            if request["spectrum"]:
                lines = observe.Lines(self.tree)
                if not lines.start():
                    lines = None
        confine_child(settings, self.guards, folder, request["cpu_total"], opened)
        session.private_capture(config)
        session.private_temporary(config, folder)
        try:
            swap.apply(swaps)
        except swap.Inexact as reason:
            put(b"N", str(reason))
            return
        if late:
            InMemory(late)
        wanted = request["tests"]
        items = [self.items[nodeid] for nodeid in wanted]
        session.run_items(items, self.plugin, put, request, observe, lines, audit)
        done = {}
        if request["baseline"]:
            found = set()
            for module in list(sys.modules.values()):
                path = self.tree.relative(getattr(module, "__file__", None) or "")
                if path is not None and path not in self.modules:
                    found.add(path)
            done["late"] = sorted(found)
            upper = os.path.join(folder, "upper")
            done["wrote"] = bool(opened) and bool(os.listdir(upper))
        put(b"D", done)

    def source(self, path):
        """The file as imported. Raises swap.Inexact."""
        swap = sibling("swap")
        if path not in self.sources:
            filename = self.modules[path]
            with open(os.path.join(self.settings["root"], path), "rb") as handle:
                data = handle.read()
            try:
                self.sources[path] = swap.Source(filename, data)
            except swap.Inexact as reason:
                self.sources[path] = reason
        found = self.sources[path]
        if isinstance(found, Exception):
            raise found
        return found


def enter(settings):
    """Namespaces and mounts for the worker as a whole. Returns the guards in place."""
    confine = sibling("confine")
    names, active = (), set()
    if settings["confine"]:
        names = confine.probe_namespaces(
            settings["network"], settings["scratch"], settings["writable"], settings["limits"]
        )
    if names:
        confine.unshare(names)
        if "pid" in names:
            child = os.fork()
            if child:
                # Outside the new PID namespace: its end ends everything in there.
                for fd in settings["fds"]:
                    os.close(fd)
                os._exit(os.waitpid(child, 0)[1] and 71)
            confine.die_with_parent()
        active = confine.arrange(
            names, settings["scratch"], settings["writable"], settings["limits"]
        )
    landlock = None
    if settings["confine"] and confine.landlock_abi():
        landlock = confine.Landlock(deny_tcp=not settings["network"] and "net" not in active)
        if "read_only" not in active:
            landlock.restrict([settings["scratch"]] + settings["writable"])
    settings["overlay"] = "mount" in active and not confine.has_submounts(settings["root"])
    return {"active": active, "landlock": landlock}


def become_pytest(settings):
    """Makes this process look like ``python -m pytest ARGS`` in the project."""
    os.chdir(settings["cwd"])
    settings["environment"] = {}
    shared = os.path.join(settings["scratch"], "shared")
    os.mkdir(shared, 0o700)
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ[name] = shared
    for name in ("COVERAGE_PROCESS_START", "PYTEST_XDIST_WORKER", "COV_CORE_SOURCE"):
        if name in os.environ:
            settings["environment"][name] = os.environ.pop(name)
    sys.path.insert(0, settings["cwd"])
    sys.dont_write_bytecode = True
    import pytest

    path = os.path.join(os.path.dirname(pytest.__file__), "__main__.py")
    sys.argv = [path] + settings["args"]
    main_module = types.ModuleType("__main__")
    main_module.__file__ = path
    main_module.__spec__ = importlib.util.spec_from_file_location("pytest.__main__", path)
    settings["ours"] = sys.modules["__main__"]
    sys.modules["__main__"] = main_module


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and sys.path[0] and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    fds = [int(text) for text in sys.argv[1:5]]
    for fd in fds:
        os.set_inheritable(fd, False)
    frames, first = Frames(fds[0]), []
    while not first:
        still_open, first = frames.read()
        if not still_open:
            return 0
    settings = json.loads(first[0][2])
    settings["fds"] = fds
    guards = enter(settings)
    try:
        become_pytest(settings)
        session = sibling("session")
    except ImportError as error:
        write_frame(fds[1], 0, b"X", {"error": "no-pytest", "message": str(error)})
        return 3
    pytest_version, python_version = session.versions()
    abi = guards["landlock"].abi if guards["landlock"] else 0
    hello = {
        "pytest": pytest_version,
        "python": python_version,
        "guards": sorted(guards["active"]),
        "landlock": abi,
    }
    for name in ("confine", "observe", "swap"):
        sibling(name)
    sibling("confine").become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    write_frame(fds[1], 0, b"H", hello)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(fds[0])
            os.close(fds[1])
            sibling("confine").die_with_parent()
            Collected(settings, guards, fds[2:]).run()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
            write_frame(fds[3], 0, b"X", {"error": "crash", "message": traceback.format_exc()})
        finally:
            os._exit(code)
    os.close(fds[2])
    os.close(fds[3])
    zygote = Zygote(settings, guards)
    Server(fds[0], fds[1], settings, guards, zygote.body, keep=[child]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
