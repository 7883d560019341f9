"""Any leaf text is spelled by pieces that give it back, and pieces can be cut back into leaves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.source.leaves import LAYOUT
from trm.vocab import CLS, END, MAX_TEXT, PAD, SEP, SPECIAL, UNKNOWN, Vocab, role_of

MARKERS = [text for text in SPECIAL if text not in LAYOUT]
# a leading blank is the mark of a leaf's first piece: pieces do not tell " x" from "x"
TEXTS = st.text(min_size=1, max_size=MAX_TEXT).filter(
    lambda text: text not in SPECIAL and not text.startswith(" ")
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_spelling_gives_the_text_back(vocab, text):
    pieces = vocab.token_pieces(text)
    assert all(len(SPECIAL) <= piece < vocab.size for piece in pieces)
    assert vocab.spell(pieces) == text


@pytest.mark.parametrize("special", SPECIAL)
def test_a_literal_that_mentions_a_marker_is_ordinary_text(vocab, special):
    text = f"'a {special}'"
    assert vocab.spell(vocab.token_pieces(text)) == text


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(
        st.one_of(TEXTS.filter(lambda text: " " not in text), st.sampled_from(sorted(LAYOUT))),
        max_size=6,
    )
)
def test_a_run_of_pieces_is_cut_where_leaves_start(vocab, texts):
    runs = []
    for piece in (piece for text in texts for piece in vocab.token_pieces(text)):
        if vocab.starts_leaf[piece] or not runs:
            runs.append([])
        runs[-1].append(piece)
    # a text with blanks may be cut at each of them, so that its runs join to it
    expected = [text for text in texts if " " not in text]
    if len(expected) == len(texts):
        assert [vocab.spell(run) for run in runs] == texts


def test_layout_is_one_piece_each_and_markers_spell_nothing(vocab):
    assert {n: n for n in range(5)} == {PAD: 0, CLS: 1, SEP: 2, END: 3, UNKNOWN: 4}
    for text in LAYOUT:
        (piece,) = vocab.token_pieces(text)
        assert SPECIAL[piece] == text and vocab.spell([piece]) == text
    assert [vocab.spell([i]) for i in range(len(MARKERS))] == [""] * len(MARKERS)


def test_long_texts_are_cut(vocab):
    assert vocab.spell(vocab.token_pieces("x" * 500)) == "x" * MAX_TEXT


def test_kinds_and_roles_are_numbered_from_one_and_unknown_is_zero(vocab):
    assert [vocab.kind(kind) for kind in vocab.kinds] == list(range(1, len(vocab.kinds) + 1))
    assert vocab.kind("no such kind") == vocab.role("no", "such") == 0
    parent, field = "assignment", "left"
    assert vocab.roles[vocab.role(parent, field) - 1] == role_of(parent, field)
    assert role_of("block", "") == "block"


def test_saving_keeps_everything(vocab, tmp_path):
    vocab.save(tmp_path / "vocab.json")
    again = Vocab.load(tmp_path / "vocab.json")
    assert (again.kinds, again.roles, again.size) == (vocab.kinds, vocab.roles, vocab.size)
    assert again.starts_leaf == vocab.starts_leaf
    for text in ("result", "'ß € 𝕏'", "<INDENT>", "unseen_name"):
        assert again.token_pieces(text) == vocab.token_pieces(text)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b"\xff\xfe", b'{"tokenizer": {"model": 3}, "kinds": [], "roles": []}'],
)
def test_a_foreign_file_is_named(tmp_path, content):
    path = tmp_path / "vocab.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"vocab\.json is not a vocabulary"):
        Vocab.load(path)
