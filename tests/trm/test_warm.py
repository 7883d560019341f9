"""Another process compiles, and ends when nobody needs it any more."""

import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from trm import compiled, warm
from trm.predict import Predictor


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "trm-agent" / "compiled"
    jax.config.update("jax_compilation_cache_dir", before)


def gone(pid: int) -> bool:
    """Within five seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_what_is_marked_is_marked_for_this_machine_only(cache, monkeypatch):
    assert compiled.is_writable() and not compiled.is_marked("a")
    compiled.mark("a")
    assert compiled.is_marked("a") and not compiled.is_marked("b")
    monkeypatch.setattr(compiled, "_generation", lambda: "another")
    assert not compiled.is_marked("a")


def test_nothing_is_started_where_all_is_there_or_nothing_can_be_kept(
    predictor, checkpoint, monkeypatch
):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(warm.subprocess, "Popen", never)
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "is_writable", lambda: False)
        warm.compile_apart(predictor, checkpoint, lambda: False)
    with pytest.raises(AssertionError, match="started"):
        warm.compile_apart(predictor, checkpoint, lambda: False)
    compiled.is_writable()
    for length in warm._LENGTHS:
        compiled.mark(warm._mark(predictor, length))
    warm.compile_apart(predictor, checkpoint, lambda: False)


def test_it_ends_once_nobody_waits(predictor, checkpoint):
    before = len(warm._children)
    warm.compile_apart(predictor, checkpoint, lambda: True)
    (child,) = warm._children[before:]
    assert child.poll() == -signal.SIGKILL


def test_it_ends_with_who_started_it(checkpoint):
    """Also when that was killed."""
    started = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-P', '-m', 'trm.warm', str(os.getpid()), sys.argv[1]]\n"
        "child = subprocess.Popen(command)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", started, str(checkpoint)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(1.0)
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    assert gone(pid)


@pytest.mark.slow
def test_what_another_process_compiled_is_read_here(predictor, checkpoint, cache, monkeypatch):
    warm.compile_apart(predictor, checkpoint, lambda: False)
    assert compiled.is_marked(warm._mark(predictor, 128))
    child = warm._children[-1]
    child.kill()
    child.wait()
    made = {file.name for file in cache.glob("*/*.pickle")}
    assert made
    monkeypatch.setattr(compiled, "_keep", lambda *_: pytest.fail("compiled here"))
    for _ in Predictor(checkpoint).warm((128,)):
        pass
