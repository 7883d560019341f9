"""Find free time between appointments."""

from timetable.spans import clock, free, merge

__all__ = ["clock", "free", "merge"]
