"""Measure 9, flicker: changes of pixels that should not change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kinema.evaluation.tracking import Track, TrackedVideo
from kinema.frames import FrameArray


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """Mean absolute changes between consecutive frames, on the scale 0 to 255."""

    background: float
    """Of pixels away from every object and its shadow; NaN if there are none or only one frame."""
    objects: float
    """Of objects aligned by their centroids; NaN if none is visible in two consecutive frames."""


def measure_flicker(frames: FrameArray, video: TrackedVideo) -> Flicker:
    """Measure the flicker of a video from a static camera."""
    occupied = np.zeros(frames.shape[1:3], dtype=bool)
    for track in video.tracks:
        for blob in track.blobs:
            if blob is not None:
                left, top, right, bottom = blob.box
                occupied[top:bottom, left:right] = True
    # Shadows fall to the side and below, within about one diameter of the object.
    radius = max((track.radius for track in video.tracks), default=0)
    empty = ~ndimage.binary_dilation(occupied, iterations=int(2 * radius) + 2)
    background = np.nan
    if empty.any() and len(frames) > 1:
        pixels = frames[:, empty].astype(np.float32)
        background = float(np.abs(np.diff(pixels, axis=0)).mean())
    residuals = [residual for track in video.tracks for residual in _object_residuals(track)]
    return Flicker(background=background, objects=float(np.mean(residuals)) if residuals else np.nan)


def _object_residuals(track: Track) -> list[float]:
    """Mean absolute change of the middle of an object, for each pair of frames in which it is clearly
    visible."""
    residuals = []
    for frame in np.flatnonzero(track.clearly_visible[1:] & track.clearly_visible[:-1]):
        first, second = track.blobs[frame], track.blobs[frame + 1]
        if first is None or second is None:
            continue
        radius = 0.6 * first.radius
        offsets = np.arange(-int(radius), int(radius) + 1)
        dx, dy = np.meshgrid(offsets, offsets)
        patches = [
            ndimage.map_coordinates(
                blob.value.astype(np.float32),
                [blob.y - blob.origin[1] + dy, blob.x - blob.origin[0] + dx],
                order=1,
                mode="nearest",
            )
            for blob in (first, second)
        ]
        residuals.append(float(np.abs(patches[0] - patches[1]).mean()))
    return residuals
