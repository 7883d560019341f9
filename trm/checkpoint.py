"""Checkpoints: the training state through orbax, released weights as one safetensors file beside config and vocabulary."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from trm.config import Config
from trm.layers import to_zero_one
from trm.vocab import Vocab

FORMAT = 1
WEIGHTS = "model.safetensors"
VOCAB = "vocab.json"
CARD = "card.json"
# of two axes or more, and in no product of zeros and ones
_WIDE = {"relation", "position", "length"}
_LOOKED_UP = {"piece", "kind", "role"}


class CheckpointError(ValueError):
    """The files are missing, truncated, foreign, or of another configuration."""


def shipped() -> Path:
    """Folder of the weights that ship inside the package."""
    return Path(__file__).parent / "weights"


def _flatten(params: Any, prefix: str = "") -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat.update(_flatten(value, name + "."))
        else:
            flat[name] = np.asarray(value)
    return flat


def _unflatten(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        node = tree
        *parents, last = name.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def is_packed(name: str, shape: Sequence[int], config: Config) -> bool:
    """Whether an array is one of zeros and ones, of which a file holds the bits: what `trm.layers` makes such."""
    first, *_, last = name.split(".")
    kernel = last in _LOOKED_UP if first == "embed" else last not in _WIDE
    return config.model.matmul == "1-bit" and len(shape) > 1 and kernel


def save_weights(
    folder: Path, params: Any, config: Config, vocab: Any, card: dict[str, Any]
) -> None:
    """Write weights (bf16, or bits), vocabulary and card. The card holds config, steps and measured figures."""
    from safetensors.numpy import save_file

    def stored(name: str, value: np.ndarray) -> np.ndarray:
        if is_packed(name, value.shape, config):
            return np.packbits(np.asarray(to_zero_one(jnp.asarray(value))) > 0.5)
        return value.astype(ml_dtypes.bfloat16, order="C")

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: stored(name, value) for name, value in _flatten(params).items()}
    partial = folder / (WEIGHTS + ".partial")
    save_file(arrays, str(partial), metadata={"format": str(FORMAT)})
    partial.replace(folder / WEIGHTS)
    vocab.save(folder / VOCAB)
    text = json.dumps({"format": FORMAT, "config": config.to_dict(), **card}, indent=1)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def load_weights(folder: Path) -> tuple[dict[str, Any], Config, dict[str, Any]]:
    """Parameters (f32 numpy), configuration and card.

    Raises:
      CheckpointError: naming the file and what is wrong with it.
    """
    from safetensors.numpy import load_file

    from trm.model import init_params

    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        config = Config.from_dict(card["config"])
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {CARD}: not a checkpoint of ours") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CARD} cannot be read: {error}") from error
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {card.get('format')}, this program reads {FORMAT}"
        )
    try:
        flat = load_file(str(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {WEIGHTS}") from error
    except Exception as error:  # safetensors raises its own type for truncated and foreign files
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    expected = jax.eval_shape(lambda: init_params(config.model))
    wanted = {name: leaf.shape for name, leaf in _shapes(expected).items()}
    for name in wanted.keys() & flat.keys():
        size, packed = math.prod(wanted[name]), flat[name]
        if is_packed(name, wanted[name], config) and packed.shape == (-(-size // 8),):
            flat[name] = np.unpackbits(packed, count=size).reshape(wanted[name])
    found = {name: value.shape for name, value in flat.items()}
    if wanted != found:
        odd = sorted(set(wanted.items()) ^ set(found.items()))[0]
        raise CheckpointError(f"{folder / WEIGHTS} does not fit its configuration at {odd[0]!r}")
    return (
        _unflatten({name: value.astype(np.float32) for name, value in flat.items()}),
        config,
        card,
    )


def load_vocab(folder: Path, config: Config) -> Vocab:
    """The vocabulary beside the weights. Raises CheckpointError if it is missing, foreign, or more than the weights know."""
    path = Path(folder) / VOCAB
    try:
        vocab = Vocab.load(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {VOCAB}") from error
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    model = config.model
    for name, found, known in (("pieces", vocab.size, model.vocab), ("kinds", len(vocab.kinds), model.kinds - 1),
                               ("roles", len(vocab.roles), model.roles - 1)):  # fmt: skip
        if found > known:
            raise CheckpointError(f"{path} has {found} {name}, the weights know {known}")
    return vocab


def _shapes(tree: Any, prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            out.update(_shapes(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out


class StateStore:
    """Training states below `folder`, the newest two kept; saving is atomic, and goes on while training does (orbax)."""

    def __init__(self, folder: Path) -> None:
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True),
        )

    @property
    def latest(self) -> int | None:
        """Step of the newest state, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Save arrays and JSON-able meta data (configuration, data cursor), done at the latest when the next one begins."""
        args = self._ocp.args
        self._manager.save(
            step, args=args.Composite(state=args.StandardSave(state), meta=args.JsonSave(meta))
        )

    def restore(self, state: Any) -> tuple[Any, dict[str, Any]]:
        """The newest state in the form of `state`. Raises CheckpointError if it does not fit or cannot be read."""
        step = self.latest
        if step is None:
            raise CheckpointError("nothing to resume from")
        args = self._ocp.args
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, state)
        try:
            restored = self._manager.restore(
                step,
                args=args.Composite(state=args.StandardRestore(abstract), meta=args.JsonRestore()),
            )
        except Exception as error:  # orbax raises many types for a checkpoint that does not fit
            raise CheckpointError(
                f"the state of step {step} does not fit: {str(error)[:200]}"
            ) from error
        return restored["state"], restored["meta"]

    def close(self) -> None:
        """Wait for the last save and release the manager's threads."""
        self._manager.wait_until_finished()
        self._manager.close()
