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

from kinema.train import chance

ROUND = 60
"""Steps in a round, where there is a choice."""
GROWTH = 8
"""Of a batch of small films, at most. Text costs every film the same."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Films of one shape, or the first latent frames of such films."""

    group: int
    """Which group of films."""
    count: int
    """How many films there are."""
    frames: int
    """Latent frames used; 1 are pictures."""
    batch: int
    share: int
    """Steps in a round."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The films of a step."""

    bucket: Bucket
    films: tuple[int, ...]
    """Places within the bucket's group."""


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """All buckets of a training."""

    buckets: tuple[Bucket, ...]
    seed: int

    def at(self, step: int) -> Drawn:
        """The films of a step."""
        if len(self.buckets) == 1:
            bucket, before = self.buckets[0], step
        else:
            turns = [place for place, bucket in enumerate(self.buckets) for _ in range(bucket.share)]
            number, place = divmod(step, len(turns))
            order = np.random.Generator(np.random.PCG64(chance.key(self.seed, "round", number)))
            turns = [turns[i] for i in order.permutation(len(turns))]
            bucket = self.buckets[turns[place]]
            before = number * bucket.share + turns[:place].count(turns[place])
        films = chance.batch_at(before, bucket.batch, bucket.count, self.seed)
        return Drawn(bucket=bucket, films=tuple(films))


@dataclass(frozen=True, kw_only=True)
class Group:
    """What buckets are made of."""

    count: int
    frames: int
    """Latent frames."""
    tokens: int
    """Of one latent frame."""


def buckets_of(groups: Sequence[Group], *, batch: int, pictures: float, seed: int) -> Buckets:
    """Buckets for groups of films, and for their first frames as pictures.

    Args:
        groups: the first is what `batch` is meant for; other shapes get as many films as make its tokens.
        batch: films of the first group in a step.
        pictures: share of the steps that train on pictures.
        seed: of the order.
    """
    room = batch * groups[0].frames * groups[0].tokens

    def batch_of(tokens: int, count: int) -> int:
        return max(1, min(round(room / tokens), batch * GROWTH, max(count, batch)))

    found: list[tuple[int, Group, int, int, float]] = []
    for place, group in enumerate(groups):
        size = batch_of(group.frames * group.tokens, group.count)
        found.append((place, group, group.frames, size, (1 - pictures) * group.count / size))
    films = sum(weight for *_, weight in found)
    if pictures > 0:
        for place, group in enumerate(groups):
            size = batch_of(group.tokens, group.count)
            weight = pictures * group.count / sum(each.count for each in groups)
            # Weights of films are counted in steps of an epoch, those of pictures in shares of all steps.
            found.append((place, group, 1, size, weight * films / max(1 - pictures, 1e-9)))
    shares = _shares([weight for *_, weight in found])
    return Buckets(
        seed=seed,
        buckets=tuple(
            Bucket(group=place, count=group.count, frames=frames, batch=size, share=share)
            for (place, group, frames, size, _), share in zip(found, shares, strict=True)
        ),
    )


def _shares(weights: Sequence[float]) -> list[int]:
    """Whole numbers near `weights`, one or more each, that make a round (largest remainders first)."""
    exact = [weight / sum(weights) * ROUND for weight in weights]
    shares = [max(1, int(value)) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    for place in by_rest[: max(0, ROUND - sum(shares))]:
        shares[place] += 1
    return shares
