"""The worker's verdict on a candidate equals that of a plain pytest process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.runner import Limits, Runner

TESTS = Path(__file__).parents[1]
REPOS = TESTS / "fixtures" / "repos"
MUTANTS = int(os.environ.get("TRM_PARITY_MUTANTS", "8"))

spec = importlib.util.spec_from_file_location("parity", TESTS / "parity.py")
assert spec is not None and spec.loader is not None
parity: Any = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = parity  # dataclasses look there
spec.loader.exec_module(parity)


def judged(
    repo: str, path: str, tmp_path: Path, about: int, first: int = 0
) -> tuple[list[Any], int]:
    """The cases of about so many mutants, evenly chosen, on which the two disagree; how many were judged."""
    root = tmp_path / repo
    shutil.copytree(REPOS / repo, root)
    every = list(parity.mutants((root / path).read_bytes()))
    chosen = every[first :: max(1, round(len(every) / about))]
    with Runner(root, sys.executable, limits=Limits(wall_floor=1.0)) as runner:
        tests = [result.nodeid for result in runner.baseline().results]
        cases = list(parity.compare(runner, path, chosen, tests))
    return [case for case in cases if not case.same], len(chosen)


@pytest.fixture(autouse=True)
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    # Plugins of our own environment cost a plain process more than all the rest.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


FIXTURES = [
    ("flat", "bank/account.py"),
    ("flat", "bank/interest.py"),
    ("src_layout", "src/shapes/area.py"),
    ("single", "wordcount.py"),
    ("unittest_style", "cart/__init__.py"),
    ("own_packages", "agent/__init__.py"),
    ("import_time", "units/__init__.py"),
    ("programs", "calc.py"),
]


def test_a_sample_of_mutants_is_judged_alike(tmp_path: Path) -> None:
    wrong, count = judged("single", "wordcount.py", tmp_path, 3)
    assert count >= 3
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(("repo", "path"), FIXTURES)
def test_mutants_of_every_layout_are_judged_alike(repo: str, path: str, tmp_path: Path) -> None:
    """TRM_PARITY_MUTANTS=N takes more."""
    wrong, count = judged(repo, path, tmp_path, MUTANTS)
    assert count >= 6
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(3))
def test_what_suites_are_made_of_is_judged_alike(first: int, tmp_path: Path) -> None:
    """State, caches, closures, class bodies, generators, threads, event loops, fixtures, doctests and so on: a part each."""
    wrong, count = judged("covers", "shop.py", tmp_path, 10, first)
    assert count >= 6
    assert wrong == []


# Real packages: a few mutants each, of which one needs an event loop; `python tests/parity.py` takes more of more.
REAL = ("hyperframe", "async-timeout")


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_mutants_of_real_packages_are_judged_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRM_PARITY=DIR keeps the archives, TRM_PARITY_MUTANTS=N takes more."""
    package = next(each for each in parity.PACKAGES if each.name == name)
    cache = Path(os.environ.get("TRM_PARITY") or tmp_path / "archives")
    if reason := parity.fetch([package], cache):
        pytest.skip(f"{name} cannot be had: {reason}")
    monkeypatch.setenv("PYTHONPATH", "")  # it is changed, and put back at the end
    cases = parity.judge(package, cache, tmp_path, sys.executable, MUTANTS, seed=0)
    assert len(cases) == MUTANTS
    assert [case for case in cases if not case.same] == []
    assert {case.accepted for case in cases} >= {False}
