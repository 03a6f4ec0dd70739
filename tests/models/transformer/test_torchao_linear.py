"""8-bit linear layers through torchao: what a GPU needs, near results, LoRAs beside them."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.lora.apply import LoraLinear, apply_loras
from kinema.models.lora.match import match_lora
from kinema.models.lora.reader import open_lora
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.torchao_linear import (
    check_torchao,
    is_torchao,
    quantize_with_torchao,
    unpack_torchao,
)
from kinema.pipeline.memory_policy import select_memory_policy
from tests.fixtures.lora_files import random_factors, write_family

GPU = torch.device("cuda")


@pytest.mark.parametrize(
    ("kind", "capability", "message"),
    [
        (
            "fp8",
            (8, 6),
            "fp8 needs a GPU of compute capability 8.9 or more, and cuda has 8.6; use int8 or bfloat16",
        ),
        (
            "int8",
            (7, 5),
            "int8 needs a GPU of compute capability 8.0 or more, and cuda has 7.5; use bfloat16",
        ),
        ("fp8", (7, 0), "fp8 needs .* has 7.0; use bfloat16"),
    ],
)
def test_a_card_that_has_no_such_products_is_one_line(monkeypatch, kind, capability, message):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with pytest.raises(UserError, match=message):
        check_torchao(kind, GPU)


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="fp8 on a GPU needs packages that are not installed"):
        check_torchao("fp8", GPU)


def test_fp8_on_a_cpu_is_one_line():
    with pytest.raises(UserError, match="fp8 runs on an NVIDIA GPU, not on cpu; use int8 there"):
        select_memory_policy(open_model("world"), torch.device("cpu"), dtype="fp8", memory="high")


def random_dit() -> Dit:
    torch.manual_seed(0)
    model = Dit(dit_config.tiny()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.requires_grad_(False)


@torch.no_grad()
def velocity(dit: Dit):
    torch.manual_seed(1)
    config = dit.config
    prompt = TextEmbeddings.from_list([torch.randn(5, config.text_width)])
    return dit(torch.randn(1, config.in_channels, 2, 4, 4), torch.full((1, 2), 0.7), dit.context(prompt))


@pytest.fixture
def quantized():
    pytest.importorskip("torchao")
    dit = random_dit()
    quantize_with_torchao(dit, "int8", torch.device("cpu"))
    return dit


def test_results_are_near(quantized):
    exact, found = velocity(random_dit()), velocity(quantized)
    assert is_torchao(quantized.blocks[0].attn1.to_q)
    assert 0 < (found - exact).norm() / exact.norm() < 0.05


def test_a_lora_is_beside_the_weight(quantized, tmp_path):
    config = dit_config.tiny()
    match = match_lora(
        open_lora(write_family(tmp_path / "x.safetensors", "A", random_factors(config))),
        config,
        model_name="tiny",
    )
    changed = apply_loras(quantized, [(match, 1.0)])
    assert isinstance(changed.blocks[0].attn1.to_q, LoraLinear)
    exact = velocity(apply_loras(random_dit(), [(match, 1.0)]))
    assert (velocity(changed) - exact).norm() / exact.norm() < 0.05
    assert (velocity(quantized) - exact).norm() / exact.norm() > 0.05


def test_a_plain_layer_is_restored(quantized):
    layer = quantized.blocks[0].attn1.to_q
    plain = unpack_torchao(layer, torch.float32)
    assert type(plain) is nn.Linear
    assert not is_torchao(plain)
    expected = random_dit().blocks[0].attn1.to_q.weight
    assert (plain.weight - expected).abs().max() < 0.02 * expected.abs().max()
