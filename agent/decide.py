"""The visible 0/1 decisions of a run, each with its margin and reason."""

from __future__ import annotations

import math

from agent.events import Decision
from trm.config import HALT


def halt(probability: float, step: int, steps: int) -> Decision:
    """Stop the recursion after this step? 1: the answer looks right, or the steps are used up."""
    bit = int(probability >= HALT or step == steps)
    why = f"halt probability {probability:.2f}" + (", last step" if step == steps else "")
    return Decision("halt", bit, abs(probability - HALT) / HALT, why)


def side(bit: int, margin: float, first: int, last: int) -> Decision:
    """Which half of the suspect lines is kept: 0 the left one, 1 the right one."""
    return Decision("side", bit, min(1.0, margin), f"lines {first}-{last} hold more suspicion")


def accept(green: bool, reason: str, margin: float = 1.0) -> Decision:
    """Is the candidate a repair?"""
    return Decision("accept", int(green), margin, reason)


def choose(index: int, patches: int, inputs: int, nats: float) -> Decision:
    """Is another patch than the first that passes shown? 1: yes. nats: by which it is likelier than the next."""
    why = f"{patches} patches pass; they were compared on {inputs} further inputs"
    return Decision("choose", int(index > 0), math.tanh(nats / 2), why)


def combine(turned: int, left: int) -> Decision:
    """Is a candidate that repaired some tests and broke none kept, to be built upon?"""
    return Decision(
        "combine", 1, turned / max(1, turned + left), f"{turned} tests repaired, {left} still fail"
    )


def grow(edits: int, green: int, tests: int, tried: int) -> Decision:
    """Is a body that is not right yet built upon? tried: edits of it that were tried before."""
    again = ", once more" if tried else ""
    why = f"a body of {edits} edit{'s' * (edits != 1)}: {green} of {tests} tests pass{again}"
    return Decision("combine", 1, green / max(1, tests), why)


def stop(reason: str) -> Decision:
    """The search ends here."""
    return Decision("stop", 1, 1.0, reason)
