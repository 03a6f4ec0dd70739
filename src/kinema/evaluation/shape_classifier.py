"""Ball, cube, cylinder, cone or screen: a blob's outline and shading, judged by a logistic regression.

Its 425 numbers were fitted on simulator clips of the training split, clean, blurred, noisy and compressed,
at 64 and 128 pixels (`benchmarks.evaluator.fit_shape_classifier`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from kinema.evaluation.segmentation import Blob

_NUM_ANGLES = 36
_NUM_HARMONICS = 7
SHAPES = ("ball", "cube", "cylinder", "cone", "screen")
_WEIGHTS_PATH = Path(__file__).with_name("shapes.npz")


def outline_radii(blob: Blob) -> Float[np.ndarray, " angles"]:
    """Distance from the soft centroid to where the soft mask falls below one half, in units of the radius.

    One value for each of 36 directions, counterclockwise from the right; sub-pixel by linear interpolation.
    """
    mask = blob.soft_mask
    left, top = blob.origin
    angle = np.arange(_NUM_ANGLES) * 2 * np.pi / _NUM_ANGLES
    radius = blob.radius
    steps = np.linspace(0, 2.2 * radius, 45)
    x = blob.x - left + np.cos(angle)[:, None] * steps
    y = blob.y - top - np.sin(angle)[:, None] * steps
    ray = ndimage.map_coordinates(mask, [y, x], order=1, mode="constant")
    # The outline is where the ray leaves the mask for the last time: highlights make holes inside.
    inside = ray >= 0.5
    last = np.where(inside.any(axis=1), len(steps) - 1 - inside[:, ::-1].argmax(axis=1), 0)
    after = np.minimum(last + 1, len(steps) - 1)
    rows = np.arange(_NUM_ANGLES)
    high, low = ray[rows, last], ray[rows, after]
    share = np.clip((high - 0.5) / np.maximum(high - low, 1e-6), 0, 1)
    return (steps[last] + share * (steps[1] - steps[0])) / radius


def shape_features(blob: Blob) -> Float[np.ndarray, " features"]:
    """What a shape is told by: the outline's Fourier terms, upright and turned, the extents, the shading."""
    line = outline_radii(blob)
    terms = np.fft.rfft(line) / _NUM_ANGLES
    size = np.abs(terms[1 : _NUM_HARMONICS + 1])
    upright = np.concatenate([terms[1:5].real, terms[1:5].imag])
    across = line[0] + line[_NUM_ANGLES // 2]
    tall = line[_NUM_ANGLES // 4] + line[3 * _NUM_ANGLES // 4]
    mask = blob.soft_mask
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    i, j = np.arange(len(rows)) + blob.origin[1] - blob.y, np.arange(len(columns)) + blob.origin[0] - blob.x
    total, r = blob.area, blob.radius
    variance_x, variance_y = float(columns @ j**2) / total / r**2, float(rows @ i**2) / total / r**2
    skew_y = float(rows @ i**3) / total / r**3
    corners = np.sort(line)[[0, 2, -3, -1]]
    return np.concatenate(
        [
            size,
            upright,
            [across, tall, variance_x, variance_y, skew_y, line[: _NUM_ANGLES // 2].mean()],
            corners,
            _shading_features(blob),
            [np.log(r / blob.image_height)],
        ]
    )


def _shading_features(blob: Blob) -> Float[np.ndarray, " k"]:
    """Mean value over a grid inside the outline, against the blob's own mean: flat faces or round ones."""
    left, top = blob.origin
    place = (np.arange(4) - 1.5) * 0.42 * blob.radius
    x, y = np.meshgrid(place + blob.x - left, place + blob.y - top)
    value = ndimage.map_coordinates(blob.value, [y, x], order=1, mode="nearest").ravel()
    return value / max(float(value.mean()), 1e-3) - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class _ClassifierWeights:
    mean: Float[np.ndarray, " features"]
    spread: Float[np.ndarray, " features"]
    weight: Float[np.ndarray, "twice shapes"]
    bias: Float[np.ndarray, " shapes"]


@functools.cache
def _load_weights() -> _ClassifierWeights:
    with np.load(_WEIGHTS_PATH) as stored:
        return _ClassifierWeights(
            mean=stored["mean"], spread=stored["spread"], weight=stored["weight"], bias=stored["bias"]
        )


def shape_log_probs(blob: Blob) -> Float[np.ndarray, " shapes"]:
    """Log probability of each of `ASPECT_RATIOS`, floored at 1 in 1,000 so that no frame decides alone."""
    table = _load_weights()
    z = np.clip((shape_features(blob) - table.mean) / table.spread, -4, 4)
    scores = np.concatenate([z, z * z - 1]) @ table.weight + table.bias
    scores = scores - scores.max()
    return np.maximum(scores - np.log(np.exp(scores).sum()), np.log(1e-3))
