"""Configurations: frozen dataclasses in the paper's letters; presets are `replace`d, unknown keys are errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_SPAN = 16  # leaves an edit may remove
OPTIMIZERS = ("adamw", "adam-mini", "atan2", "muon")  # atan2: the paper's; muon: for the kernels
HALT = 0.5  # halting probability at which the recursion stops
MAX_CONTENT = 15  # pieces or copies an edit may write; one more slot holds END
_CHOICES = {
    "matmul": ("bf16", "f32", "1-bit"),
    "halt": ("answer", "bits"),
    "gate": ("all", "changed", "better"),
}  # of ModelConfig


@dataclass(frozen=True)
class ModelConfig:
    """The network and its recursion (arXiv 2510.04871, section 4).

    n: latent updates z <- net(x + y + z) a cycle; T: cycles a supervision step, of which all but the last run without
    gradient; steps: supervision steps. `layers` blocks make the one net that serves both updates.
    """

    vocab: int = 4096
    width: int = 256
    heads: int = 4
    layers: int = 2
    inner: int = 512
    n: int = 1
    T: int = 1
    steps: int = 1
    pieces: int = 4  # BPE pieces a leaf
    kinds: int = 160
    roles: int = 320
    decoder_inner: int = 512
    # inputs of matrix products: "bf16" (f32 accumulation) or "f32"; "1-bit": as bf16, kernels and tables of zeros and
    # ones by their mean, products normalized (arXiv 2509.07025)
    matmul: str = "bf16"
    binarize: bool = False  # latent z as bits, straight-through
    halt: str = (
        "answer"  # what the halting head reads at position 0: the "answer" y or the "bits" of z
    )
    # which supervision steps are taken, a 0/1 decision without gradient: "all"; those that change a bit of z ("changed"); those
    # after which the halting head believes in the answer no less ("better")
    gate: str = "all"
    noise: float = (
        0.0  # standard deviation, added to z before each step at inference (arXiv 2605.19943)
    )
    qk_norm: bool = True  # normalize queries and keys; the official code does not

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if min(self.n, self.T, self.steps) < 1:
            raise ValueError("n, T and steps are at least 1")
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {value!r}")
        if self.noise < 0:
            raise ValueError("noise is at least 0")


@dataclass(frozen=True)
class TrainConfig:
    """Optimization. `slots` is the number of token positions a step (batch times padded length)."""

    optimizer: str = (
        "adamw"  # "atan2": the paper's; "muon": for the kernels, with Adam for the rest
    )
    learning_rate: float = 1.5e-3
    warmup: int = 300
    decay_steps: int = 0  # > 0: linear decay to 2 % over the last that many of `steps`
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.05
    clip: float = 1.0  # of the gradient's norm; 0: none
    ema: float = 0.999
    slots: int = 4096
    halt_weight: float = 0.5
    # each supervision step is asked for more of an edit than the one before: its start, then its length, then its slots (after
    # Deep Improvement Supervision, arXiv 2511.16886)
    step_targets: bool = False
    grow: int = 0  # updates after which n, T and steps have their full size, in thirds (arXiv 2511.08653); 0: from the first
    # > 0: of a net deepened from so many layers only the blocks that were added are trained (LLaMA Pro, arXiv 2401.02415)
    kept: int = 0
    seed: int = 0
    steps: int = 1_000_000
    seconds: float = 0.0  # 0: no limit
    save_every: float = 240.0  # seconds
    tensor: int = 1  # devices that share one copy of the kernels (trm/mesh.py)
    log_every: int = 50

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}")
        if self.tensor < 1:
            raise ValueError("tensor is at least 1")


@dataclass(frozen=True)
class RLConfig:
    """Reinforcement from executed tests (trm/rl.py). An update has `groups` functions with `edits` executed edits each.

    objective: "tpo", "ppo", or "none", the control: the supervised part alone. supervised: weight of the loss of the true fixes.
    executions: edits that are executed in all.
    """

    objective: str = "tpo"
    edits: int = 16
    groups: int = 8
    epochs: int = 4  # steps of the optimizer on the groups of an update
    clip: float = 0.2  # of PPO's ratio
    eta: float = 1.0  # temperature of TPO's targets
    supervised: float = 0.5
    executions: int = 4000

    def __post_init__(self) -> None:
        if self.objective not in ("tpo", "ppo", "none"):
            raise ValueError(f"objective is 'tpo', 'ppo' or 'none', not {self.objective!r}")
        if self.edits < 2 or min(self.groups, self.epochs) < 1:
            raise ValueError("groups and epochs are at least 1, edits at least 2")


@dataclass(frozen=True)
class Config:
    """What a checkpoint stores beside its arrays."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    rl: RLConfig = field(default_factory=RLConfig)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`. Raises ValueError for an unknown key."""
        return Config(
            model=_build(ModelConfig, data.get("model", {})),
            train=_build(TrainConfig, data.get("train", {})),
            rl=_build(RLConfig, data.get("rl", {})),
        )

    def override(self, assignments: Mapping[str, str]) -> Config:
        """Apply `--set model.width=128` style strings. Raises ValueError naming the key."""
        sections = {"model": self.model, "train": self.train, "rl": self.rl}
        for key, text in assignments.items():
            section, _, name = key.rpartition(".")
            if not section:
                section = "model" if name in ModelConfig.__dataclass_fields__ else "train"
            current = sections.get(section)
            if current is None or name not in current.__dataclass_fields__:
                raise ValueError(f"unknown configuration key {key!r}")
            old = getattr(current, name)
            try:
                value = _parse(text, type(old))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
            sections[section] = dataclasses.replace(current, **{name: value})
        return Config(**sections)  # type: ignore[arg-type]


PRESETS: dict[str, Config] = {
    "shipped": Config(),
    "tiny": Config(model=ModelConfig(width=64, heads=2, inner=128, decoder_inner=128)),
    # few steps, from weights that are good already
    "rl": Config(train=TrainConfig(learning_rate=3e-5, warmup=10, ema=0.9)),
    "paper": Config(
        model=ModelConfig(width=512, heads=8, inner=1536, n=6, T=3, steps=16, decoder_inner=512),
        train=TrainConfig(learning_rate=1e-4, warmup=2000, weight_decay=0.1, beta2=0.95),
    ),
}


def _build(cls: type, data: Mapping[str, Any]) -> Any:
    if unknown := set(data) - set(cls.__dataclass_fields__):
        raise ValueError(f"unknown configuration key {sorted(unknown)[0]!r}")
    return cls(**data)


def _parse(text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"{text!r} is not a boolean")
        return text.lower() in ("true", "1")
    return kind(text)
