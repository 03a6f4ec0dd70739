"""Batches of one shape from datasets of several shapes, with about the same number of tokens in each.

The shape of a step and its videos are a function of (seed, step) alone. Steps come in rounds: within a round
every bucket has its number of steps, in an order drawn from the round's number. How often a bucket was used
before a step is therefore computed and not remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.data import rng

STEPS_PER_ROUND = 60
"""Steps in a round, where there are several buckets."""
MAX_BATCH_GROWTH = 8
"""A batch of small videos has at most this many times the base batch size: the text of a video costs the same
for every shape."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Batches of one dataset, of whole videos or of first latent frames (images).

    Attributes:
        dataset_index: of the dataset.
        num_videos: in the dataset.
        latent_frames: that are used of each video; 1 for images.
        batch_size: videos in a batch.
        steps_per_round: steps of a round that use this bucket.
    """

    dataset_index: int
    num_videos: int
    latent_frames: int
    batch_size: int
    steps_per_round: int


@dataclass(frozen=True, kw_only=True)
class BucketBatch:
    """The videos of a step: `indices` of the bucket's dataset."""

    bucket: Bucket
    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """All buckets of a training run."""

    buckets: tuple[Bucket, ...]
    seed: int

    def at(self, step: int) -> BucketBatch:
        """Return the bucket and the videos of a step."""
        if len(self.buckets) == 1:
            bucket, batches_before = self.buckets[0], step
        else:
            turns = [i for i, bucket in enumerate(self.buckets) for _ in range(bucket.steps_per_round)]
            round_index, position = divmod(step, len(turns))
            order = np.random.Generator(np.random.PCG64(rng.derive_seed(self.seed, "round", round_index)))
            turns = [turns[i] for i in order.permutation(len(turns))]
            turn = turns[position]
            bucket = self.buckets[turn]
            batches_before = round_index * bucket.steps_per_round + turns[:position].count(turn)
        indices = rng.batch_indices(batches_before, bucket.batch_size, bucket.num_videos, self.seed)
        return BucketBatch(bucket=bucket, indices=tuple(indices))


@dataclass(frozen=True, kw_only=True)
class BucketSpec:
    """A dataset as the buckets see it.

    Attributes:
        num_videos: in the dataset.
        latent_frames: of each video.
        tokens_per_frame: of one latent frame.
        weight: share of the video steps, relative to the others; None: steps of an epoch.
    """

    num_videos: int
    latent_frames: int
    tokens_per_frame: int
    weight: float | None = None


def build_buckets(specs: Sequence[BucketSpec], *, batch_size: int, image_p: float, seed: int) -> Buckets:
    """Build a bucket for each dataset, and with `image_p` another for its first latent frames.

    Args:
        specs: the datasets. The first one has batches of `batch_size`; the batches of the others have about
            as many tokens.
        batch_size: videos of the first dataset in a batch.
        image_p: share of the steps that train on images, 0 to below 1.
        seed: of the order.
    """
    tokens_per_batch = batch_size * specs[0].latent_frames * specs[0].tokens_per_frame

    def fitting_batch_size(tokens_per_video: int, num_videos: int) -> int:
        fitting = round(tokens_per_batch / tokens_per_video)
        return max(1, min(fitting, batch_size * MAX_BATCH_GROWTH, max(num_videos, batch_size)))

    video_sizes = [
        fitting_batch_size(spec.latent_frames * spec.tokens_per_frame, spec.num_videos) for spec in specs
    ]
    # Weights of video buckets are steps of an epoch, those of image buckets are shares of all steps.
    weights = [
        (1 - image_p) * (spec.num_videos / size if spec.weight is None else spec.weight)
        for spec, size in zip(specs, video_sizes, strict=True)
    ]
    candidates = [(i, specs[i].latent_frames, size) for i, size in enumerate(video_sizes)]
    if image_p > 0:
        video_weight, num_videos = sum(weights), sum(spec.num_videos for spec in specs)
        for i, spec in enumerate(specs):
            weight = image_p * spec.num_videos / num_videos
            weights.append(weight * video_weight / max(1 - image_p, 1e-9))
            candidates.append((i, 1, fitting_batch_size(spec.tokens_per_frame, spec.num_videos)))
    return Buckets(
        seed=seed,
        buckets=tuple(
            Bucket(
                dataset_index=i,
                num_videos=specs[i].num_videos,
                latent_frames=latent_frames,
                batch_size=size,
                steps_per_round=steps,
            )
            for (i, latent_frames, size), steps in zip(candidates, steps_per_round(weights), strict=True)
        ),
    )


def steps_per_round(weights: Sequence[float]) -> list[int]:
    """Round `weights` to integers of 1 or more that add up to a round (largest remainders first)."""
    exact = [weight / sum(weights) * STEPS_PER_ROUND for weight in weights]
    steps = [max(1, int(value)) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: steps[i] - exact[i])
    for i in by_remainder[: max(0, STEPS_PER_ROUND - sum(steps))]:
        steps[i] += 1
    return steps
