"""The sole writer to the user's tree, on real files, real git and real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agent.apply
from agent.apply import (
    CommitFailed,
    apply_diff,
    apply_patch,
    check_committable,
    commit,
    load_record,
    make_diff,
    settle,
    undo,
)
from agent.diffs import files_of_diff, paths_of_diff
from agent.errors import PatchConflict, UsageError

OLD = b"def f(a, b):\n    return a - b\n"
NEW = b"def f(a, b):\n    return a + b\n"


def git(root: Path, *args: str, check: bool = True) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *args], capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with two committed files; the user's identity is its own."""
    root = tmp_path / "repo"
    (root / "src").mkdir(parents=True)
    git(tmp_path, "init", "-q", str(root))
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    (root / "src" / "calc.py").write_bytes(OLD)
    (root / "other.py").write_bytes(b"x = 1\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "state" / "run-1"


def tree(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


# Diffs.

_BYTES = st.lists(
    st.sampled_from([b"a = 1", b"", b"    b", b"\xff", "é\x0c".encode(), b"x\r", b"\\ No newline"]),
    max_size=8,
).map(b"\n".join)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=_BYTES, after=_BYTES)
def test_a_diff_is_taken_by_git_and_by_us_exactly(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    (tmp_path / "name with blanks.py").write_bytes(before)
    files = {"name with blanks.py": (before, after)}
    diff = make_diff(tmp_path, files)
    if before == after:
        assert diff == ""
        return
    assert files_of_diff(tmp_path, diff) == files
    patch = tmp_path / "patch"
    patch.write_bytes(diff.encode("utf-8", "surrogateescape"))
    command = ["git", "-C", str(tmp_path), "apply", "--whitespace=nowarn", str(patch)]
    # An empty file is a deletion or a creation to git; that is not what a repair writes.
    if before and after:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "name with blanks.py").read_bytes() == after


@pytest.mark.parametrize("name", ["src/calc.py", "ünï.py", 'quo"te\\.py', "tab\there.py"])
def test_paths_of_a_diff_are_gits_own(repo: Path, name: str) -> None:
    (repo / name).write_bytes(OLD)
    diff = make_diff(repo, {name: (OLD, NEW)})
    assert paths_of_diff(diff) == (name,)
    done = subprocess.run(
        ["git", "-C", str(repo), "apply", "-"],
        input=diff.encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (repo / name).read_bytes() == NEW


@pytest.mark.parametrize("where", [".", "src"])
def test_a_diff_of_a_subdirectory_applies_from_the_top_and_from_there(
    repo: Path, where: str
) -> None:
    diff = make_diff(repo / "src", {"calc.py": (OLD, NEW)})
    assert paths_of_diff(diff) == ("src/calc.py",)
    assert files_of_diff(repo / "src", diff) == {"calc.py": (OLD, NEW)}
    subprocess.run(
        ["git", "-C", str(repo / where), "apply", "-"], input=diff.encode(), check=True, timeout=60
    )
    assert (repo / "src" / "calc.py").read_bytes() == NEW


def test_an_executable_file_keeps_its_mode_in_the_diff(repo: Path) -> None:
    (repo / "other.py").chmod(0o755)
    assert " 100755\n" in make_diff(repo, {"other.py": (b"x = 1\n", b"x = 2\n")})


@pytest.mark.parametrize(
    "diff", ["--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "nonsense", "diff --git "]
)
def test_a_foreign_diff_is_refused(repo: Path, diff: str) -> None:
    with pytest.raises(PatchConflict, match="not a diff of trm-agent"):
        files_of_diff(repo, diff)


# Apply and undo.


def test_apply_and_undo_restore_the_tree_byte_for_byte(repo: Path, run: Path) -> None:
    before = tree(repo)
    (repo / "src" / "calc.py").chmod(0o750)
    diff = make_diff(repo, {"src/calc.py": (OLD, NEW), "other.py": (b"x = 1\n", b"x = 2")})
    assert apply_diff(repo, diff, run) == ("other.py", "src/calc.py")
    assert tree(repo) == before | {"src/calc.py": NEW, "other.py": b"x = 2"}
    assert (repo / "src" / "calc.py").stat().st_mode & 0o777 == 0o750
    assert load_record(run).state == "applied"
    assert undo(run) == ("other.py", "src/calc.py")
    assert tree(repo) == before
    with pytest.raises(UsageError, match="undone already"):
        undo(run)
    apply_diff(repo, diff, run)  # and again
    assert (repo / "other.py").read_bytes() == b"x = 2"


def test_outside_git_it_is_the_same(tmp_path: Path, run: Path) -> None:
    root = tmp_path / "plain"
    root.mkdir()
    (root / "a.py").write_bytes(OLD)
    apply_diff(root, make_diff(root, {"a.py": (OLD, NEW)}), run)
    assert (root / "a.py").read_bytes() == NEW
    undo(run)
    assert (root / "a.py").read_bytes() == OLD


def test_a_file_that_changed_meanwhile_stops_everything(repo: Path, run: Path) -> None:
    files = {"other.py": (b"x = 1\n", b"x = 2\n"), "src/calc.py": (OLD, NEW)}
    diff = make_diff(repo, files)
    (repo / "src" / "calc.py").write_bytes(OLD + b"# mine\n")  # outside the hunk, still a change
    before = tree(repo)
    with pytest.raises(
        PatchConflict, match=r"src/calc\.py changed since the run: nothing was written"
    ):
        apply_diff(repo, diff, run)
    with pytest.raises(PatchConflict, match="nothing was written"):
        apply_patch(repo, files, run)
    assert tree(repo) == before
    (repo / "src" / "calc.py").unlink()
    with pytest.raises(PatchConflict, match="cannot be read"):
        apply_patch(repo, files, run)


def test_undo_leaves_later_work_alone(repo: Path, run: Path) -> None:
    files = {"other.py": (b"x = 1\n", b"x = 2\n"), "src/calc.py": (OLD, NEW)}
    apply_patch(repo, files, run)
    (repo / "src" / "calc.py").write_bytes(NEW + b"# two days of work\n")
    before = tree(repo)
    with pytest.raises(PatchConflict, match=r"src/calc\.py changed since the fix"):
        undo(run)
    assert tree(repo) == before


def test_a_second_patch_of_the_same_run_is_refused(repo: Path, run: Path) -> None:
    apply_patch(repo, {"src/calc.py": (OLD, NEW)}, run)
    with pytest.raises(PatchConflict, match="applied already"):
        apply_patch(repo, {"src/calc.py": (NEW, OLD)}, run)


def test_undo_of_a_run_that_applied_nothing(run: Path) -> None:
    with pytest.raises(UsageError, match="applied nothing"):
        undo(run)
    run.mkdir(parents=True)
    (run / "patch.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        undo(run)


def test_a_link_out_of_the_tree_is_refused(repo: Path, run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_bytes(OLD)
    (repo / "link.py").symlink_to(outside)
    for path in ("link.py", "../outside.py", str(outside)):
        with pytest.raises(PatchConflict, match="nothing was written"):
            apply_patch(repo, {path: (OLD, NEW)}, run)
    assert outside.read_bytes() == OLD


def test_a_link_within_the_tree_stays_a_link(repo: Path, run: Path) -> None:
    (repo / "link.py").symlink_to("src/calc.py")
    apply_patch(repo, {"link.py": (OLD, NEW)}, run)
    assert (repo / "link.py").is_symlink()
    assert (repo / "src" / "calc.py").read_bytes() == NEW


def test_when_the_disk_refuses_the_second_file_the_first_is_put_back(
    repo: Path, run: Path, monkeypatch
) -> None:
    before, real, calls = tree(repo), agent.apply.exchange, []

    def failing(made, target):
        calls.append(target)
        if str(target).endswith("calc.py"):
            raise OSError(28, "No space left on device", str(target))
        return real(made, target)

    monkeypatch.setattr(agent.apply, "exchange", failing)
    with pytest.raises(PatchConflict, match="No space left"):
        apply_patch(repo, {"other.py": (b"x = 1\n", b"x = 2\n"), "src/calc.py": (OLD, NEW)}, run)
    assert any(str(call).endswith("other.py") for call in calls)  # it had been written
    assert tree(repo) == before
    with pytest.raises(UsageError):
        undo(run)


_KILLED = """
import os, signal, sys
from pathlib import Path
import agent.apply
from agent.apply import apply_patch
left = int(sys.argv[1])
def count(real):
    def call(*args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    return call
os.fsync, agent.apply.exchange = count(os.fsync), count(agent.apply.exchange)
root, run = Path(sys.argv[2]), Path(sys.argv[3])
old, new = (root / "other.py").read_bytes(), b"x = 2\\n"
calc = (root / "src/calc.py").read_bytes()
apply_patch(root, {"other.py": (old, new), "src/calc.py": (calc, calc + b"# fixed\\n")}, run)
"""


def test_a_kill_at_any_moment_leaves_whole_files_and_a_way_back(repo: Path, tmp_path: Path) -> None:
    before = tree(repo)
    partly = 0
    for left in range(30):
        run = tmp_path / f"killed-{left}"
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(left), str(repo), str(run)], check=False, timeout=60
        )
        now = {name: data for name, data in tree(repo).items() if not name.endswith(".trm-agent")}
        for name, data in now.items():
            assert data in (before[name], b"x = 2\n", before[name] + b"# fixed\n"), name
        partly += (now["other.py"] != before["other.py"]) != (
            now["src/calc.py"] != before["src/calc.py"]
        )
        if now != before:
            undo(run)
        if run.exists():
            settle(run)
        apply_patch(
            repo,
            {"other.py": (b"x = 1\n", b"x = 2\n"), "src/calc.py": (OLD, NEW)},
            tmp_path / f"next-{left}",
        )
        undo(tmp_path / f"next-{left}")
        assert tree(repo) == before  # not even an unfinished file of the killed one is left
        if done.returncode == 0:
            assert left > 4
            break
        assert done.returncode == -signal.SIGKILL
    else:
        pytest.fail("apply_patch never finished")
    assert partly  # the state between the two renames was among those tried


def test_the_new_file_is_newer_by_a_whole_second(repo: Path, run: Path) -> None:
    """Python takes a cached .pyc for current by whole seconds and size; `-` for `+` keeps the size."""
    target = repo / "src" / "calc.py"
    ahead = int(target.stat().st_mtime) + 100
    os.utime(target, (ahead, ahead))
    apply_patch(repo, {"src/calc.py": (OLD, NEW)}, run)
    assert int(target.stat().st_mtime) > ahead


# Commits.


def test_a_commit_takes_the_fix_and_nothing_else(repo: Path, run: Path) -> None:
    (repo / "other.py").write_bytes(b"x = 'staged'\n")
    (repo / "mine.py").write_bytes(b"")
    git(repo, "add", "other.py", "mine.py")
    (repo / "other.py").write_bytes(b"x = 'and unstaged'\n")
    check_committable(repo, ["src/calc.py"])
    apply_patch(repo, {"src/calc.py": (OLD, NEW)}, run)
    name = commit(repo, ["src/calc.py"], "Fix f\n\nwith a body")
    assert git(repo, "log", "-1", "--format=%h %an %B").startswith(
        f"{name} Ada Fix f\n\nwith a body"
    )
    assert git(repo, "show", "--name-only", "--format=").split() == ["src/calc.py"]
    status = git(repo, "status", "--porcelain").splitlines()
    assert status == ["A  mine.py", "MM other.py"]


def test_a_commit_in_a_subdirectory_root(repo: Path, run: Path) -> None:
    check_committable(repo / "src", ["calc.py"])
    apply_patch(repo / "src", {"calc.py": (OLD, NEW)}, run)
    commit(repo / "src", ["calc.py"], "fix")
    assert git(repo, "status", "--porcelain") == ""


def test_the_users_changes_are_never_committed(repo: Path, tmp_path: Path) -> None:
    (repo / "new.py").write_bytes(OLD)
    with pytest.raises(UsageError, match="not tracked"):
        check_committable(repo, ["new.py"])
    (repo / "other.py").write_bytes(b"x = 'mine'\n")
    with pytest.raises(UsageError, match="uncommitted changes of yours"):
        check_committable(repo, ["other.py"])
    with pytest.raises(UsageError, match="not in a git repository"):
        check_committable(tmp_path, ["other.py"])


def test_hooks_run_and_a_refusal_is_told(repo: Path, run: Path) -> None:
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'lint: no' >&2\nexit 1\n")
    hook.chmod(0o755)
    apply_patch(repo, {"src/calc.py": (OLD, NEW)}, run)
    with pytest.raises(CommitFailed, match="lint: no") as caught:
        commit(repo, ["src/calc.py"], "fix")
    assert "undo" in caught.value.hint
    assert git(repo, "log", "--format=%s").split() == ["first"]
    assert (repo / "src" / "calc.py").read_bytes() == NEW


def test_inside_a_git_hook_it_is_still_the_users_repository(
    repo: Path, run: Path, monkeypatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    apply_patch(repo, {"src/calc.py": (OLD, NEW)}, run)
    commit(repo, ["src/calc.py"], "fix")
    monkeypatch.undo()
    assert git(repo, "status", "--porcelain") == ""
