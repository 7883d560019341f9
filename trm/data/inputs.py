"""Made-up arguments for functions that nobody wrote tests for: source text, by what a parameter is called and used for."""

from __future__ import annotations

import ast
import random
import re
import string
from collections.abc import Callable, Sequence

_WORDS = ("a", "abc", "hello", "Hello World", "level", "the quick brown fox", "racecar", "", "x1y2", "aabbcc", "banana",
          "12", "3.5", "-7", "1010", "(())", "([{}])", ")(", "a,b,c", "key=value", "foo_bar", "FooBar", "kebab-case",
          "A man a plan", "one two  three", "2024-01-31", "<b>hi</b>", "/usr/local/bin", "aaa", "MMXIV", "0xff")  # fmt: skip


def _integer(rng: random.Random) -> str:
    return str(
        rng.choice(
            (rng.randint(0, 5), rng.randint(1, 12), rng.randint(-5, 30), rng.randint(0, 120))
        )
    )


def _float(rng: random.Random) -> str:
    return repr(rng.choice((0.5, 1.0, 2.0, 2.5, -1.5, 10.0, 0.1, round(rng.uniform(-5, 20), 2))))


def _text(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return repr(rng.choice(_WORDS))
    letters = rng.choice(("ab", "abc", "01", string.ascii_lowercase, "aA1 _"))
    return repr("".join(rng.choice(letters) for _ in range(rng.randint(1, 9))))


def _numbers(rng: random.Random) -> str:
    values = [
        rng.randint(*rng.choice(((0, 5), (0, 20), (-9, 9))))
        for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6, 8)))
    ]
    if rng.random() < 0.35:
        values.sort()
    return repr(values)


def _texts(rng: random.Random) -> str:
    return "[" + ", ".join(_text(rng) for _ in range(rng.randint(0, 5))) + "]"


def _matrix(rng: random.Random) -> str:
    rows, columns = rng.randint(1, 4), rng.randint(1, 4)
    if rng.random() < 0.4:
        columns = rows
    high = rng.choice((1, 3, 9))
    return repr([[rng.randint(0, high) for _ in range(columns)] for _ in range(rows)])


def _pairs(rng: random.Random) -> str:
    left = rng.choice((_integer, _text))
    return (
        "[" + ", ".join(f"({left(rng)}, {_integer(rng)})" for _ in range(rng.randint(0, 5))) + "]"
    )


def _counts(rng: random.Random) -> str:
    names = rng.sample("abcdexyz", rng.randint(0, 4))
    return "{" + ", ".join(f"{name!r}: {_integer(rng)}" for name in names) + "}"


def _graph(rng: random.Random) -> str:
    nodes = list(rng.choice(("ABCDE", range(5)))[: rng.randint(2, 5)])
    return repr({n: [m for m in nodes if m != n and rng.random() < 0.4] for n in nodes})


def _record(rng: random.Random) -> str:
    values = ("1", "2.5", "'x'", "[1, 2]", "None", "True", "{'b': 1}")
    names = rng.sample(("a", "b", "id", "name", "value", "key"), rng.randint(0, 4))
    return "{" + ", ".join(f"{name!r}: {rng.choice(values)}" for name in names) + "}"


def _function(rng: random.Random) -> str:
    return rng.choice(("lambda x: x", "lambda x: x > 2", "lambda x: x * 2", "lambda x, y: x + y", "len", "str", "abs",
                       "lambda x: -x", "lambda *a: a"))  # fmt: skip


def _truth(rng: random.Random) -> str:
    return rng.choice(("True", "False"))


def _anything(rng: random.Random) -> str:
    return rng.choice(
        (
            "None",
            "()",
            "(1, 2)",
            "{1, 2, 3}",
            "b'ab'",
            "''",
            "[]",
            "{}",
            "[[1], [2, [3]]]",
            "(3, 'x')",
        )
    )


def _integers_set(rng: random.Random) -> str:
    return "{" + ", ".join(sorted({_integer(rng) for _ in range(rng.randint(1, 5))})) + "}"


Maker = Callable[[random.Random], str]
MAKERS: tuple[Maker, ...] = (_integer, _text, _numbers, _float, _texts, _matrix, _pairs, _counts, _graph, _record, _function,
                             _truth, _anything, _integers_set)  # fmt: skip
_COMMON = (6, 6, 5, 2, 2, 2, 1.5, 1.5, 1, 1, 1, 1, 1, 0.7)
_BY_ANNOTATION = (
    (r"^(int|Integral|SupportsInt)\b", (_integer,)), (r"^float\b|^Real\b", (_float, _integer)), (r"^str\b|^AnyStr", (_text,)),
    (r"^bool\b", (_truth,)), (r"\b[Ll]ist\[\s*[Ll]ist|[Mm]atrix", (_matrix,)), (r"\b[Ll]ist\[\s*str|Sequence\[\s*str", (_texts,)),
    (r"\b[Ll]ist\[\s*[Tt]uple", (_pairs,)), (r"\b([Ll]ist|Sequence|Iterable|Collection|[Tt]uple)\b", (_numbers, _texts)),
    (r"\b([Dd]ict|Mapping)\b", (_counts, _graph, _record)), (r"\b[Ss]et\b", (_integers_set,)), (r"Callable", (_function,)),
)  # fmt: skip
_NAMES: tuple[tuple[str, tuple[Maker, ...]], ...] = (
    ("s s1 s2 t st text string str str1 str2 word sentence line name pattern prefix suffix char chars sep phrase msg message",
     (_text,)),
    ("n m i j k x y z a b c num num1 num2 number count size length index idx start end stop low high left right target limit "
     "year month day base exp exponent width height value val total amount digit digits depth level step",
     (_integer, _integer, _float, _numbers)),
    ("arr arr1 arr2 array lst list l l1 l2 nums num_list numbers values items seq sequence data elements integers xs ys "
     "collection iterable it", (_numbers, _numbers, _numbers, _texts)),
    ("matrix grid board mat rows table image maze", (_matrix,)),
    ("words strings strs names lines tokens keys parts", (_texts,)),
    ("graph adj adjacency graph_dict", (_graph,)),
    ("d dic dict dictionary mapping counts obj record kwargs params options", (_counts, _record)),
    ("f fn func function callback predicate key op", (_function,)),
    ("pairs edges intervals points tuples", (_pairs,)),
    ("reverse strict flag verbose", (_truth,)),
)  # fmt: skip
_BY_NAME = {name: makers for names, makers in _NAMES for name in names.split()}


def parameters(source: str) -> list[tuple[str, str]] | None:
    """(name, annotation) of the parameters without default of a function's source; None if it cannot be called by position."""
    definition = ast.parse(source).body[0]
    if not isinstance(definition, ast.FunctionDef):
        return None
    arguments = definition.args
    every = [*arguments.posonlyargs, *arguments.args]
    if any(value is None for value in arguments.kw_defaults):
        return None
    needed = every[: len(every) - len(arguments.defaults)]
    # an optional parameter now and then: it is there to be used
    optional = every[len(needed) : len(needed) + 1]
    return [
        (a.arg, ast.unparse(a.annotation) if a.annotation else "") for a in [*needed, *optional]
    ]


def makers_of(name: str, annotation: str) -> tuple[Maker, ...]:
    """What may stand for a parameter, the likeliest kinds; empty if nothing is known."""
    if annotation:
        plain = re.sub(r"^(typing\.|Optional\[|Union\[|t\.)+", "", annotation.strip("'\""))
        for pattern, makers in _BY_ANNOTATION:
            if re.search(pattern, plain):
                return makers
    return _BY_NAME.get(name.lower(), ())


def argument_lists(
    wanted: Sequence[tuple[str, str]], rng: random.Random, number: int
) -> list[tuple[str, ...]]:
    """Up to `number` argument lists as source texts: kinds by name and annotation three times of four, else any."""
    known = [makers_of(name, annotation) for name, annotation in wanted]
    found: dict[tuple[str, ...], None] = {}
    for _ in range(number):
        one = []
        for makers in known:
            sure = makers and rng.random() < 0.75
            maker = rng.choice(makers) if sure else rng.choices(MAKERS, _COMMON)[0]
            one.append(maker(rng))
        found.setdefault(tuple(one))
    return list(found)


def more_like(
    arguments: Sequence[tuple[str, ...]], rng: random.Random, number: int
) -> list[tuple[str, ...]]:
    """Further argument lists of the kinds that worked: every argument anew by the kind its text shows."""
    found: dict[tuple[str, ...], None] = {}
    for _ in range(number):
        found.setdefault(tuple(_again(text, rng) for text in rng.choice(arguments)))
    return list(found)


def _again(text: str, rng: random.Random) -> str:
    if text[0] in "'\"":
        return _text(rng)
    if text[0] == "[":
        inside = text[1:].lstrip()
        return (_matrix if inside[:1] == "[" else _pairs if inside[:1] == "(" else
                _texts if inside[:1] in ("'", '"') else _numbers)(rng)  # fmt: skip
    if text[0] == "{":
        return text if ":" in text or rng.random() < 0.5 else _integers_set(rng)
    if "." in text and text.lstrip("-")[:1].isdigit():
        return _float(rng)
    if text.lstrip("-").isdigit():
        return _integer(rng)
    return text
