"""The unfused attention for training in bfloat16 on a CPU, against torch's fused attention."""

import pytest
import torch
from torch.nn import functional

from kinema.models.transformer import attention
from kinema.models.transformer.attention import block_causal_ranges, multi_head_attention


def build_inputs(dtype, grad=True):
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(2, 3, 20, 16, generator=generator).to(dtype).requires_grad_(grad) for _ in range(3)
    ]
    bias = torch.zeros(2, 1, 1, 20)
    bias[1, :, :, :3] = -torch.inf
    return tensors, bias


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("key_ranges", [(), block_causal_ranges((1, 2, 1), 5)])
def test_unfused_attention_equals_torchs_up_to_rounding(masked, key_ranges):
    (query, key, value), bias = build_inputs(torch.float32)
    exact = multi_head_attention(query, key, value, bias=bias if masked else None, key_ranges=key_ranges)
    exact.sin().sum().backward()
    (q, k, v), _ = build_inputs(torch.bfloat16)
    out = multi_head_attention(q, k, v, bias=bias if masked else None, key_ranges=key_ranges)
    out.float().sin().sum().backward()
    assert out.dtype is torch.bfloat16
    assert (out.float() - exact).norm() < 0.02 * exact.norm()
    for rounded, whole in ((q, query), (k, key), (v, value)):
        assert (rounded.grad.float() - whole.grad).norm() < 0.03 * whole.grad.norm()


def test_unfused_attention_is_used_only_for_training_in_bfloat16(monkeypatch):
    used = []

    def recorded(*arguments, **keywords):
        used.append(arguments[0].dtype)
        return functional.scaled_dot_product_attention(*arguments, **keywords)

    class Recorder:
        scaled_dot_product_attention = staticmethod(recorded)

    monkeypatch.setattr(attention, "functional", Recorder)
    (query, key, value), _ = build_inputs(torch.bfloat16)
    multi_head_attention(query, key, value)
    assert used == []
    with torch.no_grad():
        multi_head_attention(query, key, value)
    multi_head_attention(query.float(), key.float(), value.float())
    assert used == [torch.bfloat16, torch.float32]
    monkeypatch.setattr(attention, "_MAX_UNFUSED_LOGITS", 100)
    multi_head_attention(query, key, value)
    assert len(used) == 3
