"""All pieces lead from the old version to the new one, at every level; prefixes are what they should be."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.source.pieces import LEVELS, apply, changed_lines, split, unified

LINES = ["a = 1\n", "b = a\n", "if a:\n    b = 2\n", "# why\n", "\n", "f(a,  b)\n", "x"]
texts = st.lists(st.sampled_from(LINES), max_size=8).map(lambda lines: "".join(lines).encode())
versions = st.dictionaries(st.sampled_from(["m.py", "n.py", "data.txt"]), texts, max_size=3)


@given(versions, versions, st.sampled_from(LEVELS))
def test_all_pieces_together_are_the_new_version(old, new, level):
    pieces = split(old, new, level)
    result = apply(old, pieces)
    assert {p: d for p, d in result.items() if d} == {p: d for p, d in new.items() if d}
    assert apply(old, []) == old


@given(versions, versions, st.sampled_from(LEVELS))
def test_each_piece_changes_something_and_prefixes_grow(old, new, level):
    pieces = split(old, new, level)
    seen = [apply(old, pieces[:count]) for count in range(len(pieces) + 1)]
    for before, after in itertools.pairwise(seen):
        assert before != after


def test_levels_are_finer_and_finer():
    old = {"m.py": b"a = 1\nb = 2\nc = f(x, y)\nd = 4\n"}
    new = {"m.py": b"a = 2\nb = 3\nc = f(y, x)\nd = 4\n"}
    assert [len(split(old, new, level)) for level in LEVELS] == [1, 3, 4]
    assert apply(old, split(old, new, "line")[:2])["m.py"] == b"a = 2\nb = 3\nc = f(x, y)\nd = 4\n"


def test_no_other_level():
    with pytest.raises(ValueError, match="one of hunk, line, token"):
        split({}, {}, "file")


def test_changed_lines_are_numbered_as_now():
    old = {"m.py": b"a = 1\nb = 2\nc = 3\n"}
    new = {"m.py": b"a = 1\nb = 5\nc = 3\n"}
    now = {"m.py": b"# more\n\na = 1\nb = 5\nc = 4\n"}
    assert changed_lines(old, new, now) == ("m.py", (4, 4))
    assert changed_lines(old, {"m.py": b"a = 1\nc = 3\n"}, now)[0] == "m.py"


def test_unified_diff_of_all_files():
    text = unified({"a.py": b"x = 1\n", "b.py": b"y = 1"}, {"a.py": b"x = 1\n", "b.py": b"y = 2"})
    assert text == (
        "--- a/b.py\n+++ b/b.py\n@@ -1 +1 @@\n-y = 1\n\\ No newline at end of file\n"
        "+y = 2\n\\ No newline at end of file\n"
    )
