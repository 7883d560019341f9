"""The record of the training corpus: which repositories, under which licence, at which commit.

``sources.toml`` beside this file names them; none of their code is kept here. Each is brought as a
bare git directory below one folder (the *mirror*), as ``owner+name/repo`` or ``owner+name/repo/.git``
(``trm-agent data fetch``), and its usable files are exported from there (``trm-agent data export``).
"""

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath

SOURCES_FILE = Path(__file__).with_name("sources.toml")
KINDS = ("library", "algorithms", "exercises")
PERMISSIVE_LICENCES = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Modification", "CC0-1.0"}
    | {"ISC", "MIT", "MIT-0", "PSF-2.0", "Unlicense"}
)
MAX_FILE_BYTES = 300_000
HEADER_BYTES = 3_000

# Evaluation subjects: never trained on, in any copy. Distribution and import names, as `_fold` gives
# them. A module that only shares its name with one of them is dropped too: simple and safe.
_DISTINCT_NAMES = (
    *("addict", "boltons", "bottle", "cachetools", "funcy", "glom", "h11", "humanize", "inflect"),
    *("itsdangerous", "jinja2", "jsonschema", "markdown_it_py", "markdown_it", "mistune"),
    *("more_itertools", "networkx", "pyparsing", "python_dotenv", "dotenv", "python_slugify"),
    *("sortedcontainers", "sqlparse", "tabulate", "toolz", "w3lib", "werkzeug", "xmltodict"),
)
_COMMON_WORDS = (
    *("arrow", "click", "emoji", "lark", "markdown", "marshmallow", "parse", "refactory", "schema"),
    "slugify",
)
FORBIDDEN_NAMES = frozenset((*_DISTINCT_NAMES, *_COMMON_WORDS))
VENDOR_NAMES = frozenset(
    {"vendor", "vendors", "vendored", "vendoring", "third_party", "thirdparty", "3rdparty"}
    | {"extern", "externals", "bundled", "site_packages", "node_modules"}
)
# Sought inside a component (`humaneval_x`, `leetcode_solutions`). The contest sites are here because
# DebugBench, LiveCodeBench and ConDefects are made of solutions to their problems.
BENCHMARK_NAMES = (
    *("quixbugs", "humaneval", "human_eval", "mbpp", "livecodebench", "condefects", "debugbench"),
    *("leetcode", "leet_code", "atcoder", "codeforces"),
)
_CONTEST = re.compile(rb"leet[ _-]?code|atcoder|codeforces", re.IGNORECASE)
_COPYLEFT = re.compile(
    rb"GNU\s+(?:[#*\s]*(?:Affero|Lesser|Library)\s+)?[#*\s]*General\s+Public\s+Licen[sc]e"
    rb"|Mozilla\s+Public\s+Licen[sc]e|\b[AL]?GPL(?:[ -]?v?[1-3](?:\.\d)?)?\b(?![ -]compatible)"
    rb"|\bMPL[ -]?v?[12]\.\d"
)
# "Copied from boltons", "taken from more-itertools": the words on one line, no more than this apart.
_COPIED = re.compile(
    rb"\b(?:adapted|backported|based|borrowed|copied|copy|derived|lifted|ported|stolen|taken)\b"
    rb"[^\n]{0,50}\b(?:"
    + "|".join(_DISTINCT_NAMES).replace("_", "[-_ ]").encode("ascii")
    + rb")\b",
    re.IGNORECASE,
)
_LICENCE_FILE = re.compile(r"(?:MIT-|UN)?LICEN[SC]E|COPYING", re.IGNORECASE)
_TEST_FOLDERS = frozenset(("test", "tests", "testing"))


class SourceError(ValueError):
    """The record or a mirrored repository is not as it must be; the message says what to do."""


@dataclass(frozen=True, order=True)
class Source:
    """One repository: ``owner/name``, its SPDX licence, the commit (40 hex digits), and its kind."""

    name: str
    licence: str
    commit: str
    kind: str

    @property
    def folder(self) -> str:
        """The one path component that stands for it in a mirror or an export: ``owner+name``."""
        return self.name.replace("/", "+")


@dataclass(frozen=True)
class Export:
    """What `checkout` wrote: Python files and their lines; ``dropped`` counts files by reason."""

    source: Source
    files: int
    lines: int
    dropped: Mapping[str, int]


def load_sources(path: Path = SOURCES_FILE) -> tuple[Source, ...]:
    """The recorded repositories, sorted by name.

    Raises SourceError for a missing or malformed record, a licence that is not permissive, a
    forbidden repository, and names that repeat or are out of order.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))["source"]
        sources = tuple(Source(**table) for table in tables)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: not a list of [[source]] tables: {error}") from error
    for source in sources:
        _check(source, path)
    names = [source.name for source in sources]
    if names != sorted(set(names)):
        raise SourceError(f"{path}: names must be unique and sorted")
    return sources


def _check(source: Source, path: Path) -> None:
    problem = None
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]*", source.name):
        problem = "the name is not owner/name"
    elif not re.fullmatch(r"[0-9a-f]{40}", source.commit):
        problem = "the commit is not 40 hex digits"
    elif source.kind not in KINDS:
        problem = f"the kind is none of {', '.join(KINDS)}"
    elif source.licence not in PERMISSIVE_LICENCES:
        problem = f"{source.licence} is not in the list of permissive licences"
    elif reason := is_excluded(PurePosixPath(source.name)):
        problem = f"excluded ({reason})"
    if problem:
        raise SourceError(f"{path}: {source.name}: {problem}; correct or remove its table")


def _fold(component: str) -> str:
    """A path component as compared with names: lower case, no `.py`, `-` as `_`, no leading `_`."""
    return component.lower().removesuffix(".py").replace("-", "_").lstrip("_")


def is_excluded(path: PurePath) -> str | None:
    """Why a file at this path (inside its repository) must not be used, or None if it may be."""
    components = [_fold(part) for part in path.parts]
    for component in components:
        if component in FORBIDDEN_NAMES:
            return f"forbidden name: {component}"
        if component in VENDOR_NAMES:
            return "vendored"
        if any(name in component for name in BENCHMARK_NAMES):
            return "benchmark"
        if component.startswith(("bad_", "badsyntax_")):
            return "broken on purpose"
    # lib2to3 and black keep inputs of other dialects there, and pairs of input and output in one file.
    if "lib2to3" in components or ("tests", "data") in pairwise(components):
        return "test data"
    return None


def is_excluded_text(data: bytes) -> str | None:
    """Why a file with this content must not be used, or None.

    A licence or a contest site counts in the first HEADER_BYTES, an attribution anywhere.
    """
    header = data[:HEADER_BYTES]
    if _COPYLEFT.search(header):
        return "copyleft"
    if _CONTEST.search(header):
        return "benchmark"
    if _COPIED.search(data):
        return "copied from a forbidden library"
    return None


def is_test_path(path: PurePath) -> bool:
    """Whether a Python file belongs to a test suite, by the usual names of files and folders."""
    stem = path.stem.lower()
    return (
        stem in ("test", "tests", "conftest")
        or stem.startswith("test_")
        or stem.endswith(("_test", "_tests"))
        or any(part.lower() in _TEST_FOLDERS for part in path.parts[:-1])
    )


def git_directory(source: Source, mirror: Path) -> Path:
    """The source's bare git directory below the mirror. Raises SourceError if it is not there."""
    base = mirror / source.folder / "repo"
    for candidate in (base / ".git", base):
        if (candidate / "objects").is_dir():
            return candidate
    raise SourceError(
        f"{source.name}: no git directory at {base}; bring the repository there first"
    )


def _git(directory: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """The output of one git command on a git directory, with no user or system configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    # A repository that is gone must not ask for a password.
    environment["GIT_TERMINAL_PROMPT"] = "0"
    # A snapshot may belong to another user, which git refuses unless it is told otherwise.
    environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"}
    environment["GIT_CONFIG_VALUE_0"] = "*"
    command = ["git", f"--git-dir={directory}", *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False)
    if result.returncode:
        message = result.stderr.decode("utf-8", "replace").strip()
        raise SourceError(f"git {arguments[0]} failed in {directory}: {message}")
    return result.stdout


def bring(source: Source, mirror: Path, base: str = "https://github.com") -> bool:
    """Fetch the source's commit, without its history, from `base`/owner/name into the mirror.

    Returns False where it is there already. Raises SourceError when git cannot get it.
    """
    try:
        directory = git_directory(source, mirror)
    except SourceError:
        directory = mirror / source.folder / "repo"
        directory.mkdir(parents=True, exist_ok=True)
        _git(directory, "init", "--quiet", "--bare")
    try:
        _git(directory, "cat-file", "-e", source.commit + "^{commit}")
        return False
    except SourceError:
        pass
    refspec = f"{source.commit}:refs/heads/recorded"
    _git(directory, "fetch", "--quiet", "--depth=1", f"{base.rstrip('/')}/{source.name}", refspec)
    return True


def _tree(directory: Path, commit: str) -> Iterator[tuple[PurePosixPath, str]]:
    """Every regular file of a commit with the id of its content; links and submodules are left out."""
    listing = _git(directory, "ls-tree", "-r", "-z", "--full-tree", commit)
    for entry in listing.split(b"\0")[:-1]:
        meta, name = entry.split(b"\t", 1)
        mode, _, blob = meta.split()
        if mode in (b"100644", b"100755"):
            yield PurePosixPath(os.fsdecode(name)), blob.decode("ascii")


def _contents(directory: Path, blobs: Sequence[str]) -> Iterator[bytes | None]:
    """The content of each blob, in order; None where the snapshot lacks it or it is too large."""
    if not blobs:
        return
    request = "\n".join(blobs).encode("ascii") + b"\n"
    sizes: list[int | None] = []
    for line in _git(directory, "cat-file", "--batch-check", stdin=request).splitlines():
        words = line.split()
        sizes.append(int(words[2]) if len(words) == 3 and words[1] == b"blob" else None)
    wanted = [
        blob
        for blob, size in zip(blobs, sizes, strict=True)
        if size is not None and size <= MAX_FILE_BYTES
    ]
    stream = b""
    if wanted:
        stream = _git(
            directory, "cat-file", "--batch", stdin="\n".join(wanted).encode("ascii") + b"\n"
        )
    position = 0
    for size in sizes:
        if size is None or size > MAX_FILE_BYTES:
            yield None
            continue
        start = stream.index(b"\n", position) + 1  # after the line "<id> blob <size>"
        yield stream[start : start + size]
        position = start + size + 1


def checkout(source: Source, mirror: Path, out: Path) -> Export:
    """Export a source's usable ``*.py`` files, and its licence files, to ``out/owner+name/``.

    An earlier export of the same source is replaced as a whole. Not exported: what `is_excluded` or
    `is_excluded_text` names, links, and files of more than MAX_FILE_BYTES.
    Raises SourceError when the repository or the commit is missing, and OSError.
    """
    directory = git_directory(source, mirror)
    dropped: Counter[str] = Counter()
    chosen: list[tuple[PurePosixPath, str]] = []
    # Not `git archive`: it obeys the repository's export-ignore, which often leaves the tests out.
    for path, blob in _tree(directory, source.commit):
        if len(path.parts) <= 2 and path.suffix != ".py" and _LICENCE_FILE.match(path.name):
            chosen.append((path, blob))
        elif path.suffix == ".py":
            if reason := is_excluded(path):
                dropped[reason] += 1
            else:
                chosen.append((path, blob))
    out.mkdir(parents=True, exist_ok=True)
    files = lines = 0
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as temporary:
        root = Path(temporary) / source.folder
        root.mkdir()
        contents = _contents(directory, [blob for _, blob in chosen])
        for (path, _), data in zip(chosen, contents, strict=True):
            is_python = path.suffix == ".py"
            if data is None:
                dropped["too large or missing"] += 1
                continue
            if is_python and (reason := is_excluded_text(data)):
                dropped[reason] += 1
                continue
            if ".." in path.parts or path.is_absolute():
                raise SourceError(f"{source.name}: the commit holds an unsafe path: {path}")
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            if is_python:
                files += 1
                lines += data.count(b"\n")
        final = out / source.folder
        if final.exists():
            shutil.rmtree(final)
        root.rename(final)
    return Export(source, files, lines, dict(sorted(dropped.items())))


def exported_files(source: Source, out: Path) -> Iterator[PurePosixPath]:
    """The exported Python files of a source, sorted, relative to ``out/owner+name/``."""
    root = out / source.folder
    for path in sorted(path for path in root.rglob("*.py") if path.is_file()):
        yield PurePosixPath(path.relative_to(root).as_posix())


def totals(exports: Iterable[Export]) -> str:
    """A plain table of repositories, files and lines by licence and by kind, and files dropped."""
    groups: dict[tuple[str, str], list[int]] = {}
    dropped: Counter[str] = Counter()
    for export in exports:
        dropped.update(export.dropped)
        for key in (
            ("licence", export.source.licence),
            ("kind", export.source.kind),
            ("total", ""),
        ):
            sums = groups.setdefault(key, [0, 0, 0])
            for index, value in enumerate((1, export.files, export.lines)):
                sums[index] += value
    rows = [f"{'':24}{'repositories':>14}{'files':>10}{'lines':>12}"]
    for (group, value), (count, files, lines) in sorted(groups.items()):
        rows.append(f"{group + ' ' + value:24}{count:14,}{files:10,}{lines:12,}")
    rows += [f"dropped, {reason}: {count:,}" for reason, count in dropped.most_common()]
    return "\n".join(rows)


def select(names: Sequence[str] = (), path: Path = SOURCES_FILE) -> tuple[Source, ...]:
    """The recorded repositories called `names`, all without names. Raises SourceError for an unknown one."""
    sources = load_sources(path)
    if unknown := set(names) - {source.name for source in sources}:
        raise SourceError(f"not in {path}: {', '.join(sorted(unknown))}")
    return tuple(source for source in sources if not names or source.name in names)
