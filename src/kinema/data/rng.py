"""Chance without state: everything random in training is a pure function of where in the run it happens.

Orders come from (seed, epoch); timesteps, noise and caption dropout from (seed, purpose, step, sample).
Nothing has to be saved for a resumed run to draw what the uninterrupted run would have drawn, and
nothing depends on the number of workers or processes.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 63-bit number for a place in the run, well mixed and the same on every machine."""
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator that starts at `derive_seed(*parts)`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def uniform(*parts: int | str) -> float:
    """A number in [0, 1) for a place in the run."""
    return derive_seed(*parts) / 2**63


def normal(shape: tuple[int, ...], *parts: int | str) -> Tensor:
    """Standard normal noise for a place in the run, float32, made on the CPU."""
    return torch.randn(shape, generator=generator(*parts))


def epoch_permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of `count` samples that epoch `epoch` goes through."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, "order", epoch))).permutation(count)


def batch_indices(step: int, batch_size: int, count: int, seed: int) -> list[int]:
    """The samples of a step: positions step·batch up to (step + 1)·batch of the endless order."""
    first = step * batch_size
    epochs = range(first // count, (first + batch_size - 1) // count + 1)
    orders = np.concatenate([epoch_permutation(count, seed, epoch) for epoch in epochs])
    start = first - epochs[0] * count
    return [int(i) for i in orders[start : start + batch_size]]
