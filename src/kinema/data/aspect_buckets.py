"""Buckets of sizes: which size a clip is trained in, and how it is scaled and cropped to it.

A size follows from the aspect ratio of the source and a target area. The source is scaled until it covers the
bucket and its middle is cropped. Nothing is padded or stretched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""
BucketRule = Literal["musubi", "diffusion-pipe", "ai-toolkit", "fixed"]
"""Which trainer's rule chooses the size; `fixed` has one size."""


@dataclass(frozen=True, kw_only=True)
class CoverCrop:
    """A scale that covers the bucket, and the crop of its middle.

    Attributes:
        scaled: size after scaling, at least that of the bucket.
        left: columns that are cut off on the left.
        top: rows that are cut off at the top.
        bucket: size of the result.
    """

    scaled: Size
    left: int
    top: int
    bucket: Size


@cache
def musubi_buckets(resolution: Size, divisor: int = 16) -> tuple[Size, ...]:
    """All sizes of musubi-tuner's rule for an area of `resolution`, in increasing order of the width."""
    area = resolution[0] * resolution[1]
    side = math.isqrt(area)
    sizes: set[Size] = set()
    first = side // 2 - side // 2 % divisor
    for width in range(max(first, divisor), side + divisor, divisor):
        height = area // width // divisor * divisor
        sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def musubi_bucket(size: Size, resolution: Size, *, divisor: int = 16, no_upscale: bool = False) -> Size:
    """The size with the nearest aspect ratio (plain difference).

    Args:
        size: of the source.
        resolution: its area is the target.
        divisor: of both sides.
        no_upscale: a source of no more than the area keeps its own sides, rounded down.
    """
    width, height = size
    if no_upscale and width * height <= resolution[0] * resolution[1]:
        return width // divisor * divisor, height // divisor * divisor
    ratio = width / height
    return min(musubi_buckets(resolution, divisor), key=lambda one: abs(one[0] / one[1] - ratio))


def diffusion_pipe_ratios(minimum: float = 0.5, maximum: float = 2.0, count: int = 7) -> list[float]:
    """Aspect ratios evenly spaced in the logarithm."""
    return np.geomspace(minimum, maximum, count).tolist()


def diffusion_pipe_bucket(
    size: Size, resolution: Size, *, ratios: Sequence[float] | None = None, divisor: int = 16
) -> Size:
    """The nearest ratio by the logarithm, with both sides rounded to the nearest multiple of the divisor."""
    target = math.log(size[0] / size[1])
    choices = diffusion_pipe_ratios() if ratios is None else ratios
    ratio = min(choices, key=lambda one: abs(math.log(one) - target))
    area = resolution[0] * resolution[1]
    width = math.sqrt(area * ratio)
    return _nearest(width, divisor), _nearest(area / width, divisor)


def ai_toolkit_bucket(size: Size, resolution: Size, *, divisor: int = 16) -> Size:
    """The source's own shape with at most the area of `resolution`, never enlarged.

    Of the four roundings (each side down or up) the one with the largest area within the limit is taken.
    """
    limit = resolution[0] * resolution[1]
    area = min(size[0] * size[1], limit)
    scale = math.sqrt(area / (size[0] * size[1]))
    candidates = [
        (width, height)
        for width in _both_roundings(size[0] * scale, divisor)
        for height in _both_roundings(size[1] * scale, divisor)
        if width * height <= limit and width <= max(size[0], divisor) and height <= max(size[1], divisor)
    ]
    if not candidates:
        return divisor, divisor
    return min(candidates, key=lambda one: abs(one[0] * one[1] - area))


def choose_bucket(
    rule: BucketRule,
    size: Size,
    resolution: Size,
    *,
    divisor: int = 16,
    no_upscale: bool = False,
    ratios: Sequence[float] | None = None,
) -> Size:
    """The size of a rule for a source; see the functions of the rules."""
    if rule == "musubi":
        return musubi_bucket(size, resolution, divisor=divisor, no_upscale=no_upscale)
    if rule == "diffusion-pipe":
        return diffusion_pipe_bucket(size, resolution, ratios=ratios, divisor=divisor)
    if rule == "ai-toolkit":
        return ai_toolkit_bucket(size, resolution, divisor=divisor)
    return resolution[0] // divisor * divisor, resolution[1] // divisor * divisor


def plan_cover_crop(size: Size, bucket: Size) -> CoverCrop:
    """Scale a source until both sides cover the bucket, then crop its middle."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    scaled = math.floor(size[0] * scale + 0.5), math.floor(size[1] * scale + 0.5)
    return CoverCrop(
        scaled=scaled, left=(scaled[0] - bucket[0]) // 2, top=(scaled[1] - bucket[1]) // 2, bucket=bucket
    )


def apply_cover_crop(image: UInt8[np.ndarray, "h w 3"], plan: CoverCrop) -> UInt8[np.ndarray, "h2 w2 3"]:
    """One frame in its bucket: Lanczos where it is enlarged, area averages where it is reduced."""
    if image.shape[:2] != plan.scaled[::-1]:
        enlarged = plan.scaled[0] > image.shape[1]
        kernel = Image.Resampling.LANCZOS if enlarged else Image.Resampling.BOX
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(plan.scaled, kernel))
    width, height = plan.bucket
    return np.ascontiguousarray(image[plan.top : plan.top + height, plan.left : plan.left + width])


def _nearest(value: float, divisor: int) -> int:
    return max(divisor, round(value / divisor) * divisor)


def _both_roundings(value: float, divisor: int) -> tuple[int, ...]:
    down = max(divisor, math.floor(value / divisor + 1e-9) * divisor)
    up = max(divisor, math.ceil(value / divisor - 1e-9) * divisor)
    return tuple(dict.fromkeys((down, up)))
