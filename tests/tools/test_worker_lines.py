"""Which lines ran, as the worker sees them where there is no sys.monitoring."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tools.worker import observe

CODE = """def often(values, rare):
    for value in values:
        value + 1
        if value == rare:
            found = value


def twice():
    return 2
"""


@pytest.mark.skipif(hasattr(sys, "monitoring"), reason="a line is told once")
def test_a_line_is_looked_for_as_long_as_it_may_be_found(tmp_path: Path, monkeypatch) -> None:
    """After ENOUGH repetitions without a new line a function is left alone until the next test, and no other one."""
    monkeypatch.setattr(observe, "ENOUGH", 300)
    (tmp_path / "code.py").write_text(CODE)
    spec = importlib.util.spec_from_file_location("code", tmp_path / "code.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = observe.Lines(observe.Tree(str(tmp_path)))
    kept = sys.gettrace()

    def ran(*calls) -> set[int]:
        lines.begin()
        try:
            for call in calls:
                call()
        finally:
            found = lines.end()
            sys.settrace(kept)
        return set(found["code.py"])

    assert ran(lambda: module.often(range(1000), 90)) == {2, 3, 4, 5}
    assert ran(lambda: module.often(range(1000), 900), module.twice) == {2, 3, 4, 9}
    every = [lambda: module.often(range(50), 70)] * 9
    assert ran(*every, lambda: module.often([70], 70)) == {2, 3, 4}, "over all calls of a test"
    assert ran(lambda: module.often([70], 70)) == {2, 3, 4, 5}
