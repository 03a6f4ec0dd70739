"""The order of samples in training: pure functions of (seed, epoch) and (seed, step).

A batch never mixes buckets. Nothing depends on the number of workers or processes, and the position of a run
is its step alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kinema.data import rng
from kinema.data.buckets import steps_per_round


@dataclass(frozen=True, kw_only=True)
class OrderedSet:
    """A set as the order sees it.

    Attributes:
        buckets: of each sample.
        repeats: how often each sample is used in an epoch, 1 or more.
        weight: share of the steps, relative to other sets.
    """

    buckets: tuple[Hashable, ...]
    repeats: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class OrderedBatch:
    """The samples of a step.

    Attributes:
        set_index: of the set.
        indices: of the samples in the set; all have one bucket.
        epoch: how often the set was used up before.
    """

    set_index: int
    indices: tuple[int, ...]
    epoch: int


def epoch_batches(
    buckets: Sequence[Hashable], repeats: Sequence[int], *, batch_size: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """The batches of an epoch, in their order.

    Every sample is used `repeats` times. The last batch of a bucket is filled up with samples from the
    bucket's beginning, so that all batches are full.

    Args:
        buckets: of each sample.
        repeats: of each sample.
        batch_size: samples of a batch.
        seed: of the order.
        epoch: from 0.
    """
    return list(_epoch_batches(tuple(buckets), tuple(repeats), batch_size, seed, epoch))


@dataclass(frozen=True, kw_only=True)
class SampleOrder:
    """The batches of a run over one or several sets, which are mixed by their weights."""

    sets: tuple[OrderedSet, ...]
    batch_size: int
    seed: int

    def at(self, step: int) -> OrderedBatch:
        """The samples of a step."""
        set_index, step_in_set = 0, step
        if len(self.sets) > 1:
            counts = steps_per_round([one.weight for one in self.sets])
            turns = [i for i, count in enumerate(counts) for _ in range(count)]
            round_index, position = divmod(step, len(turns))
            order = np.random.Generator(np.random.PCG64(rng.derive_seed(self.seed, "set round", round_index)))
            shuffled = [turns[i] for i in order.permutation(len(turns))]
            set_index = shuffled[position]
            step_in_set = round_index * counts[set_index] + shuffled[:position].count(set_index)
        chosen = self.sets[set_index]
        # Each epoch has the same number of batches: it depends on the sizes of the buckets only.
        per_epoch = len(_epoch_batches(chosen.buckets, chosen.repeats, self.batch_size, self.seed, 0))
        epoch, position = divmod(step_in_set, per_epoch)
        batches = _epoch_batches(chosen.buckets, chosen.repeats, self.batch_size, self.seed, epoch)
        return OrderedBatch(set_index=set_index, indices=batches[position], epoch=epoch)


@lru_cache(maxsize=64)
def _epoch_batches(
    buckets: tuple[Hashable, ...], repeats: tuple[int, ...], batch_size: int, seed: int, epoch: int
) -> tuple[tuple[int, ...], ...]:
    by_bucket: dict[Hashable, list[int]] = {}
    for index, (bucket, count) in enumerate(zip(buckets, repeats, strict=True)):
        by_bucket.setdefault(bucket, []).extend([index] * count)
    order = np.random.Generator(np.random.PCG64(rng.derive_seed(seed, "set order", epoch)))
    batches: list[tuple[int, ...]] = []
    for bucket in sorted(by_bucket, key=str):
        samples = by_bucket[bucket]
        shuffled = [samples[i] for i in order.permutation(len(samples))]
        for first in range(0, len(shuffled), batch_size):
            batch = shuffled[first : first + batch_size]
            batch += [shuffled[i % len(shuffled)] for i in range(batch_size - len(batch))]
            batches.append(tuple(batch))
    return tuple(batches[i] for i in order.permutation(len(batches)))
