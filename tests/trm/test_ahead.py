"""Working ahead changes when items are made, not which."""

import threading
import time

import pytest

from trm.ahead import ahead


def test_items_come_in_order_and_not_more_than_allowed_are_made():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    items = ahead(source(), 5)
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while len(made) < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 6 <= len(made) <= 8
    assert list(items) == list(range(1, 100))


def test_an_exception_is_raised_where_the_items_are_used():
    def source():
        yield 1
        raise KeyError("gone")

    items = ahead(source(), 3)
    assert next(items) == 1
    with pytest.raises(KeyError, match="gone"):
        next(items)


def test_closing_ends_the_thread():
    before = threading.active_count()
    items = ahead(iter(int, 1), 2)
    next(items)
    items.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before
