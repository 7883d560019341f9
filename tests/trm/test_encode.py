"""What the arrays say about a unit: texts, uses, execution, context segments and the targets of edits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.source.leaves import Module
from trm import encode as enc
from trm.config import MAX_CONTENT, MAX_SPAN
from trm.encode import (
    LENGTHS,
    Execution,
    FailureText,
    encode,
    padded_length,
    target_of,
    type_of_repr,
)
from trm.vocab import CLS, END, SEP

SOURCE = b"""def f(rows, best=0):
    for row in rows:
        if row.best > best:
            best = row.best
    return best
"""
LEAVES = Module(SOURCE).leaves
TEXTS = [leaf.text for leaf in LEAVES]


@pytest.fixture(scope="module")
def plain(vocab):
    return encode(vocab, LEAVES)


def columns_at(encoded, line):
    return encoded.features[encoded.line == line]


def test_positions_are_markers_code_and_context(vocab, plain):
    assert plain.code == len(LEAVES) and plain.length == len(LEAVES) + 2
    assert plain.pieces[0, 0] == CLS and plain.pieces[plain.code + 1, 0] == SEP
    assert [plain.texts[i] for i in plain.text[1 : plain.code + 1]] == TEXTS
    assert list(plain.line[1 : plain.code + 1]) == [leaf.line for leaf in LEAVES]
    segments = plain.features[:, enc.SEGMENT]
    assert segments[0] == segments[-1] == 1 and not segments[1:-1].any()
    for index, text in enumerate(TEXTS):
        spelled = vocab.token_pieces(text)[: enc.PIECES]
        assert tuple(plain.pieces[index + 1, : len(spelled)]) == spelled


def test_last_use_and_definition_point_to_the_nearest_before(plain):
    for at, leaf in enumerate(LEAVES, 1):
        if leaf.kind != "identifier":
            continue
        earlier = [i for i in range(1, at) if TEXTS[i - 1] == leaf.text]
        assert plain.last_use[at] == (earlier[-1] if earlier else -1)
    # `return best` last got its value in `best = row.best`, whose left side is the definition
    final = max(i for i, text in enumerate(TEXTS, 1) if text == "best")
    defined = plain.last_def[final]
    assert TEXTS[defined - 1] == "best" and LEAVES[defined - 1].field == "left"
    assert LEAVES[defined - 1].line == 4


def test_execution_is_told_by_line(vocab):
    ran = Execution(2, 4, {1: 2, 2: 2, 4: 1}, {2: 4, 3: 1, 4: 3}, {4: 2}, {"best": ("int", "7"), "row": ("Row", "?")},
                    {3: 1}, actual="7", expected="9")  # fmt: skip
    encoded = encode(vocab, LEAVES, execution=ran)
    fail = [columns_at(encoded, n)[0, enc.COVER_FAIL] for n in (1, 2, 3, 4)]
    passed = [columns_at(encoded, n)[0, enc.COVER_PASS] for n in (1, 2, 3, 4)]
    assert fail == [4, 4, 1, 3] and passed == [1, 4, 2, 3]
    suspicion = [int(columns_at(encoded, n)[0, enc.SUSPICION]) for n in (1, 2, 4, 3)]
    assert suspicion == sorted(suspicion, reverse=True) and suspicion[0] == 8 and suspicion[-1] == 1
    assert (
        columns_at(encoded, 4)[0, enc.FRAME] == 2 and columns_at(encoded, 3)[0, enc.EVIDENCE] == 1
    )
    types = {}
    for at, leaf in enumerate(LEAVES, 1):
        types.setdefault((leaf.text, leaf.field == "attribute"), set()).add(
            (int(encoded.features[at, enc.VALUE_TYPE]), int(encoded.features[at, enc.VALUE_MATCH]))
        )
    assert types["best", False] == {(enc.value_type("int"), 2)}
    assert types["best", True] == {(0, 0)}, "an attribute is not the variable of its name"
    assert types["row", False] == {(enc.value_type("object"), 1)}


@given(
    failing=st.integers(0, 9), failed=st.integers(0, 9), passing=st.integers(0, 9), ran=st.integers(0, 9)
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_features_stay_in_their_table(vocab, failing, failed, passing, ran):
    ran_all = Execution(failing, passing, {2: min(failed, failing)}, {2: min(ran, passing)}, {2: 2})
    features = encode(vocab, LEAVES, execution=ran_all).features
    assert features.max() < enc.FEATURE_VALUES
    assert (features[:, enc.SUSPICION] > 0).any() == bool(failing)


def test_context_follows_the_code_and_is_bounded(vocab, plain):
    failure = FailureText("assert f([1]) == 1 " + "+ 1 " * 90, "0", "1", "AssertionError")
    names = tuple(f"name_{i}" for i in range(60))
    encoded = encode(vocab, LEAVES, names=("rows", "f", *names), failure=failure)
    assert np.array_equal(encoded.pieces[: plain.length], plain.pieces)
    segments = [enc.SEGMENTS[i] for i in encoded.features[plain.length :, enc.SEGMENT]]
    counts = {name: segments.count(name) for name in dict.fromkeys(segments)}
    assert list(counts) == ["test", "actual", "expected", "exception", "names"]
    assert counts["test"] == enc.SEGMENT_LIMITS["test"]
    assert counts["names"] == enc.SEGMENT_LIMITS["names"]
    at = segments.index("names") + plain.length
    assert encoded.texts[encoded.text[at]] == "name_0", "what the code shows is not told again"


def test_names_fill_no_more_than_the_longest_length(vocab):
    failure = FailureText(
        "f(" + "1, " * 90 + ")", "[" + "0, " * 40 + "]", "[" + "1, " * 40 + "]", "E: " + "a " * 40
    )
    names = tuple(f"name_{i}" for i in range(60))
    for count in (400, 424, 430):
        leaves = Module(b"x\n" * (count // 2)).leaves
        encoded = encode(vocab, leaves, names=names, failure=failure)
        most = count + 2 + sum(enc.SEGMENT_LIMITS.values())
        assert encoded.length == min(most, enc.LENGTHS[-1])


def test_a_failure_text_of_any_bytes_is_read(vocab):
    failure = FailureText("assert '\0\ud800' == (", "\0", "((((", "E: \ud83d")
    assert encode(vocab, LEAVES, failure=failure).length > len(LEAVES) + 2


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_targets_read_back_as_the_edit(vocab, plain, data):
    start = data.draw(st.integers(0, len(LEAVES)))
    end = data.draw(st.integers(start, min(len(LEAVES), start + MAX_SPAN)))
    words = st.one_of(st.sampled_from(TEXTS), st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
    tokens = tuple(data.draw(st.lists(words, max_size=6)))
    target = target_of(vocab, plain, start, end, tokens)
    if target is None:
        slots = sum(1 if t in TEXTS else len(vocab.token_pieces(t)) for t in tokens)
        assert slots > MAX_CONTENT
        return
    assert (target.start, target.length) == (start + 1, end - start)
    assert (target.piece[-1], target.text[-1]) == (END, -1) and target.previous[0] == (CLS,)
    assert len(target.piece) == len(target.text) == len(target.previous) <= MAX_CONTENT + 1
    written: list[str] = []
    run: list[int] = []
    for piece, text, seen in zip(
        target.piece[:-1], target.text[:-1], target.previous[1:], strict=True
    ):
        assert piece >= 0 or text >= 0, "every slot has a right answer"
        if text >= 0:
            spelled = vocab.token_pieces(plain.texts[text])
            assert seen == spelled[: enc.PIECES] and piece in (-1, spelled[0])
        else:
            assert seen == (piece,)
        if text >= 0 or vocab.starts_leaf[piece]:
            written += [vocab.spell(run)] if run else []
            run = []
        if text >= 0:
            written.append(plain.texts[text])
        else:
            run.append(piece)
    written += [vocab.spell(run)] if run else []
    assert tuple(written) == tokens


def test_what_the_heads_cannot_reach_has_no_target(vocab, plain):
    assert target_of(vocab, plain, 0, MAX_SPAN, ()) is not None
    assert target_of(vocab, plain, 0, MAX_SPAN + 1, ()) is None
    assert target_of(vocab, plain, 0, 1, ("rows",) * MAX_CONTENT) is not None
    assert target_of(vocab, plain, 0, 1, ("rows",) * (MAX_CONTENT + 1)) is None
    assert target_of(vocab, plain, 0, 1, ("zqxjkvbwpyzqxjkvb",)) is None, "too many pieces"


@given(st.integers(1, 700))
def test_padded_length_is_the_smallest_that_holds(length):
    found = padded_length(length)
    fitting = [size for size in LENGTHS if size >= length]
    assert found == (min(fitting) if fitting else None)


@pytest.mark.parametrize(
    ("text", "name"),
    [("3", "int"), ("-2.5", "float"), ("None", "NoneType"), ("[1, ...", "list"), ("{'a': <x>", "dict"),
     ("(<a>,", "tuple"), ("'cut", "str"), ("b'x'", "bytes"), ("<function f at 0x1>", "function"),
     ("<class 'int'>", "type"), ("<module 'os'>", "module"), ("Box(1)", "object"), ("", "object"),
     ("{[1]: 2}", "dict"), ("{[], {}}", "dict")],
)  # fmt: skip
def test_types_are_guessed_from_reprs(text, name):
    assert type_of_repr(text) == name
