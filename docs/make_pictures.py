"""Draw the pictures of docs/how.md from a recorded run.

    python docs/make_pictures.py [--run docs/assets/how.jsonl] [--check]

Writes docs/assets/{suspicion,heat,halving,candidates}.svg; with --check exits 1 if one is not what would be written. Nothing
in them is made up: each number and shade is that of an event.
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent.events import CandidateTried, Event, Interval, RecursionStep, Suspect, loads  # noqa: E402

ASSETS = ROOT / "docs" / "assets"
CHAR, LINE, SIZE = 7.8, 20, 13  # of the code, in pixels
PAPER, INK, FAINT, WARM, GOOD = "#fbfaf7", "#22252b", "#8a8f98", "#d9480f", "#2b8a3e"


class Picture:
    """SVG elements on paper; the height grows with what is put on it."""

    def __init__(self, title: str, width: int = 760) -> None:
        self.title, self.width, self.y = title, width, 16.0
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0
    ) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{fill}" '
            f'fill-opacity="{opacity:.3f}"/>'
        )

    def text(self, x: float, y: float, text: str, fill: str = INK, anchor: str = "start") -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" xml:space="preserve">{escape(text)}</text>'
        )

    def svg(self) -> str:
        height = self.y + 12
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height:.0f}" role="img" '
            f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{SIZE}">'
            f"<title>{escape(self.title)}</title>"
        )
        paper = f'<rect width="{self.width}" height="{height:.0f}" rx="6" fill="{PAPER}"/>'
        return "\n".join([head, paper, *self.parts, "</svg>"]) + "\n"


def suspicion(events: list[Event]) -> Picture:
    """The likeliest unit; a bar a line."""
    unit = _unit(events)
    picture = Picture(f"Suspicion of each line of {unit.name}", 860)
    for number, (line, score) in enumerate(_lines(unit), unit.first_line):
        picture.box(44, picture.y - 13, 90 * score, 16, WARM, 0.75)
        picture.text(138, picture.y, f"{score:.2f}", FAINT)
        picture.text(36, picture.y, str(number), FAINT, "end")
        picture.text(184, picture.y, line)
        picture.y += LINE
    return picture


def heat(events: list[Event]) -> Picture:
    """The likeliest unit; each token shaded by the probability that the edit starts there."""
    unit = _unit(events)
    step = [
        e for e in events if isinstance(e, RecursionStep) and e.unit.endswith("::" + unit.name)
    ][-1]
    picture = Picture(f"Where the network would begin an edit of {unit.name}")
    top = max(p for *_, p in step.token_heat)
    shades: dict[int, list[tuple[int, int, float]]] = {}
    for line, column, length, p in step.token_heat:
        shades.setdefault(line, []).append((column, length, p))
    for number, (line, _) in enumerate(_lines(unit), unit.first_line):
        for column, length, p in shades.get(number, []):
            if length and column + length <= len(line):
                picture.box(
                    56 + CHAR * column, picture.y - 14, CHAR * length, 18, WARM, 0.85 * p / top
                )
                if p == top:
                    picture.text(56 + CHAR * (len(line) + 2), picture.y, f"{p:.0%} here", WARM)
        picture.text(36, picture.y, str(number), FAINT, "end")
        picture.text(56, picture.y, line)
        picture.y += LINE
    picture.y += 8
    for mark in step.proposal.splitlines():
        picture.text(56, picture.y, mark, GOOD if mark.startswith("+") else WARM)
        picture.y += LINE
    own = f"its own best edit (p {step.probability:.2f}); halting probability {step.halt:.2f}"
    picture.text(56, picture.y, own, FAINT)
    return picture


def halving(events: list[Event]) -> Picture:
    """The interval of lines at each cut."""
    cuts = [e for e in events if isinstance(e, Interval)]
    picture = Picture("The halving of suspect lines")
    first, last = cuts[0].first, cuts[0].last
    width = 480 / (last - first + 1)
    for line in range(first, last + 1):
        picture.text(60 + width * (line - first + 0.5), picture.y, str(line), FAINT, "middle")
    picture.y += 10
    for cut in cuts:
        for line in range(first, last + 1):
            fill, opacity = (WARM, 0.8) if cut.first <= line <= cut.last else (FAINT, 0.15)
            picture.box(62 + width * (line - first), picture.y, width - 4, 20, fill, opacity)
        picture.text(560, picture.y + 15, f"{cut.mass:.0%} of the suspicion", FAINT)
        picture.y += 30
    return picture


def candidates(events: list[Event]) -> Picture:
    """A square a candidate, in the order of trying."""
    tried = sorted((e for e in events if isinstance(e, CandidateTried)), key=lambda e: e.number)
    picture = Picture("Candidates in the order in which they were tried")
    across = 45
    for k, one in enumerate(tried):
        x, y = 24 + 16 * (k % across), picture.y + 16 * (k // across)
        passed = one.outcome == "passed"
        why = f"{one.number}: line {one.line}, {one.before!r} -> {one.after!r}, {one.outcome}"
        picture.parts.append(f"<g><title>{escape(why)}</title>")
        picture.box(x, y, 12, 12, GOOD if passed else FAINT, 1.0 if passed else 0.35)
        picture.parts.append("</g>")
    picture.y += 16 * (len(tried) // across + 1) + 18
    for one in tried:
        if one.outcome == "passed":
            picture.text(24, picture.y, f"{one.number}", GOOD)
            picture.text(
                70,
                picture.y,
                f"line {one.line}: {one.before or '(nothing)'} -> {one.after or '(nothing)'}",
            )
            picture.y += LINE
    return picture


def _unit(events: list[Event]) -> Suspect:
    return next(e for e in events if isinstance(e, Suspect) and e.rank == 0)


def _lines(unit: Suspect) -> list[tuple[str, float]]:
    return list(zip(unit.source.splitlines(), unit.line_scores, strict=False))


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/how.md.")
    parser.add_argument("--run", type=Path, default=ASSETS / "how.jsonl")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    events = [loads(line) for line in options.run.read_text("utf-8").splitlines()]
    stale = 0
    for draw in (suspicion, heat, halving, candidates):
        path, svg = ASSETS / f"{draw.__name__}.svg", draw(events).svg()
        if not options.check:
            path.write_text(svg, encoding="utf-8")
        elif not path.exists() or path.read_text("utf-8") != svg:
            print(f"{path} is stale: python docs/make_pictures.py draws it", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
