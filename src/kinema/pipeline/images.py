"""Pictures as people give them: files and arrays of any size, fitted to a film."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError


def load_image(source: str | os.PathLike[str] | np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """A picture from a file (upright, as its EXIF says) or an array uint8 `h w 3`.

    Raises:
        UserError: there is no such file, it is no picture, or the array is of another shape or type.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise UserError(
                f"a picture is an array of uint8, height x width x 3, not {source.dtype} of {source.shape}"
            )
        return source
    from kinema.media import read

    return read.read_image(source)


def resize_and_crop(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture at width and height `size`: filled, its middle kept, nothing stretched (Lanczos)."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    from PIL import Image

    scale = max(size[0] / width, size[1] / height)
    half_width, half_height = size[0] / scale / 2, size[1] / scale / 2
    box = (
        max(0.0, width / 2 - half_width),
        max(0.0, height / 2 - half_height),
        min(float(width), width / 2 + half_width),
        min(float(height), height / 2 + half_height),
    )
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=box))


def size_for_aspect(image: UInt8[np.ndarray, "h w 3"], area: tuple[int, int], unit: int) -> tuple[int, int]:
    """A size of the picture's proportions and about the pixels of `area`, its sides multiples of `unit`."""
    height, width = image.shape[:2]
    pixels = area[0] * area[1]
    shape = width / height
    sides = ((pixels * shape) ** 0.5, (pixels / shape) ** 0.5)
    fitted = [max(1, round(side / unit)) * unit for side in sides]
    return fitted[0], fitted[1]
