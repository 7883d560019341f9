"""Where a setting comes from, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import UsageError
from agent.settings import NAMES, Settings, load_settings


@pytest.fixture
def load(tmp_path: Path):
    """load(project toml, config toml, flags, environment) on files in a temporary directory."""

    def loader(project="", config="", flags=None, environ=None) -> Settings:
        folder = tmp_path / "repo" / "src"
        folder.mkdir(parents=True, exist_ok=True)
        if project:
            (tmp_path / "repo" / "pyproject.toml").write_text("[tool.trm-agent]\n" + project)
        path = tmp_path / "config.toml"
        path.write_text(config)
        return load_settings(folder, flags, environ or {}, path)

    return loader


def test_defaults(load) -> None:
    found = load()
    assert found == Settings(origins=dict.fromkeys(NAMES, "default"))


def test_each_source_beats_the_next(load, tmp_path: Path) -> None:
    config, project = "seed = 1", "seed = 2"
    environ, flags = {"TRM_AGENT_SEED": "3"}, {"seed": 4}
    assert load(config=config).seed == 1
    assert load(project, config).seed == 2
    assert load(project, config, environ=environ).seed == 3
    found = load(project, config, flags, environ)
    assert (found.seed, found.origins["seed"]) == (4, "--seed")
    assert load(project, config, {"seed": None}, environ).origins["seed"] == "TRM_AGENT_SEED"
    assert load(project, config).origins["seed"].endswith("repo/pyproject.toml")
    assert load(project, config).origins["rank"] == "default"


def test_the_network_is_off_until_something_says_otherwise(load) -> None:
    assert load().allow_network is False
    assert load("allow-network = true").allow_network is True
    off = load("allow-network = true", environ={"TRM_AGENT_ALLOW_NETWORK": "No"})
    assert (off.allow_network, off.origins["allow_network"]) == (False, "TRM_AGENT_ALLOW_NETWORK")
    assert load(flags={"allow_network": False}).origins["allow_network"] == "--allow-network"


def test_sources_are_merged_setting_by_setting(load) -> None:
    found = load(
        "max-seconds = 5", "jobs = 2", {"rank": "random"}, {"TRM_AGENT_PYTEST_ARGS": "-k 'a b'"}
    )
    assert (found.max_seconds, found.jobs, found.rank, found.pytest_args) == (
        5.0,
        2,
        "random",
        ("-k", "a b"),
    )


def test_paths_in_a_file_are_meant_from_its_folder(load, tmp_path: Path) -> None:
    assert load("python = 'env/bin/python'").python == str(tmp_path / "repo" / "env/bin/python")
    assert load("python = 'python3.12'").python == "python3.12"
    (tmp_path / "repo" / "env").mkdir()
    assert load("python = 'env'").python == str(tmp_path / "repo" / "env")


def test_nearest_pyproject_without_our_table_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.trm-agent]\nseed = 9\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.other]\n")
    assert load_settings(inner, {}, {}, tmp_path / "none.toml").seed == 9
    (inner / "pyproject.toml").write_text("not toml [")
    assert load_settings(inner, {}, {}, tmp_path / "none.toml").seed == 9


@pytest.mark.parametrize(
    ("sources", "message", "hint"),
    [
        ({"project": "max_second = 3"}, "unknown setting max_second in .*pyproject", "max_seconds"),
        ({"config": "rnak = 'trm'"}, "unknown setting rnak in .*config.toml", "rank"),
        ({"environ": {"TRM_AGENT_JOB": "1"}}, "unknown setting TRM_AGENT_JOB$", "TRM_AGENT_JOBS"),
        ({"environ": {"TRM_AGENT_QQQ": "1"}}, "unknown setting TRM_AGENT_QQQ", "TRM_AGENT_RANK"),
        ({"environ": {"TRM_AGENT_JOBS": "two"}}, "'two' is not a number", "TRM_AGENT_JOBS=10"),
        ({"environ": {"TRM_AGENT_PYTEST_ARGS": "'"}}, "TRM_AGENT_PYTEST_ARGS", "quote"),
        ({"project": "allow-network = 'no'"}, "allow_network .*true or false, not 'no'", ""),
        ({"environ": {"TRM_AGENT_ALLOW_NETWORK": "2"}}, "NETWORK.*true or false, not '2'", ""),
        ({"project": "rank = 'best'"}, "one of trm, untrained, ochiai, random", ""),
        ({"project": "seed = true"}, "expected a number", ""),
        ({"project": "seed = 1.5"}, "whole number", ""),
        ({"project": "python = 3"}, "expected a path", ""),
        ({"project": "pytest_args = [1]"}, "list of strings", ""),
        ({"flags": {"max_seconds": 0}}, r"max_seconds \(--max-seconds\)", ""),
        ({"flags": {"max_candidates": 0}}, "at least 1", ""),
        ({"config": "rank = "}, "config.toml", "correct the file"),
    ],
)
def test_wrong_values_are_named_with_their_origin(
    load, sources: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(**sources)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2
