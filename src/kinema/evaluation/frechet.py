"""Measure 10: the Fréchet distance between two sets of videos, with features of an untrained network.

Heusel et al., 'GANs Trained by a Two Time-Scale Update Rule ...', 2017, with fixed random 3-D convolutions in
place of a trained network: no download is needed and the distance is the same everywhere. It is a secondary
metric, because it changes more with slight blur than with a missing object.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from kinema.evaluation.tracking import TrackedVideo
from kinema.frames import FrameArray, to_model_range

RANDOM_WEIGHT_SEED = 20_260_101
"""Seed of the random weights. It is part of the metric's definition."""
NUM_FEATURES = 64
_CHANNELS = (3, 16, 32, NUM_FEATURES)


@functools.cache
def _random_weights() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(RANDOM_WEIGHT_SEED)
    return tuple(
        torch.randn(after, before, 3, 3, 3, generator=generator) / (27 * before) ** 0.5
        for before, after in itertools.pairwise(_CHANNELS)
    )


@torch.no_grad()
def video_features(frames: FrameArray) -> Float[np.ndarray, " features"]:
    """Features of a video: three random 3-D convolutions at 32 x 32 pixels, averaged over space and time."""
    video = to_model_range(frames)
    x = F.adaptive_avg_pool3d(video, (video.shape[2], 32, 32))
    for weight in _random_weights():
        x = F.leaky_relu(F.conv3d(x, weight, stride=(1, 2, 2), padding=1), 0.2)
    return x.mean(dim=(0, 2, 3, 4)).double().numpy()


def tracker_features(video: TrackedVideo) -> Float[np.ndarray, "8"]:
    """Eight statistics of the tracks: the number, size, speed and acceleration of the objects."""
    if not video.tracks:
        return np.zeros(8)
    speeds, areas = [], []
    for track in video.tracks:
        # Videos of one or two frames are padded with the last position, so that speeds are defined.
        centre = np.concatenate([track.centre, *[track.centre[-1:]] * max(0, 3 - video.num_frames)])
        displacement = np.linalg.norm(np.diff(centre, axis=0), axis=1) / video.scale
        speeds.append(np.nan_to_num(displacement))
        areas.append(track.area / video.scale**2)
    speed, area = np.stack(speeds), np.stack(areas)
    num_visible = np.stack([track.visible for track in video.tracks]).sum(axis=0)
    return np.array(
        [
            len(video.tracks),
            num_visible.mean(),
            num_visible.std(),
            np.nanmean(area) / 100,
            np.nanstd(area) / 100,
            speed.mean(),
            speed.max() / 4,
            np.abs(np.diff(speed, axis=1)).mean(),
        ]
    )


def frechet_distance(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"]) -> float:
    """Squared Fréchet distance between the Gaussians fitted to two sets of features.

    The trace of the matrix square root is computed from symmetric eigenvalues, so the result is real and
    reproducible.
    """
    means = first.mean(axis=0), second.mean(axis=0)
    first_covariance, second_covariance = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(first_covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second_covariance @ root), 0)).sum()
    distance = (
        ((means[0] - means[1]) ** 2).sum()
        + np.trace(first_covariance)
        + np.trace(second_covariance)
        - 2 * cross
    )
    # Rounding can make the distance of equal sets slightly negative.
    return max(0.0, float(distance))
