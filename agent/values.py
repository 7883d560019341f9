"""What the values of failed comparisons suggest: where tests expect in lower case what the code gave, it lacks a `.lower()`.

Each idea is a change of an expression that makes what was expected of what was given, in all or most of the failed tests. It is
tried at the expressions on suspect lines, first where a value leaves the function. These edits take their turn among the others.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tools.source import syntax
from tools.source.leaves import NEWLINE
from tools.source.operators.view import ATOM, BINARY_LEVEL, Item, Tokens, View
from tools.verdicts import SuiteRun

_PAIRS = 40  # failed comparisons that are looked at
_IDEAS = 4  # of a run, the best
_LONGEST = 12  # signs of a text that is written down
_WINDOW = 30  # signs: of longer texts the worker tells a part
_SAME = 25  # signs of such a part that are compared
_ALONE = 1.5  # nats that an idea loses that only one value speaks for
_NUMBER = 3.5  # nats of a number that is made of the values; one value speaks for any
_PLACES = {"return": 0.0, "assigned": 0.7, "argument": 1.4, "inside": 2.0}  # nats
RETURN = 1.5  # nats
_SEPARATORS = ("", " ", ",", ", ", "\n", "-", "_", "/", ".", ":")


@dataclass(frozen=True)
class Idea:
    """A change of an expression: tokens before and after it.

    level: how tightly the whole binds; operand: what the expression must; doubt: nats.
    """

    name: str
    before: Tokens = ()
    after: Tokens = ()
    level: int = ATOM
    operand: int = 0
    doubt: float = 2.0


def _method(name: str, *arguments: str) -> Idea:
    inside = [part for argument in arguments for part in (argument, ",")][:-1]
    text = f".{name}({', '.join(arguments)})"
    return Idea(text, after=(".", name, "(", *inside, ")"), operand=ATOM, doubt=1.5)


def _call(name: str, *more: str) -> Idea:
    return Idea(f"{name}(...)", before=(name, "("), after=(*more, ")"))


def _part(*inside: str, doubt: float = 2.5) -> Idea:
    return Idea(f"[{''.join(inside)}]", after=("[", *inside, "]"), operand=ATOM, doubt=doubt)


def _operator(sign: str, operand: str, doubt: float) -> Idea:
    level = BINARY_LEVEL[sign]
    return Idea(f"{sign} {operand}", after=(sign, operand), level=level, operand=level, doubt=doubt)


def _before(text: str) -> Idea:
    return Idea(f"{text} +", before=(text, "+"), level=BINARY_LEVEL["+"], operand=12, doubt=3.0)


_FIXED: list[tuple[Idea, type | tuple[type, ...], Callable[[Any], Any]]] = [
    *((_method(name), (str, bytes), lambda v, name=name: getattr(v, name)())
      for name in ("lower", "upper", "strip", "rstrip", "lstrip", "title", "capitalize", "split", "splitlines")),
    (_method("encode"), str, str.encode),
    (_method("decode"), bytes, bytes.decode),
    *((_method(name), dict, lambda v, name=name: list(getattr(v, name)())) for name in ("items", "keys", "values")),
    (_call("abs"), (int, float), abs),
    (_call("int"), (str, float, bool), int),
    (_call("float"), (str, int), float),
    (_call("round"), float, round),
    *((_call("round", ",", str(n)), float, lambda v, n=n: round(v, n)) for n in range(1, 7)),
    (_call("str"), object, str),
    (_call("repr"), object, repr),
    (_call("bool"), object, bool),
    (_call("len"), (str, list, tuple, dict, set), len),
    (_call("sum"), (list, tuple, set), sum),
    (_call("max"), (list, tuple, set), max),
    (_call("min"), (list, tuple, set), min),
    (_call("any"), (list, tuple, set), any),
    (_call("all"), (list, tuple, set), all),
    (_call("sorted"), (list, tuple, set, dict, str), sorted),
    (_call("sorted", ",", "reverse", "=", "True"), (list, tuple, set), lambda v: sorted(v, reverse=True)),
    (_call("list"), object, list),
    (_call("tuple"), object, tuple),
    (_call("set"), object, set),
    (_call("dict"), (list, tuple), dict),
    (Idea("list(dict.fromkeys(...))", ("list", "(", "dict", ".", "fromkeys", "("), (")", ")")), (list, tuple),
     lambda v: list(dict.fromkeys(v))),
    (Idea("list(filter(None, ...))", ("list", "(", "filter", "(", "None", ","), (")", ")")), list,
     lambda v: list(filter(None, v))),
    *((Idea(f"list(map({name}, ...))", ("list", "(", "map", "(", name, ","), (")", ")")), list,
       lambda v, kind=kind: list(map(kind, v))) for name, kind in (("str", str), ("int", int), ("float", float))),
    *((Idea(f"{text!r}.join(...)", (repr(text), ".", "join", "("), (")",)), (list, tuple),
       lambda v, text=text: text.join(v)) for text in _SEPARATORS),
    (_part(":", ":", "-", "1"), (str, list, tuple), lambda v: v[::-1]),
    *((_part(*inside), (str, list, tuple), lambda v, part=part: v[part])
      for inside, part in (((str(n), ":"), slice(n, None)) for n in (1, 2, 3))),
    *((_part(*inside), (str, list, tuple), lambda v, part=part: v[part])
      for inside, part in (((":", f"-{n}"), slice(-n)) for n in (1, 2, 3))),
    (_part("0"), (list, tuple), lambda v: v[0]),
    (_part("-", "1"), (list, tuple), lambda v: v[-1]),
    (Idea("[...]", ("[",), ("]",)), object, lambda v: [v]),
    (Idea("(...,)", ("(",), (",", ")")), object, lambda v: (v,)),
    (Idea("-", ("-",), (), level=13, operand=13), (int, float), lambda v: -v),
    (Idea("not", ("not",), (), level=5, operand=5, doubt=3.0), bool, lambda v: not v),
]  # fmt: skip


def _derived(given: Any, wanted: Any) -> Iterator[tuple[Idea, Callable[[Any], Any]]]:
    """Ideas that have something of the values in them."""
    numbers = (int, float)
    if isinstance(given, str) and isinstance(wanted, str):
        yield from _of_texts(given, wanted)
    elif type(given) in numbers and type(wanted) in numbers:
        less = round(wanted - given, 9)
        if less and less == int(less):
            sign, size = ("+" if less > 0 else "-"), abs(int(less))
            yield _operator(sign, str(size), 3.0 if size == 1 else _NUMBER), lambda v: v + less
        for times in {round(wanted / given, 9) if given else 0, round(given / wanted, 9) if wanted else 0}:  # fmt: skip
            if times == int(times) and times > 1:
                yield (
                    _operator("*", str(int(times)), _NUMBER),
                    lambda v, times=times: v * int(times),
                )
                yield (
                    _operator("/", str(int(times)), _NUMBER),
                    lambda v, times=times: v / int(times),
                )
                yield (
                    _operator("//", str(int(times)), _NUMBER),
                    lambda v, times=times: v // int(times),
                )
    elif isinstance(given, list) and isinstance(wanted, list) and wanted[: len(given)] == given:
        more = repr(wanted[len(given) :])
        if len(more) <= _LONGEST and len(wanted) == len(given) + 1:
            idea = _operator("+", more, 4.0)
            yield idea, lambda v: v + wanted[len(given) :]


def _of_texts(given: str, wanted: str) -> Iterator[tuple[Idea, Callable[[Any], Any]]]:
    parts = {
        (given[i:j], wanted[k:m])
        for kind, i, j, k, m in difflib.SequenceMatcher(None, given, wanted, False).get_opcodes()
        if kind != "equal"
    }
    for old, new in parts:
        plain = any(map(str.isalnum, old))  # words: an answer written down
        plain = plain or "\\" in old + new  # escapes belong to whoever made them
        if old and not plain and max(len(old), len(new)) <= _LONGEST:
            idea = replace(_method("replace", repr(old), repr(new)), doubt=2.5)
            yield idea, lambda v, old=old, new=new: v.replace(old, new)
        if len(set(old)) == 1 and not new and not plain:
            for name in ("strip", "rstrip", "lstrip"):
                yield _method(name, repr(old[0])), lambda v, n=name, x=old[0]: getattr(v, n)(x)
    if wanted.startswith(given) and 0 < len(wanted) - len(given) <= _LONGEST:
        more = wanted[len(given) :]
        yield _operator("+", repr(more), 2.5), lambda v: v + more
    if wanted.endswith(given) and 0 < len(wanted) - len(given) <= _LONGEST:
        first = wanted[: len(wanted) - len(given)]
        yield _before(repr(first)), lambda v: first + v


def literal(text: str | None) -> Any:
    """The value that a repr shows; Ellipsis where it does not show one."""
    try:
        return syntax.literal(text) if text and "..." not in text else ...
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...


def _makes(change: Callable[[Any], Any], given: Any, wanted: Any) -> bool:
    try:
        made = change(given)
    except Exception:
        return False
    if type(made) is not type(wanted):
        return False
    if isinstance(made, str) and isinstance(given, str) and len(given) >= _WINDOW:
        # a part of a long text, whose end may be cut
        return made[:_SAME] == wanted[:_SAME] and made[-3:] in wanted
    return bool(made == wanted)


def parts(given: Any, wanted: Any) -> list[tuple[Any, Any]]:
    """The elements in which two lists, tuples or dictionaries differ; none where they are not alike otherwise."""
    if type(given) is not type(wanted) or not isinstance(given, (list, tuple, dict)):
        return []
    if len(given) != len(wanted):
        return []
    if isinstance(given, dict):
        both = [(given[key], wanted[key]) for key in given if key in wanted]
    else:
        both = list(zip(given, wanted, strict=True))
    return [pair for pair in both if pair[0] != pair[1]] if len(both) == len(given) else []


def compared(run: SuiteRun) -> list[tuple[Any, Any]]:
    """(given, expected) of the failed comparisons for equality and of searches in a text, told whole, each once."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for failure in run.failures:
        given, wanted = literal(failure.actual), literal(failure.expected)
        if failure.operator not in ("==", "in") or given is ... or wanted is ...:
            continue
        if failure.operator == "==" or isinstance(given, str):
            pairs.setdefault(repr((given, wanted)), (given, wanted))
    return list(pairs.values())[:_PAIRS]


def ideas(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Idea, float]]:
    """Changes that make the second of each of most pairs of the first, with their doubt in nats, the best first."""
    some = [[[pair], parts(*pair)] for pair in pairs]
    known: dict[Idea, Callable[[Any], Any]] = {}
    for given, wanted in itertools.chain(*itertools.chain(*some)):
        for idea, kinds, change in _FIXED:
            if isinstance(given, kinds) and not (type(given) is bool and kinds is not bool):
                known.setdefault(idea, change)
        for idea, change in _derived(given, wanted):
            known.setdefault(idea, change)
    found: list[tuple[float, Idea]] = []
    for idea, change in known.items():
        held = [
            views
            for views in some
            if any(view and all(_makes(change, *pair) for pair in view) for view in views)
        ]
        if 2 * len(held) >= len(some):
            if len(held) == 1 and idea.doubt == _NUMBER:
                continue
            doubt = idea.doubt - math.log(len(held) / len(some))
            found.append((doubt + _ALONE * (len(held) == 1), idea))
    found.sort(key=lambda each: (each[0], len(each[1].before) + len(each[1].after)))
    return [(idea, doubt) for doubt, idea in found[:_IDEAS]]


def changes(
    view: View, best: Sequence[tuple[Idea, float]]
) -> Iterator[tuple[tuple[int, int, Tokens], str, float]]:
    for item in view.all("load"):
        if view.is_layered(item) or is_callee(item) or item.kind == "parenthesized_expression":
            continue
        place = _PLACES[_place(item)]
        for idea, doubt in best:
            tokens = (*idea.before, *view.as_operand(item, idea.operand), *idea.after)
            change = view.put(item, tokens, idea.level)
            yield change, idea.name, doubt + place


def is_callee(item: Item) -> bool:
    """Whether it is called, or holds what is: no value of its own."""
    parent = item.parent
    return parent is not None and (
        (parent.kind == "call" and item.field == "function")
        or (parent.kind == "attribute" and is_callee(parent) and re.match("ident|attr", item.kind) is not None)
    )  # fmt: skip


def _place(item: Item) -> str:
    parent = item.parent
    if parent is None:
        return "inside"
    if parent.kind in ("return_statement", "yield"):
        return "return"
    if parent.kind == "conditional_expression" and item.number != 1:
        return _place(parent)
    if parent.kind in ("assignment", "augmented_assignment"):
        return "assigned"
    if parent.kind in ("argument_list", "list_comprehension", "generator_expression"):
        return "argument"
    return "inside"


def returns(view: View) -> Iterator[tuple[tuple[int, int, Tokens], str, float]]:
    """A `return` where None came of a function that ends without one."""
    block = next((item for item in view.items if item.kind == "block"), None)
    if block is None or not block.children or view.unit.kind == "statements":
        return
    last = block.children[-1]
    if last.kind == "expression_statement" and not view.is_text(last):
        yield (last.start, last.start, ("return",)), "return", RETURN
    span = view.span(last)
    if span is None or last.kind == "return_statement":
        return
    names = [
        view.texts[item.start]
        for item in view.all("identifier")
        if item.field == "left" and item.parent is not None and "assignment" in item.parent.kind
    ]
    for number, name in enumerate(dict.fromkeys(reversed(names))):
        yield (span[1], span[1], ("return", name, NEWLINE)), "return", RETURN + 0.5 * (1 + number)
