"""Any event survives its JSON line; anything else is refused with a reason."""

import dataclasses
import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import events
from agent.events import Finished, Note, dumps, event_types, from_json, loads

VALUES = {int: st.integers(), float: st.floats(allow_nan=False, allow_infinity=False), bool: st.booleans(),
          str: st.text(st.characters(codec="utf-8"))}  # fmt: skip


def strategy(hint):
    """Values of a field's type."""
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        inside = typing.get_args(hint)
        if inside[-1] is Ellipsis:
            return st.lists(strategy(inside[0]), max_size=3).map(tuple)
        return st.tuples(*map(strategy, inside))
    return VALUES[hint]


def any_event():
    def build(cls):
        hints = typing.get_type_hints(cls)
        fields = {f.name: strategy(hints[f.name]) for f in dataclasses.fields(cls)}
        return st.builds(cls, **fields)

    return st.one_of([build(cls) for cls in event_types().values()])


@given(any_event())
def test_a_line_gives_the_event_back(event):
    line = dumps(event)
    assert "\n" not in line and loads(line) == event
    assert json.loads(line)["event"] == type(event).__name__


def test_every_event_is_known_and_frozen():
    declared = {
        name
        for name, value in vars(events).items()
        if isinstance(value, type) and issubclass(value, events.Event) and value is not events.Event
    }
    assert set(event_types()) == declared and len(declared) >= 13
    with pytest.raises(dataclasses.FrozenInstanceError):
        Note("x").text = "y"  # type: ignore[misc]


def test_only_what_can_be_missed_is_progress():
    missable = {name for name, cls in event_types().items() if cls.progress}
    assert missable == {"SuiteProgress", "RecursionStep", "CandidateTried", "SearchProgress"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Expecting"),
        ("[]", "JSON object"),
        ("3", "JSON object"),
        ('{"event": "Nothing"}', "unknown event 'Nothing'"),
        ('{"text": "x"}', "unknown event None"),
        ('{"event": "Event"}', "unknown event 'Event'"),
        ('{"event": "Note", "text": "x", "volume": 3}', "unknown field of Note: volume"),
        ('{"event": "Note"}', "Note: .*'text'"),
    ],
)
def test_anything_else_is_a_value_error(line, said):
    with pytest.raises(ValueError, match=said):
        loads(line)


def test_fields_that_are_missing_in_an_old_record_take_their_defaults():
    event = from_json({"event": "Finished", "status": "green", "exit_code": 0, "message": "m"})
    assert event == Finished("green", 0, "m")
