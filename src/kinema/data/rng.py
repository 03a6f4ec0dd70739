"""Stateless random numbers: every random value in training is a pure function of its position in the run.

Sample orders depend on (seed, epoch); noise, sigmas and caption dropout on (seed, purpose, step, sample). A
resumed run therefore draws the numbers of the uninterrupted run without saved generator states, and nothing
depends on the number of workers or processes.

The purpose is a string such as "round" or "crop". Purposes are hashed into the seed, so renaming one
changes every run that uses it: they stay as they are, whatever the code around them is called.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def derive_seed(*key: int | str) -> int:
    """Hash a key to a well-mixed 63-bit seed, the same on every machine."""
    text = "\x1f".join(str(part) for part in key).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Create a CPU generator with the seed `derive_seed(*key)`."""
    return torch.Generator().manual_seed(derive_seed(*key))


def uniform(*key: int | str) -> float:
    """Draw a number in [0, 1) for a key."""
    return derive_seed(*key) / 2**63


def normal(shape: tuple[int, ...], *key: int | str) -> Tensor:
    """Draw standard normal noise for a key: float32, on the CPU."""
    return torch.randn(shape, generator=generator(*key))


def epoch_permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order in which epoch `epoch` visits `count` samples."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, "order", epoch))).permutation(count)


def batch_indices(step: int, batch_size: int, count: int, seed: int) -> list[int]:
    """Return the samples of a step.

    The epochs' permutations form one endless sequence; the step reads positions step * batch_size up to
    (step + 1) * batch_size of it.
    """
    first = step * batch_size
    epochs = range(first // count, (first + batch_size - 1) // count + 1)
    orders = np.concatenate([epoch_permutation(count, seed, epoch) for epoch in epochs])
    start = first - epochs[0] * count
    return [int(i) for i in orders[start : start + batch_size]]
