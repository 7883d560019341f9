"""Whether running a test left everything as it was, so that another candidate may run in the same process.

Looked at are the variables of the project's modules and of the tests, with what can be reached from
them through containers, functions, classes and instances of plain classes, the arguments of the
tests, and the usual places of a process. What may hide a state that cannot be seen (an open file, an
iterator, a lock, an object of an extension) makes the answer no. Standard library only, Python >= 3.8.
"""

import collections
import functools
import itertools
import os
import random
import re
import sys
import threading
import types
import warnings

MOST = 5000  # objects that are looked at
FEW = 8  # results that a function's cache may hold to be emptied rather than left as it is
LARGEST = 1 << 16  # bytes of an array
# Instances of classes from these modules do not change, or only in what nobody can tell.
STILL = {
    "__future__", "_abc", "_pytest.capture", "abc", "dataclasses", "datetime", "decimal", "fractions", "ipaddress", "logging",
    "numbers",
    "operator", "pathlib", "pydantic_core._pydantic_core", "sys", "typing", "typing_extensions", "uuid", "zoneinfo",
}  # fmt: skip
PLAIN = {
    "ast"
}  # instances of its classes have attributes and nothing else, as of those written in Python
# Packages whose objects only tests of a kind use that never shares a process.
APART = {"hypothesis"}
LEFT = "tearDown_exceptions"  # a new list on a TestCase each time that its class is torn down
IMPORTED = {"__spec__", "__loader__", "__builtins__"}  # variables of every module
ATOMS = (
    int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range, slice,
    types.CodeType, types.ModuleType, types.BuiltinFunctionType, types.GetSetDescriptorType,
    types.MemberDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType,
    types.ClassMethodDescriptorType, types.MethodWrapperType, re.Pattern,
    type(collections.namedtuple("_", "x").x),
)  # fmt: skip
if hasattr(types, "GenericAlias"):
    ATOMS += (types.GenericAlias,)
if hasattr(types, "UnionType"):
    ATOMS += (types.UnionType,)
_EXACTLY = frozenset(ATOMS)  # most are of these types and need no slower look
LISTS = (list, tuple, set, frozenset, collections.deque)
CHANGING = (list, set, collections.deque)
DICTS = (dict, types.MappingProxyType)
CACHED = type(functools.lru_cache(maxsize=1)(len))
TOLD = (type(threading.Lock()), type(threading.RLock()), itertools.count)  # by their repr
MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_STREAMS = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_OF_EVERY_CLASS = {
    "__module__", "__doc__", "__dict__", "__weakref__", "__slots__", "__annotations__", "__parameters__", "__orig_bases__",
    "__abstractmethods__", "_abc_impl", "__static_attributes__", "__firstlineno__", "__annotate_func__", "__annotations_cache__",
}  # fmt: skip
_CELL = type((lambda x: lambda: x)(0).__closure__[0])


class Hidden(Exception):
    """Something may have a state that cannot be seen."""


class Seen:
    """What there was at one time. Two of the same process are compared with `==`."""

    def __init__(self, modules, values):
        """`modules`: whose variables are looked at; `values`: other things. Raises Hidden."""
        self.names = {module.__name__ for module in modules}
        self.environment, self.filters = _environment(), list(warnings.filters)
        self.generators, self.caches = _generators(), []
        self.facts = [self.environment, *(fact for _, _, fact in self.generators), *_process()]
        self.held = []  # what can be put back: (container, module, class or cell; what was in it)
        self._known, self._queue = set(), []
        for module in modules:
            names = {name: v for name, v in vars(module).items() if name not in IMPORTED}
            self._dict(names, module)
        for value in values:
            self._add(value)
        while self._queue:
            if len(self._known) > MOST:
                raise Hidden("too much")
            self._look(self._queue.pop())
        # alive as long as this is, so that an address means one object
        del self._known, self._queue

    def rewind(self):
        """Puts back what nearly every test changes: random numbers, and caches that held next to nothing.

        Whether a cache was emptied, which changes what is seen.
        """
        for put_back, was, _ in self.generators:
            put_back(was)
        full = [cache for cache in self.caches if cache.cache_info().currsize]
        for cache in self.caches:
            cache.cache_clear()
        return bool(full)

    def restore(self):
        """Puts back what was in containers, modules, classes, cells and the process, where it is not any more."""
        for holder, was in self.held:
            try:
                self._put_back(holder, was)
            except Exception:  # it does not let itself be changed: that is noticed when compared
                pass
        if _environment() != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        if warnings.filters != self.filters:
            warnings.filters[:] = self.filters
            with warnings.catch_warnings():
                pass  # tells that they changed

    def _put_back(self, holder, was):
        kind = type(holder)
        if kind is _CELL:
            holder.cell_contents = was
        elif kind is bytearray or kind is list:
            holder[:] = was
        elif kind is collections.deque or kind is set:
            if not _alike(holder, was):
                holder.clear()
                (holder.extend if kind is collections.deque else holder.update)(was)
        elif isinstance(holder, (type, types.ModuleType)):
            self._rebind(holder, was)
        elif not (_alike(holder, was) and _alike(holder.values(), was.values())):
            kind.clear(holder)
            for key, value in was.items():
                kind.__setitem__(holder, key, value)

    @staticmethod
    def _rebind(holder, was):
        now = dict(vars(holder))
        for name in now.keys() - was.keys() - IMPORTED - {LEFT}:
            delattr(holder, name)
        for name, value in was.items():
            if name not in now or now[name] is not value:
                setattr(holder, name, value)

    def __eq__(self, other):
        return self.facts == other.facts

    __hash__ = None

    def _add(self, value):
        if type(value) in _EXACTLY or (
            isinstance(value, ATOMS) and type(value).__module__ not in self.names
        ):
            return
        if id(value) not in self._known:
            self._known.add(id(value))
            self._queue.append(value)

    def _note(self, *parts):
        """Parts are objects, compared by identity, and kept."""
        self.facts.append(_Same(parts))

    def _dict(self, mapping, holder=None):
        if holder is not None:
            self.held.append((holder, dict(mapping)))
        keys, values = tuple(mapping.keys()), tuple(mapping.values())
        self._note(*keys)
        self._note(*values)
        for value in values:
            self._add(value)

    def _look(self, value):
        kind = type(value)
        if kind is types.FunctionType:
            self._function(value)
        elif isinstance(value, LISTS) and kind.__module__ in ("builtins", "collections"):
            if kind in CHANGING:
                self.held.append((value, tuple(value)))
            self._note(*value)
            for part in value:
                self._add(part)
        elif isinstance(value, DICTS) and kind.__module__ in ("builtins", "collections"):
            self._dict(value, value if kind in MAPPINGS else None)
        elif kind is bytearray:
            self.held.append((value, bytes(value)))
            self.facts.append(bytes(value))
        elif kind is _CELL:
            try:
                content = value.cell_contents
                self.held.append((value, content))
            except ValueError:
                content = None
            self._note(content)
            self._add(content)
        elif kind is types.MethodType:
            self._add(value.__self__)
            self._add(value.__func__)
        elif kind in (staticmethod, classmethod):
            self._add(value.__func__)
        elif kind is property:
            for part in (value.fget, value.fset, value.fdel):
                self._add(part)
        elif kind is CACHED:
            _, misses, _, size = value.cache_info()  # hits change nothing
            self.facts.append((misses, size))
            if size <= FEW:
                self.caches.append(value)
            self._add(value.__wrapped__)
        elif kind is functools.partial:
            self._note(value.func, *value.args)
            for part in (value.func, value.args, value.keywords):
                self._add(part)
        elif isinstance(value, type):
            if value.__module__ in self.names:
                self._dict({name: v for name, v in vars(value).items() if name != LEFT}, value)
        elif kind.__module__ in STILL or kind.__module__.partition(".")[0] in APART:
            pass
        elif isinstance(value, BaseException):
            self._add(value.args)
            self._dict(vars(value))
        elif kind is functools.cached_property:
            self._add(value.func)
        elif kind in TOLD:
            self.facts.append(repr(value))
        elif kind is random.Random:
            self.facts.append(value.getstate())
        elif kind is threading.local:
            self._dict(vars(value))
        elif (
            kind is object or kind is random.SystemRandom or any(value is each for each in _STREAMS)
        ):
            pass
        elif kind.__module__ == "numpy":
            self._numpy(value, kind)
        elif kind.__module__ in self.names or kind is types.SimpleNamespace or _written(kind):
            self._instance(value, kind)
        else:
            raise Hidden("%s.%s" % (kind.__module__, kind.__qualname__))

    def _numpy(self, value, kind):
        """Arrays by what is in them; types, scalars and universal functions do not change."""
        if kind.__name__ == "ndarray":
            if value.dtype.hasobject or value.nbytes > LARGEST:
                raise Hidden("numpy.ndarray")
            self.facts.append((value.shape, str(value.dtype), value.tobytes()))

    def _function(self, function):
        self._note(function.__code__, function.__defaults__, function.__kwdefaults__)
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            if part:
                self._add(part)
        for cell in function.__closure__ or ():
            self._add(cell)

    def _instance(self, value, kind):
        """Its attributes, and what it is made of if it is a container."""
        for base in kind.__mro__:
            ours = base.__module__ in self.names or base in (object, types.SimpleNamespace)
            if ours or _written(base):
                names = base.__dict__.get("__slots__", ())
                for name in (names,) if isinstance(names, str) else names:
                    if name not in ("__dict__", "__weakref__"):
                        part = getattr(value, name, None)
                        self._note(part)
                        self._add(part)
            elif base in LISTS:
                self._add(base(base.__iter__(value)))
            elif base is property:
                for part in (value.fget, value.fset, value.fdel):
                    self._add(part)
            elif base is dict:
                self._dict(dict(dict.items(value)))
                self._add(getattr(value, "default_factory", None))
            elif base in MAPPINGS or base is threading.local:
                pass  # what they hold is seen at dict, or below
            elif not (base in ATOMS or base.__module__ in STILL | {"enum"}):
                raise Hidden("%s.%s" % (base.__module__, base.__qualname__))
        if hasattr(value, "__dict__"):
            own = vars(value)
            self._dict(own, own if type(own) is dict else None)


def _alike(some, others):
    return len(some) == len(others) and all(a is b for a, b in zip(some, others))


@functools.lru_cache(maxsize=None)
def _written(kind):
    """Whether a class was written in Python, so that its instances have attributes and nothing else."""
    if kind.__module__ in PLAIN:
        return True
    if not kind.__flags__ & _HEAP or kind.__module__ in ("builtins", "threading", "io"):
        return False
    if any(type(value) is types.FunctionType for value in vars(kind).values()):
        return True
    return set(vars(kind)) <= _OF_EVERY_CLASS


class _Same:
    """Objects, compared by identity."""

    __slots__ = ("parts",)

    def __init__(self, parts):
        self.parts = parts

    def __eq__(self, other):
        mine, theirs = self.parts, other.parts if isinstance(other, _Same) else ()
        return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs))

    __hash__ = None


def _environment():
    return {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}


def _generators():
    """[(what sets a generator of random numbers, its state, the same to be compared)]."""
    now = random.getstate()
    found = [(random.setstate, now, now)]
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        now = numbers.get_state()
        found.append((numbers.set_state, now, (now[1].tobytes(), *now[2:])))
    return found


def _process():
    """What else a test may leave changed in its process."""
    facts = [
        os.getcwd(), threading.active_count(), tuple(sys.path),
        sys.getrecursionlimit(), len(warnings.filters), sys.gettrace(), len(os.listdir("/proc/self/fd")),
        _Same((sys.stdin, sys.stdout, sys.stderr, sys.excepthook)),
        _Same(tuple(vars(sys.modules["builtins"]).values())),
    ]  # fmt: skip
    context = sys.modules.get("decimal")
    if context is not None:
        facts.append(repr(context.getcontext()))
    if "torch" in sys.modules:
        raise Hidden("torch")
    return facts
