"""The record of the training corpus, and what may be exported from a repository."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from trm.data import sources
from trm.data.sources import Source, SourceError, checkout, is_excluded, is_excluded_text

TABLE = """
[[source]]
name = "{name}"
licence = "{licence}"
commit = "{commit}"
kind = "{kind}"
"""
GOOD = {"name": "owner/name", "licence": "MIT", "commit": "a" * 40, "kind": "library"}


def test_the_committed_record_loads_and_is_sorted() -> None:
    recorded = sources.load_sources()
    assert {source.kind for source in recorded} == set(sources.KINDS)
    assert [source.name for source in recorded] == sorted({source.name for source in recorded})
    owners_and_names = {part for source in recorded for part in source.name.lower().split("/")}
    assert not owners_and_names & sources.FORBIDDEN_NAMES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "pallets/click"}, "excluded .forbidden name: click"),
        ({"name": "owner/../name"}, "not owner/name"),
        ({"licence": "GPL-3.0-only"}, "GPL-3.0-only is not"),
        ({"commit": "main"}, "not 40 hex digits"),
        ({"kind": "fun"}, "the kind is none of library, algorithms, exercises"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    record = tmp_path / "sources.toml"
    record.write_text(TABLE.format(**GOOD))
    assert sources.load_sources(record) == (Source(**GOOD),)
    record.write_text(TABLE.format(**GOOD | change))
    with pytest.raises(SourceError, match=message):
        sources.load_sources(record)


@pytest.mark.parametrize("text", [None, "source = 3", "[[source]]\nname = 'a/b'", "x ="])
def test_a_record_that_is_no_record_is_refused(tmp_path: Path, text: str | None) -> None:
    record = tmp_path / "sources.toml"
    if text is not None:
        record.write_text(text)
    with pytest.raises(SourceError, match="not a list of"):
        sources.load_sources(record)


def test_repeated_and_unsorted_names_are_refused(tmp_path: Path) -> None:
    record = tmp_path / "sources.toml"
    for names in (("a/a", "a/a"), ("b/b", "a/a")):
        record.write_text("".join(TABLE.format(**GOOD | {"name": name}) for name in names))
        with pytest.raises(SourceError, match="unique and sorted"):
            sources.load_sources(record)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("src/pip/_vendor/idna/core.py", "vendored"),
        ("third_party/thing.py", "vendored"),
        ("pkg/extern/thing.py", "vendored"),
        ("pkg/markdown.py", "forbidden name: markdown"),
        ("pkg/_Schema.py", "forbidden name: schema"),
        ("More-Itertools/recipes.py", "forbidden name: more_itertools"),
        ("typer/_click/core.py", "forbidden name: click"),
        ("bench/human_eval_x/a.py", "benchmark"),
        ("LeetCode-solutions/two_sum.py", "benchmark"),
        ("tests/bad_coding.py", "broken on purpose"),
        ("tests/data/cases/comments.py", "test data"),
        ("Lib/lib2to3/tests/data/py2_test_grammar.py", "test data"),
        ("pkg/parser.py", None),
        ("pkg/clicking.py", None),
        ("tests/test_schema.py", None),
        ("data/tests.py", None),
    ],
)
def test_excluded_paths(path: str, reason: str | None) -> None:
    assert is_excluded(PurePosixPath(path)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"# under the GNU Lesser General Public License\n", "copyleft"),
        (b"# under the terms of the GNU\n# General Public License\n", "copyleft"),
        (b"# SPDX-License-Identifier: AGPL-3.0-or-later\n", "copyleft"),
        (b"# This Source Code Form is subject to the Mozilla Public\n License\n", "copyleft"),
        (b"# https://leetcode.com/problems/two-sum\n", "benchmark"),
        (b"x = 1\n" * 900 + b"# Copied from more-itertools\n", "copied from a forbidden library"),
        (b"x = 1\n" * 900 + b"GPL = 'GNU General Public License'\n", None),
        (b"import toolz\nfrom boltons import iterutils\n", None),
        (b"# under the MIT licence\nGPLX = 1\n", None),
        (b"# approved as GPL-compatible; ISC licence\n", None),
    ],
)
def test_excluded_texts(text: bytes, reason: str | None) -> None:
    assert is_excluded_text(text) == reason


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/helpers.py", True),
        ("pkg/test/support.py", True),
        ("pkg/test_core.py", True),
        ("bob/bob_test.py", True),
        ("conftest.py", True),
        ("pkg/testing_tools.py", False),
        ("pkg/contest.py", False),
        ("pkg/latest.py", False),
    ],
)
def test_test_paths(path: str, expected: bool) -> None:
    assert sources.is_test_path(PurePosixPath(path)) is expected


def _repository(mirror: Path, files: dict[str, bytes]) -> Source:
    """A mirrored repository ``owner/name`` with these files in its one commit."""
    work = mirror / "owner+name" / "repo"
    for path, data in files.items():
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (work / "link.py").symlink_to("/etc/passwd")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=work, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=work, check=True, capture_output=True)
    return Source(**GOOD | {"commit": head.stdout.decode().strip()})


def test_checkout_exports_the_commit_and_nothing_else(tmp_path: Path) -> None:
    odd = 'name with "quotes" and\ttab é.py'
    source = _repository(
        tmp_path / "mirror",
        {
            ".gitattributes": b"tests export-ignore\n*.py export-subst\n",
            "LICENSE": b"MIT License\n",
            "README.md": b"no Python\n",
            "pkg/core.py": b"ID = '$Format:%H$'\r\n\r\n\xff",
            "pkg/empty.py": b"",
            "pkg/big.py": b"x = 1\n" * 50_001,
            "pkg/fits.py": b"x = 1\n" * 50_000,
            "pkg/_vendor/a.py": b"1\n",
            "pkg/gpl.py": b"# GNU General Public License\n",
            "tests/test_core.py": b"def test(): pass\n",
            odd: b"1\n2\n3",
        },
    )
    out = tmp_path / "out"
    stale = out / "owner+name" / "stale.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    export = checkout(source, tmp_path / "mirror", out)

    names = [str(path) for path in sources.exported_files(source, out)]
    assert names == sorted(
        [odd, "pkg/core.py", "pkg/empty.py", "pkg/fits.py", "tests/test_core.py"]
    )
    root = out / "owner+name"
    assert (root / "pkg/core.py").read_bytes() == b"ID = '$Format:%H$'\r\n\r\n\xff"
    assert (root / "LICENSE").read_bytes() == b"MIT License\n"
    assert not (root / "README.md").exists()
    assert (export.files, export.lines) == (5, 2 + 0 + 50_000 + 1 + 2)
    assert export.dropped == {"copyleft": 1, "too large or missing": 1, "vendored": 1}
    assert [path.name for path in out.iterdir()] == ["owner+name"]
    table = sources.totals([export]).splitlines()
    assert table[-3:] == [f"dropped, {reason}: 1" for reason in export.dropped]
    assert table[-4].split() == ["total", "1", "5", "50,005"]


def test_checkout_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="owner/name: no git directory"):
        checkout(Source(**GOOD), tmp_path, tmp_path / "out")
    _repository(tmp_path, {"a.py": b"1\n"})
    with pytest.raises(SourceError, match="git ls-tree failed"):
        checkout(Source(**GOOD), tmp_path, tmp_path / "out")
    assert not list(tmp_path.glob("out/owner+name"))
