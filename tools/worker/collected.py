"""Server B: the suite collected once, a child per candidate with code exchanged.

Standard library and the user's pytest, Python >= 3.8.
"""

import gc
import os
import sys
import threading

confine = sys.modules["_trm_worker_confine"]
fresh = sys.modules["_trm_worker_fresh"]
namespaces = sys.modules["_trm_worker_namespaces"]
observe = sys.modules["_trm_worker_observe"]
runs = sys.modules["_trm_worker_session"]
serve = sys.modules["_trm_worker_serve"]
swap = sys.modules["_trm_worker_swap"]


class Collected:
    """The collected suite. `run` does not return while it serves."""

    def __init__(self, settings, guards, fds):
        self.settings, self.guards, self.fds = settings, guards, fds
        self.tree = observe.Tree(settings["root"])
        self.sources, self.modules = {}, {}
        self.session = self.index = None

    def run(self):
        confine.become_subreaper()
        args, notes = runs.arguments(self.settings)
        self.plugin = runs.Plugin(self.tree, self.serve)
        self.plugin.notes.extend(notes)
        self.audit = observe.Audit(self.tree)
        self.audit.install()
        self.recorder = observe.RanCode(self.tree)
        self.recorder.start()
        code = runs.run_pytest(args, self.plugin)
        if self.session is None:
            self.recorder.stop()
            serve.write_frame(self.fds[1], 0, b"H", self.hello(code, None))

    def hello(self, code, items):
        plugin = self.plugin
        return {
            "code": code, "errors": plugin.errors, "items": items, "notes": plugin.notes,
            "positional": plugin.positional, "rootdir": plugin.rootdir,
            "configfile": plugin.configfile, "threads": threading.active_count() - 1,
        }  # fmt: skip

    def serve(self, session):
        """Called by the plugin in place of pytest's loop."""
        self.recorder.stop()
        self.session = session
        runs.quiet(session.config)
        self.items = {item.nodeid: item for item in session.items}
        self.modules = self.tree.loaded()
        swap.WARNINGS_MATTER[0] = runs.warnings_matter(session.config)
        self.index = swap.Index(self.recorder.codes)
        serve.write_frame(self.fds[1], 0, b"H", self.hello(0, runs.described_items(session)))
        gc.collect()
        gc.freeze()
        serve.Server(self.fds[0], self.fds[1], self.settings, self.body, prepare=self.prepare).run()
        os._exit(0)

    def prepare(self, request):
        """Does once in the parent what every child would do again."""
        for path, text in request["files"].items():
            if path in self.modules:
                try:
                    source = self.source(path)
                    found = source.changed_block(text.encode("latin-1").decode("utf-8"))
                    if found is not None:
                        source.block_code(found[0])
                except (swap.Inexact, UnicodeDecodeError):
                    pass  # the child says so

    def body(self, request, put, folder):
        """A child's whole life."""
        config, settings = self.session.config, self.settings
        try:
            swaps, late = self.plan(request)
        except swap.Invalid as invalid:
            return put(b"I", [type(invalid.error).__name__, str(invalid)])
        except swap.Inexact as reason:
            return put(b"N", str(reason))
        opened = []
        if (request["baseline"] or request["writes"]) and "mount" in self.guards["active"]:
            namespaces.private_mounts()
            if fresh.open_root(settings, folder):
                opened.append(settings["root"])
                os.chdir(settings["cwd"])
        lines = audit = None
        if request["baseline"]:
            audit = self.audit
            if request["spectrum"]:
                lines = observe.Lines(self.tree)
                if not lines.start():
                    lines = None
        confine.restrict_candidate(settings, self.guards, folder, request["cpu_total"], opened)
        runs.private_capture(config)
        runs.private_temporary(config, folder)
        try:
            swap.apply(swaps)
        except swap.Inexact as reason:
            return put(b"N", str(reason))
        if late:
            fresh.InMemory(late)
        items = [self.items[nodeid] for nodeid in request["tests"]]
        runs.run_items(items, self.plugin, put, request, lines, audit)
        put(b"D", self.aftermath(folder, opened) if request["baseline"] else {})

    def plan(self, request):
        """(swaps, {absolute path: data} for files that a test imports later)."""
        swaps, late = [], {}
        for path, text in request["files"].items():
            data = text.encode("latin-1")
            if path in self.settings["preloaded"]:
                raise swap.Inexact("%s is imported by pytest itself" % path)
            elif path in self.modules:
                swaps += swap.plan(self.source(path), data, self.index, self.tree)
            elif path in request["late"]:
                swap.compile_checked(data, path)
                late[os.path.realpath(os.path.join(self.settings["root"], path))] = data
            else:
                raise swap.Inexact("%s is not imported by the suite" % path)
        return swaps, late

    def source(self, path):
        """The file as imported. Raises swap.Inexact."""
        if path not in self.sources:
            with open(os.path.join(self.settings["root"], path), "rb") as handle:
                data = handle.read()
            try:
                self.sources[path] = swap.Source(self.modules[path], data)
            except swap.Inexact as reason:
                self.sources[path] = reason
        found = self.sources[path]
        if isinstance(found, Exception):
            raise found
        return found

    def aftermath(self, folder, opened):
        """What the baseline did besides passing: late imports, files written to the project."""
        late = set(self.tree.loaded()) - set(self.modules)
        wrote = bool(opened) and bool(os.listdir(os.path.join(folder, "upper")))
        return {"late": sorted(late), "wrote": wrote}
