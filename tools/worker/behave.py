"""How code behaves beyond what its tests say: calls that the tests make, repeated with other arguments.

Two patches that pass the same tests are told apart by that. The arguments of the outermost calls from
the tests into the project are copied; then one after the other is changed a little, the function is
called, and what comes out becomes a short sign. Standard library only, Python >= 3.8.
"""

import builtins
import copy
import hashlib
import opcode
import random
import re
import signal
import time

KEPT_CALLS, MOST_CALLS = 24, 300  # of all tests together: copied, looked at
VARIANTS = 30  # of each call
CPU, ALL = 0.05, 1.0  # CPU seconds of one call, and of all
DEPTH, WIDTH = 12, 60  # of a value that is looked into
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_RAISE = opcode.opmap["RAISE_VARARGS"]
_GENERATOR = 0x20  # inspect.CO_GENERATOR
_OTHER = 0x80 | 0x100 | 0x200  # coroutines and asynchronous generators


_NAME = "_trm_agent_called"


class _Hang(BaseException):
    pass


class Calls:
    """Copies the arguments of outermost calls; in the place of what records lines (observe.Lines).

    Functions get other code that comes here. Tracing would slow down every call inside these, too.
    """

    def __init__(self, functions):
        """`functions`: those of the project without its tests."""
        self.found, self.known, self.calls = [], set(), 0
        self.changed = []
        for function in functions:
            code = function.__code__
            if not code.co_freevars and not code.co_flags & _OTHER:
                number = len(self.changed)
                self.changed.append((function, code, _entrance(code, number)))
        builtins.__dict__[_NAME] = self._called

    def begin(self):
        if self.calls < MOST_CALLS:
            for function, _, entrance in self.changed:
                function.__code__ = entrance

    def end(self):
        for function, code, _ in self.changed:
            function.__code__ = code
        return {}

    def so_far(self):
        return {}

    def _called(self, number, given, named):
        self.end()
        function = self.changed[number][0]
        self.calls += 1
        try:
            sign = function.__qualname__ + described((given, named))
            if sign not in self.known and len(self.found) < KEPT_CALLS:
                self.known.add(sign)
                self.found.append((function, sign, copy.deepcopy((list(given), named))))
        except Exception:  # what cannot be copied or described
            pass
        try:
            return function(*given, **named)
        finally:
            self.begin()


def _entrance(code, number):
    """Code that hands a call over, under the name and at the place of `code`."""
    text = "def f(*given, **named):\n return %s(%d, given, named)" % (_NAME, number)
    space = {}
    exec(compile(text, code.co_filename, "exec"), space)
    return space["f"].__code__.replace(co_name=code.co_name, co_firstlineno=code.co_firstlineno)


def signs(calls):
    """{input: what came of it}, both short texts: `v` and a digest, `e` or `r` and an exception, `h`.

    `e`: the exception came out of an operation, `r`: a `raise` of the code says so; `h`: it went on
    for more than CPU seconds.
    """
    before = signal.signal(signal.SIGVTALRM, _hang)
    found = {}
    try:
        end = time.process_time() + ALL
        # round by round, so that every call comes to its turn before time is over
        for number in range(VARIANTS + 1):
            for function, sign, arguments in calls:
                if time.process_time() > end:
                    return found
                rng = random.Random("%d %s" % (number, sign))
                try:
                    given, named = copy.deepcopy(arguments)
                    if number:
                        given, named = vary_call(given, named, rng)
                    key = _digest(function.__qualname__ + described((given, named)))
                except Exception:
                    continue
                if key not in found:
                    found[key] = _outcome(function, given, named)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return found


_armed = [False]


def _hang(*_):
    if _armed[0]:
        _armed[0] = False
        raise _Hang


def _outcome(function, given, named):
    try:
        return _called(function, given, named)
    except _Hang:
        return "h"
    finally:
        _armed[0] = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _called(function, given, named):
    try:
        _armed[0] = True
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU)
        result = function(*given, **named)
        if function.__code__.co_flags & _GENERATOR:
            result = [value for value, _ in zip(result, range(200))]
        _armed[0] = False
        return "v" + _digest(described((result, given, named)))
    except _Hang:
        raise
    except BaseException as error:
        _armed[0] = False
        return ("r" if _raised(error) else "e") + type(error).__name__


def _raised(error):
    """Whether a `raise` statement threw it, not an operation that failed."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or last.tb_lasti < 0:
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE


def _digest(text):
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()


def described(value):
    """A text that is equal for equal values, objects without a repr of their own included."""
    parts, seen, left = [], {}, [400]

    def add(value, depth):
        left[0] -= 1
        kind = type(value)
        if left[0] < 0 or depth > DEPTH:
            parts.append("...")
        elif value is None or kind in (bool, int, float, complex, str, bytes, range):
            parts.append(repr(value)[:400])
        elif id(value) in seen:
            parts.append("<%d>" % seen[id(value)])
        else:
            seen[id(value)] = len(seen)
            if kind in (list, tuple):
                parts.append(kind.__name__[0])
                inside(value, depth)
            elif kind in (set, frozenset):
                parts.append("s")
                inside(sorted(value, key=lambda one: (type(one).__name__, repr(one))), depth)
            elif isinstance(value, dict):
                parts.append(kind.__name__)
                for key, inner in list(value.items())[:WIDTH]:
                    add(key, depth + 1)
                    parts.append(":")
                    add(inner, depth + 1)
                parts.append("}")
            elif kind.__repr__ is object.__repr__ and hasattr(value, "__dict__"):
                parts.append(kind.__name__)
                for name in sorted(vars(value))[:WIDTH]:
                    parts.append(name)
                    add(vars(value)[name], depth + 1)
            else:
                parts.append(kind.__name__ + _ADDRESS.sub("", repr(value))[:400])

    def inside(values, depth):
        for inner in values[:WIDTH]:
            add(inner, depth + 1)
        parts.append("]")

    add(value, 0)
    return " ".join(parts)


# ---------------------------------------------------------------- other arguments


def vary_call(given, named, rng):
    """The arguments with one of them, seldom two, changed."""
    places = list(range(len(given))) + sorted(named)
    pool = []
    _atoms((given, named), pool)
    for _ in range(1 if rng.random() < 0.7 else 2):
        if places:
            place = rng.choice(places)
            if isinstance(place, int):
                given[place] = vary(given[place], rng, pool)
            else:
                named[place] = vary(named[place], rng, pool)
    return given, named


def _atoms(value, pool, depth=0):
    """Numbers and texts in plain containers: what is looked for is often what is there."""
    if type(value) in (int, float, str):
        pool.append(value)
    elif type(value) in (list, tuple) and depth < 3:
        for inner in value[:WIDTH]:
            _atoms(inner, pool, depth + 1)
    elif type(value) is dict and depth < 3:
        for key, inner in list(value.items())[:WIDTH]:
            _atoms(key, pool, depth + 1)
            _atoms(inner, pool, depth + 1)


def vary(value, rng, pool=(), depth=0):
    """A value near to `value`, of the same type; parts of mutable objects are changed in place.

    `pool`: numbers and texts that may come in the place of others.
    """
    kind = type(value)
    if kind in (int, float, str) and rng.random() < 0.3:
        like = [one for one in pool if type(one) is kind and one != value]
        if like:
            return rng.choice(like)
    if kind is bool:
        return not value
    if kind is int:
        return rng.choice((value + 1, value - 1, value + 2, value // 2, 2 * value, -value, 0, 1))
    if kind is float:
        return rng.choice((value + 1, value - 1, value / 2, 2 * value, -value, 0.0, value + 0.5))
    if kind in (str, bytes):
        return _text(value, rng)
    if kind in (list, tuple):
        return kind(_sequence(list(value), rng, pool, depth))
    if kind in (set, frozenset):
        return kind(_sequence(sorted(value, key=repr), rng, pool, depth))
    if isinstance(value, dict):
        return _mapping(value, rng, pool, depth)
    inside = getattr(value, "__dict__", None)
    if inside and depth < DEPTH and not isinstance(value, type):
        names = sorted(inside)
        alike = [name for name in names if type(inside[name]) is kind]  # a chain, a tree
        name = rng.choice(alike if alike and rng.random() < 0.7 else names)
        old = inside[name]
        same = type(old) is kind
        setattr(
            value, name, None if same and rng.random() < 0.35 else vary(old, rng, pool, depth + 1)
        )
    return value


def _text(value, rng):
    if not value:
        return value
    at = rng.randrange(len(value))
    way = rng.randrange(6)
    if way == 0:
        return value[:at] + value[at + 1 :]
    if way == 1:
        return value[:at] + value[at : at + 1] + value[at:]
    if way == 2:
        return value[at:] + value[:at]
    if way == 3:
        return value[:at]
    if way == 4:
        return value.swapcase()
    other = rng.randrange(len(value))
    return value[:at] + value[other : other + 1] + value[at + 1 :]


def _sequence(values, rng, pool, depth):
    if not values:
        return values
    at, way = rng.randrange(len(values)), rng.randrange(8)
    if way == 0:
        del values[at]
    elif way == 1:
        values.insert(at, values[rng.randrange(len(values))])
    elif way == 2:
        other = rng.randrange(len(values))
        values[at], values[other] = values[other], values[at]
    elif way == 3:
        values = values[:at]
    elif way == 4:
        values.reverse()
    elif depth < DEPTH:
        values[at] = vary(values[at], rng, pool, depth + 1)
    return values


def _mapping(value, rng, pool, depth):
    if not value:
        return value
    key = rng.choice(sorted(value, key=repr))
    if rng.random() < 0.3:
        del value[key]
    elif depth < DEPTH:
        value[key] = vary(value[key], rng, pool, depth + 1)
    return value
