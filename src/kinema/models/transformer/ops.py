"""Norms, modulation and linear layers of a transformer block, in the fastest form for the device.

All are pure functions: no prepacked weights are cached, so none can be stale. (Weights prepacked for oneDNN
were measured, and were slower whenever the batch size changed.)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinema.models.packed_weight import PackedLinear

# glibc keeps freed memory up to twice the largest block of at most 32 MiB that was ever freed.
_MALLOC_THRESHOLD_BYTES = 31 * 2**20


def raise_malloc_threshold(device: torch.device) -> None:
    """Make glibc keep freed memory for the next transformer block instead of returning it to the system.

    A transformer block frees and allocates tens of MiB, just above what glibc keeps by default; page faults
    took 5% of a step. Allocating one larger buffer and freeing it, without touching its pages, raises the
    limit to 62 MiB. With another C library this has no effect.
    """
    if device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        torch.empty(_MALLOC_THRESHOLD_BYTES, dtype=torch.uint8)


def layer_norm(
    x: Float[Tensor, "*n d"], weight: Float[Tensor, " d"] | None, bias: Float[Tensor, " d"] | None, eps: float
) -> Float[Tensor, "*n d"]:
    """Layer norm over channels in float32, returned in the type of `x`."""
    return functional.layer_norm(x.float(), (x.shape[-1],), weight, bias, eps).to(x.dtype)


def modulated_norm(
    x: Float[Tensor, "b n d"], shift: Float[Tensor, "b2 f d"], scale: Float[Tensor, "b2 f d"], eps: float
) -> Float[Tensor, "b n d"]:
    """LN(x)·(1 + scale) + shift, with one row of shift and scale per sample and latent frame, or one for all.

    Computed in float32, returned in the type of `x`. A single row is passed to the norm as weight and bias.
    """
    if shift.shape[0] == shift.shape[1] == 1:
        return layer_norm(x, 1 + scale[0, 0], shift[0, 0], eps)
    batch, tokens, width = x.shape
    normed = functional.layer_norm(x.float(), (width,), None, None, eps).view(
        batch, shift.shape[1], -1, width
    )
    return (
        torch.addcmul(shift[:, :, None], normed, 1 + scale[:, :, None]).view(batch, tokens, width).to(x.dtype)
    )


def gated_add(
    x: Float[Tensor, "b n d"], update: Float[Tensor, "b n d"], gate: Float[Tensor, "b2 f d"]
) -> Float[Tensor, "b n d"]:
    """x + gate·update in float32, returned in the type of `x`; gates as in `modulated_norm`.

    Without autograd a float32 `x` is overwritten.
    """
    batch, _, width = x.shape
    frames = (batch, gate.shape[1], -1, width)
    rows = gate[:, :, None]
    if x.dtype is update.dtype is torch.float32 and not torch.is_grad_enabled():
        x.view(frames).addcmul_(update.view(frames), rows)
        return x
    return torch.addcmul(x.float().view(frames), update.float().view(frames), rows).view(x.shape).to(x.dtype)


def linear(x: Float[Tensor, "*n c"], layer: nn.Linear, *, gelu: bool = False) -> Float[Tensor, "*n d"]:
    """A linear layer, followed by GELU (tanh approximation) with `gelu`.

    On a CPU in float32 without autograd oneDNN is called: it applies the GELU while the product is still in
    cache, and on CPUs other than Intel's it is faster than torch's default library.
    """
    # A layer with hooks or another forward (LoRA, int8) must be called itself.
    is_plain = type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks
    if not is_plain and type(layer) is not PackedLinear:
        out = layer(x)
        return functional.gelu(out, approximate="tanh") if gelu else out
    weight = layer.unpack_weight(x.dtype) if isinstance(layer, PackedLinear) else layer.weight
    use_onednn = (
        x.dtype is torch.float32
        and weight.dtype is torch.float32
        and type(weight) in (Tensor, nn.Parameter)  # Quantised weights have a product of their own.
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
    if use_onednn:
        activation, algorithm = ("gelu", "tanh") if gelu else ("none", "")
        return torch.ops.mkldnn._linear_pointwise(x, weight, layer.bias, activation, [], algorithm)
    out = functional.linear(x, weight, layer.bias)
    return functional.gelu(out, approximate="tanh") if gelu else out
