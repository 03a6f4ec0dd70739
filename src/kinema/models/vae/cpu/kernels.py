"""The CPU kernels of `kinema.models.vae.convolution`: float32, without autograd.

A 3x3x3 convolution has three implementations, chosen by the layer's sizes (`_select_route`):

- direct: oneDNN's convolution, for few input channels, where transforms cost more than they save;
- products: one matrix product for each tap in time over gathered pixels, for the smallest frames, where
  most of the time is reading the weights;
- Winograd: F(2,3) for small frames with many channels, because its transformed weights are smaller, and
  F(4,3) for all others.

Videos are `b f h w c`. Weights in the format of `copy_channels_last` are read fastest.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.models.vae.cpu import winograd as convolution_winograd
from kinema.models.vae.cpu.winograd import F2, F4

Route = Literal["direct", "products", "winograd 2", "winograd 4"]

# Bytes that are normalised at a time: they are written three times and should stay in the cache.
_NORM_BYTES = 2**20
# Bytes of the result of one matrix product in `upsample_conv`.
_UPSAMPLE_BYTES = 8 * 2**20


class Workspace:
    """Memory for the padded input, shared by successive convolutions.

    Allocating memory of that size costs about as much as a pass over it. Each convolution overwrites the
    input of the previous one.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def allocate(self, like: Tensor, *shape: int) -> Tensor:
        """An uninitialised tensor of this shape, valid until the next call."""
        size = math.prod(shape)
        if self._memory is None or self._memory.numel() < size or self._memory.dtype != like.dtype:
            self._memory = like.new_empty(size)
        return self._memory[:size].view(shape)


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
    route: Route | None = None,
    workspace: Workspace | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Float[Tensor, "b f h w o"], Float[Tensor, "b k2 h w c"]]:
    """`kinema.models.vae.convolution.causal_conv`, for kernels of one or three taps in time.

    The normalised input is written once, into a buffer that already has the past and a border of zeros.
    `route` overrides the choice of the implementation. With `workspace`, that buffer and the returned past
    are valid until the next convolution.
    """
    b, f, h, w, c = x.shape
    o, _, taps = weight.shape[:3]
    known = 0 if past is None else past.shape[1]
    route = _select_route(inputs=c, outputs=o, pixels=h * w, frames=f) if route is None else route
    tile = {"winograd 2": 2, "winograd 4": 4}.get(route, 1)
    rows, columns = h + -h % tile, w + -w % tile

    buffer = (workspace or Workspace()).allocate(x, b, known + f, rows + 2, columns + 2, c)
    buffer[:, :, 0].zero_()
    buffer[:, :, h + 1 :].zero_()
    buffer[:, :, :, 0].zero_()
    buffer[:, :, :, w + 1 :].zero_()
    inside = buffer[:, :, 1 : h + 1, 1 : w + 1]
    lines = max(1, _NORM_BYTES // (w * c * 4))
    if past is not None:
        inside[:, :known] = past
    for video, target in zip(x, inside[:, known:], strict=True):
        if gamma is None:
            target.copy_(video)
            continue
        for frame, frame_target in zip(video, target, strict=True):
            for top in range(0, h, lines):
                rms_norm_silu_(frame[top : top + lines], gamma, frame_target[top : top + lines])

    # From here on x is not read.
    fits = overwrite and x.is_contiguous() and x.shape == (b, f, rows, columns, o)
    y = x if fits else x.new_empty(b, f, rows, columns, o)
    for video, out in zip(buffer, y, strict=True):
        if route == "direct":
            _conv_onednn(video, weight, bias, out, known=known)
        elif route == "products":
            _conv_matmul(video, weight, bias, out, known=known)
        else:
            winograd = F2 if route == "winograd 2" else F4
            convolution_winograd.convolve(video, weight, bias, out, known=known, winograd=winograd)
    return y[:, :, :h, :w], inside[:, max(0, known + f - (taps - 1)) :]


def _select_route(*, inputs: int, outputs: int, pixels: int, frames: int) -> Route:
    """The fastest implementation, as measured on one core with AVX-512."""
    if inputs < 8:
        return "direct"
    if pixels * frames <= 160 and inputs * outputs >= 2**18:
        return "products"
    # The weights of F(4,3) are four times as large; only many tiles pay for reading them.
    if pixels * frames * 36 < inputs * outputs:
        return "winograd 2"
    return "winograd 4"


def _conv_onednn(video: Tensor, weight: Tensor, bias: Tensor, out: Tensor, *, known: int) -> None:
    """oneDNN on the padded video; the first frames only with the taps that read a frame."""
    taps, f = weight.shape[2], out.shape[0]
    channels_first = video.permute(3, 0, 1, 2)[None]
    start = 0
    for num_taps in range(min(known + 1, taps), taps + 1):
        stop = min(f, num_taps - known) if num_taps < taps else f
        if start < stop:
            part = channels_first[:, :, known + start + 1 - num_taps : known + stop]
            y = F.conv3d(part, weight[:, :, taps - num_taps :], bias)
            out[start:stop] = y[0].permute(1, 2, 3, 0)
            start = stop


def _conv_matmul(video: Tensor, weight: Tensor, bias: Tensor, out: Tensor, *, known: int) -> None:
    """One matrix product for each tap in time, over the 3x3 neighbourhood of every pixel."""
    n, rows, columns, c = video.shape
    f, h, w, o = out.shape
    taps = weight.shape[2]
    strides = (rows * columns * c, columns * c, c, columns * c, c, 1)
    neighbours = video.as_strided((n, h, w, 3, 3, c), strides, video.storage_offset())
    gathered = neighbours.reshape(n, h * w, 9 * c)
    flat = out.view(f, h * w, o)
    for back in range(taps):
        tap = taps - 1 - back
        matrix = weight[:, :, tap].permute(0, 2, 3, 1).reshape(o, 9 * c).t()
        without_past = max(0, back - known)
        if known + without_past >= n:
            continue
        source = gathered[known + without_past - back : n - back].flatten(0, 1)
        target = flat[without_past:].flatten(0, 1)
        if back == 0:
            torch.addmm(bias, source, matrix, out=target)
        else:
            target.addmm_(source, matrix)


def time_conv(
    x: Float[Tensor, "b n h w c"], weight: Float[Tensor, "o c 3 1 1"], bias: Float[Tensor, " o"], known: int
) -> Float[Tensor, "b f h w o"]:
    """A causal 3x1x1 convolution as a matrix product for each tap; the first `known` frames are the past."""
    b, n, h, w, c = x.shape
    f = n - known
    kernel = weight[..., 0, 0].permute(2, 1, 0).contiguous()
    y = x.new_empty(b, f, h, w, weight.shape[0])
    for video, out in zip(x, y, strict=True):
        torch.addmm(bias, video[known:].reshape(-1, c), kernel[2], out=out.view(f * h * w, -1))
        for back in (1, 2):
            without_past = max(0, back - known)
            if without_past < f:
                source = video[known + without_past - back : n - back]
                out[without_past:].view((f - without_past) * h * w, -1).addmm_(
                    source.reshape(-1, c), kernel[2 - back]
                )
    return y


def time_down_conv(
    x: Float[Tensor, "b f h w c"], weight: Float[Tensor, "o c 3 1 1"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b f2 h w o"]:
    """A 3x1x1 convolution of temporal stride 2 as matrix products."""
    b, f, h, w, c = x.shape
    kernel = weight[..., 0, 0].permute(2, 1, 0).contiguous()
    y = x.new_empty(b, (f - 1) // 2, h, w, weight.shape[0])
    for video, out in zip(x, y, strict=True):
        for index, frame in enumerate(out):
            flat = frame.view(h * w, -1)
            torch.addmm(bias, video[2 * index].reshape(-1, c), kernel[0], out=flat)
            flat.addmm_(video[2 * index + 1].reshape(-1, c), kernel[1])
            flat.addmm_(video[2 * index + 2].reshape(-1, c), kernel[2])
    return y


def upsample_conv(
    x: Float[Tensor, "b f h w c"], weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b f 2*h 2*w o"]:
    """Nearest-neighbour doubling and a 3x3 convolution, without materialising the doubled frame.

    Doubled pixels are copies, so the nine products of each input pixel with the nine taps suffice, a quarter
    of the work. With the products p, q, r of the three taps of a row, two neighbouring outputs are
    p[i-1] + q[i] + r[i] and p[i] + q[i] + r[i+1]. Rows are summed first (downwards), then columns.
    """
    b, f, h, w, c = x.shape
    o = weight.shape[0]
    matrix = weight.permute(1, 2, 3, 0).reshape(c, 9 * o)
    # The middle tap is in every sum exactly once, so the bias is added to it.
    tap_bias = torch.cat([bias.new_zeros(4 * o), bias, bias.new_zeros(4 * o)])
    y = x.new_empty(b, f, 2 * h, 2 * w, o)
    high = max(1, min(h, _UPSAMPLE_BYTES // (w * 9 * o * 4)))
    products = x.new_empty(high + 2, w, 3, 3 * o)
    upper, lower = x.new_empty(2, high, w, 3 * o)
    for frame, out in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        # Row 0 of `products` is the row above the block, the last the row below it.
        products[0].zero_()
        for top in range(0, h, high):
            k = min(high, h - top)
            fresh = 0 if top == 0 else 1
            stop = min(h, top + k + 1)
            block = products[1 + fresh : 1 + stop - top]
            torch.addmm(tap_bias, frame[top + fresh : stop].reshape(-1, c), matrix, out=block.view(-1, 9 * o))
            if top + k == h:
                products[k + 1].zero_()
            above, here, below = products[:k], products[1 : k + 1], products[2 : k + 2]
            even = torch.add(here[:, :, 1], here[:, :, 2], out=upper[:k]).add_(above[:, :, 0])
            odd = torch.add(here[:, :, 0], here[:, :, 1], out=lower[:k]).add_(below[:, :, 2])
            target = out[2 * top : 2 * (top + k)].view(k, 2, w, 2, o)
            for line, sums in enumerate((even, odd)):
                p, q, r = sums.view(k, w, 3, o).unbind(2)
                torch.add(q, r, out=target[:, line, :, 0])
                target[:, line, 1:, 0] += p[:, :-1]
                torch.add(p, q, out=target[:, line, :, 1])
                target[:, line, :-1, 1] += r[:, 1:]
            products[0].copy_(products[k])
            products[1].copy_(products[k + 1])
    return y
