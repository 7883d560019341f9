"""The handful of functions that a training shows: always the same, held out, and judged to the byte."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from agent.faces.tui.training import Training
from agent.samples import Samples, changed_line, looked_at
from trm.data import functions as fn
from trm.data.functions import held_out


@pytest.fixture
def corpus(code: str, tmp_path: Path) -> Path:
    """Functions of a package that is held out, and of one that is trained on."""
    sources = ["def " + part.rstrip() + "\n" for part in code.split("def ")[1:]]
    origins = {"pypa/flit": True, "Delgan/loguru": False}
    assert {name: held_out(name) for name in origins} == origins
    found = [
        fn.Function(source, f"{origin}.{number}", (), (), f"{origin}:a.py", "MIT")
        for origin in origins
        for number, source in enumerate(sources)
    ]
    fn.write(tmp_path / "functions.jsonl.gz", found)
    return tmp_path


def test_held_out_functions_are_broken_once_and_shown_with_what_the_weights_say(
    corpus: Path, vocab: Any, checkpoint: Path
) -> None:
    shown = Samples(corpus, vocab).look(checkpoint)
    assert [one["name"] for one in shown] == ["pypa/flit.0", "pypa/flit.1"]
    for one in shown:
        assert one["broken"] != one["right"]
        assert one["hit"] == (one["proposed"] == one["right"])
        assert 0 <= one["probability"] <= 1 and math.isfinite(one["probability"])
    assert Samples(corpus, vocab).look(checkpoint) == shown
    training = Training()
    training.apply({"step": 7, "samples": shown})  # what the screen takes
    assert len(training.samples) == 2


def test_without_weights_or_functions_there_is_nothing_to_show(
    corpus: Path, vocab: Any, tmp_path: Path
) -> None:
    assert Samples(corpus, vocab).look(tmp_path / "none") == []
    assert Samples(tmp_path / "nowhere", vocab).look(tmp_path) == []


def test_a_look_that_fails_is_told_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert looked_at(tmp_path / "no corpus", tmp_path, 9) == {"step": 9, "samples": []}
    assert "no samples: FileNotFoundError" in capsys.readouterr().err


def test_the_line_that_differs_is_shown() -> None:
    one, two = b"a\n  b\nc\n", b"a\n  x\nc\n"
    assert (changed_line(one, two), changed_line(two, one), changed_line(one, one)) == (
        "b",
        "x",
        "",
    )
