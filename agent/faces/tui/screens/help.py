"""What every panel shows, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from agent.faces.tui.themes import OUTCOMES
from agent.faces.tui.widgets.code import LEGEND
from agent.faces.tui.widgets.panel import styled


@dataclass(frozen=True)
class Page:
    """What one screen explains: what it is about, its panels by title, its keys."""

    intro: str
    panels: tuple[tuple[str, str], ...]
    keys: tuple[tuple[str, str], ...]


INTRO = (
    "A small network proposes an edit, thinks again, and changes its mind until it decides to stop. "
    "Its proposals are run against your tests. Nothing is written to your files until you say so."
)

PANELS: tuple[tuple[str, str], ...] = (
    (
        "1 Failing tests",
        "The tests that failed in the first run, with the exception and the line of your code where it "
        "happened. They turn ✓ when the patch repairs them.",
    ),
    (
        "2 Suspect code",
        "The function the failing tests ran most and the passing ones least. A warm background shows "
        "where the network would start an edit, the warmest place is bold. In the margin: "
        + LEGEND
        + ".",
    ),
    (
        "  Bisection",
        "Where can the fault be? Each question halves the suspicion; each bar is the interval left after "
        "an answer. The newest is on top.",
    ),
    (
        "3 Thinking",
        "The field is the network's inner state, drawn as bits: ■ one, · zero, ◆ just became one, ◇ just became "
        "zero. While many flip it is still searching. After every step it says how likely it is to be done (done?); "
        "above one half (┃) the bit is 1 and it stops. Below: its proposal. Steps that agree share an "
        "entry, so a new entry is a change of mind. The small bars are the probability it gives the edit.",
    ),
    (
        "4 Candidates",
        "Edits that were run in the sandbox: number, line, what is replaced by what, who proposed it, "
        "verdict, time. "
        + "  ".join(f"{sign} {name}" for name, (sign, _) in OUTCOMES.items())
        + ".",
    ),
    (
        "5 Decisions",
        "Every choice is a bit with a margin (0% a coin toss, 100% sure) and a reason: halt, side of a bisection, "
        "accept a candidate, choose among several patches, combine two edits, stop.",
    ),
    (
        "6 Patch",
        "The edit after which the failing tests pass and no other test broke, checked once more by a plain "
        "pytest run.",
    ),
)

_WALK: tuple[tuple[str, str], ...] = (
    ("space", "pause the view, or go on (a live search is not paused)"),
    ("← →", "one event back or forward; with shift: to the next decision"),
    ("home end", "to the first event, to the newest"),
    ("+ -", "speed of a replay"),
    ("1 to 6", "one panel on the whole screen; again or escape: back"),
)
_EVERYWHERE: tuple[tuple[str, str], ...] = (
    ("tab ↑ ↓", "choose a panel, scroll it"),
    ("t  m", "theme: dark, light, ansi; mouse to the terminal and back"),
    ("ctrl+p", "all commands"),
)
_STOP: tuple[tuple[str, str], ...] = (
    ("q", "stop the search and leave; twice: leave at once"),
    ("ctrl+c", "stop the search; again: leave"),
)
KEYS: tuple[tuple[str, str], ...] = (
    ("a  c", "apply the patch to your files; commit it"),
    ("d", "drop it; a search that is not over then looks for another"),
    ("e", "change the suspect code yourself: all tests are run on it, nothing is written"),
    ("o", "open the file in $EDITOR"),
    ("y", "copy the diff to the clipboard (OSC 52: works over SSH too)"),
    *_WALK,
    ("[ ]", "other suspects"),
    *_EVERYWHERE,
    *_STOP,
)


FIX = Page(INTRO, PANELS, KEYS)

BISECT = Page(
    "Some tests fail now and passed once. Which change made the difference? A version of the code in the middle is tried "
    "with today's test: if it passes, the change came later; if it fails, earlier. Each answer halves what is left: first "
    "commits, then within the guilty one blocks, lines and words. Nothing is checked out and nothing is written.",
    (
        (
            "1 Failing tests",
            "The tests that fail today. The one that passed earlier is followed through the history.",
        ),
        (
            "2 Narrowing down",
            "A bar an answer, the newest on top. The whole width is all commits (or blocks, lines, words), the oldest at the "
            "left; the thick part is what is still in question. ✓ and ✗ stand where the test was run.",
        ),
        (
            "3 Suspects",
            "What is still in question, below what is settled already. ▸ is tried now.",
        ),
        (
            "4 Test runs",
            "Each run of the test: its verdict, the code that it ran on, the time it took. ✓ passes  ✗ fails  "
            "– unclear: it cannot run there, or fails in another way, so a neighbour is asked.",
        ),
        (
            "5 Decisions",
            "Every answer as a bit: 1, the change came later; 0, it was there already. The margin says how far from the "
            "middle the question was. Notes of the run stand among them.",
        ),
        (
            "6 Found",
            "The commit, the place in it, and the change that turns the test red, as a diff.",
        ),
    ),
    (
        ("y", "copy the diff to the clipboard (OSC 52: works over SSH too)"),
        *_WALK,
        *_EVERYWHERE,
        *_STOP,
    ),
)

TRAIN = Page(
    "A network learns to repair: it is shown functions that were broken on purpose, says where the fault is and what to "
    "write, and is corrected. Nothing leaves this machine.",
    (
        (
            "Loss",
            "How wrong the network's answers are on what it trains on, lower is better. A mean over the last steps.",
        ),
        (
            "Right place, Right edit",
            "The share of broken functions where the token that it finds likeliest is the fault, and where its whole "
            "likeliest edit is the right one. These are functions that it trains on.",
        ),
        (
            "Now",
            "Tokens a second counts padding too. Time left is that of the nearer end, steps or seconds, at the present pace.",
        ),
        (
            "On functions it never saw",
            "Functions of packages that are held out, broken once, and the network's first proposal after each save. This "
            "is a handful to look at, not a measurement: trm-agent eval measures.",
        ),
    ),
    (
        ("q ctrl+c", "save, stop and leave; again: leave at once (it is saved all the same)"),
        *_EVERYWHERE,
    ),
)

HOME = Page(
    "Home shows what is known of this project without running anything. The keys below start the same commands that "
    "can be typed; after each of them home comes back.",
    (
        (
            "Tests",
            "How the whole suite was last seen, when, and by which run. Patches that were applied since are counted in; "
            "what you changed since is not, so r runs the tests again.",
        ),
        (
            "Failing",
            "The tests that failed. Enter repairs the marked one alone: all others are still run and none of them may "
            "break, but those that fail as well are left out.",
        ),
        (
            "Last runs here",
            "Recorded runs on this project, newest first. ● applied: the patch is in your files. ○: it is not. "
            "Enter or p shows a run again.",
        ),
        (
            "Undo",
            "Puts back the very bytes from before the newest applied patch, and refuses if a file changed since.",
        ),
    ),
    (
        ("f  ⏎", "fix all failing tests, or the marked one"),
        ("r", "run the tests; again: stop them"),
        ("b  u", "find the commit that broke it; take the last patch back"),
        ("p", "replay the marked run"),
        ("n  d", "train the network; check this machine"),
        ("tab ↑ ↓", "other list; move the mark"),
        *_EVERYWHERE[1:],
        ("q", "leave"),
        ("ctrl+c", "stop the tests; when none run: leave"),
    ),
)


class HelpScreen(ModalScreen[None]):
    """Over the screen that it explains; any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,question_mark,q,enter,space", "dismiss", "Close"),
    ]

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help") as box:
            box.border_title = "What am I looking at?"
            box.border_subtitle = "escape closes · ↑ ↓ scroll"
            yield Static(Content(self._page.intro), classes="intro")
            for name, text in self._page.panels:
                yield Static(styled((name, "bold $primary")), classes="name")
                yield Static(Content(text), classes="text")
            yield Static(styled(("Keys", "bold $primary")), classes="name")
            for key, text in self._page.keys:
                yield Static(styled((f"{key:<10}", "bold"), text), classes="key")
