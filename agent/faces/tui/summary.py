"""The few plain lines that remain on the main screen after the app is left."""

from __future__ import annotations

from agent.faces.tui.state import RunState


def summary_lines(state: RunState, decision: str = "", message: str = "") -> list[str]:
    """What was found and done, readable without colour.

    `decision` is a `FixResult.decision` or "replayed", `message` what its callback said.
    """
    lines: list[str] = []
    patch, finished = state.patch, state.finished
    if patch:
        green = len(patch.turned_green)
        lines.append(
            f"Verified patch in {', '.join(patch.paths)}: {plural(green, 'test')} turned green, "
            f"{plural(patch.candidates, 'candidate')}, {patch.seconds:.1f} s."
        )
        lines += [f"  green: {nodeid}" for nodeid in patch.turned_green]
        lines += ["", *patch.diff.rstrip("\n").split("\n"), ""]
    taken = patch is not None and not patch.still_red and decision in ("applied", "committed")
    if finished and not taken and (not patch or finished.status != "fixed"):
        lines.append(finished.message)
        if finished.suspects:
            lines.append("Where the fault probably is:")
            lines += [f"  {suspect}" for suspect in finished.suspects]
        if finished.hint:
            lines.append(f"hint: {finished.hint}")
    if not finished and not patch:
        lines.append(
            f"Left before the end: {plural(state.tried, 'candidate')} tried, nothing written."
        )
    if message:
        lines.append(message)
    elif patch and decision == "dropped":
        lines.append("Dropped: nothing was written.")
    elif patch and not decision:
        lines.append("Nothing was written. The patch above was not applied.")
    return lines


def bisect_lines(state: RunState) -> list[str]:
    """What a bisect found, readable without colour."""
    finished = state.finished
    if finished is None:
        return [f"Left before the end: {plural(len(state.probes), 'test run')}, nothing found."]
    lines = [finished.message]
    if finished.suspects:
        lines += ["The lines today:", *(f"  {line}" for line in finished.suspects)]
    if finished.diff:
        lines += ["", *finished.diff.rstrip("\n").split("\n"), ""]
    if finished.hint:
        lines.append(f"hint: {finished.hint}")
    return lines


def plural(number: int, noun: str) -> str:
    """'1 test', '2 tests', '1,200 tests'."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
