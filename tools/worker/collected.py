"""Server B: the suite collected once, a child per candidate with code exchanged.

Standard library and the user's pytest, Python >= 3.8.
"""

import errno
import gc
import marshal
import os
import sys
import threading
import time

behave = sys.modules["_trm_worker_behave"]
confine = sys.modules["_trm_worker_confine"]
direct = sys.modules["_trm_worker_direct"]
fresh = sys.modules["_trm_worker_fresh"]
namespaces = sys.modules["_trm_worker_namespaces"]
observe = sys.modules["_trm_worker_observe"]
items = sys.modules["_trm_worker_items"]
runs = sys.modules["_trm_worker_session"]
serve = sys.modules["_trm_worker_serve"]
slots = sys.modules["_trm_worker_slots"]
state = sys.modules["_trm_worker_state"]
swap = sys.modules["_trm_worker_swap"]


LONG_LOOK = 0.012  # CPU seconds; a process of its own costs a candidate less
EDIT = 4000  # signs in which a file may differ to be compiled in the parent of all candidates
WRITES = 75  # how a process ends in which the project could not be imported without writing into its folder


def run(settings, guards, fds):
    """Serves the collected suite. Does not return while it serves.

    A project that writes into its own folder while it is imported (a log, a generated version) is collected once more, in a
    private view of that folder. Not at once: in a container that view cannot be covered by a candidate's own.
    """
    if settings["overlay"] and guards["landlock"]:
        child = os.fork()
        if child == 0:
            namespaces.die_with_parent()
            Collected(settings, guards, fds, may_end=True).run()
            return
        status = os.waitpid(child, 0)[1]
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != WRITES:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 71)
        folder = os.path.join(settings["scratch"], "collection")
        os.mkdir(folder)
        namespaces.private_mounts()
        fresh.open_root(settings, folder)
        os.chdir(settings["cwd"])
    Collected(settings, guards, fds).run()


class Collected:
    """The collected suite. `run` does not return while it serves.

    may_end: end with WRITES where the read-only project is why it does not import.
    """

    def __init__(self, settings, guards, fds, may_end=False):
        self.settings, self.guards, self.fds, self.may_end = settings, guards, fds, may_end
        self.tree = observe.Tree(settings["root"])
        self.sources, self.modules = {}, {}
        self.session = self.index = self.direct = None
        self.imported, self.watched = 0, []  # how many modules there are, and the project's

    def run(self):
        confine.become_subreaper()
        args = runs.arguments(self.settings)
        self.plugin = runs.Plugin(self.tree, self.serve)
        self.audit = observe.Audit(self.tree)
        self.audit.install()
        self.recorder = observe.RanCode(self.tree)
        self.recorder.start()
        code = runs.run_pytest(args, self.plugin)
        if self.session is None:
            self.recorder.stop()
            self.end_if_it_writes()
            serve.write_frame(self.fds[1], 0, b"H", self.hello(code, None))

    def end_if_it_writes(self):
        """Once candidates are forked their own barrier, Landlock, keeps them from writing into the private view."""
        refused = "[Errno %d]" % errno.EROFS
        if self.may_end and any(
            refused in (error["message"] or "") for error in self.plugin.errors
        ):
            os._exit(WRITES)

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
        self.end_if_it_writes()
        self.session = session
        runs.quiet(session.config)
        self.items = {item.nodeid: item for item in session.items}
        self.modules = self.tree.loaded()
        swap.WARNINGS_MATTER[0] = runs.warnings_matter(session.config)
        self.index = swap.Index(self.recorder.codes)
        self.direct = direct.Direct(session, self.plugin, swap.WARNINGS_MATTER[0])
        landlock = self.guards["landlock"]
        # Only where signals stay in a Landlock domain is a slot safe from its children.
        self.slotted = bool(landlock and landlock.scoped)
        self.patterns = slots.Patterns()
        serve.write_frame(self.fds[1], 0, b"H", self.hello(0, runs.described_items(session)))
        gc.collect()
        gc.freeze()
        server = serve.Server(
            self.fds[0], self.fds[1], self.settings, self.body, prepare=self.prepare,
            new_slot=lambda place, others: slots.Slot(place, others, self.slot), pack=slots.packed,
            learn=self.patterns.learn,
        )  # fmt: skip
        server.run()
        os._exit(0)

    def prepare(self, request):
        """Does in the parent what no candidate need do. The answer is as serve.Server wants it.

        A text that differs by more than an edit is left to a child: what it does to a compiler is
        not known.
        """
        request["direct"] = [test for test in request["direct"] if test in self.direct.entries]
        try:
            if not self.modest(request):
                return None, (None, None)
            swaps, late = self.plan(request)
        except swap.Invalid as invalid:
            return b"I", [type(invalid.error).__name__, str(invalid)]
        except swap.Inexact as reason:
            return b"N", str(reason)
        if request["baseline"] or request["writes"] or not self.slotted:
            return None, (None, (swaps, late))
        numbered = [(self.index.numbers[id(function)], code) for function, code in swaps]
        alone = bool(late or request["warm"] or request["want_failure"])
        direct = set(request["direct"])
        tests = request["tests"]
        # where the first failure ends it, most come no further than the first test
        some = request["stop"] and tests and tests[0] in direct
        request["chain"] = not alone and (some or all(test in direct for test in tests))
        return None, ((numbered, late), None)

    def modest(self, request):
        """Whether the files differ by a little."""
        for path, data in request["files"].items():
            if path in self.modules and path not in self.settings["preloaded"]:
                text = self.source(path).text
                new = data.encode("latin-1").decode("utf-8", "replace")
                if len(new) - sum(swap.common(text, new)) > EDIT:
                    return False
        return True

    def slot(self, place):
        """In a slot's process: puts everything in place. Returns what slots._serve wants."""
        config, settings = self.session.config, self.settings
        landlock, folder = self.guards["landlock"], place.folder
        rules = landlock.ruleset([folder] + settings["writable"])
        confine.restrict_candidate(settings, self.guards, folder, None)
        files = runs.private_capture(config)
        runs.private_temporary(config, folder)
        entered = self.direct.enter()
        items.TEXTS.switch(False)
        before = self.patterns.cached()

        def run(put, payload):
            request, candidates = marshal.loads(payload)
            slots.limit_cpu(request["cpu_total"] * len(candidates))
            if not (entered and request["direct"]):
                self.direct.leave()
            had = os.listdir(folder)
            seen = self.seen(request) if len(candidates) > 1 else None
            if seen is not None and seen.rewind():
                seen = self.seen(request)
            last = candidates[-1][0]
            for put.number, numbered, late in candidates:
                swaps = [(self.index.all[number], code) for number, code in numbered]
                lines = self.lines() if request["spectrum"] else None
                undo = self.judge(put, request, swaps, late, lines, before=before)
                if put.number == last:
                    return
                if seen is None:
                    return put(b"B", False)
                if undo is None:
                    return put(b"B", True)
                swap.apply(undo)
                clean()
                if not self.direct.again(request["direct"]):
                    return put(b"B", True)
                spent = time.process_time()
                if os.listdir(folder) != had or not self.unchanged(request, seen):
                    return put(b"B", True)
                if time.process_time() - spent > LONG_LOOK:
                    return put(b"B", False)

        def clean():
            for fd in files:
                os.ftruncate(fd, 0)
                os.lseek(fd, 0, os.SEEK_SET)

        return rules, run, clean

    def seen(self, request):
        """What the tests might change; None where that cannot be told."""
        entries = [self.direct.entries[test] for test in request["direct"]]
        values = [part for entry in entries for part in (entry.arguments, entry.function)]
        if len(sys.modules) != self.imported:
            self.imported, self.watched = len(sys.modules), list(self.tree.modules().values())
        try:
            return state.Seen(self.watched, values)
        except state.Hidden:
            return None

    def unchanged(self, request, seen):
        """Whether what the tests might change is as it was, or could be put back."""
        seen.rewind()
        now = self.seen(request)
        if now is None or now != seen:
            seen.restore()
            now = self.seen(request)
        return now is not None and now == seen

    def body(self, request, put, place, known):
        """The whole life of a child that is not a slot's. `known`: what `plan` would say."""
        config, settings, folder = self.session.config, self.settings, place.folder
        try:
            swaps, late = known or self.plan(request)
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
            lines = self.lines()
        confine.restrict_candidate(settings, self.guards, folder, request["cpu_total"], opened)
        runs.private_capture(config)
        runs.private_temporary(config, folder)
        self.judge(put, request, swaps, late, lines, audit, lambda: self.aftermath(folder, opened))

    def functions(self):
        """Functions of the project, without those of tests and conftests."""
        tests = {nodeid.split("::")[0] for nodeid in self.items}
        found = []
        for function in self.index.all:
            path = self.tree.relative(function.__code__.co_filename)
            if path is not None and path not in tests and not path.endswith("conftest.py"):
                found.append(function)
        return found

    def lines(self):
        """What records executed lines, None where other tools leave no room for it."""
        lines = observe.Lines(self.tree)
        if not lines.start():
            return None
        items.leave_out_telling(lines)
        return lines

    def judge(self, put, request, swaps, late, lines=None, audit=None, aftermath=dict, before=None):
        """Runs the tests with the code exchanged. `before`: regular expressions known before.

        Returns what puts the code back, or None where the tests did not come to an end.
        """
        used = time.process_time()
        try:
            undo = swap.apply(swaps)
        except swap.Inexact as reason:
            return put(b"N", str(reason))
        if late:
            fresh.InMemory(late)
        if request["behave"]:
            lines = behave.Calls(self.functions())
        chosen = [self.items[nodeid] for nodeid in request["tests"]]
        if items.run_items(chosen, self.plugin, put, request, lines, audit, self.direct):
            if before is not None and request["warm"]:
                put.hold(b"W", self.patterns.seen(before))
            if request["behave"]:
                put.hold(b"V", behave.signs(lines.found))
            put(b"D", dict(aftermath(), cpu=time.process_time() - used))
            return undo
        return None

    def plan(self, request):
        """(swaps, {absolute path: data} for files that a test imports later)."""
        swaps, late = [], {}
        for path, text in request["files"].items():
            data = text.encode("latin-1")
            if path in self.settings["preloaded"]:
                raise swap.Inexact("%s is imported by pytest itself" % path)
            elif path in self.modules:
                swaps += swap.plan(self.source(path), data, self.index, self.tree, request["guess"])
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
