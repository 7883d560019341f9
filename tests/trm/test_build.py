"""Which functions training sees."""

from trm.data.build import drawn
from trm.data.functions import Function


def function(number: int, size: int) -> Function:
    return Function("x " * size, "f", (), (), f"somebody/something:file.py:f{number}", "MIT")


def test_short_functions_are_drawn_less_often_and_always_the_same():
    """A function of 50 words a quarter as often as one of 200, which always is."""
    for size, share in ((20, 0.1), (50, 0.25), (100, 0.5), (200, 1.0), (600, 1.0)):
        some = [drawn(function(number, size)) for number in range(3000)]
        assert abs(sum(some) / len(some) - share) < 0.03
        assert some == [drawn(function(number, size)) for number in range(3000)]
    longer = [drawn(function(number, 90)) for number in range(300)]
    shorter = [drawn(function(number, 60)) for number in range(300)]
    assert all(long or not short for long, short in zip(longer, shorter, strict=True))
