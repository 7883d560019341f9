"""What test files of data sets need beside pytest: values that are near enough, and the output of a whole program.

The text of this file stands at the head of such test files, so it needs the standard library only, and Python 3.8.
"""

import os
import runpy
import sys
import tempfile


class Near:
    """Equal to a value that is the same up to a tolerance of its floats. Above 0 a tuple equals a list."""

    def __init__(self, wanted, tolerance):
        self.wanted, self.tolerance = wanted, tolerance

    def __eq__(self, found):
        return near(found, self.wanted, self.tolerance)

    def __hash__(self):
        return 0

    def __repr__(self):
        return repr(self.wanted)


def near(found, wanted, tolerance):
    """Whether two values are the same up to a tolerance, relative or absolute."""
    if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
        pairs = zip(found, wanted)
        return len(found) == len(wanted) and all(near(a, b, tolerance) for a, b in pairs)
    if isinstance(wanted, dict) and isinstance(found, dict):
        same = wanted.keys() == found.keys()
        return same and all(near(found[key], wanted[key], tolerance) for key in wanted)
    numbers = int, float
    if isinstance(wanted, numbers) and isinstance(found, numbers):
        if not isinstance(wanted, float) and not isinstance(found, float):
            return found == wanted
        return found == wanted or abs(found - wanted) <= tolerance * max(1.0, abs(wanted))
    return bool(found == wanted)


class Output(str):
    """What a program should print: equal to a text with the same words in the same lines, numbers up to a tolerance."""

    tolerance = 1e-6

    def __eq__(self, found):
        if not isinstance(found, str):
            return NotImplemented
        left, right = lines_of(found), lines_of(self)
        return len(left) == len(right) and all(self.same(a, b) for a, b in zip(left, right))

    def same(self, found, wanted):
        """Whether two lines have the same words."""
        return len(found) == len(wanted) and all(self.word(a, b) for a, b in zip(found, wanted))

    def word(self, found, wanted):
        """Whether two words are the same, or numbers that are near. Integers must be the same."""
        if found == wanted or "." not in wanted:
            return found == wanted
        try:
            return near(float(found), float(wanted), self.tolerance)
        except ValueError:
            return False

    __hash__ = str.__hash__


def lines_of(text):
    """Words of each line; empty lines at the end are left out."""
    lines = [line.split() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def output_of(program, text):
    """What the program prints when `text` is its standard input; another exit status than 0 is an error."""
    before = sys.stdin, sys.stdout
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
        given.write(text.encode())
        given.seek(0)
        # as file descriptors too: programs open(0) and os.write(1, ...)
        kept = os.dup(0), os.dup(1)
        try:
            os.dup2(given.fileno(), 0)
            os.dup2(taken.fileno(), 1)
            sys.stdin = open(0, encoding="utf-8", closefd=False)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
            try:
                runpy.run_path(program, run_name="__main__")
            except SystemExit as end:
                if end.code not in (None, 0):
                    raise AssertionError(f"the program ended with {end.code!r}") from None
            finally:
                sys.stdout.flush()
        finally:
            sys.stdin, sys.stdout = before
            for number, descriptor in enumerate(kept):
                os.dup2(descriptor, number)
                os.close(descriptor)
        taken.seek(0)
        return taken.read().decode("utf-8", "replace")
