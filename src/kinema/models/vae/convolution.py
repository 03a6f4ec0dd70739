"""Convolutions over videos, channels last, causal in time, with past frames passed in and out.

All functions work on `b f h w c`: the channels of a pixel are contiguous, so that normalisation is a row
operation, 1x1 convolutions are matrix products, and no layout changes between layers.

Every function has two implementations with the same result. With autograd, on a GPU and in any type but
float32 it calls torch's convolution (cuDNN and oneDNN support channels last). On a CPU in float32 without
autograd it calls `kinema.models.vae.cpu.kernels`.

Parameters keep the shapes of `torch.nn.Conv2d` and `torch.nn.Conv3d`: `o i h w` and `o i f h w`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.models.vae.cpu import kernels
from kinema.models.vae.cpu.kernels import Workspace


def use_cpu_kernels(x: Tensor) -> bool:
    """Whether `kinema.models.vae.cpu.kernels` apply: float32 on a CPU without autograd.

    torch.compile can't trace their scratch memory, and autocast needs products in another type, so both call
    torch's convolution.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
        return False
    return not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def rms_norm(x: Float[Tensor, "*rows c"], gamma: Float[Tensor, " c"]) -> Float[Tensor, "*rows c"]:
    """x / max(‖x‖, 1e-12) · √c · gamma over the channels of each pixel, the length taken in float32."""
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(1e-12)
    return (wide / length).to(x.dtype) * (x.shape[-1] ** 0.5) * gamma


def causal_conv(
    x: Float[Tensor, "b f h w c"],
    weight: Float[Tensor, "o c 3 3 3"],
    bias: Float[Tensor, " o"],
    past: Float[Tensor, "b k h w c"] | None,
    gamma: Float[Tensor, " c"] | None = None,
    workspace: Workspace | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Float[Tensor, "b f h w o"], Float[Tensor, "b k2 h w c"]]:
    """Convolve 3x3x3; every output frame reads its input frame and the two before it.

    Args:
        x: the new frames, at least one.
        weight: the kernel.
        bias: one value per output channel.
        past: up to two frames that came before `x`, as returned by the last call; None at the start.
            Frames before the start are zeros.
        gamma: with it, the convolution reads SiLU(rms_norm(x, gamma)) instead of x.
        workspace: memory that successive convolutions share.
        overwrite: x is not read again, so the output may use its memory.

    Returns:
        The output frames, and the last frames of the convolution's input, the `past` of the next call.
        These may be views of larger buffers or of `workspace`: clone them to keep them.
    """
    if use_cpu_kernels(x):
        return kernels.causal_conv(x, weight, bias, past, gamma, workspace=workspace, overwrite=overwrite)
    if gamma is not None:
        x = F.silu(rms_norm(x, gamma))
    if past is not None:
        x = torch.cat([past, x], dim=1)
    missing = 2 - (0 if past is None else past.shape[1])
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, missing, 0))
    y = F.conv3d(padded.permute(0, 4, 1, 2, 3), weight, bias, padding=(0, 1, 1))
    return y.permute(0, 2, 3, 4, 1), x[:, -2:]


def time_conv(
    x: Float[Tensor, "b f h w c"],
    weight: Float[Tensor, "o c 3 1 1"],
    bias: Float[Tensor, " o"],
    past: Float[Tensor, "b k h w c"] | None,
) -> tuple[Float[Tensor, "b f h w o"], Float[Tensor, "b k2 h w c"]]:
    """Convolve 3x1x1, causally; the arguments and results are those of `causal_conv`."""
    if past is not None:
        x = torch.cat([past, x], dim=1)
    known = 0 if past is None else past.shape[1]
    if use_cpu_kernels(x):
        return kernels.time_conv(x, weight, bias, known), x[:, -2:]
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, 2 - known, 0))
    y = F.conv3d(padded.permute(0, 4, 1, 2, 3), weight, bias)
    return y.permute(0, 2, 3, 4, 1), x[:, -2:]


def time_down_conv(
    x: Float[Tensor, "b f h w c"], weight: Float[Tensor, "o c 3 1 1"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b f2 h w o"]:
    """Convolve 3x1x1 with a temporal stride of 2 and no padding: 2n + 1 frames in, n out."""
    if use_cpu_kernels(x):
        return kernels.time_down_conv(x, weight, bias)
    return F.conv3d(x.permute(0, 4, 1, 2, 3), weight, bias, stride=(2, 1, 1)).permute(0, 2, 3, 4, 1)


def frame_conv2d(
    x: Float[Tensor, "b f h w c"],
    weight: Float[Tensor, "o c 3 3"],
    bias: Float[Tensor, " o"],
    gamma: Float[Tensor, " c"] | None = None,
) -> Float[Tensor, "b f h w o"]:
    """Convolve each frame 3x3; `gamma` as in `causal_conv`."""
    if use_cpu_kernels(x):
        return kernels.causal_conv(x, weight[:, :, None], bias, None, gamma)[0]
    if gamma is not None:
        x = F.silu(rms_norm(x, gamma))
    return _conv2d_per_frame(x, weight, bias, stride=1, padding=1)


def upsample_conv(
    x: Float[Tensor, "b f h w c"], weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b f 2*h 2*w o"]:
    """Double both sides (nearest neighbour), then convolve each frame 3x3."""
    if use_cpu_kernels(x):
        return kernels.upsample_conv(x, weight, bias)
    wide = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return _conv2d_per_frame(wide, weight, bias, stride=1, padding=1)


def downsample_conv(
    x: Float[Tensor, "b f h w c"], weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b f h/2 w/2 o"]:
    """Convolve each frame 3x3 with a stride of 2; zeros are added on the right and at the bottom only."""
    return _conv2d_per_frame(F.pad(x, (0, 0, 0, 1, 0, 1)), weight, bias, stride=2, padding=0)


def _conv2d_per_frame(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int, padding: int) -> Tensor:
    y = F.conv2d(x.flatten(0, 1).permute(0, 3, 1, 2), weight, bias, stride=stride, padding=padding)
    return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
