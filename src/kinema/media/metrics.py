"""PSNR and SSIM of two videos, also near edges alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8


def psnr(a: UInt8[np.ndarray, "*shape"], b: UInt8[np.ndarray, "*shape"]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels; infinity where they are equal."""
    error = np.square(a.astype(np.float32) - b.astype(np.float32)).mean(dtype=np.float64)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


EDGE_CONTRAST = 16
"""Neighbouring pixels with an edge between them differ by more than this in one channel, of 0 to 255."""
EDGE_REACH = 8
"""`near_edges` covers so many pixels around an edge."""


def near_edges(frames: UInt8[np.ndarray, "f h w 3"]) -> Bool[np.ndarray, "f h w"]:
    """The pixels within `EDGE_REACH` of an edge of their frame, in rows and columns."""
    from scipy.ndimage import maximum_filter

    values = frames.astype(np.int16)
    is_edge = np.zeros(frames.shape[:3], bool)
    is_edge[:, 1:] |= (np.abs(np.diff(values, axis=1)) > EDGE_CONTRAST).any(-1)
    is_edge[:, :, 1:] |= (np.abs(np.diff(values, axis=2)) > EDGE_CONTRAST).any(-1)
    return maximum_filter(is_edge, size=(1, 2 * EDGE_REACH + 1, 2 * EDGE_REACH + 1))


def psnr_near_edges(video: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]) -> float:
    """PSNR in dB over the pixels near edges of the reference; infinity where equal, or without edges."""
    chosen = near_edges(reference)
    return psnr(video[chosen], reference[chosen]) if chosen.any() else float("inf")


def ssim(a: UInt8[np.ndarray, "*f h w 3"], b: UInt8[np.ndarray, "*f h w 3"]) -> float:
    """Structural similarity, -1 to 1: mean over pixels, channels and frames, 1 when equal.

    Wang et al., 'Image Quality Assessment: From Error Visibility to Structural Similarity', 2004: Gaussian
    window of standard deviation 1.5 cut at 5 pixels, K1 = 0.01, K2 = 0.03; edges are mirrored.
    """
    first, second = 0.01 * 255, 0.03 * 255
    c1, c2 = first**2, second**2
    height, width = a.shape[-3:-1]
    values = [
        _ssim(x, y, c1, c2)
        for x, y in zip(a.reshape(-1, height, width, 3), b.reshape(-1, height, width, 3), strict=True)
    ]
    return float(np.mean(values))


def _ssim(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"], c1: float, c2: float) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _window(x), _window(y)
    variance_x = _window(x * x) - mean_x**2
    variance_y = _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)).mean())


def _window(values: np.ndarray) -> np.ndarray:
    # Imported here because it doubles the import time of kinema.media.
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, sigma=(1.5, 1.5, 0), truncate=3.34, mode="reflect")
