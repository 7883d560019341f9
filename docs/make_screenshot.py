"""Draw the fix screen of a recorded run as an SVG: the picture in the README.

    python docs/make_screenshot.py [RUN.jsonl] [--events N] [--size 150x46] [--theme dark] [--out docs/assets/fix.svg]

RUN.jsonl holds one event a line (`agent.events.dumps`). `--events N` stops after the first N events.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent.events import Event, loads  # noqa: E402
from agent.faces.tui.app import fix_app  # noqa: E402


def read_run(path: Path, most: int | None = None) -> list[Event]:
    """The first `most` events of a recorded run. Raises ValueError on a line that is no event."""
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [loads(line) for line in lines[:most]]


async def draw(events: list[Event], width: int, height: int, theme: str) -> str:
    """The screen after these events, as SVG text without references to fonts on the network."""
    app = fix_app(
        iter(events),
        stop=lambda: None,
        on_apply=lambda patch: "",
        on_commit=lambda patch: "",
        theme=theme,
    )
    async with app.run_test(size=(width, height)) as pilot:
        while not app.playback.timeline.at_end or len(app.playback.timeline) < len(events):
            await pilot.pause(0.05)
        await pilot.pause(0.2)
        svg = app.export_screenshot(title="trm-agent fix")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the fix screen of a recorded run as SVG.")
    parser.add_argument(
        "run", nargs="?", type=Path, default=ROOT / "tests/fixtures/events/fixed.jsonl"
    )
    parser.add_argument("--events", type=int, default=None)
    parser.add_argument("--size", default="150x46")
    parser.add_argument("--theme", default="dark", choices=["dark", "light", "ansi"])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/assets/fix.svg")
    options = parser.parse_args()
    width, height = (int(part) for part in options.size.split("x"))
    svg = asyncio.run(draw(read_run(options.run, options.events), width, height, options.theme))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(svg, encoding="utf-8")
    print(f"wrote {options.out} ({len(svg) // 1024} KiB) from {options.run}", file=sys.stderr)


if __name__ == "__main__":
    main()
