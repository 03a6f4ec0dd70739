"""Input images: files, arrays and data URLs of any size, cropped and resized to the video."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.pipeline.request import ImageInput, decode_data_url, is_data_url


def load_image(source: ImageInput) -> UInt8[np.ndarray, "h w 3"]:
    """An image from a file (upright, as its EXIF says), a PNG data URL, or a uint8 array `h w 3`.

    Raises:
        UserError: there is no such file, it is no image, or the array is of another shape or type.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise UserError(
                f"an image is an array of uint8, height x width x 3, not {source.dtype} of {source.shape}"
            )
        return source
    if is_data_url(source):
        return decode_data_url(str(source))
    from kinema.media import read

    return read.read_image(source)


def resize_and_crop(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image at width and height `size`: centre-cropped to the aspect ratio, then resized (Lanczos)."""
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
    """A size in the image's aspect ratio with about the pixels of `area`; sides are multiples of `unit`."""
    height, width = image.shape[:2]
    pixels = area[0] * area[1]
    shape = width / height
    sides = ((pixels * shape) ** 0.5, (pixels / shape) ** 0.5)
    rounded = [max(1, round(side / unit)) * unit for side in sides]
    return rounded[0], rounded[1]
