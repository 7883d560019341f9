"""Server A's candidates: a child that imports the project anew, with changed files in place.

Standard library and the user's pytest, Python >= 3.8.
"""

import os
import sys
import threading

confine = sys.modules["_trm_worker_confine"]
namespaces = sys.modules["_trm_worker_namespaces"]
items = sys.modules["_trm_worker_items"]
observe = sys.modules["_trm_worker_observe"]
runs = sys.modules["_trm_worker_session"]
swap = sys.modules["_trm_worker_swap"]


def open_root(settings, folder):
    """A private writable view of the project; False where that cannot be had."""
    if not settings["overlay"]:
        return False
    upper, work = os.path.join(folder, "upper"), os.path.join(folder, "work")
    os.mkdir(upper)
    os.mkdir(work)
    try:
        namespaces.overlay(settings["root"], upper, work)
    except namespaces.GuardError:
        return False
    return True


class InMemory:
    """Serves changed files to imports that come later in this process."""

    def __init__(self, files):
        """`files`: {real absolute path: bytes}."""
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


class Zygote:
    """Has imported pytest and nothing of the project."""

    def __init__(self, settings, guards):
        self.settings, self.guards = settings, guards
        self.tree, self.asked = observe.Tree(settings["root"]), 0

    def prepare(self, request):
        """Runs before each child; before the second that starts pytest, what these would all import is imported."""
        self.asked += not request["plain"]
        if self.asked == 2 and not request["plain"]:
            self.preload()
        return None, (None, None)

    def preload(self):
        """Imports pytest's plugins, unless something of the project comes along: it may be a plugin, or what one needs."""
        folder = os.path.join(self.settings["scratch"], "nothing")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                namespaces.die_with_parent()
                os.mkdir(folder, 0o700)
                before = self.tree.loaded()
                runs.load_plugins(folder)
                code = int(self.tree.loaded() != before or threading.active_count() > 1)
            finally:
                os._exit(code)
        if os.waitpid(pid, 0)[1] == 0:
            runs.load_plugins(folder)

    def body(self, request, put, place, _):
        """A child's whole life."""
        folder, root = place.folder, self.settings["root"]
        files = {
            os.path.join(root, path): text.encode("latin-1")
            for path, text in request["files"].items()
        }
        try:
            for path, data in files.items():
                if path.endswith(".py"):
                    check_compiles(data, path)
        except swap.Invalid as invalid:
            return put(b"I", [type(invalid.error).__name__, str(invalid)])
        if not request["plain"] and set(request["files"]) & set(self.settings["preloaded"]):
            return put(b"N", "pytest itself imports the file")
        opened, mounts = [], "mount" in self.guards["active"]
        if request["shadow"]:
            opened.append(request["shadow"])
        elif mounts:
            namespaces.private_mounts()
            if (request["writes"] or request["plain"]) and open_root(self.settings, folder):
                opened.append(root)
                os.chdir(self.settings["cwd"])
            try:
                put_in_place(files, folder)
            except (OSError, namespaces.GuardError) as error:
                return put(b"N", "cannot mount over the old file: %s" % error)
        elif request["plain"] or request["spawns"] or set(request["files"]) & set(request["reads"]):
            return put(b"N", "the tests start programs or read sources; no private mounts here")
        else:
            InMemory({os.path.realpath(path): data for path, data in files.items()})
        confine.restrict_candidate(self.settings, self.guards, folder, request["cpu_total"], opened)
        for name in ("TMPDIR", "TEMP", "TMP"):
            os.environ[name] = folder
        if request["plain"]:
            self.plain(request, put, folder)
        else:
            self.anew(request, put, folder)

    def anew(self, request, put, folder):
        """Collects the wanted tests' files and runs them in this process."""

        def serve(session):
            runs.quiet(session.config)
            runs.private_capture(session.config)
            runs.private_temporary(session.config, folder)
            chosen, missing = select_items(session.items, request["tests"])
            put(b"C", [missing, [item.nodeid for item in chosen]])
            if not (request["stop"] and (missing or plugin.errors)):
                self.ended = items.run_items(chosen, plugin, put, request)

        self.ended = True
        plugin = runs.Plugin(observe.Tree(self.settings["root"]), serve)
        args = runs.arguments(self.settings, request["args"])
        runs.run_pytest(args, plugin)
        if plugin.errors:
            put(b"L", plugin.errors[:20])
        if self.ended:
            put(b"D", {})

    def plain(self, request, put, folder):
        """Turns this child into a plain pytest process. Does not return."""
        os.set_inheritable(put.writer, True)
        null = os.open(os.devnull, os.O_RDWR)
        output = os.open(os.path.join(folder, "output"), os.O_RDWR | os.O_CREAT, 0o600)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plain.py")
        command = [sys.executable, "-B", program, str(put.writer), str(put.number)]
        command += request["args"] + runs.own_cache(request["args"], folder)
        os.environ.update(self.settings["environment"])
        if request["shadow"]:
            os.chdir(request["shadow"])
            self.shadow_path(request["shadow"])
        os.execv(sys.executable, command)

    def shadow_path(self, shadow):
        """Lets imports find the copy where an installed project points to the original."""
        root = self.settings["root"]
        places = [root, os.path.join(root, "src")] + [path for path in sys.path if path]
        inside = [path for path in places if os.path.isdir(path)]
        inside = [path for path in inside if (path + os.sep).startswith(root.rstrip("/") + os.sep)]
        moved = [os.path.join(shadow, os.path.relpath(path, root)) for path in inside]
        old = os.environ.get("PYTHONPATH")
        moved = list(dict.fromkeys(map(os.path.normpath, moved))) + ([old] if old else [])
        os.environ["PYTHONPATH"] = os.pathsep.join(moved)


def check_compiles(data, path):
    """Raises swap.Invalid where `data` is not Python."""
    try:
        swap.compile_checked(data, path)
    except swap.Inexact:
        pass  # it warns, which the import will do as well


def put_in_place(files, folder):
    """Mounts the new content of each file over the old one (in this process's mounts)."""
    for number, (path, data) in enumerate(sorted(files.items())):
        patched = os.path.join(folder, "patched%d" % number)
        with open(patched, "wb") as handle:
            handle.write(data)
        old = os.stat(path)
        os.chmod(patched, old.st_mode & 0o7777)
        # Cached bytecode is matched by whole seconds and size: never the old second.
        os.utime(patched, (old.st_atime, old.st_mtime + 2))
        namespaces.bind(patched, path)
