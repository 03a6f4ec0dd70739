"""Winograd convolution: 3x3 over pixels, causal taps over frames, in plain matrix products.

An m x m tile of the output needs (m + 2)² products per pair of channels instead of 9 m²: F(2,3) saves a
factor of 2.25, F(4,3) one of 4. (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks,
arXiv 1509.09308; the matrices for any points: Toom and Cook.) The usual points 0, ±1, ±2 cost F(4,3) two
digits; 0, ±√½, ±√2 keep the error near 1e-5 of the output's size.

Taps over frames stay ordinary sums, one batched matrix product each: F(2,3) along time, too, saves a third
of the products, but its additions over transformed tiles took longer than that (5% of a whole decoding).
Taps that would read frames before the film's start are left out, not multiplied by zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Transformed inputs and sums of one block of tiles: as much as the last cache holds (measured; larger
# blocks read the kernels less often).
_TILE_BYTES = 24 * 2**20
# What the products of one group of points touch: a few times a core's own cache, for smaller groups make
# more calls than they save (measured: 3 to 8 MiB are within 10%).
_GROUP_BYTES = 5 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class Winograd:
    """The three matrices of F(size, 3) in two dimensions; p = (size + 2)² points, s = size²."""

    size: int
    inputs: Float[Tensor, "p p"]
    kernel: Float[Tensor, "p 9"]
    output: Float[Tensor, "s p"]

    @classmethod
    def from_points(cls, size: int, points: tuple[float, ...]) -> Winograd:
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


F2 = Winograd.from_points(2, (0.0, 1.0, -1.0))
F4 = Winograd.from_points(4, (0.0, 0.5**0.5, -(0.5**0.5), 2.0**0.5, -(2.0**0.5)))


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
        weight: one or three taps in time; fastest in the `channels_last_3d` memory format.
        bias: one number for each output channel.
        out: one frame for each new one; sides are those of the buffer's inside.
        known: how many of the buffer's frames came before. Frames before those are zeros.
        winograd: `F2` or `F4`.
    """
    size, points = winograd.size, winograd.inputs.shape[0]
    n, rows, columns, c = buffer.shape
    f, height, width, o = out.shape
    down, across = height // size, width // size

    taps = weight.shape[2]
    flat = weight.permute(3, 4, 2, 0, 1).flatten(0, 1).flatten(1)

    tiles = max(1, _TILE_BYTES // (points * (n * c + f * o) * 4))
    wide = min(across, tiles)
    wide = -(-across // -(-across // wide))
    high = max(1, min(down, tiles // wide))
    x = high * wide
    touched = x * (n * c + f * o) + taps * o * c
    group = max(1, min(points, _GROUP_BYTES // (4 * touched)))
    in_one_block = high == down and wide == across

    # Scratch is made once: fresh memory for every block would cost more than the products.
    gathered = buffer.new_empty(points * x * c)
    transformed = buffer.new_empty(points * n * x * c)
    summed = buffer.new_empty(points * f * x * o)
    tiled = buffer.new_empty(size * size * x * o)
    # Of one block only, each kernel is used once: those of one group at a time do.
    kernels = buffer.new_empty(group if in_one_block else points, taps, o, c)
    if not in_one_block:
        torch.mm(winograd.kernel, flat, out=kernels.view(points, -1))

    stride_row, stride_frame = columns * c, rows * columns * c
    for top in range(0, down, high):
        k = min(high, down - top)
        for left in range(0, across, wide):
            m = min(wide, across - left)
            x = k * m
            inputs = transformed[: points * n * x * c].view(points, n, x, c)
            patches = gathered[: points * x * c].view(size + 2, size + 2, k, m, c)
            corner = buffer.storage_offset() + size * (top * stride_row + left * c)
            strides = (stride_row, c, size * stride_row, size * c, 1)
            for i in range(n):
                patches.copy_(buffer.as_strided(patches.shape, strides, corner + i * stride_frame))
                torch.mm(winograd.inputs, patches.view(points, -1), out=inputs[:, i].flatten(1))

            sums = summed[: points * f * x * o].view(points, f, x, o)
            for first in range(0, points, group):
                some = slice(first, min(points, first + group))
                part = kernels[: some.stop - first] if in_one_block else kernels[some]
                if in_one_block:
                    torch.mm(winograd.kernel[some], flat, out=part.view(len(part), -1))
                _sum_taps(inputs[some], part.transpose(2, 3), sums[some], known=known)

            y = tiled[: size * size * x * o].view(size * size, -1)
            target = out[:, top * size : (top + k) * size, left * size : (left + m) * size]
            target = target.unflatten(1, (k, size)).unflatten(3, (m, size)).permute(0, 2, 4, 1, 3, 5)
            for i in range(f):
                torch.mm(winograd.output, sums[:, i].flatten(1), out=y)
                torch.add(y.view(size, size, k, m, o), bias, out=target[i])


def _sum_taps(
    inputs: Float[Tensor, "p n x c"],
    matrices: Float[Tensor, "p t c o"],
    sums: Float[Tensor, "p f x o"],
    *,
    known: int,
) -> None:
    """Each frame's product with the newest tap, plus those of the frames before it with the older taps."""
    n, taps = inputs.shape[1], matrices.shape[1]
    torch.bmm(inputs[:, known:].flatten(1, 2), matrices[:, -1], out=sums.flatten(1, 2))
    for back in range(1, taps):
        unseen = max(0, back - known)
        if known + unseen < n:
            earlier = inputs[:, known + unseen - back : n - back].flatten(1, 2)
            sums[:, unseen:].flatten(1, 2).baddbmm_(earlier, matrices[:, -1 - back])
