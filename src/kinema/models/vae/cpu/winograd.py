"""Winograd convolution: 3x3 over pixels, causal taps over frames, in plain matrix products.

An m x m tile of the output needs (m + 2)² products per pair of channels instead of 9 m²: F(2,3) saves a
factor of 2.25, F(4,3) one of 4. (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks,
arXiv 1509.09308; the matrices for any points: Toom and Cook.) The usual points 0, ±1, ±2 cost F(4,3) two
digits of precision; 0, ±√½, ±√2 keep the relative error near 1e-5.

Taps over frames are summed directly, one batched matrix product each. F(2,3) along time would save a third of
the products, but its additions over transformed tiles took longer (5% of decoding). Taps that would read
frames before the start of the video are skipped, not multiplied by zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Bytes of transformed inputs and sums of one block of tiles: the size of the last-level cache (measured;
# larger blocks read the kernels less often).
_TILE_BYTES = 24 * 2**20
# Bytes that the products of one group of points touch: a few times the cache of a core, because smaller
# groups need more calls (measured: 3 to 8 MiB are within 10%).
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
    """Convolve one video into `out`.

    Args:
        buffer: `known` past frames and the new ones, contiguous, with a border of one pixel. The sides
            without the border are multiples of the tile size, padded with zeros on the right and bottom.
        weight: one or three taps in time; fastest in the `channels_last_3d` memory format.
        bias: one value per output channel.
        out: one frame for each new one, with the sides of the buffer without its border.
        known: number of past frames in the buffer. Frames before those are zeros.
        winograd: `F2` or `F4`.
    """
    size, points = winograd.size, winograd.inputs.shape[0]
    n, rows, columns, c = buffer.shape
    f, height, width, o = out.shape
    tile_rows, tile_columns = height // size, width // size

    taps = weight.shape[2]
    flat = weight.permute(3, 4, 2, 0, 1).flatten(0, 1).flatten(1)

    tiles = max(1, _TILE_BYTES // (points * (n * c + f * o) * 4))
    block_columns = min(tile_columns, tiles)
    block_columns = -(-tile_columns // -(-tile_columns // block_columns))
    block_rows = max(1, min(tile_rows, tiles // block_columns))
    x = block_rows * block_columns
    touched = x * (n * c + f * o) + taps * o * c
    group = max(1, min(points, _GROUP_BYTES // (4 * touched)))
    in_one_block = block_rows == tile_rows and block_columns == tile_columns

    # Scratch memory is allocated once: allocating it for every block would cost more than the products.
    gathered = buffer.new_empty(points * x * c)
    transformed = buffer.new_empty(points * n * x * c)
    summed = buffer.new_empty(points * f * x * o)
    tiled = buffer.new_empty(size * size * x * o)
    # With one block, each kernel is used once, so the kernels of one group at a time suffice.
    kernels = buffer.new_empty(group if in_one_block else points, taps, o, c)
    if not in_one_block:
        torch.mm(winograd.kernel, flat, out=kernels.view(points, -1))

    stride_row, stride_frame = columns * c, rows * columns * c
    for top in range(0, tile_rows, block_rows):
        k = min(block_rows, tile_rows - top)
        for left in range(0, tile_columns, block_columns):
            m = min(block_columns, tile_columns - left)
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
    """Each frame's product with the last tap, plus the products of earlier frames with the earlier taps."""
    n, taps = inputs.shape[1], matrices.shape[1]
    torch.bmm(inputs[:, known:].flatten(1, 2), matrices[:, -1], out=sums.flatten(1, 2))
    for back in range(1, taps):
        without_past = max(0, back - known)
        if known + without_past < n:
            earlier = inputs[:, known + without_past - back : n - back].flatten(1, 2)
            sums[:, without_past:].flatten(1, 2).baddbmm_(earlier, matrices[:, -1 - back])
