"""Which films a step trains on, where films differ in shape: a batch is of one shape, and of as many films as
make about the same number of tokens.

Which shape comes at which step, and which of its films, is a function of (seed, step) alone. Shapes come in
rounds: within a round of steps every shape has its share, in an order drawn from the round's number, so the
place of a step within the endless order of its shape's films is counted, not remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.data import rng

STEPS_PER_ROUND = 60
"""Steps in a round, where there is a choice."""
MAX_BATCH_GROWTH = 8
"""Of a batch of small films, at most. Text costs every film the same."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Films of one shape, or the first latent frames of such films."""

    group: int
    """Which group of films."""
    num_videos: int
    """How many films there are."""
    latent_frames: int
    """Latent frames used; 1 are pictures."""
    batch_size: int
    steps_per_round: int
    """Steps in a round."""


@dataclass(frozen=True, kw_only=True)
class BucketBatch:
    """The films of a step."""

    bucket: Bucket
    indices: tuple[int, ...]
    """Places within the bucket's group."""


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """All buckets of a training."""

    buckets: tuple[Bucket, ...]
    seed: int

    def at(self, step: int) -> BucketBatch:
        """The films of a step."""
        if len(self.buckets) == 1:
            bucket, before = self.buckets[0], step
        else:
            turns = [
                place for place, bucket in enumerate(self.buckets) for _ in range(bucket.steps_per_round)
            ]
            number, place = divmod(step, len(turns))
            order = np.random.Generator(np.random.PCG64(rng.derive_seed(self.seed, "round", number)))
            turns = [turns[i] for i in order.permutation(len(turns))]
            bucket = self.buckets[turns[place]]
            before = number * bucket.share + turns[:place].count(turns[place])
        films = rng.batch_indices(before, bucket.batch_size, bucket.num_videos, self.seed)
        return BucketBatch(bucket=bucket, indices=tuple(films))


@dataclass(frozen=True, kw_only=True)
class BucketSpec:
    """What buckets are made of."""

    num_videos: int
    latent_frames: int
    """Latent frames."""
    tokens_per_frame: int
    """Of one latent frame."""


def build_buckets(specs: Sequence[BucketSpec], *, batch_size: int, image_p: float, seed: int) -> Buckets:
    """Buckets for groups of films, and for their first frames as pictures.

    Args:
        specs: the first is what `batch_size` is meant for; other shapes get as many films as make its tokens.
        batch_size: films of the first group in a step.
        image_p: share of the steps that train on pictures.
        seed: of the order.
    """
    room = batch_size * specs[0].latent_frames * specs[0].tokens_per_frame

    def batch_size_for(tokens: int, num_videos: int) -> int:
        return max(1, min(round(room / tokens), batch_size * MAX_BATCH_GROWTH, max(num_videos, batch_size)))

    found: list[tuple[int, BucketSpec, int, int, float]] = []
    for place, group in enumerate(specs):
        size = batch_size_for(group.latent_frames * group.tokens_per_frame, group.num_videos)
        found.append((place, group, group.latent_frames, size, (1 - image_p) * group.num_videos / size))
    films = sum(weight for *_, weight in found)
    if image_p > 0:
        for place, group in enumerate(specs):
            size = batch_size_for(group.tokens_per_frame, group.num_videos)
            weight = image_p * group.num_videos / sum(each.num_videos for each in specs)
            # Weights of films are counted in steps of an epoch, those of pictures in shares of all steps.
            found.append((place, group, 1, size, weight * films / max(1 - image_p, 1e-9)))
    shares = _round_shares([weight for *_, weight in found])
    return Buckets(
        seed=seed,
        buckets=tuple(
            Bucket(
                group=place,
                num_videos=group.num_videos,
                latent_frames=frames,
                batch_size=size,
                steps_per_round=share,
            )
            for (place, group, frames, size, _), share in zip(found, shares, strict=True)
        ),
    )


def _round_shares(weights: Sequence[float]) -> list[int]:
    """Whole numbers near `weights`, one or more each, that make a round (largest remainders first)."""
    exact = [weight / sum(weights) * STEPS_PER_ROUND for weight in weights]
    shares = [max(1, int(value)) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    for place in by_rest[: max(0, STEPS_PER_ROUND - sum(shares))]:
        shares[place] += 1
    return shares
