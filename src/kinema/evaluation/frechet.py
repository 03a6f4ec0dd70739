"""Measure 10: the Fréchet distance between two sets of films, by features that nobody trained.

Heusel et al., 'GANs Trained by a Two Time-Scale Update Rule ...', 2017, with fixed random 3-D convolutions
in place of a network trained on photographs: it needs no download and means the same everywhere. It is a
secondary figure: it minds a slight blur more than a vanished thing.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8

from kinema.evaluation.tracking import TrackedVideo

RANDOM_WEIGHT_SEED = 20_260_101
"""Of the random weights; part of the measure's definition."""
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
def video_features(frames: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, " features"]:
    """Features of a film: three random 3-D convolutions over it at 32 x 32, averaged over space and time."""
    film = torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    x = F.adaptive_avg_pool3d(film, (film.shape[2], 32, 32))
    for weight in _random_weights():
        x = F.leaky_relu(F.conv3d(x, weight, stride=(1, 2, 2), padding=1), 0.2)
    return x.mean(dim=(0, 2, 3, 4)).double().numpy()


def tracker_features(video: TrackedVideo) -> Float[np.ndarray, "8"]:
    """What the tracker saw, in eight numbers: how many things, how large, how fast, how even."""
    if not video.tracks:
        return np.zeros(8)
    speeds, areas = [], []
    for track in video.tracks:
        # A picture that is no film has no speed: as if it went on standing.
        centre = np.concatenate([track.centre, *[track.centre[-1:]] * max(0, 3 - video.num_frames)])
        step = np.linalg.norm(np.diff(centre, axis=0), axis=1) / video.scale
        speeds.append(np.nan_to_num(step))
        areas.append(track.area / video.scale**2)
    speed, area = np.stack(speeds), np.stack(areas)
    seen = np.stack([track.visible for track in video.tracks])
    count = seen.sum(axis=0)
    return np.array(
        [
            len(video.tracks),
            count.mean(),
            count.std(),
            np.nanmean(area) / 100,
            np.nanstd(area) / 100,
            speed.mean(),
            speed.max() / 4,
            np.abs(np.diff(speed, axis=1)).mean(),
        ]
    )


def frechet_distance(one: Float[np.ndarray, "n d"], two: Float[np.ndarray, "m d"]) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features.

    The covariances' geometric mean comes from symmetric eigenvalues, so the result is real and repeatable.
    """
    means = one.mean(axis=0), two.mean(axis=0)
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = ((means[0] - means[1]) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * cross
    # Rounding may take equal sets a little below zero.
    return max(0.0, float(apart))
