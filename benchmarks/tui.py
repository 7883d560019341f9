"""How long the terminal app's loop is held up, without and under load: the longest turn, and how late a key is.

    python benchmarks/tui.py [--json OUT.json]

The app runs headless at 160x48. Load "events": 20,000 candidates as fast as a thread can hand them over. Load "model": in another
thread of the process JAX is imported and the shipped network loaded and compiled, as `fix` does while the suite runs. A turn is
one callback of the event loop: `cpu` is what the app's own thread computed in it, `wall` what passed meanwhile, other threads
and other programs on the machine included. `late` is by how much a timer of 5 ms was late, which is what a key would have waited.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent.budget import Budget  # noqa: E402
from agent.events import CandidateTried, Event, loads  # noqa: E402
from agent.faces.tui.app import fix_app  # noqa: E402
from agent.reading import Reader  # noqa: E402

BEGIN = (
    threading.Event()
)  # set when the first picture is drawn: what starting costs is another question
RUN = ROOT / "tests/fixtures/events/fixed.jsonl"
FLOOD = 20_000


class Turns:
    """Longest turn of the running loop, in seconds of the thread's CPU and of the wall, and the lateness of a timer."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0
        self.late: list[float] = []

    def __enter__(self) -> Turns:
        self._plain = plain = asyncio.events.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            cpu, wall = time.thread_time(), time.perf_counter()
            plain(handle)
            self.cpu = max(self.cpu, time.thread_time() - cpu)
            self.wall = max(self.wall, time.perf_counter() - wall)

        asyncio.events.Handle._run = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.events.Handle._run = self._plain  # type: ignore[method-assign]

    async def watch(self) -> None:
        """Note how late a timer of 5 ms is, until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            self.late.append(time.perf_counter() - began - 0.005)


def recorded(number: int) -> list[Event]:
    """The first events of a recorded run, once the first picture is drawn."""
    BEGIN.wait()
    return [loads(line) for line in RUN.read_text("utf-8").split("\n")[:number] if line]


def flood() -> Iterator[Event]:
    """A run until its candidates, and then very many of them."""
    yield from recorded(40)
    for k in range(FLOOD):
        yield CandidateTried(k + 1, "a.py", 1, "x", "y", "op", 0.0, "failed", "t", 0.01, at=5.0)


def model() -> Iterator[Event]:
    """A run that waits while the network is loaded and compiled in a thread."""
    yield from recorded(8)

    reader = Reader("trm", None, 0, Budget(600.0, None))
    thread = threading.Thread(target=lambda: reader.predictor)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        yield CandidateTried(1, "a.py", 1, "x", "y", "op", 0.0, "failed", "t", 0.01, at=5.0)


def idle() -> Iterator[Event]:
    """A run of which nothing comes for three seconds."""
    yield from recorded(40)
    time.sleep(3)


async def measure(events: Iterator[Event]) -> dict[str, Any]:
    """Turns from the first picture to the end of the events."""
    app = fix_app(events, stop=lambda: None, on_apply=lambda patch: "")
    async with app.run_test(size=(160, 48)) as pilot:
        while not app.screen.query("FooterKey"):
            await pilot.pause(0.1)
        await pilot.pause(0.5)
        gc.freeze()  # as agent.faces.tui.base.run_app does
        with Turns() as turns:
            watching = asyncio.create_task(turns.watch())
            began = time.perf_counter()
            BEGIN.set()
            while not (app.feed and app.feed.ended and not app.feed.waiting):
                await asyncio.sleep(0.05)
            watching.cancel()
        seconds = time.perf_counter() - began
    BEGIN.clear()
    late = sorted(turns.late)
    return {
        "cpu_ms": turns.cpu * 1e3,
        "wall_ms": turns.wall * 1e3,
        "late_p99_ms": late[int(len(late) * 0.99)] * 1e3 if late else 0.0,
        "late_max_ms": late[-1] * 1e3 if late else 0.0,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="OUT.json")
    options = parser.parse_args()
    found = {}
    print("| load | longest turn, cpu ms | wall ms | timer late, p99 ms | worst ms | seconds |")
    print("|---|---|---|---|---|---|")
    for name, events in (("idle", idle()), ("events", flood()), ("model", model())):
        row = found[name] = asyncio.run(measure(events))
        print(f"| {name} | {row['cpu_ms']:.1f} | {row['wall_ms']:.1f} | {row['late_p99_ms']:.1f} "
              f"| {row['late_max_ms']:.1f} | {row['seconds']:.1f} |", flush=True)  # fmt: skip
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        options.json.write_text(json.dumps({**machine, "loads": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
