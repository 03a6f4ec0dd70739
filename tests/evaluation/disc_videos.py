"""Small drawn videos for the evaluator's tests: anti-aliased discs on a grey floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.simulator.appearance.colours import COLOURS


@dataclass(frozen=True, kw_only=True)
class Disc:
    """A disc with its centre in every frame, in pixels; NaN where it is absent."""

    colour: str
    x: np.ndarray
    y: np.ndarray
    radius: float | np.ndarray = 10.0


def disc_video(*discs: Disc, num_frames: int = 17, size: int = 64) -> np.ndarray:
    """Draw discs, later ones in front, with edges one pixel wide."""
    y, x = np.mgrid[:size, :size].astype(float)
    video = np.full((num_frames, size, size, 3), 184.0)
    for disc in discs:
        radius = np.broadcast_to(disc.radius, (num_frames,))
        for f in range(num_frames):
            if np.isnan(disc.x[f]):
                continue
            coverage = np.clip(radius[f] - np.hypot(x - disc.x[f], y - disc.y[f]) + 0.5, 0, 1)[..., None]
            colour = np.array(COLOURS[disc.colour]) * 255
            video[f] = video[f] * (1 - coverage) + coverage * colour
    return (video + 0.5).astype(np.uint8)


def linear_path(start: float, stop: float, num_frames: int = 17) -> np.ndarray:
    return np.linspace(start, stop, num_frames)


def constant_path(value: float, num_frames: int = 17) -> np.ndarray:
    return np.full(num_frames, value)
