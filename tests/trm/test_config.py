"""Configurations survive a checkpoint, and a wrong key or value is named."""

import dataclasses

import pytest

from trm.config import PRESETS, Config, ModelConfig, TrainConfig


@pytest.mark.parametrize("name", PRESETS)
def test_dict_round_trip(name):
    assert Config.from_dict(PRESETS[name].to_dict()) == PRESETS[name]


def test_presets_are_the_papers_recursion_and_differ():
    assert len(set(PRESETS.values())) == len(PRESETS)
    paper = PRESETS["paper"].model
    assert (paper.n, paper.T, paper.steps, paper.layers, paper.width) == (6, 3, 16, 2, 512)


@pytest.mark.parametrize("section", ["model", "train"])
def test_unknown_key_of_a_checkpoint_is_named(section):
    data = Config().to_dict()
    data[section]["surprise"] = 1
    with pytest.raises(ValueError, match="'surprise'"):
        Config.from_dict(data)


@pytest.mark.parametrize("field", dataclasses.fields(TrainConfig), ids=lambda field: field.name)
def test_every_training_setting_can_be_overridden(field):
    text = {str: "muon", bool: "True"}.get(type(field.default), "3")
    changed = Config().override({f"train.{field.name}": text})
    value = getattr(changed.train, field.name)
    assert str(value).startswith(text) and type(value) is type(field.default)
    assert changed == Config(train=dataclasses.replace(TrainConfig(), **{field.name: value}))


def test_override_finds_the_section_of_a_bare_name_and_keeps_the_rest():
    changed = Config().override({"width": "128", "seed": "5", "model.binarize": "true"})
    assert changed == Config(ModelConfig(width=128, binarize=True), TrainConfig(seed=5))
    assert changed.override({"binarize": "False", "width": "256", "seed": "0"}) == Config()


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("model.depth", "3", "unknown configuration key 'model.depth'"),
        ("data.width", "3", "unknown configuration key 'data.width'"),
        ("depth", "3", "unknown configuration key 'depth'"),
        ("model.width", "wide", "model.width: "),
        ("model.binarize", "perhaps", "model.binarize: 'perhaps' is not a boolean"),
        ("model.width", "66", "width 66 is not a multiple of heads 4"),
        ("model.n", "0", "at least 1"),
        ("model.steps", "0", "at least 1"),
        ("model.T", "-1", "at least 1"),
        ("model.matmul", "f16", "matmul is one of bf16, f32, 1-bit, not 'f16'"),
        ("model.gate", "shut", "gate is one of all, changed, better, not 'shut'"),
        ("model.halt", "z", "halt is one of answer, bits, not 'z'"),
        ("model.noise", "-1", "noise is at least 0"),
    ],
)
def test_wrong_override_says_what_is_wrong(key, text, said):
    with pytest.raises(ValueError) as caught:
        Config().override({key: text})
    assert said in str(caught.value)
