"""A training on a mesh as a program of its own, for test_mesh: losses, and how the state lies on the devices."""

import json
import sys
from pathlib import Path


def main(
    data: str, out: str, steps: str, tensor: str, coordinator: str = "", process: str = ""
) -> None:
    import jax

    from trm.config import Config, ModelConfig, TrainConfig
    from trm.mesh import connect
    from trm.train import train

    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of the time here
    if coordinator:
        connect(coordinator, 2, int(process))
    model = ModelConfig(
        vocab=512, width=32, heads=4, layers=1, inner=48, decoder_inner=32, matmul="f32"
    )
    settings = TrainConfig(
        learning_rate=2e-4, warmup=8, slots=448, log_every=2, steps=int(steps), tensor=int(tensor)
    )
    rows = list(train(Config(model, settings), Path(data), Path(out)))
    told = {"devices": jax.device_count(), "losses": [row.metrics["loss"] for row in rows]}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
