"""Shape classifier: logistic regression on the outline and shading of a blob.

The 425 parameters were fitted on simulator clips of the training split, clean, blurred, noisy and compressed,
at 64 and 128 pixels (`tools/fit_shape_classifier.py`).
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
_WEIGHTS_PATH = Path(__file__).with_name("shape_classifier.npz")


def outline_radii(blob: Blob) -> Float[np.ndarray, " angles"]:
    """Distance from the soft centroid to the outline of the soft mask at 0.5, in radii.

    One value for each of 36 directions, counterclockwise from the right, with sub-pixel interpolation.
    """
    mask = blob.soft_mask
    left, top = blob.origin
    angle = np.arange(_NUM_ANGLES) * 2 * np.pi / _NUM_ANGLES
    radius = blob.radius
    steps = np.linspace(0, 2.2 * radius, 45)
    x = blob.x - left + np.cos(angle)[:, None] * steps
    y = blob.y - top - np.sin(angle)[:, None] * steps
    ray = ndimage.map_coordinates(mask, [y, x], order=1, mode="constant")
    # The outline is the last crossing of the ray: highlights make holes in the mask.
    inside = ray >= 0.5
    last = np.where(inside.any(axis=1), len(steps) - 1 - inside[:, ::-1].argmax(axis=1), 0)
    after = np.minimum(last + 1, len(steps) - 1)
    rows = np.arange(_NUM_ANGLES)
    high, low = ray[rows, last], ray[rows, after]
    fraction = np.clip((high - 0.5) / np.maximum(high - low, 1e-6), 0, 1)
    return (steps[last] + fraction * (steps[1] - steps[0])) / radius


def shape_features(blob: Blob) -> Float[np.ndarray, " features"]:
    """Fourier magnitudes and coefficients of the outline, extents, moments, and shading of a blob."""
    outline = outline_radii(blob)
    spectrum = np.fft.rfft(outline) / _NUM_ANGLES
    magnitudes = np.abs(spectrum[1 : _NUM_HARMONICS + 1])
    coefficients = np.concatenate([spectrum[1:5].real, spectrum[1:5].imag])
    width = outline[0] + outline[_NUM_ANGLES // 2]
    height = outline[_NUM_ANGLES // 4] + outline[3 * _NUM_ANGLES // 4]
    mask = blob.soft_mask
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    i, j = np.arange(len(rows)) + blob.origin[1] - blob.y, np.arange(len(columns)) + blob.origin[0] - blob.x
    total, r = blob.area, blob.radius
    variance_x, variance_y = float(columns @ j**2) / total / r**2, float(rows @ i**2) / total / r**2
    skew_y = float(rows @ i**3) / total / r**3
    extremes = np.sort(outline)[[0, 2, -3, -1]]
    return np.concatenate(
        [
            magnitudes,
            coefficients,
            [width, height, variance_x, variance_y, skew_y, outline[: _NUM_ANGLES // 2].mean()],
            extremes,
            _shading_features(blob),
            [np.log(r / blob.image_height)],
        ]
    )


def _shading_features(blob: Blob) -> Float[np.ndarray, " k"]:
    """Brightness on a grid inside the outline relative to its mean: distinguishes flat from round faces."""
    left, top = blob.origin
    offsets = (np.arange(4) - 1.5) * 0.42 * blob.radius
    x, y = np.meshgrid(offsets + blob.x - left, offsets + blob.y - top)
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
    """Log probability of each of `prompt_parser.SHAPES`, at least log 0.001, so that no single frame
    decides."""
    weights = _load_weights()
    z = np.clip((shape_features(blob) - weights.mean) / weights.spread, -4, 4)
    logits = np.concatenate([z, z * z - 1]) @ weights.weight + weights.bias
    logits = logits - logits.max()
    return np.maximum(logits - np.log(np.exp(logits).sum()), np.log(1e-3))
