"""Edits: exact inversion, the tokens asked for and no others, comments kept, text as PEP 8 has it."""

from __future__ import annotations

import ast
import random
import sysconfig
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.source.edits import Edit, EditError, apply_edit, parses, splice, unit_source
from tools.source.leaves import DEDENT, INDENT, NEWLINE, Module
from tools.source.operators import Scope, canonical, sample_edit
from trm.data.corrupt import WEIGHTS

EXPRESSIONS = st.sampled_from(
    [
        "x", "-1", "f(x, key=-1)", "x[a:-1]", "not a", "lambda *a, k=1: k", "(y := f(x))", 'f"{x!r:>{w}} é {y}"',
        "a if b else c", "[i for i in x if i]", "{1: 2, **k}", "x.y.z(*a, **k)", "a ** -b", "'ñ' 'b'", "x @ y",
        "a < b <= c", "x not in y", "x is not None", "f(\n  a,  # first\n  b,\n)", "a + \\\n  b", '"""two\nlines"""',
        "~x", "1 .real", "await_", "a[::2]", "a[b, :, c:d]", "()", "(1,)",
    ]
)  # fmt: skip
COMMENTS = st.sampled_from(["", "  # note", " # é", "  #"])


@st.composite
def blocks(draw, indent: str, unit: str, depth: int) -> list[str]:
    """Lines of a block of a few statements."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        value = draw(EXPRESSIONS)
        comment = draw(COMMENTS)
        kinds = ["assign", "call", "augmented", "return", "semicolons", "one line", "note", "blank"]
        kinds += ["if", "for", "try", "with", "class"] if depth else []
        kind = draw(st.sampled_from(kinds))
        if kind == "note":
            lines.append(f"{indent}# a line of its own")
        elif kind == "blank":
            lines.append("")
        if kind in ("note", "blank", "assign"):
            lines.append(f"{indent}x = {value}{comment}")
        elif kind == "call":
            lines.append(f"{indent}print({value}, sep='')  {comment}")
        elif kind == "augmented":
            lines.append(f"{indent}x += ({value})")
        elif kind == "return":
            lines.append(f"{indent}return {value}{comment}")
        elif kind == "semicolons":
            lines.append(f"{indent}a = 1; b = {value};{comment}")
        elif kind == "one line":
            lines.append(f"{indent}if x: return y{comment}")
        else:
            inner = draw(blocks(indent + unit, unit, depth - 1))
            more = draw(blocks(indent + unit, unit, depth - 1))
            if kind == "if":
                lines += [
                    f"{indent}if {value}:{comment}",
                    *inner,
                    f"{indent}elif a:",
                    *more,
                    f"{indent}else:",
                    *inner,
                ]
            elif kind == "for":
                lines += [f"{indent}for i, j in ({value}):{comment}", *inner]
            elif kind == "try":
                lines += [f"{indent}try:", *inner, f"{indent}except (A, B) as e:", *more]
            elif kind == "with":
                lines += [f"{indent}with open({value}) as f:", *inner]
            else:
                lines += [f"{indent}@dec(x)", f"{indent}class A(B, metaclass=C):", *inner]
    return lines


@st.composite
def sources(draw) -> bytes:
    """Modules with tabs or blanks, LF or CRLF, a byte order mark, form feeds, comments, with or without a last line end."""
    unit = draw(st.sampled_from(["    ", "\t", "  "]))
    lines = ["# -*- coding: utf-8 -*-"] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            lines.append("\f")
        if draw(st.booleans()):
            lines += ["@decorator", "@other(1)  # why"]
        lines.append(
            "async def f(a, *b, k: int = 1, **c) -> int:"
            if draw(st.booleans())
            else "def f(a, b=-1, /):"
        )
        lines += draw(blocks(unit, unit, 2))
    lines += draw(blocks("", unit, 1))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n# end"]))
    data = text.replace("\n", newline).encode()
    return b"\xef\xbb\xbf" + data if draw(st.booleans()) else data


def _compiles(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(data)
        except (SyntaxError, ValueError):
            return False
    return True


def _check(module: Module, edit: Edit) -> bool:
    """The promises of one edit; returns whether its result is Python."""
    data = module.source
    try:
        cut = splice(module, edit)
    except EditError:
        return False
    after = cut.apply(data)
    assert cut.invert(data).apply(after) == data
    assert after[: cut.start] == data[: cut.start]
    assert after[cut.start + len(cut.text) :] == data[cut.end :]
    if not _compiles(after):
        return False
    texts = [leaf.text for leaf in module.leaves]
    wanted = [*texts[: edit.start], *edit.tokens, *texts[edit.end :]]
    assert [leaf.text for leaf in Module(after).leaves] == wanted
    first = module.leaves[edit.start].start if edit.start < len(texts) else len(data)
    last = module.leaves[edit.end - 1].end if edit.end > edit.start else first
    for outside in (data[: min(first, cut.start)], data[max(last, cut.end) :]):
        assert outside in after
    kept = _comments(module, 0, edit.start) + _comments(module, edit.end, len(texts))
    now = _comments(Module(after), 0, len(wanted))
    for comment in set(kept):
        assert now.count(comment) >= kept.count(comment)
    return True


def _comments(module: Module, start: int, end: int) -> list[bytes]:
    """Comments in the gaps between leaves start..end, those at both ends left out if they touch the span."""
    found: list[bytes] = []
    leaves = module.leaves
    for index in range(start, end):
        before = leaves[index - 1].end if index > 0 else 0
        gap = module.source[before : leaves[index].start]
        if b"#" in gap:
            found += [line.strip() for line in gap.splitlines() if b"#" in line]
    return found


def _random_edit(module: Module, rng: random.Random) -> Edit:
    """A span replaced by leaves from elsewhere in the file, or a sampled operator in either of its forms."""
    texts = [leaf.text for leaf in module.leaves]
    if rng.random() < 0.5:
        unit = rng.choice(module.units)
        candidate = sample_edit(module, unit, Scope.of(module, unit), rng, WEIGHTS)
        if candidate is not None:
            return Edit(*canonical(texts, candidate.edit)) if rng.random() < 0.5 else candidate.edit
    start = rng.randrange(len(texts))
    end = min(len(texts), start + rng.choice((0, 0, 1, 1, 2, 5)))
    source = rng.randrange(len(texts))
    tokens = tuple(texts[source : source + rng.choice((0, 1, 1, 2, 3, 6))])
    return Edit(start, end, tokens)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sources(), st.randoms(use_true_random=False))
def test_edits_of_generated_modules_keep_their_promises(data: bytes, rng: random.Random) -> None:
    if not _compiles(data):
        return
    module = Module(data)
    for _ in range(6):
        _check(module, _random_edit(module, rng))


@pytest.mark.parametrize("name", ["bisect.py", "shlex.py", "fnmatch.py"])
def test_edits_of_standard_library_files_keep_their_promises(name: str) -> None:
    module = Module(Path(sysconfig.get_path("stdlib"), name).read_bytes())
    rng = random.Random(name)
    valid = sum(_check(module, _random_edit(module, rng)) for _ in range(40))
    assert valid > 12


def _edit(source: str, old: str, new: str) -> str:
    """`source` after replacing the leaves `old` (which follow the mark of `@@`, if given) by `new`."""
    module = Module(source.encode())
    texts = [leaf.text for leaf in module.leaves]
    tokens = old.split()
    starts = [at for at in range(len(texts) + 1) if texts[at : at + len(tokens)] == tokens]
    start = starts[0] if tokens else len(texts)
    return apply_edit(module, Edit(start, start + len(tokens), tuple(new.split()))).decode()


@pytest.mark.parametrize(
    ("source", "old", "new", "after"),
    [
        ("f(a, b)\n", "b", "k = - 1", "f(a, k=-1)\n"),
        ("f(a, k=1)\n", "1", "= 1", "f(a, k= =1)\n"),
        ("return_ = x\n", "x", "- x", "return_ = -x\n"),
        ("x[a]\n", "a", "a : - 1", "x[a:-1]\n"),
        ("f(a,\n  b)  # c\n", "b", "c , d", "f(a,\n  c, d)  # c\n"),
        ("if not a:\n    b\n", "not", "-", "if -a:\n    b\n"),
        ("if not(a):\n    b\n", "not", "f", "if f(a):\n    b\n"),
        ("x = a+b\n", "+", "-", "x = a-b\n"),
        ("x = a + b  # why\n", "+ b", "", "x = a  # why\n"),
        ("x = a + \\\n    b\n", "+ b", "", "x = a\n"),
        ("f(a,  # one\n  b,  # two\n  c)\n", "b ,", "", "f(a,  # one\n    # two\n  c)\n"),
        ("a\n# about b\nb\nc\n", f"b {NEWLINE}", "", "a\n# about b\nc\n"),
        ("if a:\n\tb\n\tc\n", f"b {NEWLINE}", "", "if a:\n\tc\n"),
        ("if a:\n\tb\n", "b", f"if b : {NEWLINE} {INDENT} c {NEWLINE} {DEDENT} d", "if a:\n\tif b:\n\t\tc\n\td\n"),
        ("if x: return_(y)\n", "return_ ( y )", "pass", "if x: pass\n"),
        ("if a:\n  b\nelse:\n  c\n", f"else : {NEWLINE} {INDENT} c {NEWLINE} {DEDENT}", "", "if a:\n  b\n"),
        ("x = f'{a}'\n", "a", "a . b [ - 1 ]", "x = f'{a.b[-1]}'\n"),
        ("a = 1; b = 2\n", "b", "c", "a = 1; c = 2\n"),
        ("x = 1", "1", "2", "x = 2"),
        ("x = 1", "", f"y = 2 {NEWLINE}", "x = 1\ny = 2\n"),
        ("f(x)\n", "x", "* x , ** y", "f(*x, **y)\n"),
        ("x = lambda a: a\n", "lambda a : a", "( y := 1 )", "x = (y := 1)\n"),
        ("@a\ndef f():\n    b\n", f"@ a {NEWLINE}", "", "def f():\n    b\n"),
        ("def f():\n    b\n", "def", f"@ a {NEWLINE} def", "@a\ndef f():\n    b\n"),
        ("if a:\r\n    b\r\n", "b", f"c {NEWLINE} d", "if a:\r\n    c\r\n    d\r\n"),
        ("from a import b\n", "a", ". a", "from .a import b\n"),
        ("x = 1\n", "1", "1 . real", "x = 1 .real\n"),
        ("if a:\n    x = (1,\n         2)  # c\n", f"if a : {NEWLINE} {INDENT} x = ( 1 , 2 ) {NEWLINE} {DEDENT}",
         f"x = ( 1 , 2 ) {NEWLINE}", "x = (1,\n         2)  # c\n"),
    ],
)  # fmt: skip
def test_text_of_an_edit(source: str, old: str, new: str, after: str) -> None:
    assert _edit(source, old, new) == after


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("if a:\n    b\n", INDENT, ""),
        ("a\nb\n", "a", ""),
        ("a\nb\n", "a", NEWLINE),
        ("a\nb\n", "a", f"{INDENT} c"),
        ("if a:\n    b\n", "b", f"{DEDENT} b {NEWLINE} {INDENT}"),
        ("a\n", NEWLINE, ""),
        ("a\n", "", ""),
    ],
)
def test_edits_that_break_lines_or_blocks_are_refused(source: str, old: str, new: str) -> None:
    with pytest.raises(EditError):
        _edit(source, old, new)


@pytest.mark.parametrize(
    ("start", "end", "tokens"),
    [
        (3, 3, ("x",)),  # before text
        (4, 4, ("x",)),  # after it
        (4, 9, ()),  # text meets text
        (8, 8, ("x",)),  # in the format
    ],
)
def test_parts_of_an_f_string_do_not_grow_together(start: int, end: int, tokens: tuple) -> None:
    module = Module(b'x = f"a {x!r:>{w}} b {y}"\n')
    with pytest.raises(EditError, match="goes on with"):
        splice(module, Edit(start, end, tokens))


def test_an_interpolation_is_exchanged_and_so_is_the_prefix() -> None:
    module = Module(b'x = f"a {x} b"\n')
    assert apply_edit(module, Edit(5, 6, ("y",))) == b'x = f"a {y} b"\n'
    assert apply_edit(module, Edit(2, 3, ('rf"',))) == b'x = rf"a {x} b"\n'


def test_a_span_outside_the_file_is_refused() -> None:
    with pytest.raises(EditError, match="not in 0"):
        splice(Module(b"a\n"), Edit(1, 9, ("b",)))


METHOD = b'''class A:
    def f(self):
        text = """two
lines at the margin"""
        return text

    class B(C):
        pass
'''


def test_a_unit_parses_as_in_its_file() -> None:
    module = Module(METHOD)
    for unit in module.units:
        ast.parse(unit_source(module, unit))
    method = next(unit for unit in module.units if unit.name == "A.f")
    at = next(i for i, leaf in enumerate(module.leaves) if leaf.text == "return")
    assert parses(module, method, Edit(at, at + 1, ("yield",)))
    assert not parses(module, method, Edit(at, at + 1, ("in",)))


@pytest.mark.parametrize("name", ["A.f", "f"])
def test_a_body_without_its_header_does_not_parse(name: str) -> None:
    module = Module(b"def f(x):\n    return x\n\n\nclass A:\n    def f(self):\n        return 1\n")
    unit = next(unit for unit in module.units if unit.name == name)
    body = next(i for i in range(unit.start, unit.end) if module.leaves[i].text == INDENT) + 1
    assert parses(module, unit, Edit(body, body + 1, ("yield",)))
    assert not parses(module, unit, Edit(unit.start, body, ()))
