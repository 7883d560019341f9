"""Pickles of strangers: what is plain is read, what is not is refused, and nothing of it runs."""

import base64
import collections
import json
import os
import pickle
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.data.formats import unpickle
from trm.data.formats.fields import Damaged

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20,
)  # fmt: skip


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_of_every_protocol_are_read(value, protocol):
    assert unpickle.loads(pickle.dumps(value, protocol)) == value


class Runs:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Reads:
    def __reduce__(self):
        return eval, ("open('/etc/passwd').read()",)


class Builds:
    def __init__(self):
        self.a = 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: {"input": x}, lambda x: [{"a": [1, x]}]]
)
def test_nothing_is_called(tmp_path, protocol, wrap):
    mark = tmp_path / "mark"
    for evil in (
        Runs(mark),
        Reads(),
        Builds(),
        os.system,
        print,
        collections.OrderedDict(a=1),
        object,
    ):
        with pytest.raises(Damaged, match="a pickle with the operation"):
            unpickle.loads(pickle.dumps(wrap(evil), protocol))
    assert not mark.exists()


HOSTILE = {
    "a call by name": b"cos\nsystem\n(S'true'\ntR.",
    "an instance": b"(S'true'\nios\nsystem\n.",
    "an object": b"(cos\nsystem\nS'true'\no.",
    "a name from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "a persistent id": b"Pfile\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a far memo": b"\x80\x04K\x01r\xff\xff\xff\xff.",
    "a far memo in text": b"I1\np4294967295\n.",
    "a huge number": b"\x80\x02\x8b" + struct.pack("<i", 8) + bytes(8) + b".",
    "a buffer": b"\x80\x05\x97.",
    "a set": b"\x80\x04\x8f.",
    "a tuple": b"\x80\x02).",
    "a text longer than the data": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
    "an escaped string": b"S'a'\n.",
    "no stop": b"\x80\x04]",
    "nothing": b"",
    "an empty stack": b".",
    "append to nothing": b"a.",
    "a list as a key": b"\x80\x04}]K\x01s.",
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_refused(data):
    with pytest.raises(Damaged, match="pickle"):
        unpickle.loads(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    try:
        unpickle.loads(data)
    except Damaged:
        pass


def test_even_without_the_first_look_nothing_is_imported():
    import io

    with pytest.raises(Damaged, match=r"asks for os\.system"):
        unpickle._Unpickler(io.BytesIO(HOSTILE["a call by name"])).load()
    with pytest.raises(Damaged, match="persistent"):
        unpickle._Unpickler(io.BytesIO(HOSTILE["a persistent id"])).load()


def pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def test_packed_tests(monkeypatch):
    tests = json.dumps([{"input": "1", "output": "2"}])
    assert unpickle.decode(pack(pickle.dumps(tests))) == tests
    for broken in ("?", "AAAA", "\N{BUG}", pack(b"")):
        with pytest.raises(Damaged):
            unpickle.decode(broken)
    whole = zlib.compress(pickle.dumps(tests))
    with pytest.raises(Damaged, match="cut"):
        unpickle.decode(base64.b64encode(whole[:-6]).decode())
    monkeypatch.setattr(unpickle, "LARGEST", 1 << 20)
    with pytest.raises(Damaged, match="more than 1 MiB"):
        unpickle.decode(pack(bytes(4 << 20)))
