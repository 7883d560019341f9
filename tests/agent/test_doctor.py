"""The doctor's lines are tried, not assumed; an error line makes the whole an error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from agent import doctor
from agent.doctor import checks, compiled_error, report
from tools.guards import Guard


def by_name(path: Path) -> dict[str, doctor.Check]:
    return {check.name: check for check in checks(path)}


def test_it_looks_at_project_worker_guards_and_jax(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a():\n    assert True\n")
    found = by_name(tmp_path)
    assert str(tmp_path) in found["project"].text
    assert found["python"].state == found["worker"].state == "ok"
    assert {"writes outside", "network", "memory"} <= set(found)
    assert found["jax"].state == found["compiler"].state == "ok"
    assert "the weights take bf16" in found["products"].text
    assert "error" not in {check.state for name, check in found.items() if name != "weights"}


def test_outside_a_project_it_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_guards", lambda path: iter(()))
    assert "none in" in by_name(tmp_path)["project"].text


def test_compiled_code_is_checked_against_plain_arithmetic() -> None:
    """Measured: 2e-7 under jax 0.10.1, 32 under 0.10.2, which miscompiles the expression."""
    assert compiled_error() < 1e-4


@pytest.mark.parametrize(("name", "good"), [("writes outside", False), ("network", True)])
def test_a_missing_guard_is_an_error_where_files_are_at_stake(
    tmp_path: Path, monkeypatch, name: str, good: bool
) -> None:
    monkeypatch.setattr(
        "tools.guards.guards_status", lambda python: [Guard(name, False, "refused")]
    )
    monkeypatch.setattr(doctor, "_weights", lambda path: iter(()))
    monkeypatch.setattr(doctor, "_jax", lambda path: iter(()))
    out = io.StringIO()
    assert report(out, tmp_path) is good
    assert f"{'warn ' if good else 'ERROR'} {name}" in out.getvalue()


def test_missing_weights_are_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("trm.checkpoint.shipped", lambda: tmp_path)
    [found] = doctor._weights(tmp_path)
    assert found.state == "error"
    assert str(tmp_path) in found.text


def test_a_check_that_breaks_is_a_line_and_not_the_end(tmp_path: Path, monkeypatch) -> None:
    def broken() -> float:
        raise RuntimeError("no device")

    monkeypatch.setattr(doctor, "compiled_error", broken)
    monkeypatch.setattr(doctor, "_guards", lambda path: iter(()))
    found = by_name(tmp_path)
    assert found["products"].state in ("ok", "warning")  # what comes after it
    assert found["jax"].state == "error"
    assert "RuntimeError: no device" in found["jax"].text
    assert "config" in found
