"""Statistics of a video's frames that need no prompt: step sizes, loop seam, sharpness and drift."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from kinema.frames import FrameArray
from kinema.simulator.appearance.colours import srgb_to_lab


def frame_mae(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> float:
    """Mean absolute difference of two frames, 0 to 255."""
    return float(np.abs(a.astype(np.int16) - b).mean())


def frame_differences(frames: FrameArray) -> list[float]:
    """Mean absolute difference of each frame and the next one, 0 to 255."""
    return [frame_mae(a, b) for a, b in itertools.pairwise(frames)]


def loop_seam_ratio(frames: FrameArray) -> float:
    """The difference of last and first frame over the median difference of neighbouring frames.

    1 means that the seam is not visible. A video without motion has 1 if it ends as it begins, else infinity.
    """
    differences = frame_differences(frames)
    median = float(np.median(differences)) if differences else 0.0
    seam = frame_mae(frames[-1], frames[0])
    if median == 0:
        return 1.0 if seam == 0 else float("inf")
    return seam / median


def sharpness(frames: FrameArray) -> float:
    """Standard deviation of the Laplacian of the grey values."""
    grey = frames.astype(np.float32).mean(-1)
    centre = 4 * grey[:, 1:-1, 1:-1]
    neighbours = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return float((centre - neighbours).std())


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Change from the first frames of a video to its last.

    Attributes:
        sharpness_ratio: sharpness of the last frames over that of the first; 1 is no change.
        delta_e: CIE76 colour difference of the mean colours.
    """

    sharpness_ratio: float
    delta_e: float


def compute_drift(frames: FrameArray, num_compared: int) -> Drift:
    """Measure the change between the first and the last `num_compared` frames."""
    first, last = frames[:num_compared], frames[-num_compared:]
    colours = [srgb_to_lab(part.reshape(-1, 3) / 255).mean(0) for part in (first, last)]
    return Drift(
        sharpness_ratio=sharpness(last) / max(sharpness(first), 1e-6),
        delta_e=float(np.linalg.norm(colours[1] - colours[0])),
    )
