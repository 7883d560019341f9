"""The direct path: a test that provably needs no more than a call skips pytest's protocol.

Looked at once, before any candidate runs: the kind of test, its marks, its fixtures, and that no
hook of a test's run belongs to anybody but pytest or to plugins that leave such a test alone.
Fixtures that are needed are set up by pytest itself. What then surrounds a call (capturing, warning
filters, log handlers) is entered once, in the parent of all candidates. The path judges ordinary
passes and failures; anything else (a skip, an exit, a value returned, an error while setting up or
tearing down) is asked again through the protocol. Standard library and the user's pytest (7 to 9),
Python >= 3.8.
"""

import contextlib
import inspect
import os
import sys
import threading
import unittest

import pytest

# Those that only listen (logstart, logreport, warning_recorded, ...) decide nothing, and are not asked.
HOOKS = (
    "pytest_runtest_protocol", "pytest_runtest_setup", "pytest_runtest_call", "pytest_runtest_teardown",
    "pytest_runtest_makereport", "pytest_pyfunc_call", "pytest_assertrepr_compare", "pytest_assertion_pass",
)  # fmt: skip
FIXTURE_HOOKS = ("pytest_fixture_setup", "pytest_fixture_post_finalizer")
# Plugins whose hooks do nothing for a test without the mark, the fixture, or the attribute of its
# function that is named so. (A limit of time for all tests is no loss: ours holds.)
GUESTS = {
    "_hypothesis_pytestplugin": "hypothesis", "hypothesis.extra.pytestplugin": "hypothesis",
    "pytest_asyncio.plugin": "asyncio", "anyio.pytest_plugin": "anyio",
    "pytest_timeout": "timeout", "pytest_benchmark.plugin": "benchmark",
    "flaky.flaky_pytest_plugin": "flaky", "pytest_rerunfailures": "flaky",
    "syrupy": "snapshot",
    # these show failures otherwise, or report them
    "pytest_icdiff": "pytest_icdiff", "pytest_clarity.plugin": "pytest_clarity",
    "pytest_html.plugin": "pytest_html",
}  # fmt: skip
# Plugins that set random generators before each part of a test: their `pytest_runtest_call` does so.
SEEDERS = {"pytest_randomly"}
MARKS = {"skip", "skipif", "xfail", "filterwarnings"}  # those that pytest itself acts on
NODES = {"Session", "Dir", "Package", "Module", "Class", "UnitTestCase", "Instance"}
# Where pytest's own fixture functions are fit for it; others (capsys, caplog, tmp_path, recwarn)
# work together with the hooks that are skipped.
FIXTURES = {"_pytest.python", "_pytest.unittest", "_pytest.fixtures", "_pytest.monkeypatch"}


class Doubt(Exception):
    """The direct path cannot judge this."""


class Entry:
    """What is known of an item that may run directly."""

    def __init__(self, item, function, case, arguments, setup):
        self.item, self.function, self.case = item, function, case
        self.arguments, self.setup = arguments, setup
        self.current = ("%s (call)" % item.nodeid).replace("\0", "(null)")


class Result:
    """A unittest result for one test: `errors` are the exceptions, in order."""

    failfast = shouldStop = False

    def __init__(self):
        self.errors, self.odd = [], False

    def unused(self, *_):
        pass

    startTest = stopTest = addSuccess = addDuration = unused

    def addError(self, case, info):
        self.errors.append(info[1])

    addFailure = addError

    def strange(self, *_):
        self.odd = True

    addSkip = addExpectedFailure = addUnexpectedSuccess = strange

    def addSubTest(self, case, inner, info):
        if info is not None:
            self.errors.append(info[1])


class Direct:
    """The direct path of a collected session. `run` is for children, all else for their parent."""

    def __init__(self, session, plugin, strict):
        """`strict`: whether a warning may be an error."""
        self.session, self.strict = session, strict
        self.entries, self.stack, self.odd = {}, None, False  # entries: by node id
        self.seeders = []
        try:
            owners = foreign(session.config, plugin, HOOKS)
            served = not foreign(session.config, plugin, FIXTURE_HOOKS) <= set(GUESTS)
            seeders = owners & SEEDERS
            owners -= seeders
            if owners <= set(GUESTS) and plain_options(session):
                self.seeders = [sys.modules[name].pytest_runtest_call for name in seeders]
                for item in session.items:
                    entry = examine(item, {GUESTS[owner] for owner in owners}, served)
                    if entry is not None:
                        self.entries[item.nodeid] = entry
        except (AttributeError, TypeError, ValueError, KeyError):
            self.entries = {}  # a pytest that is built differently

    # ------------------------------------------------------------ what surrounds a call

    def enter(self):
        """Puts in place what pytest has in place during a call. False where that failed."""
        if self.stack is not None:
            return True
        config, stack = self.session.config, contextlib.ExitStack()
        manager = config.pluginmanager
        try:
            if manager.hasplugin("warnings"):
                from _pytest.warnings import catch_warnings_for_item

                hook = config.hook
                stack.enter_context(
                    catch_warnings_for_item(config=config, ihook=hook, when="runtest", item=None)
                )
            logs = manager.getplugin("logging-plugin")
            if logs is not None:
                from _pytest.logging import catching_logs

                for handler in (logs.caplog_handler, logs.report_handler):
                    stack.enter_context(catching_logs(handler, level=logs.log_level))
            capture = manager.getplugin("capturemanager")
            if capture is not None:
                stack.callback(capture.suspend_global_capture)
                capture.resume_global_capture()
            if self.strict:
                # Errors that nobody sees become warnings, and those failures, after the call.
                for module, name in ((sys, "unraisablehook"), (threading, "excepthook")):
                    if hasattr(module, name):
                        stack.callback(setattr, module, name, getattr(module, name))
                        setattr(module, name, self._unseen)
        except (AttributeError, TypeError, ValueError, ImportError):
            stack.close()
            return False
        self.stack = stack
        return True

    def leave(self):
        """Undoes `enter`."""
        stack, self.stack = self.stack, None
        if stack is not None:
            stack.close()

    def _unseen(self, *_):
        self.odd = True

    # ------------------------------------------------------------ in a child

    def run(self, entry, following, stop, clock):
        """(outcome, exception, CPU and wall seconds); the outcome is None where it is in doubt."""
        error, outcome = None, None
        try:
            self.enter()
            self.odd = False
            item = entry.item
            os.environ["PYTEST_CURRENT_TEST"] = entry.current
            if entry.setup:
                item.funcargs.update(entry.arguments)
                self.session._setupstate.setup(item)
            for seed in self.seeders:
                seed(item)
            error = call_case(item, entry) if entry.case else call_function(item, entry)
            if self.odd:
                raise Doubt
            outcome = "passed" if error is None else "failed"
            state = self.session._setupstate
            if (outcome == "passed" or not stop) and state.stack:
                state.teardown_exact(following)
                if self.odd:
                    raise Doubt
        except BaseException:  # Doubt, and whatever else pytest will know how to handle
            outcome = None
        return (outcome, error) + clock.stop()

    def again(self, tests):
        """Makes `tests` as they were before they ran. False where that cannot be told."""
        try:
            self.odd = False
            self.session._setupstate.teardown_exact(None)
            for test in tests:
                self.entries[test].item._initrequest()
        except BaseException:
            return False
        return not self.odd


def call_function(item, entry):
    """The exception that ended the test function, or None. Raises Doubt."""
    known = item.funcargs if entry.setup else entry.arguments
    arguments = {name: known[name] for name in item._fixtureinfo.argnames}
    try:
        result = entry.function(**arguments)
    except BaseException as error:
        return ordinary(error)
    if result is not None:
        raise Doubt
    return None


def call_case(item, entry):
    """The same for a method of a unittest.TestCase."""
    case = item._testcase if entry.setup else entry.case(item.name)
    result = Result()
    setattr(case, item.name, getattr(case, item.name))  # as pytest does
    try:
        case(result=result)
    finally:
        delattr(case, item.name)
    if result.odd or getattr(entry.case, "_class_cleanups", None):
        raise Doubt
    for error in result.errors:
        ordinary(error)
    return result.errors[0] if result.errors else None


def ordinary(error):
    """`error` itself, if it is one that makes a test fail. Raises Doubt."""
    if isinstance(error, unittest.SkipTest):
        raise Doubt
    if not isinstance(error, Exception) and type(error) is not pytest.fail.Exception:
        raise Doubt
    return error


# ---------------------------------------------------------------- before anything runs


def foreign(config, plugin, names):
    """Modules besides pytest's own that take part in the hooks `names`."""
    found = set()
    for name in names:
        caller = getattr(config.hook, name, None)
        for implementation in () if caller is None else caller.get_hookimpls():
            module = getattr(implementation.function, "__module__", None) or ""
            if implementation.plugin is not plugin and not module.startswith("_pytest."):
                found.add(module)
    return found


def plain_options(session):
    """Whether no option changes how a test is run."""
    option = session.config.option
    unwanted = ("setuponly", "setupshow", "setupplan", "usepdb", "trace", "runxfail")
    return not any(getattr(option, name, False) for name in unwanted)


def examine(item, guests, served):
    """The Entry of an item, or None. May raise what an unknown pytest makes it raise.

    `guests`: marks that other plugins act on; `served`: whether others have a hand in fixtures.
    """
    from _pytest.unittest import TestCaseFunction

    if type(item) not in (pytest.Function, TestCaseFunction):
        return None
    chain = item.listchain()[:-1]
    if any(not ours(type(node)) or type(node).__name__ not in NODES for node in chain):
        return None
    if any(mark.name in MARKS or mark.name in guests for mark in item.iter_markers()):
        return None
    if not guests.isdisjoint(item._fixtureinfo.name2fixturedefs):
        return None
    packages = [node for node in chain if type(node).__name__ == "Package"]
    setup = any(sets_up(node) for node in packages)
    cls = item.cls if type(item) is TestCaseFunction else None
    function = item.obj
    if not inspect.isroutine(function) or is_async(function):
        return None
    attributes = {**vars(getattr(function, "__func__", function)), **vars(item.cls or object)}
    if any(guest in name for guest in guests for name in attributes):
        return None
    if cls is not None and not plain_case(cls, function):
        return None
    callspec = getattr(item, "callspec", None)
    given = dict(getattr(callspec, "funcargs", None) or {})
    given.update(getattr(callspec, "params", None) or {})
    direct = set(getattr(callspec, "funcargs", None) or {})
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():
        for definition in definitions:
            wanted = definition.func
            if getattr(wanted, "__name__", "") == "get_direct_param_fixture_func":
                direct.add(name)
            elif cls is not None and "setUpClass" in name and plain_class(cls):
                pass
            elif ours_function(wanted) and wanted.__module__ not in FIXTURES:
                return None
            else:
                setup = True
    if served and direct:
        direct, setup = set(), True
    setup = setup or any(name not in direct for name in item._fixtureinfo.argnames)
    for node in packages:
        if not sets_up(node):
            node.setup = nothing  # it would import the package again to look for what is not there
    return Entry(item, function, cls, {name: given[name] for name in direct}, setup)


def nothing():
    pass


def ours(kind):
    return kind.__module__.startswith("_pytest.")


def ours_function(function):
    return (getattr(function, "__module__", None) or "").startswith("_pytest.")


def sets_up(package):
    """Whether a package's __init__ has functions that pytest calls around its tests."""
    path = str(getattr(package, "path", "") or package.fspath)
    path = path if path.endswith("__init__.py") else os.path.join(path, "__init__.py")
    names = ("setUpModule", "setup_module", "tearDownModule", "teardown_module")
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == path:
            return any(hasattr(module, name) for name in names)
    return True


def is_async(function):
    inner = inspect.unwrap(getattr(function, "__func__", function))
    return (
        inspect.iscoroutinefunction(inner)
        or inspect.isgeneratorfunction(inner)
        or inspect.isasyncgenfunction(inner)
    )


def plain_case(cls, function):
    """Whether unittest itself runs a TestCase as it runs most."""
    if "twisted.trial.unittest" in sys.modules or not issubclass(cls, unittest.TestCase):
        return False
    if issubclass(cls, getattr(unittest, "IsolatedAsyncioTestCase", ())):
        return False
    flags = ("__unittest_skip__", "__unittest_expecting_failure__")
    return not any(getattr(thing, flag, False) for thing in (cls, function) for flag in flags)


def plain_class(cls):
    """Whether a TestCase has no set-up or tear-down of its class."""
    base = unittest.TestCase
    same = all(
        getattr(getattr(cls, name), "__func__", None) is getattr(base, name).__func__
        for name in ("setUpClass", "tearDownClass")
    )
    return same and not getattr(cls, "_class_cleanups", None)
