"""Damaged and hostile LoRA files: one line, no traceback."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from kinema.errors import UserError
from kinema.models.lora.match import match_lora, read_changes
from kinema.models.lora.names import _PREFIXES, _SUFFIXES, ModuleTable, parse_name
from kinema.models.lora.reader import open_lora
from kinema.models.transformer import dit_config

CONFIG = dit_config.tiny()
MODULES = (
    "x\n\x1b[31m" + "y" * 5000,
    "blocks.0.self_attn.q",
    "blocks.1.attn1.to_q",
    "lora_unet_blocks_0_ffn_0",
    "head.head",
    "norm",
    "",
)
SHAPES = st.lists(st.sampled_from((0, 1, 2, 48, 96)), max_size=3).map(tuple)
NAMES = st.builds(
    lambda prefix, module, suffix: prefix + module + suffix,
    st.sampled_from(("", "transformer_2.", *_PREFIXES)),
    st.sampled_from(MODULES),
    st.sampled_from((".weight", *(suffix for suffix, _ in _SUFFIXES))),
)
GOOD = save(
    {
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.ones(2, 48),
        "diffusion_model.blocks.0.self_attn.q.lora_B.weight": torch.ones(48, 2),
        "diffusion_model.blocks.0.self_attn.q.alpha": torch.tensor(1.0),
    },
    metadata={"lora_adapter_metadata": json.dumps({"transformer.r": 2, "transformer.lora_alpha": 2})},
)


def check(path) -> None:
    """Either the file is read, or the error is one line."""
    message = ""
    try:
        match = match_lora(open_lora(path), CONFIG, model_name="tiny")
        message = match.note
        assert all(read_changes(match).values())
    except UserError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 1000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "x.safetensors"


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6), st.integers(0, 40)
)
@settings(max_examples=150)
def test_changed_and_missing_bytes(path, changes, missing):
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    path.write_bytes(bytes(data[: len(data) - missing]))
    check(path)


@given(st.dictionaries(NAMES, SHAPES, min_size=1, max_size=6))
@settings(max_examples=150)
def test_any_tensors_under_any_names(path, tensors):
    path.write_bytes(save({name: torch.ones(shape) for name, shape in tensors.items()}))
    check(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
@settings(max_examples=60)
def test_any_settings_of_peft(path, value):
    names = ("transformer.lora_alpha", "transformer.alpha_pattern", "transformer.use_rslora")
    for name in names:
        text = json.dumps({"transformer.lora_alpha": 1, name: value})
        tensors = {
            "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 48),
            "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.ones(48, 2),
        }
        path.write_bytes(save(tensors, metadata={"lora_adapter_metadata": text}))
        check(path)


@given(st.text(max_size=60))
@settings(max_examples=100)
def test_any_name_is_parsed(name):
    assert ModuleTable(["blocks.0.attn1.to_q.weight"]).find(parse_name(name)) in (None, "blocks.0.attn1.to_q")
