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

# Scratch for the inputs of one block of tiles: small enough for a core's share of the last cache, large
# enough that each matrix product has some hundred rows (measured: 4 to 16 MiB are within 10%).
_TILE_BYTES = 8 * 2**20
# If the inputs of all tiles are no larger than this, kernels are transformed in slices of that size.
_ALL_TILES_BYTES = 24 * 2**20
_KERNEL_BYTES = 24 * 2**20

# Rows of matrix products that a fourth transformed tap has to save (measured).
_PAIR_SAVING = 128


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

    flat = weight.permute(0, 2, 3, 4, 1).reshape(o, weight.shape[2], 9, c)
    in_pairs = weight.shape[2] == 3 and _pairs_pay(f, known, down * across)
    if in_pairs:
        flat = _pair_taps(flat)
    taps = flat.shape[1]

    per_tile = points * n * max(c, o) * 4
    tiles, channels = max(1, _TILE_BYTES // per_tile), o
    if per_tile * down * across <= _ALL_TILES_BYTES:
        # All tiles at once: transformed kernels needn't outlive their one use, a slice at a time.
        tiles = down * across
        channels = min(o, max(16, _KERNEL_BYTES // (points * taps * c * 4)))
    wide = min(across, tiles)
    wide = -(-across // -(-across // wide))
    high = max(1, min(down, tiles // wide))

    # Scratch is made once: fresh memory for every block would cost more than the products.
    gathered = buffer.new_empty(points * n * high * wide * c)
    transformed = torch.empty_like(gathered)
    products = buffer.new_empty(points * f * high * wide * channels)
    tiled = buffer.new_empty(size * size * f * high * wide * channels)
    kernels = buffer.new_empty(channels, taps, points, c)
    pairs = buffer.new_empty(2, 4 * points * (f // 2) * high * wide * max(c, channels) if in_pairs else 0)
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
                part = kernels[: last - first]
                if channels < o:
                    torch.matmul(winograd.kernel, flat[first:last], out=part)
                matrices = part.permute(1, 2, 3, 0)
                sums = products[: points * f * x * (last - first)].view(points, f, x, -1)
                if in_pairs:
                    _sum_pairs(tile_inputs, matrices, sums, pairs, known=known)
                else:
                    _sum_taps(tile_inputs, matrices, sums, known=known)
                y = tiled[: size * size * f * x * (last - first)].view(size * size, -1)
                torch.mm(winograd.output, sums.view(points, -1), out=y)
                target = out[:, top * size : (top + k) * size, left * size : (left + m) * size, first:last]
                torch.add(
                    y.view(size, size, f, k, m, -1),
                    bias[first:last],
                    out=target.unflatten(1, (k, size)).unflatten(3, (m, size)).permute(2, 4, 0, 1, 3, 5),
                )


def _pairs_pay(frames: int, known: int, tiles: int) -> bool:
    """Whether F(2,3) along time saves more products than its fourth transformed tap costs to make."""
    if frames % 2 and known:
        return False
    single = sum(min(3, known + 1 + i) for i in range(frames))
    saved = single - (frames % 2 + 4 * (frames // 2))
    return saved * tiles >= _PAIR_SAVING


def _sum_taps(
    inputs: Float[Tensor, "p n x c"],
    matrices: Float[Tensor, "t p c o"],
    sums: Float[Tensor, "p f x o"],
    *,
    known: int,
) -> None:
    """Each frame's product with the newest tap, plus those of the frames before it with the older taps."""
    n, taps = inputs.shape[1], matrices.shape[0]
    torch.bmm(inputs[:, known:].flatten(1, 2), matrices[-1], out=sums.flatten(1, 2))
    for back in range(1, taps):
        unseen = max(0, back - known)
        if known + unseen < n:
            earlier = inputs[:, known + unseen - back : n - back].flatten(1, 2)
            sums[:, unseen:].flatten(1, 2).baddbmm_(earlier, matrices[-1 - back])


def _pair_taps(weight: Float[Tensor, "o 3 9 c"]) -> Float[Tensor, "o 4 9 c"]:
    """The kernel transform of F(2,3) along time, then the newest tap as it is (its last point)."""
    oldest, middle, newest = weight.unbind(1)
    half = (oldest + newest).mul_(0.5)
    return torch.stack([oldest, half + 0.5 * middle, half - 0.5 * middle, newest], dim=1)


def _sum_pairs(
    inputs: Float[Tensor, "p n x c"],
    matrices: Float[Tensor, "4 p c o"],
    sums: Float[Tensor, "p f x o"],
    scratch: Float[Tensor, "2 size"],
    *,
    known: int,
) -> None:
    """F(2,3) along time, too: two frames for four products in place of six.

    At the start of a film of odd length the first frame, which sees only itself, goes alone.
    """
    p, _, x, c = inputs.shape
    f, o = sums.shape[1], sums.shape[3]
    alone = f % 2
    if alone:
        torch.bmm(inputs[:, known], matrices[3], out=sums[:, 0])
    count = f // 2
    differences = scratch[0, : 4 * p * count * x * c].view(4, p, count, x, c)
    products = scratch[1, : 4 * p * count * x * o].view(4, p, count, x, o)

    # Of each pair: its own two frames and the two before. The first pair of a film has none before it.
    first = known + alone
    own, after = inputs[:, first::2], inputs[:, first + 1 :: 2]
    a, b = int(first < 2), int(first < 1)
    before_last = inputs[:, first - 2 + 2 * a :: 2][:, : count - a]
    last = inputs[:, first - 1 + 2 * b :: 2][:, : count - b]
    torch.sub(before_last, own[:, a:], out=differences[0, :, a:])
    torch.neg(own[:, :a], out=differences[0, :, :a])
    torch.add(own[:, b:], last, out=differences[1, :, b:])
    torch.sub(own[:, b:], last, out=differences[2, :, b:])
    differences[1:3, :, :b] = own[:, :b]
    torch.sub(last, after[:, b:], out=differences[3, :, b:])
    torch.neg(after[:, :b], out=differences[3, :, :b])
    torch.bmm(
        differences.view(4 * p, count * x, c), matrices.flatten(0, 1), out=products.view(4 * p, count * x, o)
    )
    even, odd = sums[:, alone::2], sums[:, alone + 1 :: 2]
    torch.add(products[0], products[1], out=even).add_(products[2])
    torch.sub(products[1], products[2], out=odd).sub_(products[3])
