"""PSNR and SSIM against their definitions, computed pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kinema.media import psnr, ssim
from kinema.media.metrics import EDGE_REACH, near_edges, psnr_near_edges
from tests.fixtures.media_videos import noise_video, smooth_video


def test_psnr_of_known_differences():
    a = np.full((4, 5, 6, 3), 100, np.uint8)
    assert psnr(a, a) == math.inf
    assert psnr(a, a + np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))
    b = a.copy()
    b[0, 0, 0, 0] = 200
    assert psnr(a, b) == psnr(b, a) == pytest.approx(10 * math.log10(255**2 / (100**2 / a.size)))


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Equation 13 of Wang et al. 2004 at every pixel, windows mirrored at the edges."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for channel in range(3):
        x = np.pad(a[..., channel].astype(float), 5, mode="symmetric")
        y = np.pad(b[..., channel].astype(float), 5, mode="symmetric")
        for row in range(a.shape[0]):
            for column in range(a.shape[1]):
                u, v = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
                mean_u, mean_v = (weights * u).sum(), (weights * v).sum()
                variance_u = (weights * (u - mean_u) ** 2).sum()
                variance_v = (weights * (v - mean_v) ** 2).sum()
                covariance = (weights * (u - mean_u) * (v - mean_v)).sum()
                c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
                values.append(
                    (2 * mean_u * mean_v + c1) * (2 * covariance + c2)
                    / ((mean_u**2 + mean_v**2 + c1) * (variance_u + variance_v + c2))
                )  # fmt: skip
    return float(np.mean(values))


def test_ssim_is_its_definition():
    a = smooth_video(2, 16, 19)
    b = np.clip(a.astype(int) + noise_video(2, 16, 19) // 8 - 16, 0, 255).astype(np.uint8)
    expected = np.mean([slow_ssim(x, y) for x, y in zip(a, b, strict=True)])
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)
    assert ssim(a[0], a[0]) == pytest.approx(1.0)
    assert ssim(a, 255 - a) < 0.3


def test_pixels_near_edges_are_a_square_around_each_edge():
    frames = np.full((2, 60, 60, 3), 100, np.uint8)
    frames[1, 30, 40] = 150
    chosen = near_edges(frames)
    assert not chosen[0].any()
    rows, columns = np.nonzero(chosen[1])
    # The edges are before and after the pixel; each is counted at the later pixel.
    assert (rows.min(), rows.max()) == (30 - EDGE_REACH, 31 + EDGE_REACH)
    assert (columns.min(), columns.max()) == (40 - EDGE_REACH, 41 + EDGE_REACH)


def test_psnr_near_edges_leaves_out_the_rest():
    reference = np.full((1, 60, 60, 3), 100, np.uint8)
    reference[0, :, 30:] = 200
    video = reference.copy()
    video[0, :, :10] += 50
    assert psnr_near_edges(video, reference) == float("inf")
    video[0, 5, 30] -= 20
    assert psnr_near_edges(video, reference) < 60
    assert psnr_near_edges(reference, np.full_like(reference, 7)) == float("inf"), "there is no edge"
