"""Ochiai over a small, hand-counted spectrum."""

from __future__ import annotations

import json
import math

import pytest

from tools.spectrum import Spectrum


@pytest.fixture
def spectrum() -> Spectrum:
    return Spectrum(
        lines={
            "bad": {"m.py": [1, 2], "test_m.py": [5]},
            "good": {"m.py": [1, 3]},
            "other": {"m.py": [1]},
        },
        failed={"bad"},
    )


def test_scores_are_ochiai(spectrum: Spectrum) -> None:
    scores = spectrum.ochiai(exclude=["test_m.py"])
    assert scores == {("m.py", 2): 1.0, ("m.py", 1): pytest.approx(1 / math.sqrt(3))}


def test_rank_is_by_score_then_place(spectrum: Spectrum) -> None:
    assert [place for place, _ in spectrum.ranked()] == [
        ("m.py", 2),
        ("test_m.py", 5),
        ("m.py", 1),
    ]


def test_lines_and_tests(spectrum: Spectrum) -> None:
    assert spectrum.lines_of("good") == {"m.py": [1, 3]}
    assert spectrum.lines_of("unknown") == {}
    assert spectrum.tests_of("m.py", 1) == ["bad", "good", "other"]
    assert spectrum.tests_of("m.py", 3) == ["good"]
    assert spectrum.tests_of("test_m.py") == ["bad"]


def test_nothing_failed_means_nothing_is_suspicious(spectrum: Spectrum) -> None:
    spectrum.failed = set()
    assert spectrum.ochiai() == {}


def test_survives_json(spectrum: Spectrum) -> None:
    assert Spectrum.from_json(json.loads(json.dumps(spectrum.to_json()))) == spectrum
