"""Runs destructive candidates in the worker and tells which files outside changed: `python audit.py [GUARD TO LEAVE OUT]`.

With `control` in place of a guard candidates may write to the home of that world, and the audit must see it.

Prints JSON: "acts" that ran, "skipped" ones (no guard against them here, so they must not run), "changed" files, and
whether a "bystander" process of ours lived. Files of a small world are compared by content and mode, the system's programs,
settings and Python by inode, mode, size and time of change. Whoever runs it is who the candidates are.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.guards import guards_status
from tools.runner import Limits, Runner

# What must hold before the act may be tried, and the act; {work} is the folder above the project.
ACTS = {
    "rmtree of the parent": ("deletes outside", "shutil.rmtree(pathlib.Path(__file__).parent)"),
    "rmtree of its parent": ("deletes outside", "shutil.rmtree({work!r})"),
    "rmtree of home": ("deletes outside", "shutil.rmtree(os.path.expanduser('~'))"),
    "rmtree that goes on": ("deletes outside", "shutil.rmtree({work!r}, ignore_errors=True)"),
    "unlink of a program": ("deletes outside", "os.unlink(shutil.which('trm-audit-program'))"),
    "a program overwritten": ("writes outside", "open(shutil.which('trm-audit-program'), 'w').write('x')"),
    "a program renamed": ("deletes outside", "os.rename({work!r} + '/bin/trm-audit-program', {work!r} + '/gone')"),
    "rm by a shell": ("deletes outside", "subprocess.call('rm -rf ~/.bashrc ' + {work!r}, shell=True)"),
    "a line in home": ("writes outside", "open(os.path.expanduser('~/.bashrc'), 'a').write('x')"),
    "a new file in home": ("writes outside", "open(os.path.expanduser('~/.profile'), 'w').write('x')"),
    "a link in home": ("writes outside", "os.symlink('/', os.path.expanduser('~/link'))"),
    "its own source": ("writes outside", "open(__file__, 'w').write('')"),
    "kill everybody": ("signals", "os.kill(-1, 9)"),
    "end everybody": ("signals", "os.kill(-1, 15)"),
    "kill the host": ("signals", "os.kill({host}, 9)"),
}  # fmt: skip
SYSTEM = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/etc", "/opt")  # fmt: skip


def system() -> dict[str, tuple[int, ...]]:
    """Inode, mode, size and time of change of the system's files."""
    found = {}
    for top in (*SYSTEM, os.path.join(sys.base_prefix, "bin"), str(Path(os.__file__).parent)):
        for base, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                path = os.path.join(base, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                found[path] = status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns
    return found


def content(folder: Path) -> dict[str, tuple[int, str]]:
    found = {}
    for path in folder.rglob("*"):
        data = (
            os.readlink(path).encode()
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else b""
        )
        found[str(path)] = path.lstat().st_mode, hashlib.sha256(data).hexdigest()
    return found


def main() -> int:
    control = sys.argv[1:] == ["control"]
    off = () if control else tuple(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="trm-audit-") as name:
        base = Path(name)
        work, home = base / "work", base / "home"
        repo, program = work / "repo", work / "bin" / "trm-audit-program"
        for folder in (repo, home, program.parent):
            folder.mkdir(parents=True)
        (home / ".bashrc").write_text("export A=1\n")
        program.write_bytes(b"#!/bin/sh\n")
        program.chmod(0o755)
        (repo / "victim.py").write_text("def act():\n    return 1\n")
        (repo / "test_victim.py").write_text("import victim\n\n\ndef test_act():\n    assert victim.act() == 1\n")  # fmt: skip
        os.environ.update(HOME=str(home), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        os.environ["PATH"] = f"{program.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        for _ in range(3):  # on a machine with no time at all the probe may be cut
            holds = {guard.name: guard.active for guard in guards_status(guards_off=off)}
            if "guards" not in holds:
                break
        assert "guards" not in holds
        bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        before = {**content(base), **system()}
        acts, skipped = [], []
        with Runner(
            repo,
            sys.executable,
            limits=Limits(wall_floor=10.0),
            guards_off=off,
            writable=[home] if control else [],
        ) as runner:
            assert runner.baseline().green
            for act, (needed, code) in ACTS.items():
                if not holds.get(needed):
                    skipped.append(act)
                    continue
                body = code.format(work=str(work), host=os.getpid())
                text = f"import os, pathlib, shutil, subprocess\n\n\ndef act():\n    {body}\n    return 1\n"
                runner.validate({"victim.py": text.encode()}, ["test_victim.py::test_act"])
                acts.append(act)
            alive = runner.validate(
                {"victim.py": b"def act():\n    return 1  #\n"}, ["test_victim.py::test_act"]
            )
        after = {**content(base), **system()}
        lived = bystander.poll() is None
        bystander.kill()
        bystander.wait()
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    told = {"acts": acts, "skipped": skipped, "changed": changed, "bystander": lived, "works after": alive.passed,
            "files": len(before), "uid": os.getuid()}  # fmt: skip
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
