"""Leaves: layout as Python's tokenizer has it, every byte accounted for, units that cover the file."""

from __future__ import annotations

import io
import sysconfig
import tokenize
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.source.leaves import DEDENT, INDENT, LAYOUT, NEWLINE, Module, SourceError

_LAYOUT_TYPES = {tokenize.NEWLINE: NEWLINE, tokenize.INDENT: INDENT, tokenize.DEDENT: DEDENT}


def _layout_of_tokenize(data: bytes) -> list[tuple[str, str]]:
    """Layout tokens, each with the text of the last other token before it."""
    found: list[tuple[str, str]] = []
    last = ""
    for token in tokenize.tokenize(io.BytesIO(data).readline):
        if token.type in _LAYOUT_TYPES:
            found.append((_LAYOUT_TYPES[token.type], last))
        elif token.type not in (
            tokenize.NL,
            tokenize.COMMENT,
            tokenize.ENCODING,
            tokenize.ENDMARKER,
        ):
            last = token.string[-1:]
    return found


def _layout_of_leaves(module: Module) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    last = ""
    for leaf in module.leaves:
        if leaf.is_layout:
            found.append((leaf.kind, last))
        else:
            last = leaf.text[-1:]
    return found


SNIPPETS = [
    b"x = 1",
    b"if a:\n    b\n\n  # odd comment\nelse:\n\tc\n",
    b"\xef\xbb\xbfdef f(\n  a,\n):\n  return a\n",
    b"\x0cdef f():\n\x0c\n    return 1\n",
    b"class A:\n    x = 1\n\n\x0c\n    def f(self): pass\n\n# end",
    b"if a:\r\n    b\r\n    if c:\r\n        d\r\nelif e: f\r\n",
    b"x = a + \\\n  b\nif x: y; z\n",
    b'def f():\n    """doc\nmore"""\n    return f"{a}\\n"\n',
    b"try:\n  a\nexcept* B:\n  c\nfinally:\n  d\n",
    b"match x:\n    case [1, *_]:\n        y\n    case _:\n        z\n",
    b"for x in y:\n    if x:\n        break\n    # last\n\n\nelse:\n    z\n",
    b"async def f():\n    async with a as b, c:\n        await d\n",
    "naïve = 'ü'  # é\nif naïve:\n    print(naïve)\n".encode(),
    b"if a:\n        b\nif c:\n  d\n",
    b"@a\n\n# between\n@b\ndef f(): ...\n",
]


@pytest.mark.parametrize("data", SNIPPETS)
def test_layout_is_that_of_tokenize(data: bytes) -> None:
    assert _layout_of_leaves(Module(data)) == _layout_of_tokenize(data)


FILES = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


@pytest.mark.parametrize("path", FILES[::20], ids=lambda path: path.name)
def test_layout_of_standard_library_files(path: Path) -> None:
    data = path.read_bytes()
    if b"coding: latin" in data[:200] or len(data) > 40_000:
        pytest.skip("not UTF-8, or large")
    assert _layout_of_leaves(Module(data)) == _layout_of_tokenize(data)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_layout_of_the_whole_standard_library(path: Path) -> None:
    data = path.read_bytes()
    assert _layout_of_leaves(Module(data)) == _layout_of_tokenize(data)


LINES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["x = 1", "# note", "", "f(a,\n b)", "y  # c", "if a: b"]),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(LINES, st.sampled_from(["    ", "\t", " "]), st.booleans())
def test_layout_of_generated_blocks(lines: list[tuple[int, str]], unit: str, ends: bool) -> None:
    out: list[str] = []
    depth = 0
    for wanted, text in lines:
        if not text or text[0] == "#":
            out.append(unit * wanted + text)  # comments and blanks at any depth
            continue
        if wanted > depth:
            out.append(unit * depth + "while a:")
            depth += 1
        else:
            depth = wanted
        out.append(unit * depth + text)
    data = ("\n".join(out) + ("\n" if ends else "")).encode()
    assert _layout_of_leaves(Module(data)) == _layout_of_tokenize(data)


@pytest.mark.parametrize("data", SNIPPETS)
def test_leaves_are_in_order_and_leave_out_only_blanks_and_comments(data: bytes) -> None:
    module = Module(data)
    at = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    for leaf in module.leaves:
        gap = data[at : leaf.start].decode()
        for line in gap.splitlines():
            assert line.partition("#")[0].strip(" \t\f\\") == ""
        if leaf.kind not in LAYOUT:
            assert data[leaf.start : leaf.end].decode() == leaf.text
        assert leaf.end >= leaf.start >= at or leaf.kind in LAYOUT
        at = max(at, leaf.end)


def test_nodes_are_ranges_of_leaves_inside_their_parents() -> None:
    module = Module(SNIPPETS[4])
    for node in module.nodes[1:]:
        parent = module.nodes[node.parent]
        assert parent.start <= node.start < node.end <= parent.end


def test_units_are_functions_methods_and_the_runs_between() -> None:
    module = Module(
        b"import a\n\n@d\ndef f():\n    def g(): pass\n    return g\n\nclass A(B):\n    x = 1\n    def m(self): pass\ny = 2\n"
    )
    assert [(unit.name, unit.kind, unit.first_line) for unit in module.units] == [
        ("<module>", "statements", 1),
        ("f", "function", 3),
        ("A.<header>", "statements", 8),
        ("A.<body>", "statements", 9),
        ("A.m", "function", 10),
        ("<module>", "statements", 11),
    ]
    ends = [unit.end for unit in module.units]
    assert ends == sorted(ends)


@pytest.mark.parametrize("data", [b"x = 1\0", b"x = '\xff'"])
def test_what_is_not_utf8_source_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError):
        Module(data)


def test_a_syntax_error_is_noted_and_leaves_remain() -> None:
    module = Module(b"def f(:\n    return 1\n")
    assert module.has_error
    assert [leaf.text for leaf in module.leaves if not leaf.is_layout][:2] == ["def", "f"]
