"""Stateless random numbers: batches cover every sample once per epoch, values depend on their key."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinema.data import rng


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 5))
def test_batches_cover_every_epoch_without_gaps_or_repeats(count, batch_size, seed):
    steps = -(-3 * count // batch_size)
    visited = [i for step in range(steps) for i in rng.batch_indices(step, batch_size, count, seed)]
    for epoch in range(3):
        assert sorted(visited[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_batch_size_does_not_change_the_order():
    small = [i for step in range(12) for i in rng.batch_indices(step, 5, 23, 7)]
    large = [i for step in range(4) for i in rng.batch_indices(step, 15, 23, 7)]
    assert small == large


def test_epochs_and_seeds_differ():
    first, second = rng.epoch_permutation(100, 1, 0), rng.epoch_permutation(100, 1, 1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, rng.epoch_permutation(100, 2, 0))


def test_uniform_is_independent_across_keys():
    values = np.array([rng.uniform(3, "drop", step) for step in range(4000)])
    assert abs(values.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.05
    assert rng.derive_seed(1, 23) != rng.derive_seed(12, 3)


def test_noise_is_a_function_of_its_key():
    noise = rng.normal((3, 4), 0, "noise", 17, 5)
    assert noise.equal(rng.normal((3, 4), 0, "noise", 17, 5))
    assert not noise.equal(rng.normal((3, 4), 0, "noise", 18, 5))
