"""Films for the tests of the media layer, and files that its own writers can't make."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def soft(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A slowly changing film whose colours vary less than its brightness, as films do."""
    random = np.random.default_rng(seed)
    phase, tilt = random.uniform(0, 6, 3), random.uniform(-1, 1, 2)
    f = np.arange(frames)[:, None, None, None] / 8
    y = np.arange(height)[None, :, None, None] / 32
    x = np.arange(width)[None, None, :, None] / 32
    bright = np.sin(2 * (tilt[0] * x + tilt[1] * y) + f + phase[0])
    hue = 0.3 * np.sin(0.5 * x + phase + f) + 0.3 * np.cos(0.5 * y + phase)
    return np.clip(128 + 70 * bright + 40 * hue, 0, 255).astype(np.uint8)


def noisy(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Nothing that any codec can guess."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def make(
    path: Path,
    film: np.ndarray,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: list[int] | None = None,
    tick: Fraction = Fraction(1, 24),
    matrix: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Write a film with PyAV alone. `times` are in `tick`s; `matrix` is a display matrix of ones."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(1) / tick, options=options or {})
        stream.width, stream.height, stream.pix_fmt = film.shape[2], film.shape[1], pixel_format
        stream.codec_context.time_base = tick
        if matrix is not None:
            a, b, c, d = (value << 16 for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, image in enumerate(film):
            layout = "rgba" if image.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(image, format=layout).reformat(format=pixel_format)
            frame.pts, frame.time_base = times[number] if times else number, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
