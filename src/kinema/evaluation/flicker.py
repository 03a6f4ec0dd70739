"""Measure 9: what changes although nothing moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from kinema.evaluation.tracking import Track, TrackedVideo


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """Mean absolute changes from frame to frame, in levels of 255."""

    background: float
    """Of pixels that no thing and no shadow comes near; NaN if there are none, or one frame."""
    objects: float
    """Of things laid over each other by their centroids; NaN if none is seen twice."""


def measure_flicker(frames: UInt8[np.ndarray, "f h w 3"], video: TrackedVideo) -> Flicker:
    """Measure a film of a still camera."""
    near = np.zeros(frames.shape[1:3], dtype=bool)
    for track in video.tracks:
        for blob in track.blobs:
            if blob is not None:
                left, top, right, bottom = blob.box
                near[top:bottom, left:right] = True
    # Shadows fall to the side and below, within about one size of the thing.
    size = max((t.radius for t in video.tracks), default=0)
    still = ~ndimage.binary_dilation(near, iterations=int(2 * size) + 2)
    background = np.nan
    if still.any() and len(frames) > 1:
        pixels = frames[:, still].astype(np.float32)
        background = float(np.abs(np.diff(pixels, axis=0)).mean())
    residuals = [r for track in video.tracks for r in _object_residuals(track)]
    return Flicker(background=background, objects=float(np.mean(residuals)) if residuals else np.nan)


def _object_residuals(track: Track) -> list[float]:
    found = []
    for frame in np.flatnonzero(track.clearly_visible[1:] & track.clearly_visible[:-1]):
        one, two = track.blobs[frame], track.blobs[frame + 1]
        if one is None or two is None:
            continue
        radius = 0.6 * one.radius
        offsets = np.arange(-int(radius), int(radius) + 1)
        dx, dy = np.meshgrid(offsets, offsets)
        patches = [
            ndimage.map_coordinates(
                blob.value.astype(np.float32),
                [blob.y - blob.origin[1] + dy, blob.x - blob.origin[0] + dx],
                order=1,
                mode="nearest",
            )
            for blob in (one, two)
        ]
        found.append(float(np.abs(patches[0] - patches[1]).mean()))
    return found
