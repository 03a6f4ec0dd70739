"""The CPU routes of `kinema.models.vae.convolution`: float32, no gradients, fewest operations.

Three ways to convolve 3x3x3, chosen per layer by what the layer is (`_select_route`):

- direct: oneDNN's convolution, for very few input channels, where transforms cost more than they save;
- products: one matrix product for each tap in time over gathered pixels, for the smallest frames, where
  reading the weights is most of the work;
- Winograd: F(2,3) for small frames of many channels, whose transformed weights are the lesser burden, and
  F(4,3) for all others.

Films are `b f h w c`. Weights are read fastest in the `copy_channels_last` memory formats; any other works.
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

# What is normalised at a time, in bytes: it is written three times, so it should stay near.
_NORM_BYTES = 2**20
# Rows of one matrix product in `upsample_conv`, in bytes of its result.
_UPSAMPLE_BYTES = 8 * 2**20


class Workspace:
    """Memory for the padded input of one convolution after the other.

    Fresh memory of that size costs about as much as a pass over it. What the convolution before held is
    overwritten.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def allocate(self, like: Tensor, *shape: int) -> Tensor:
        """A tensor of this shape, uninitialised, that lives until the next call."""
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

    What the convolution reads is written once, normalised, into a buffer that already has the past and
    the border of zeros. `route` overrides the choice; with `workspace`, that buffer and the past returned
    last until the next convolution.
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
    for film, target in zip(x, inside[:, known:], strict=True):
        if gamma is None:
            target.copy_(film)
            continue
        for frame, frame_target in zip(film, target, strict=True):
            for top in range(0, h, lines):
                rms_norm_silu_(frame[top : top + lines], gamma, frame_target[top : top + lines])

    # All of x is in the buffer now.
    fits = overwrite and x.is_contiguous() and x.shape == (b, f, rows, columns, o)
    y = x if fits else x.new_empty(b, f, rows, columns, o)
    for film, out in zip(buffer, y, strict=True):
        if route == "direct":
            _conv_onednn(film, weight, bias, out, known=known)
        elif route == "products":
            _conv_matmul(film, weight, bias, out, known=known)
        else:
            winograd = F2 if route == "winograd 2" else F4
            convolution_winograd.convolve(film, weight, bias, out, known=known, winograd=winograd)
    return y[:, :, :h, :w], inside[:, max(0, known + f - (taps - 1)) :]


def _select_route(*, inputs: int, outputs: int, pixels: int, frames: int) -> Route:
    """The fastest way, by measurement on one core with AVX-512."""
    if inputs < 8:
        return "direct"
    if pixels * frames <= 160 and inputs * outputs >= 2**18:
        return "products"
    # F(4,3) makes weights four times as large; there must be tiles enough to pay for moving them.
    if pixels * frames * 36 < inputs * outputs:
        return "winograd 2"
    return "winograd 4"


def _conv_onednn(video: Tensor, weight: Tensor, bias: Tensor, out: Tensor, *, known: int) -> None:
    """oneDNN on the padded film; the first frames of a film only with the taps that see something."""
    taps, f = weight.shape[2], out.shape[0]
    channels_first = video.permute(3, 0, 1, 2)[None]
    start = 0
    for seen in range(min(known + 1, taps), taps + 1):
        stop = min(f, seen - known) if seen < taps else f
        if start < stop:
            part = channels_first[:, :, known + start + 1 - seen : known + stop]
            y = F.conv3d(part, weight[:, :, taps - seen :], bias)
            out[start:stop] = y[0].permute(1, 2, 3, 0)
            start = stop


def _conv_matmul(video: Tensor, weight: Tensor, bias: Tensor, out: Tensor, *, known: int) -> None:
    """One matrix product for each tap in time, over the nine neighbours of every pixel."""
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
        unseen = max(0, back - known)
        if known + unseen >= n:
            continue
        source = gathered[known + unseen - back : n - back].flatten(0, 1)
        target = flat[unseen:].flatten(0, 1)
        if back == 0:
            torch.addmm(bias, source, matrix, out=target)
        else:
            target.addmm_(source, matrix)


def time_conv(
    x: Float[Tensor, "b n h w c"], weight: Float[Tensor, "o c 3 1 1"], bias: Float[Tensor, " o"], known: int
) -> Float[Tensor, "b f h w o"]:
    """A causal 3x1x1 convolution as one matrix product for each tap; `known` leading frames are the past."""
    b, n, h, w, c = x.shape
    f = n - known
    kernel = weight[..., 0, 0].permute(2, 1, 0).contiguous()
    y = x.new_empty(b, f, h, w, weight.shape[0])
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
    y = x.new_empty(b, (f - 1) // 2, h, w, weight.shape[0])
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
    """Nearest-neighbour doubling and 3x3, without ever making the doubled frame.

    Each doubled pixel is a copy, so the nine products of a small pixel with the nine taps are all there
    is to multiply: a quarter of the work. Two neighbouring outputs of a line are, with p, q, r the products
    with the three taps, p[i-1] + q[i] + r[i] and p[i] + q[i] + r[i+1]; lines add up alike, downwards
    first, then across.
    """
    b, f, h, w, c = x.shape
    o = weight.shape[0]
    matrix = weight.permute(1, 2, 3, 0).reshape(c, 9 * o)
    # The middle tap is in every sum exactly once, so the bias rides on it.
    riding = torch.cat([bias.new_zeros(4 * o), bias, bias.new_zeros(4 * o)])
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
            torch.addmm(riding, frame[top + fresh : stop].reshape(-1, c), matrix, out=block.view(-1, 9 * o))
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
