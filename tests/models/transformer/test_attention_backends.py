"""Attention back ends: each equals the formula, and one that is not here ends in one line."""

import sys
import types

import pytest
import torch

from kinema.errors import UserError
from kinema.models.transformer.attention import (
    attention_with_lse,
    choose_attention_backend,
    merge_attention,
    multi_head_attention,
)

CPU = torch.device("cpu")


def formula(query, key, value, bias=None):
    logits = (query.double() * query.shape[-1] ** -0.5) @ key.double().transpose(-1, -2)
    logits = logits if bias is None else logits + bias
    return (logits.softmax(-1) @ value.double()).transpose(1, 2).flatten(2).float()


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, count, 8, generator=generator) for count in (7, 11, 11)]


@pytest.mark.parametrize("backend", ["sdpa", "flash", "math"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_torch_kernels_equal_the_formula(tensors, backend, with_bias):
    bias = torch.randn(2, 1, 1, 11, generator=torch.Generator().manual_seed(2)) if with_bias else None
    out = multi_head_attention(*tensors, bias=bias, backend=backend)
    assert (out - formula(*tensors, bias)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("backend", "module", "function"),
    [
        ("flash-attn-2", "flash_attn", "flash_attn_func"),
        ("flash-attn-3", "flash_attn_interface", "flash_attn_func"),
        ("sage", "sageattention", "sageattn"),
        ("xformers", "xformers.ops", "memory_efficient_attention"),
    ],
)
def test_packages_get_their_layout(monkeypatch, tensors, backend, module, function):
    """A stand-in with the package's signature, in its layout: heads first for SageAttention, last else."""

    def attention(q, k, v, tensor_layout="NHD", is_causal=False):
        assert not is_causal
        assert q.dtype == torch.bfloat16
        if tensor_layout == "NHD":
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = formula(q, k, v).unflatten(-1, (3, -1)).to(q.dtype)
        out = out if tensor_layout == "NHD" else out.transpose(1, 2)
        return (out, None) if backend == "flash-attn-3" else out

    for name in {module, module.partition(".")[0]}:
        stand_in = types.ModuleType(name)
        setattr(stand_in, function, attention)
        monkeypatch.setitem(sys.modules, name, stand_in)
    out = multi_head_attention(*tensors, backend=backend)
    assert out.dtype == torch.float32
    assert (out - formula(*tensors)).abs().max() < 0.03
    # They take no bias: torch does, exactly.
    bias = torch.zeros(1, 1, 1, 11)
    bias[..., 5:] = -torch.inf
    assert (
        multi_head_attention(*tensors, bias=bias, backend=backend) - formula(*tensors, bias)
    ).abs().max() < 1e-6


def test_attention_to_two_sets_of_keys_is_merged(tensors):
    query, key, value = tensors
    bias = torch.randn(2, 1, 7, 4, generator=torch.Generator().manual_seed(3))
    first = attention_with_lse(query, key[:, :, :4], value[:, :, :4], bias)
    second = attention_with_lse(query, key[:, :, 4:], value[:, :, 4:])
    out = merge_attention(first, second)[0].transpose(1, 2).flatten(2)
    whole = torch.nn.functional.pad(bias, (0, 7))
    assert (out - formula(query, key, value, whole)).abs().max() < 1e-6


def test_choice_by_name():
    assert choose_attention_backend("auto", CPU)[0] == "sdpa"
    assert choose_attention_backend("math", CPU)[0] == "math"
    for name in ("cudnn", "efficient", "flash-attn-2", "flash-attn-3", "sage", "xformers"):
        with pytest.raises(UserError, match=f"attention {name} runs on an NVIDIA GPU, not on cpu; use sdpa"):
            choose_attention_backend(name, CPU)
    with pytest.raises(UserError, match="there is no attention 'sag'"):
        choose_attention_backend("sag", CPU)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for name, install in (("flash-attn-2", "pip install flash-attn"), ("xformers", "pip install xformers")):
        with pytest.raises(UserError, match=f"{name} is not installed; install it: {install}"):
            choose_attention_backend(name, torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(UserError, match=r"flash-attn-3 needs a GPU of compute capability 9\.0 or more"):
        choose_attention_backend("flash-attn-3", torch.device("cuda"))
