"""What the model makes of a unit: its supervision steps, and what scoring edits and writing them need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trm.encode import Encoded
from trm.model import Memory


@dataclass(frozen=True, slots=True)
class Proposal:
    """An edit of the leaves after the header: replace [start, end) by tokens; log-probability in nats."""

    start: int
    end: int
    tokens: tuple[str, ...]
    log_probability: float


@dataclass(frozen=True)
class Step:
    """What one supervision step ended with.

    start: (code + 2,) probabilities, 0 is NO_BUG and code + 1 the end, the header counted; bits: signs of z over positions
    and pooled width, (positions, 16); halt: probability that the answer is right; best: the greedy edit, None for NO_BUG or
    not asked for.
    """

    start: np.ndarray
    bits: np.ndarray
    halt: float
    best: Proposal | None


@dataclass(frozen=True)
class Analysis:
    """A unit after the recursion: its steps, and what scoring needs."""

    encoded: Encoded
    steps: tuple[Step, ...]
    start: np.ndarray  # (positions,) log-probabilities after the last step
    length: np.ndarray  # (positions, MAX_SPAN + 1) log-probabilities
    memory: Memory  # of (1, LENGTHS[-1]) positions
    text: np.ndarray  # (LENGTHS[-1],)

    @property
    def first(self) -> int:
        """The position of the first leaf that may be repaired."""
        return self.encoded.header + 1

    @property
    def leaf_mass(self) -> np.ndarray:
        """(code - header,) start probabilities of the leaves that may be repaired."""
        return np.exp(self.start[self.first : self.encoded.code + 1])
