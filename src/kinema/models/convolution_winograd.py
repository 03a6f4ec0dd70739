"""Winograd convolution: 3x3 over pixels, causal taps over frames, in plain matrix products.

An m x m tile of the output needs (m + 2)² products per pair of channels instead of 9 m²: F(2,3) saves a
factor of 2.25, F(4,3) one of 4. (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks,
arXiv 1509.09308; the matrices for any points: Toom and Cook.) The usual points 0, ±1, ±2 cost F(4,3) two
digits; 0, ±√½, ±√2 keep the error near 1e-5 of the output's size.

Taps over frames stay ordinary sums, one batched matrix product each. Taps that would read frames before
the film's start are left out, not multiplied by zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Scratch for one block of tiles. Small enough for a core's share of the last cache, large enough that
# each matrix product has some hundred rows (measured: 4 to 16 MiB are within 10% of each other).
_TILE_BYTES = 8 * 2**20
# Above this, transformed kernels are made a slice of the output channels at a time.
_KERNEL_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class Winograd:
    """The three matrices of F(size, 3) in two dimensions; p = (size + 2)² points, s = size²."""

    size: int
    inputs: Float[Tensor, "p p"]
    kernel: Float[Tensor, "p 9"]
    output: Float[Tensor, "s p"]

    @classmethod
    def of(cls, size: int, points: tuple[float, ...]) -> Winograd:
        """Toom-Cook matrices for `size` + 1 distinct finite points (the last point is infinity)."""
        n = size + 2
        at = torch.tensor(points, dtype=torch.float64)
        output = torch.zeros(size, n, dtype=torch.float64)
        kernel = torch.zeros(n, 3, dtype=torch.float64)
        inputs = torch.zeros(n, n, dtype=torch.float64)
        output[:, :-1] = at[None, :] ** torch.arange(size)[:, None]
        output[-1, -1] = 1
        kernel[-1, -1] = 1
        for j in range(n - 1):
            others = torch.cat([at[:j], at[j + 1 :]])
            kernel[j] = at[j] ** torch.arange(3) / torch.prod(at[j] - others)
            inputs[j, :-1] = _polynomial(others)
        inputs[-1] = _polynomial(at)
        both = (torch.kron(matrix, matrix).float() for matrix in (inputs, kernel, output))
        return cls(size=size, **dict(zip(("inputs", "kernel", "output"), both, strict=True)))


def _polynomial(roots: Tensor) -> Tensor:
    """The coefficients, lowest power first, of the product of (x − root)."""
    coefficients = torch.ones(1, dtype=torch.float64)
    for root in roots:
        shifted = torch.cat([coefficients.new_zeros(1), coefficients])
        shifted[:-1] -= root * coefficients
        coefficients = shifted
    return coefficients


F2 = Winograd.of(2, (0.0, 1.0, -1.0))
F4 = Winograd.of(4, (0.0, 0.5**0.5, -(0.5**0.5), 2.0**0.5, -(2.0**0.5)))


def convolve(
    buffer: Float[Tensor, "n rows columns c"],
    weight: Float[Tensor, "o c t 3 3"],
    bias: Float[Tensor, " o"],
    out: Float[Tensor, "f h w o"],
    *,
    known: int,
    winograd: Winograd,
) -> None:
    """Convolve one film into `out`.

    Args:
        buffer: `known` past frames and the new ones, dense, with a border of one pixel. Its inside is a
            multiple of the tile size, filled up with zeros on the right and at the bottom.
        weight: fastest in the `channels_last_3d` memory format.
        bias: one number for each output channel.
        out: one frame for each new one; sides are those of the buffer's inside.
        known: how many of the buffer's frames came before. Frames before those are zeros.
        winograd: `F2` or `F4`.
    """
    size, points = winograd.size, winograd.inputs.shape[0]
    n, rows, columns, c = buffer.shape
    f, height, width, o = out.shape
    taps = weight.shape[2]
    down, across = height // size, width // size

    per_tile = points * n * max(c, o) * 4
    tiles = max(1, _TILE_BYTES // per_tile)
    per_channel = points * taps * c * 4
    channels = min(o, max(16, _KERNEL_BYTES // per_channel))
    if channels < o:
        # Every slice of the kernels is made once, so all tiles have to be there together.
        tiles = down * across
    wide = min(across, tiles)
    wide = -(-across // -(-across // wide))
    high = max(1, min(down, tiles // wide))

    gathered = buffer.new_empty(points * n * high * wide * c)
    transformed = torch.empty_like(gathered)
    products = buffer.new_empty(points * f * high * wide * channels)
    tiled = buffer.new_empty(size * size * f * high * wide * channels)
    kernels = buffer.new_empty(channels * taps, points, c)
    flat = weight.permute(0, 2, 3, 4, 1).reshape(o * taps, 9, c)
    stride_row, stride_frame = columns * c, rows * columns * c
    side = size + 2

    if channels == o:
        torch.matmul(winograd.kernel, flat, out=kernels)
    for top in range(0, down, high):
        k = min(high, down - top)
        for left in range(0, across, wide):
            m = min(wide, across - left)
            x = k * m
            patches = gathered[: points * n * x * c].view(side, side, n, k, m, c)
            corner = buffer.storage_offset() + size * (top * stride_row + left * c)
            strides = (stride_row, c, stride_frame, size * stride_row, size * c, 1)
            patches.copy_(buffer.as_strided(patches.shape, strides, corner))
            tile_inputs = transformed[: points * n * x * c].view(points, n, x, c)
            torch.mm(winograd.inputs, patches.view(points, -1), out=tile_inputs.view(points, -1))
            for first in range(0, o, channels):
                last = min(o, first + channels)
                if channels < o:
                    part = kernels[: (last - first) * taps]
                    torch.matmul(winograd.kernel, flat[first * taps : last * taps], out=part)
                matrices = kernels[: (last - first) * taps].unflatten(0, (-1, taps)).permute(1, 2, 3, 0)
                tile_products = products[: points * f * x * (last - first)].view(points, f * x, -1)
                _sum_taps(tile_inputs, matrices, tile_products, known=known)
                y = tiled[: size * size * f * x * (last - first)].view(size * size, -1)
                torch.mm(winograd.output, tile_products.view(points, -1), out=y)
                target = out[:, top * size : (top + k) * size, left * size : (left + m) * size, first:last]
                torch.add(
                    y.view(size, size, f, k, m, -1),
                    bias[first:last],
                    out=target.unflatten(1, (k, size)).unflatten(3, (m, size)).permute(2, 4, 0, 1, 3, 5),
                )


def _sum_taps(
    inputs: Float[Tensor, "p n x c"],
    matrices: Float[Tensor, "t p c o"],
    products: Float[Tensor, "p fx o"],
    *,
    known: int,
) -> None:
    """Each frame's product with the newest tap, plus those of the frames before it with the older taps."""
    n, x = inputs.shape[1:3]
    taps = matrices.shape[0]
    torch.bmm(inputs[:, known:].flatten(1, 2), matrices[-1], out=products)
    for back in range(1, taps):
        unseen = max(0, back - known)
        if known + unseen < n:
            earlier = inputs[:, known + unseen - back : n - back].flatten(1, 2)
            products[:, unseen * x :].baddbmm_(earlier, matrices[-1 - back])
