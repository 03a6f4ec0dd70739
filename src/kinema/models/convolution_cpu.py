"""The CPU routes of `kinema.models.convolution`: float32, no gradients, fewest operations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def rms_norm_silu_(x: Tensor, gamma: Tensor, out: Tensor) -> None:
    """SiLU(rms_norm(x, gamma)) into `out`, without temporaries of that size."""
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(1e-12).reciprocal_()
    torch.mul(x, scale.mul_(x.shape[-1] ** 0.5), out=out)
    F.silu(out.mul_(gamma), inplace=True)


def causal_conv(
    x: Float[Tensor, "b f h w c"],
    weight: Float[Tensor, "o c t 3 3"],
    bias: Float[Tensor, " o"],
    past: Float[Tensor, "b k h w c"] | None,
    gamma: Float[Tensor, " c"] | None,
) -> tuple[Float[Tensor, "b f h w o"], Float[Tensor, "b k2 h w c"]]:
    """`kinema.models.convolution.causal_conv`, for kernels of one or three taps in time."""
    b, f, h, w, c = x.shape
    known = 0 if past is None else past.shape[1]
    taps = weight.shape[2]
    buffer = x.new_zeros(b, taps - 1 + f, h, w, c)
    inside = buffer[:, taps - 1 :]
    if gamma is None:
        inside.copy_(x)
    else:
        rms_norm_silu_(x, gamma, inside)
    if past is not None:
        buffer[:, taps - 1 - known : taps - 1] = past
    y = F.conv3d(buffer.permute(0, 4, 1, 2, 3), weight, bias, padding=(0, 1, 1))
    return y.permute(0, 2, 3, 4, 1), buffer[:, max(taps - 1 - known, buffer.shape[1] - 2) :]


def time_conv(
    x: Float[Tensor, "b k+f h w c"], weight: Float[Tensor, "o c 3 1 1"], bias: Float[Tensor, " o"], known: int
) -> Float[Tensor, "b f h w o"]:
    """A causal 3x1x1 convolution as one matrix product for each tap; `known` leading frames are the past."""
    b, n, h, w, c = x.shape
    f = n - known
    kernel = weight[..., 0, 0].permute(2, 1, 0).contiguous()
    y = torch.empty(b, f, h, w, weight.shape[0])
    for film, out in zip(x, y, strict=True):
        torch.addmm(bias, film[known:].reshape(-1, c), kernel[2], out=out.view(f * h * w, -1))
        for back in (1, 2):
            unseen = max(0, back - known)
            if unseen < f:
                source = film[known + unseen - back : n - back]
                out[unseen:].view((f - unseen) * h * w, -1).addmm_(source.reshape(-1, c), kernel[2 - back])
    return y


def time_down_conv(
    x: Float[Tensor, "b f h w c"], weight: Float[Tensor, "o c 3 1 1"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b f2 h w o"]:
    """A 3x1x1 convolution of temporal stride 2 as matrix products."""
    b, f, h, w, c = x.shape
    kernel = weight[..., 0, 0].permute(2, 1, 0).contiguous()
    y = torch.empty(b, (f - 1) // 2, h, w, weight.shape[0])
    for film, out in zip(x, y, strict=True):
        for index, frame in enumerate(out):
            flat = frame.view(h * w, -1)
            torch.addmm(bias, film[2 * index].reshape(-1, c), kernel[0], out=flat)
            flat.addmm_(film[2 * index + 1].reshape(-1, c), kernel[1])
            flat.addmm_(film[2 * index + 2].reshape(-1, c), kernel[2])
    return y


def upsample_conv(
    x: Float[Tensor, "b f h w c"], weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b f 2*h 2*w o"]:
    """Nearest-neighbour doubling, then 3x3."""
    wide = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    y = F.conv2d(wide.flatten(0, 1).permute(0, 3, 1, 2), weight, bias, padding=1)
    return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
