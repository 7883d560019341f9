"""How a failure is described: exception, own frames with values, both sides, hints for a repair.

Standard library only, Python >= 3.8.
"""

import difflib
import itertools
import os
import reprlib
import sys
import types

expectation = sys.modules["_trm_worker_expectation"]

LONG = 60  # signs of a value that is told whole
SOUGHT = 200  # signs of a text by which it is found in another
DEEPEST = 8  # steps into values
LARGEST = 4000  # items of containers that are compared one by one
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 80
_repr.maxlist = _repr.maxtuple = _repr.maxset = _repr.maxdict = _repr.maxfrozenset = 12


def short(value, size=80):
    """A repr of at most `size` signs that never raises."""
    try:
        text = _repr.repr(value)
    except BaseException as error:  # a broken __repr__ of the code under test
        text = "<%s with a broken repr: %s>" % (type(value).__name__, type(error).__name__)
    return text if len(text) <= size else text[: size - 3] + "..."


def sides(actual, expected):
    """Texts of the sides of a failed ==, at most 400 signs each: of long ones the part in which they differ."""
    try:
        for _ in range(DEEPEST):
            texts = short(actual, 400), short(expected, 400)
            if all(len(text) <= LONG and "..." not in text for text in texts):
                break
            parts = _differing(actual, expected)
            if parts is None:
                break
            actual, expected = parts
    except BaseException:  # a comparison of the code under test
        pass
    return short(actual, 400), short(expected, 400)


def within(part, whole):
    """Texts of the sides of a failed `part in whole`: of a text the part that is most like the one that was looked for."""
    if type(part) is str and type(whole) is str and part:
        known = whole[:LARGEST]
        sought = part[:SOUGHT]
        matcher = difflib.SequenceMatcher(None, known, sought, False)
        same = matcher.find_longest_match(0, len(known), 0, len(sought))
        begin = max(0, same.a - same.b)
        whole = known[begin : begin + len(part)]
        if len(part) > LONG:
            return sides(whole, part)
    return short(whole, 400), short(part, 400)


def _differing(actual, expected):
    """The parts of two values of one type in which they differ; None where that is the whole."""
    if type(actual) is not type(expected):
        return None
    if isinstance(actual, str):
        at = next((i for i, (a, b) in enumerate(zip(actual, expected)) if a != b), None)
        if at is None:
            at = min(len(actual), len(expected))
        begin = max(0, at - 10)
        return actual[begin : at + 30], expected[begin : at + 30]
    if isinstance(actual, dict):
        if len(actual) + len(expected) > LARGEST:
            return None
        keys = [key for key in {**expected, **actual}
                if key not in actual or key not in expected or actual[key] != expected[key]]  # fmt: skip
        if len(keys) == 1 and keys[0] in actual and keys[0] in expected:
            return actual[keys[0]], expected[keys[0]]
        if len(keys) == max(len(actual), len(expected)):
            return None
        return tuple({key: side[key] for key in keys if key in side} for side in (actual, expected))
    if isinstance(actual, (list, tuple)):
        if len(actual) + len(expected) > LARGEST:
            return None
        shorter = min(len(actual), len(expected))
        at = next((i for i in range(shorter) if actual[i] != expected[i]), shorter)
        if len(actual) == len(expected) and at < shorter:
            return actual[at], expected[at]
        return (actual[at : at + 3], expected[at : at + 3]) if at else None
    if isinstance(actual, (set, frozenset)):
        return actual - expected, expected - actual
    if hasattr(actual, "__dict__") and vars(actual) and not isinstance(actual, type):
        return dict(vars(actual)), dict(vars(expected))
    return None


def raised(error):
    """What the code under test raised: doctest wraps it."""
    if type(error).__name__ == "UnexpectedException" and hasattr(error, "exc_info"):
        return error.exc_info[1]
    return error


def written(error):
    """Of a doctest that failed, what was printed, what should have been, and the source; None of other failures."""
    if type(error).__name__ != "DocTestFailure" or not hasattr(error, "example"):
        return None
    example = error.example
    return tuple(text.strip()[:400] for text in (error.got, example.want, example.source))


def describe(error):
    """(type name, message) of an exception."""
    error = raised(error)
    if written(error):
        actual, wanted, source = written(error)
        return type(error).__name__, ">>> %s: %s is not %s" % (source, actual, wanted)
    try:
        message = str(error)
    except BaseException as other:
        message = "<broken str: %s>" % type(other).__name__
    return type(error).__name__, message[:2000]


def _safe_names(thing):
    try:
        return sorted(name for name in dir(thing) if isinstance(name, str))
    except BaseException:
        return []


def _stored_names(thing):
    """What the object keeps itself: slots, those of its own class first, then attributes in the order in which it got them."""
    names = []
    if isinstance(thing, types.ModuleType):
        return names
    for of_class in type(thing).__mro__:
        slots = vars(of_class).get("__slots__", ())
        names += (
            [slots]
            if isinstance(slots, str)
            else list(slots)
            if type(slots) in (list, tuple)
            else []
        )
    try:
        own = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        own = {}
    names += list(own) if type(own) is dict else []
    return [name for name in names if isinstance(name, str) and not name.startswith("__")][:40]


def suggestions(error, frame):
    """What the exception itself tells about a repair (JSON-able)."""
    data = {}
    if isinstance(error, NameError):
        name = getattr(error, "name", None)
        if name is None and "'" in str(error):
            name = str(error).split("'")[1]
        data["name"] = name
        data["unbound_local"] = isinstance(error, UnboundLocalError)
        if frame is not None:
            data["locals"] = sorted(frame.f_locals)[:200]
            data["globals"] = sorted(map(str, frame.f_globals))[:400]
    elif isinstance(error, AttributeError):
        parts = str(error).split("'")
        data["name"] = getattr(error, "name", None) or (parts[-2] if len(parts) > 2 else None)
        thing = getattr(error, "obj", None)
        if thing is None and frame is not None and data["name"]:
            # Before 3.10 the exception does not hold the object: look for it among the locals.
            wanted = parts[1] if len(parts) > 1 else None
            for value in frame.f_locals.values():
                if type(value).__name__ == wanted or getattr(value, "__name__", 0) == wanted:
                    thing = value
                    break
        if thing is not None:
            data["type"] = (
                thing.__name__ if isinstance(thing, types.ModuleType) else type(thing).__name__
            )
            names = [name for name in _safe_names(thing) if not name.startswith("__")]
            data["attributes"] = names[:200]
            data["own"] = _stored_names(thing)
    elif isinstance(error, ImportError):
        data["module"] = error.name
        data["name"] = getattr(error, "name_from", None)
        if data["name"] is None and "cannot import name '" in str(error):
            data["name"] = str(error).split("'")[1]
        module = sys.modules.get(error.name or "")
        if module is not None:
            names = [name for name in _safe_names(module) if not name.startswith("__")]
            data["attributes"] = names[:200]
    elif isinstance(error, (KeyError, IndexError)):
        data["key"] = short(error.args[0]) if error.args else ""
    elif isinstance(error, TypeError):
        data.update(_callee(error, frame))
    return data


def _callee(error, frame):
    """The signature of the function a TypeError names, if it can be found by name."""
    import inspect

    head = str(error).split("(")[0].strip()
    name = head.split(".")[-1]
    if not name.isidentifier() or frame is None:
        return {}
    candidates = [frame.f_locals.get(name), frame.f_globals.get(name)]
    owner = head.split(".")[-2] if "." in head else None
    for space in (frame.f_locals, frame.f_globals):
        for value in list(space.values()):
            if owner and getattr(value, "__name__", None) == owner:
                candidates.append(getattr(value, name, None))
            if owner and type(value).__name__ == owner:
                candidates.append(getattr(value, name, None))
    for value in candidates:
        if callable(value):
            try:
                return {"callee": head, "signature": str(inspect.signature(value))}
            except (ValueError, TypeError):
                continue
    return {"callee": head}


def statement_at(path, line):
    """The logical line that begins at a line of a file, in one line; "" where there is none."""
    import tokenize

    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            rows = list(itertools.islice(handle, line - 1, line + 20))
    except (OSError, ValueError):
        return ""
    feed, last = iter(rows), 1
    try:
        for token in tokenize.generate_tokens(lambda: next(feed, "")):
            if token.type == tokenize.NEWLINE:
                last = token.end[0]
                break
    except (tokenize.TokenError, SyntaxError):
        pass
    return " ".join(row.strip() for row in rows[:last])


def _where(frame, line):
    return line if line is not None else frame.f_code.co_firstlineno


def failure(nodeid, error, traceback, tree, test_path, compared):
    """A JSON-able account of a failed test. `compared`: (operator, actual, expected) or None."""
    frames, all_frames = [], []
    if raised(error) is not error:
        error, traceback = raised(error), raised(error).__traceback__
    while traceback is not None:
        all_frames.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    test_line, innermost = "", None
    for frame, number in all_frames:
        filename = frame.f_code.co_filename
        path = tree.relative(filename)
        if path is None:
            continue
        innermost = frame
        line = _where(frame, number)
        if path == test_path:
            test_line = statement_at(os.path.join(tree.root, path), line)
        names = {}
        for name, value in list(frame.f_locals.items())[:60]:
            if not name.startswith(("@", "__")):
                names[name] = short(value)
        frames.append(
            {"path": path, "line": line, "function": frame.f_code.co_name, "names": names}
        )
    kind, message = describe(error)
    operator, actual, expected = compared or (None, None, None)
    asking = all_frames[-1] if all_frames else None  # whose statement compares
    if written(error):
        operator, (actual, expected, test_line) = "==", written(error)
        asking = None
    elif compared is None:
        # unittest's assertEqual family keeps both sides as its arguments `first` and `second`.
        for place, (frame, _) in enumerate(all_frames):
            code = frame.f_code
            if "unittest" not in code.co_filename or not code.co_name.startswith("assert"):
                continue
            if code.co_name == "assertIn" and "container" in frame.f_locals:
                operator = "in"
                actual, expected = within(frame.f_locals["member"], frame.f_locals["container"])
                break
            if "first" in code.co_varnames[:3] and "second" in frame.f_locals:
                operator = {"assertEqual": "=="}.get(code.co_name, code.co_name)
                actual, expected = sides(frame.f_locals["first"], frame.f_locals["second"])
                asking = all_frames[place - 1]
                break
    if operator == "==" and asking is not None:
        code, line = asking[0].f_code, _where(*asking)
        if expectation.comes_first(code.co_filename, code.co_firstlineno, line):
            actual, expected = expected, actual
    if len(frames) > 60:
        frames = frames[:20] + frames[-40:]
    frame = all_frames[-1][0] if all_frames else None
    if frame is not None and tree.relative(frame.f_code.co_filename) is None:
        frame = innermost
    try:
        hints = suggestions(error, frame)
    except BaseException:
        hints = {}
    return {
        "nodeid": nodeid, "exception": kind, "message": message, "frames": frames,
        "actual": actual, "expected": expected, "operator": operator, "test_line": test_line,
        "suggestions_data": hints,
    }  # fmt: skip
