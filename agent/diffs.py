"""Unified diffs that `git apply` takes, and the way back from such a diff to the files' bytes.

A diff made here carries git's blob hash of each file before and after (the `index` line), so it can be applied later with
a byte check of the whole file: nothing but the diff and the tree is needed. Bytes that are not UTF-8 travel as surrogates
(`surrogateescape`); write a diff with that error handler. Paths in a diff are relative to the git root, where there is
one, as `git diff` writes them; paths in a mapping are relative to `root`.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from agent.errors import PatchConflict

Files = Mapping[str, tuple[bytes, bytes]]  # path -> (before, after)
_CONTEXT = 3
_NO_NEWLINE = "\\ No newline at end of file\n"


def make_diff(root: Path, files: Files) -> str:
    """The diff of {path: (before, after)}, "" where nothing differs. Exact for CRLF and a missing last newline."""
    base = _diff_base(root)
    parts = []
    for path in sorted(files):
        mode = "100755" if os.access(root / path, os.X_OK) else "100644"
        parts.append(_file_diff(_above(root, base, path), mode, *files[path]))
    return "".join(parts)


def files_of_diff(root: Path, diff: str) -> dict[str, tuple[bytes, bytes]]:
    """{path: (before, after)} of a diff of `make_diff`, read against the files as they are now.

    Raises:
      PatchConflict: a file is gone or is not, byte for byte, the one that the diff was made for.
    """
    base = _diff_base(root)
    files: dict[str, tuple[bytes, bytes]] = {}
    for name, hashes, body in _sections(diff):
        path = PurePosixPath(os.path.relpath(base / name, root).replace(os.sep, "/")).as_posix()
        try:
            before = (base / name).read_bytes()
        except OSError as error:
            raise conflict(path, f"cannot be read ({error.strerror})") from None
        if blob_hash(before) != hashes[0]:
            raise conflict(path)
        after = _patched(before, body)
        if blob_hash(after) != hashes[1]:
            raise PatchConflict(f"{path}: the diff is damaged", "run trm-agent fix again")
        files[path] = before, after
    return files


def conflict(path: str, reason: str = "changed since the run") -> PatchConflict:
    """The error for a file that is not as it was."""
    return PatchConflict(
        f"{path} {reason}: nothing was written",
        "run trm-agent fix again, or apply the diff by hand",
    )


def paths_of_diff(diff: str) -> tuple[str, ...]:
    """The paths that a diff names."""
    return tuple(name for name, _, _ in _sections(diff))


def changes(diff: str) -> Iterator[tuple[str, int, str, str]]:
    """(path, line before the change, old text, new text) of every change of a diff, line ends included.

    Raises PatchConflict for a diff not made here.
    """

    def kind(text: str) -> str:
        return "changed" if text[0] in "-+" else text[0]

    for path, _, body in _sections(diff):
        line = 0
        for mark, run in itertools.groupby(_ended(body), key=kind):
            texts = list(run)
            if mark == "@":
                start, _, length = texts[-1].split()[1][1:].partition(",")
                line = int(start) + (length == "0")  # of nothing, the line before is named
            elif mark == "changed":
                old = [text[1:] for text in texts if text[0] == "-"]
                new = [text[1:] for text in texts if text[0] == "+"]
                yield path, line, "".join(old), "".join(new)
                line += len(old)
            else:
                line += len(texts)


def _ended(body: list[str]) -> list[str]:
    """Hunk lines with their line ends, where they have one."""
    lines: list[str] = []
    for text in body:
        if text.startswith("\\"):
            lines[-1] = lines[-1].removesuffix("\n")
        else:
            lines.append(text + "\n")
    return lines


def blob_hash(data: bytes) -> str:
    """Git's SHA-1 of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _diff_base(root: Path) -> Path:
    for base in (root, *root.parents):
        if (base / ".git").exists():
            return base
    return root


def _above(root: Path, base: Path, path: str) -> str:
    return Path(os.path.relpath(root / path, base)).as_posix()


def _lines(data: bytes) -> list[str]:
    """Lines that end at line feeds only; what else splits lines in Python's eyes does not in git's."""
    text = data.decode("utf-8", "surrogateescape")
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _quoted(name: str) -> str:
    """Git's C style quoting of a name with control characters, quotes or backslashes."""
    if not re.search(r'[\x00-\x1f"\\\x7f]', name):
        return name
    escapes = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    body = "".join(
        escapes.get(c, f"\\{ord(c):03o}" if ord(c) < 32 or ord(c) == 127 else c) for c in name
    )
    return f'"{body}"'


def _unquoted(name: str) -> str:
    if not name.startswith('"'):
        return name
    plain = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\"}

    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        return plain[code] if code in plain else chr(int(code, 8))

    return re.sub(r'\\([tnr"\\]|[0-7]{3})', one, name[1:-1])


def _file_diff(name: str, mode: str, before: bytes, after: bytes) -> str:
    if before == after:
        return ""
    old, new = _lines(before), _lines(after)
    a, b = _quoted(f"a/{name}"), _quoted(f"b/{name}")
    tab = "\t" if " " in name else ""  # git's end mark of a name with blanks
    out = [
        f"diff --git {a} {b}\n",
        f"index {blob_hash(before)}..{blob_hash(after)} {mode}\n",
        f"--- {a}{tab}\n",
        f"+++ {b}{tab}\n",
    ]
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(
        _CONTEXT
    ):
        first, last = group[0], group[-1]
        out.append(f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                out.extend(_marked(" ", old[i1:i2]))
            else:
                out.extend(_marked("-", old[i1:i2]))
                out.extend(_marked("+", new[j1:j2]))
    return "".join(out)


def _range(start: int, stop: int) -> str:
    length = stop - start
    first = start + 1 if length else start
    return str(first) if length == 1 else f"{first},{length}"


def _marked(mark: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield mark + line if line.endswith("\n") else f"{mark}{line}\n{_NO_NEWLINE}"


def _sections(diff: str) -> Iterator[tuple[str, tuple[str, str], list[str]]]:
    """(path, blob hashes, hunk lines) of each file of a diff. Raises PatchConflict for a diff not made here."""
    for part in re.split(r"(?m)^(?=diff --git )", diff):
        if not part.strip():
            continue
        lines = part.split("\n")
        found = re.fullmatch(
            r"index ([0-9a-f]{40})\.\.([0-9a-f]{40}) \d+", lines[1] if lines[1:] else ""
        )
        name = lines[3].removeprefix("+++ ").removesuffix("\t") if lines[3:] else ""
        name = _unquoted(name)
        if not found or not name.startswith("b/"):
            raise PatchConflict("this is not a diff of trm-agent", "apply it with git apply")
        yield name[2:], (found[1], found[2]), lines[4:-1]


def _patched(before: bytes, body: list[str]) -> bytes:
    """The file after the hunks; the caller has checked `before`, and checks the result."""
    old, out, at, mark = _lines(before), [], 0, ""
    for line in body:
        if header := re.match(r"@@ -(\d+)(?:,(\d+))? ", line):
            start, length = int(header[1]), int(header[2] or 1)
            stop = start - 1 if length else start
            out += old[at:stop]
            at = stop
        elif line.startswith("-"):
            at += 1
        elif line.startswith(" "):
            out.append(old[at] if at < len(old) else "")
            at += 1
        elif line.startswith("+"):
            out.append(line[1:] + "\n")
        elif line.startswith("\\") and mark == "+":
            out[-1] = out[-1].removesuffix("\n")
        mark = line[:1]
    return "".join(out + old[at:]).encode("utf-8", "surrogateescape")
