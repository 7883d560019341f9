"""The training step compiles for TPUs that are not there. Runs where libtpu is installed (the extra tpu)."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from trm.aot import _collectives

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="pip install 'trm-agent[tpu]'"
)


def test_the_bytes_of_collectives_are_read_from_the_program():
    text = """
      %all-reduce.1 = f32[4,256]{1,0:T(8,128)} all-reduce(%fusion.2), channel_id=1
      %x = (bf16[8]{0}, s32[2,2]{1,0}) all-gather-start(%a, %b), dimensions={0}
      %y = f32[] all-reduce(%c)
      %fusion = f32[100]{0} fusion(%all-reduce.1)
    """
    assert _collectives(text) == {"all-reduce": 4 * 1024 + 4, "all-gather": 16 + 16}


@pytest.mark.slow
@needs_libtpu
def test_a_step_compiles_for_eight_chips_and_is_smaller_on_each_with_shared_kernels():
    program = """if True:
        import dataclasses, json
        from trm.aot import compiled
        from trm.config import Config, ModelConfig, TrainConfig
        model = ModelConfig(vocab=512, width=128, heads=4, layers=2, inner=256, decoder_inner=128)
        told = []
        for tensor in (1, 4):
            found = compiled("v5e:2x4", Config(model, TrainConfig(slots=2048, tensor=tensor)))
            told.append(dataclasses.asdict(found))
        print(json.dumps(told))
    """
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True, capture_output=True, text=True
    )  # fmt: skip
    plain, shared = json.loads(done.stdout)
    assert plain["chips"] == shared["chips"] == 8
    assert plain["positions"] == shared["positions"] == 2048
    assert 0 < plain["memory"] < plain["limit"] == 16 << 30
    assert plain["collectives"]["all-reduce"] > 0 and plain["flops"] > 1e6
    assert (
        set(shared["collectives"]) > {"all-reduce"} or shared["collectives"] != plain["collectives"]
    )
