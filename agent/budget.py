"""The clock and the bounds of a run, shared by its parts."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import TypeVar

from agent.events import Event

E = TypeVar("E", bound=Event)


@dataclass
class Budget:
    """Wall seconds and candidates of a run; `tried` counts the candidates validated.

    idle: seconds that the search waited for a person, which are not counted.
    """

    seconds: float
    candidates: int | None
    tried: int = 0
    idle: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def at(self) -> float:
        """Seconds since the run began."""
        return round(time.monotonic() - self.began, 4)

    @property
    def searched(self) -> float:
        """Seconds since the run began, without those that it waited for a person."""
        return round(self.at - self.idle, 4)

    @property
    def left(self) -> float:
        """Seconds that remain, at least 0."""
        return max(0.0, self.seconds - self.searched)

    def over(self, running: int = 0) -> str:
        """Why the search must end now, or "". running: candidates that are being validated, which count too."""
        if self.left <= 0:
            return f"{self.seconds:g} s are over"
        if self.candidates is not None and self.tried + running >= self.candidates:
            return f"{self.candidates} candidates were tried"
        return ""

    def stamp(self, event: E) -> E:
        """The event with the time of now."""
        return dataclasses.replace(event, at=self.at)
