"""Compiled functions that are kept on disk: a second process neither traces, lowers nor compiles them.

JAX's own cache keeps what XLA made, but tracing and lowering come before it and cost a short run more than the model does
(docs/decisions.md). Here the whole executable is kept, by all that it depends on.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from platformdirs import user_cache_path

# modules of `trm`
_SOURCES = ("analysis", "compiled", "config", "encode", "layers", "model", "predict")
_GENERATIONS = 4  # folders kept: one for each version of code, JAX and machine


class Compiled:
    """`jax.jit` of a function of arrays whose keyword-only parameters are static and hashable.

    Executables are read from and written to the user's cache folder. What cannot be read there, or written, is compiled
    again: the folder may be lost, read-only or of another machine.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__doc__, self._name = function.__doc__, function.__name__
        parameters = inspect.signature(function).parameters.values()
        static = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self._jitted = jax.jit(function, static_argnames=static)
        self._ready: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arrays: Any, **static: Any) -> Any:
        """Call with numpy or JAX arrays; their shapes, types and the static values select the executable."""
        leaves, tree = jax.tree.flatten(arrays)
        key = (tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves), *static.items())
        run = self._ready.get(key)
        if run is None:
            run = self._ready[key] = self._find(repr(key), arrays, static)
        return run(*arrays)

    def _find(self, key: str, arrays: tuple, static: dict[str, Any]) -> Callable[..., Any]:
        file = _folder() / f"{self._name}-{_short(key)}.pickle"
        try:
            return serialize_executable.deserialize_and_load(*pickle.loads(file.read_bytes()))
        except Exception:  # missing, truncated, or what this backend cannot load
            pass
        made = self._jitted.lower(*arrays, **static).compile()
        if not _jax_has_a_cache():
            _keep(file, made)
        return made


def is_writable() -> bool:
    """Whether executables are kept here."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        return os.access(_folder(), os.W_OK) and not _jax_has_a_cache()
    except OSError:
        return False


def mark(what: str) -> None:
    """Note that all executables for `what` are kept."""
    (_folder() / f"{_short(what)}.ready").touch()


def is_marked(what: str) -> bool:
    """Whether that was noted, for this version of code, JAX and machine."""
    return (_folder() / f"{_short(what)}.ready").is_file()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _jax_has_a_cache() -> bool:
    """Whether JAX's own cache is used: what XLA read from it cannot be written again, it lacks functions compiled in place."""
    return bool(getattr(jax.config, "jax_compilation_cache_dir", None))


def _keep(file: Path, executable: Any) -> None:
    """Write it, or leave it: a cache that cannot be written costs time only."""
    try:
        content = pickle.dumps(serialize_executable.serialize(executable))
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as partial:
            partial.write(content)
        os.replace(partial.name, file)
    except Exception:  # a full disk, a read-only home, a backend without serialization
        return
    generations = sorted(file.parent.parent.iterdir(), key=lambda folder: -folder.stat().st_mtime)
    for old in generations[_GENERATIONS:]:
        shutil.rmtree(old, ignore_errors=True)


@functools.cache
def _generation() -> str:
    """What an executable depends on beside its arguments: code, versions, device and the processor's instructions."""
    digest = hashlib.sha256()
    for module in _SOURCES:
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    device = jax.devices()[0]
    digest.update(
        f"{jax.__version__} {device.client.platform_version} {device.device_kind}".encode()
    )
    digest.update(os.environ.get("XLA_FLAGS", "").encode())
    processor = Path("/proc/cpuinfo")
    if processor.is_file():
        lines = processor.read_text().splitlines()
        digest.update(next((line for line in lines if line.startswith("flags")), "").encode())
    return digest.hexdigest()[:16]


def _folder() -> Path:
    # not cached: tests move the cache
    return user_cache_path("trm-agent") / "compiled" / _generation()
