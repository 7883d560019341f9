import pytest

from timetable import clock, free, merge

OPENS, CLOSES = clock("9:00"), clock("17:00")


@pytest.mark.parametrize(
    ("text", "minutes"), [("0:00", 0), ("9:05", 545), ("12:30", 750), ("23:59", 1439)]
)
def test_clock(text, minutes):
    assert clock(text) == minutes


def test_merge_joins_what_overlaps_or_touches():
    assert merge([(10, 20), (15, 30), (30, 40), (50, 60)]) == [(10, 40), (50, 60)]


def test_merge_keeps_a_span_within_another():
    assert merge([(10, 100), (20, 30)]) == [(10, 100)]


def test_an_empty_day_is_free():
    assert free([], OPENS, CLOSES) == [(OPENS, CLOSES)]


def test_free_between_two_appointments():
    busy = [(clock("10:00"), clock("11:00")), (clock("14:00"), clock("15:30"))]
    assert free(busy, OPENS, CLOSES) == [
        (clock("9:00"), clock("10:00")),
        (clock("11:00"), clock("14:00")),
        (clock("15:30"), clock("17:00")),
    ]


def test_an_appointment_before_opening_counts():
    assert free([(clock("8:00"), clock("9:30"))], OPENS, CLOSES) == [(clock("9:30"), CLOSES)]


def test_an_appointment_that_ends_before_opening_does_not():
    assert free([(clock("7:00"), clock("8:00"))], OPENS, CLOSES) == [(OPENS, CLOSES)]


def test_a_full_day_has_no_gap():
    assert free([(clock("8:00"), clock("18:00"))], OPENS, CLOSES) == []
