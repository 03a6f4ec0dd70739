"""The attention of training in bfloat16 on a processor, whose products are written out, against torch's."""

import pytest
import torch
from torch.nn import functional

from kinema.models.transformer import attention
from kinema.models.transformer.attention import block_causal_ranges, multi_head_attention


def parts(dtype, grad=True):
    place = torch.Generator().manual_seed(0)
    made = [torch.randn(2, 3, 20, 16, generator=place).to(dtype).requires_grad_(grad) for _ in range(3)]
    bias = torch.zeros(2, 1, 1, 20)
    bias[1, :, :, :3] = -torch.inf
    return made, bias


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spans", [(), block_causal_ranges((1, 2, 1), 5)])
def test_written_out_it_is_torch_s_attention_up_to_rounding(masked, spans):
    (query, key, value), bias = parts(torch.float32)
    exact = multi_head_attention(query, key, value, bias=bias if masked else None, key_ranges=spans)
    exact.sin().sum().backward()
    (q, k, v), _ = parts(torch.bfloat16)
    made = multi_head_attention(q, k, v, bias=bias if masked else None, key_ranges=spans)
    made.float().sin().sum().backward()
    assert made.dtype is torch.bfloat16
    assert (made.float() - exact).norm() < 0.02 * exact.norm()
    for rounded, whole in ((q, query), (k, key), (v, value)):
        assert (rounded.grad.float() - whole.grad).norm() < 0.03 * whole.grad.norm()


def test_it_is_written_out_only_where_that_pays(monkeypatch):
    used = []

    def watched(*arguments, **named):
        used.append(arguments[0].dtype)
        return functional.scaled_dot_product_attention(*arguments, **named)

    class Watched:
        scaled_dot_product_attention = staticmethod(watched)

    monkeypatch.setattr(attention, "functional", Watched)
    (query, key, value), _ = parts(torch.bfloat16)
    multi_head_attention(query, key, value)
    assert used == []
    with torch.no_grad():
        multi_head_attention(query, key, value)
    multi_head_attention(query.float(), key.float(), value.float())
    assert used == [torch.bfloat16, torch.float32]
    monkeypatch.setattr(attention, "_MAX_UNFUSED_LOGITS", 100)
    multi_head_attention(query, key, value)
    assert len(used) == 3
