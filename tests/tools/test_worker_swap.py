"""Code exchange: what is recognized as exact, and that a block compiles as within its file."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "tools" / "worker" / "swap.py"
spec = importlib.util.spec_from_file_location("worker_swap", PATH)
assert spec is not None and spec.loader is not None
swap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(swap)

STDLIB = ["textwrap", "configparser", "csv", "json.decoder", "logging", "shutil", "tempfile"]


class AllOne:
    """A tree in which every file is the same one."""

    def relative(self, name: str) -> str:
        return "m.py"


def codes(code: types.CodeType) -> list[types.CodeType]:
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return inner + [each for nested in inner for each in codes(nested)]


@pytest.mark.parametrize("name", STDLIB)
def test_a_block_compiles_as_within_its_file(name: str) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None
    data = Path(found.origin).read_bytes()
    source = swap.Source(found.origin, data)
    whole = set(codes(compile(data, found.origin, "exec", dont_inherit=True)))
    blocks = [code for block in source.blocks for code in codes(source.block_code(block))]
    assert len(blocks) > 5
    assert [code.co_name for code in blocks if code not in whole] == []


TEXT = """\
import os
from functools import lru_cache


def ran(a, b=1):
    return a + b


def plain(a, b=1):
    "Adds."
    return os.path.join(str(a), str(b))


def outer(x):
    def inner(y):
        return x + y
    return inner


class Thing:
    size = 1

    def method(self):
        return self.size


add = outer(1)
ran(1)
"""


def swapped(old: str, new: str) -> dict[str, object]:
    """The namespace of module `old` with its functions swapped for those of `new`."""
    space: dict[str, object] = {"__name__": "m"}
    exec(compile(old, "m.py", "exec", dont_inherit=True), space)
    source = swap.Source("m.py", old.encode())
    swap.apply(swap.plan(source, new.encode(), swap.Index(set()), AllOne()))
    return space


def planned(old: str, new: str) -> dict[str, object]:
    """Runs the module, plans the swap, applies it; returns the module's namespace."""
    assert TEXT.count(old) == 1
    space: dict[str, object] = {"__name__": "m"}
    exec(compile(TEXT, "m.py", "exec", dont_inherit=True), space)
    ran = {space["ran"].__code__, space["outer"].__code__}  # type: ignore[attr-defined]
    index = swap.Index(ran)
    source = swap.Source("m.py", TEXT.encode())
    swap.apply(swap.plan(source, TEXT.replace(old, new).encode(), index, AllOne()))
    return space


def test_bodies_are_exchanged() -> None:
    assert planned("str(a), str(b)", "str(b), str(a)")["plain"]("x", "y") == "y/x"  # type: ignore
    assert planned("return self.size", "return self.size + 1")["Thing"]().method() == 2  # type: ignore


def test_a_string_first_in_a_comprehension_is_no_docstring() -> None:
    space = planned("return os.path", "return ['x' for _ in a] or os.path")
    assert space["plain"]("ab", "y") == ["x", "x"]  # type: ignore[operator]
    text = "def f(xs):\n    return [x for x in xs]\n"
    assert swapped(text, text.replace("[x for", "['y' for"))["f"]([1, 2]) == ["y", "y"]  # type: ignore


def test_windows_line_ends_are_exchanged() -> None:
    text = 'def f(a):\r\n    """Two\r\n    lines."""\r\n    return a + """\r\n"""\r\n'
    space = swapped(text, text.replace("return a", "return a + a"))
    assert space["f"]("x") == "xx\n"  # type: ignore[operator]
    with pytest.raises(swap.Inexact, match="line ends"):
        swapped(text.replace("\r\n", "\r"), text)


def test_a_closure_made_at_import_is_exchanged_with_its_maker() -> None:
    space = planned("x + y", "x - y")
    assert space["add"](5) == -4  # type: ignore[operator]
    assert space["outer"](10)(5) == 5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("a + b", "a - b", "ran during import"),
        ("def plain(a, b=1)", "def plain(a, b=2)", "runs at import"),
        ("def plain(a, b=1)", "def plain(b, a=1)", "signature"),
        ("def plain(a, b=1)", "@lru_cache\ndef plain(a, b=1)", "runs at import"),
        ("size = 1", "size = 2", "runs at import"),
        ('"Adds."', '"Joins."', "docstring"),
        ("    return os.path", "    yield os.path", "signature"),
        ("add = outer(1)", "add = outer(2)", "module-level"),
        ("    return inner\n", "    return inner\n\n\nz = 1\n", "module-level|runs at import"),
        ("from functools import lru_cache", "from functools import wraps", "module-level"),
    ],
)
def test_what_needs_an_import_is_refused(old: str, new: str, reason: str) -> None:
    with pytest.raises(swap.Inexact, match=reason):
        planned(old, new)


@pytest.mark.parametrize("new", ["str(a), str(b", "str(a) str(b)", "str(a), '''"])
def test_what_does_not_compile_is_invalid(new: str) -> None:
    with pytest.raises(swap.Invalid):
        planned("str(a), str(b)", new)


def test_the_worker_needs_no_module_of_ours() -> None:
    folder = PATH.parent
    names = {path.stem for path in folder.glob("*.py")}
    assert not names & set(sys.stdlib_module_names)
    for path in folder.glob("*.py"):
        text = path.read_text()
        assert "import tools" not in text and "from tools" not in text, path
