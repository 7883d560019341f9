"""The pytest session of the worker: a plugin that collects once and then serves.

Standard library and the user's pytest (7 to 9), Python >= 3.8. Nothing here prints: what is found
goes through `put(kind, data)`.
"""

import os
import sys
import tempfile

import pytest

failures = sys.modules["_trm_worker_failures"]

# Other plugins' entry points, each with the argument that switches it off if it is installed.
NEUTRALIZED = {"pytest_cov": "--no-cov"}


def installed_plugins():
    """Names of the pytest11 entry points that pytest will load by itself."""
    if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        return set()
    try:
        from importlib import metadata
    except ImportError:
        return set()
    found = metadata.entry_points()
    if hasattr(found, "select"):
        return {point.name for point in found.select(group="pytest11")}
    return {point.name for point in found.get("pytest11", ())}


def own_cache(args, folder):
    """Arguments that put pytest's cache into `folder`; none where `args` switch it off, since the option is unknown then."""
    if "no:cacheprovider" in args or "-pno:cacheprovider" in args:
        return []
    return ["-o", "cache_dir=" + os.path.join(folder, "cache")]


def arguments(settings, args=None):
    """pytest's arguments. `args` in place of the user's."""
    names = installed_plugins()
    args = settings["args"] if args is None else args
    extra = own_cache(args, settings["scratch"])
    extra += [argument for name, argument in NEUTRALIZED.items() if name in names]
    return list(args) + extra


class Enough(BaseException):
    """The verdict is known and the process ends: nothing need be torn down."""


class Plugin:
    """Collects, records reports, and hands the session to `serve(session)` instead of the loop."""

    def __init__(self, tree, serve):
        self.tree, self.serve = tree, serve
        self.errors, self.notes = [], []
        self.reports, self.error, self.compared = [], None, None
        self.want_compare, self.no_teardown, self.raised = True, False, None
        self.positional, self.rootdir, self.configfile = None, "", None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_cmdline_main(self, config):
        option = config.option
        self.positional = list(getattr(option, "file_or_dir", None) or [])
        self.rootdir = str(getattr(config, "rootpath", ""))
        found = getattr(config, "inipath", None)
        self.configfile = None if found is None else str(found)
        if getattr(option, "numprocesses", None) or getattr(option, "tx", None):
            self.notes.append("xdist is switched off in the worker (-n0)")
        if config.pluginmanager.hasplugin("_cov"):
            # with --no-cov it has started nothing, and fails in tests that are marked `no_cover`
            config.pluginmanager.unregister(name="_cov")
            self.notes.append("pytest-cov is switched off in the worker (--no-cov)")
        for name, value in (
            ("numprocesses", 0), ("maxprocesses", None), ("dist", "no"), ("tx", []),
            ("distload", False), ("looponfail", False), ("usepdb", False), ("trace", False),
        ):  # fmt: skip
            if hasattr(option, name):
                setattr(option, name, value)
        if hasattr(option, "randomly_reorganize"):
            option.randomly_reorganize = False
            if option.randomly_seed in (None, "default", "last"):
                option.randomly_seed = 0
            self.notes.append("pytest-randomly keeps the order and a fixed seed in the worker")
        if getattr(option, "random_order_bucket", None) is not None:
            option.random_order_bucket = "none"
        yield

    def pytest_exception_interact(self, node, call, report):
        if isinstance(node, pytest.Item) or not report.failed:
            return
        error = call.excinfo.value
        cause = error.__cause__ if isinstance(error, node.CollectError) else None
        path = getattr(node, "path", None) or getattr(node, "fspath", "")
        self.errors.append(collection_error(str(path), cause or error, self.tree))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self.serve(session)
        return True

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        if call.excinfo is not None and self.raised is None:
            self.raised = call.excinfo.value
        if call.excinfo is not None and self.error is None:
            report = outcome.get_result()
            if report.failed:
                self.error = call.excinfo.value, call.excinfo.tb

    def pytest_runtest_logreport(self, report):
        self.reports.append((report.when, report.outcome, hasattr(report, "wasxfail")))
        if self.no_teardown and report.failed and type(report) is pytest.TestReport:
            raise Enough

    def pytest_assertrepr_compare(self, config, op, left, right):
        if self.want_compare:
            if op == "==":
                self.compared = op, *failures.sides(left, right)
            elif op == "in":
                self.compared = op, *failures.within(left, right)
            else:
                self.compared = op, failures.short(left, 400), failures.short(right, 400)

    def outcome(self):
        """The outcome of the item whose reports were recorded last."""
        found = "passed"
        for when, outcome, _ in self.reports:
            if outcome == "failed":
                if when == "call" or when not in ("setup", "teardown"):
                    return "failed"
                found = "error"
            elif outcome == "skipped" and found == "passed":
                found = "skipped"
        return found


def collection_error(path, error, tree):
    """A JSON-able account of why a file could not be collected."""
    line, where = None, tree.relative(path) or path
    if isinstance(error, SyntaxError) and error.filename:
        where, line = tree.relative(error.filename) or error.filename, error.lineno
    else:
        traceback = error.__traceback__
        while traceback is not None:
            inner = tree.relative(traceback.tb_frame.f_code.co_filename)
            if inner is not None:
                where, line = inner, traceback.tb_lineno
            traceback = traceback.tb_next
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return {
        "path": where, "exception": type(error).__name__, "message": str(error)[:2000],
        "line": line, "missing_module": missing, "collecting": tree.relative(path) or path,
    }  # fmt: skip


def load_plugins(folder):
    """Imports the plugins of the installed packages as pytest does, outside any project; `folder`: an empty one."""
    from _pytest.config import _prepareconfig

    names = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "DJANGO_SETTINGS_MODULE")
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    here = os.getcwd()
    os.chdir(folder)
    try:
        config = _prepareconfig(["--noconftest", "-s", "-c", os.devnull, "--rootdir", folder], [])
        config._ensure_unconfigure()
    finally:
        os.chdir(here)
        os.environ.update(taken)
        tempfile.tempdir = None  # each child has a place of its own


def run_pytest(args, plugin):
    """Runs pytest with our plugin. Returns (exit code, collection errors); SystemExit is kept in."""
    from _pytest.config import ConftestImportFailure, UsageError, _prepareconfig

    try:
        config = _prepareconfig(args, [plugin])
        code = config.hook.pytest_cmdline_main(config=config)
        return int(code or 0)
    except ConftestImportFailure as failure:
        cause = getattr(failure, "cause", None)
        if cause is None:
            cause = failure.excinfo[1]
        plugin.errors.append(collection_error(str(failure.path), cause, plugin.tree))
        return 4
    except UsageError as error:
        plugin.errors.append(
            {
                "path": "",
                "exception": "UsageError",
                "message": "; ".join(map(str, error.args)),
                "line": None,
                "missing_module": None,
                "collecting": "",
            }
        )
        return 4
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 4


def warnings_matter(config):
    """Whether a warning given during an import can become an error."""
    try:
        filters = list(config.getini("filterwarnings"))
        filters += getattr(config.known_args_namespace, "pythonwarnings", None) or []
    except (AttributeError, ValueError):
        return True
    filters += sys.warnoptions
    return any(text.strip().startswith("e") for text in filters)


def quiet(config):
    """Takes the reporter's hooks out of the plugin manager; the plugin itself stays findable."""
    manager = config.pluginmanager
    reporter = manager.getplugin("terminalreporter")
    if reporter is None:
        return
    for caller in manager.get_hookcallers(reporter) or ():
        try:
            caller._remove_plugin(reporter)
        except (AttributeError, ValueError):
            pass


def private_capture(config):
    """Gives this process its own capture files in place of those shared through fork.

    Returns their descriptors.
    """
    files = []
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    manager = config.pluginmanager.getplugin("capturemanager")
    streams = getattr(manager, "_global_capturing", None)
    for name in ("out", "err"):
        capture = getattr(streams, name, None)
        shared = getattr(capture, "tmpfile", None)
        saved = getattr(capture, "targetfd_save", None)
        if shared is None or saved is None:
            continue
        fresh = os.memfd_create("capture") if hasattr(os, "memfd_create") else None
        if fresh is None:
            import tempfile

            handle = tempfile.TemporaryFile()
            fresh = os.dup(handle.fileno())
        os.dup2(fresh, shared.fileno())
        files.append(shared.fileno())
        os.close(fresh)
        os.dup2(null, saved)
    os.close(null)
    return files


def private_temporary(config, folder):
    """Points tempfile and tmp_path to `folder`."""
    import tempfile

    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ[name] = folder
    tempfile.tempdir = folder
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None and hasattr(factory, "_given_basetemp"):
        from pathlib import Path

        # Made by pytest at first use, which most tests never come to.
        factory._given_basetemp = Path(folder) / "pytest"
        factory._basetemp = None


def described_items(session):
    """[[nodeid, path, line (1-based or None)]] in collection order."""
    found = []
    for item in session.items:
        path, line, _ = item.location
        found.append([item.nodeid, path.replace(os.sep, "/"), None if line is None else line + 1])
    return found


def versions():
    return pytest.__version__, "%d.%d.%d" % sys.version_info[:3]
