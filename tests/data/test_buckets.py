"""Buckets: batches are a function of (seed, step), videos take turns, batches have equal tokens."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data import rng
from kinema.data.buckets import STEPS_PER_ROUND, BucketSpec, build_buckets

WIDE = BucketSpec(num_videos=40, latent_frames=5, tokens_per_frame=16)
SHORT = BucketSpec(num_videos=24, latent_frames=3, tokens_per_frame=16)
LARGE = BucketSpec(num_videos=10, latent_frames=5, tokens_per_frame=36)


def test_single_shape_uses_the_epoch_order():
    buckets = build_buckets([WIDE], batch_size=8, image_p=0.0, seed=3)
    for step in (0, 4, 7, 123):
        assert list(buckets.at(step).indices) == rng.batch_indices(step, 8, 40, 3)
        assert buckets.at(step).bucket.latent_frames == 5


@given(
    specs=st.lists(
        st.builds(
            BucketSpec,
            num_videos=st.integers(1, 200),
            latent_frames=st.integers(1, 9),
            tokens_per_frame=st.integers(1, 64),
        ),
        min_size=1,
        max_size=5,
    ),
    batch_size=st.integers(1, 32),
    image_p=st.floats(0, 0.5),
    step=st.integers(0, 10**6),
)
def test_indices_exist_at_any_step(specs, batch_size, image_p, step):
    buckets = build_buckets(specs, batch_size=batch_size, image_p=image_p, seed=1)
    batch = buckets.at(step)
    assert batch == buckets.at(step)
    assert len(batch.indices) == batch.bucket.batch_size >= 1
    assert all(0 <= index < specs[batch.bucket.dataset_index].num_videos for index in batch.indices)
    assert sum(bucket.steps_per_round for bucket in buckets.buckets) >= min(
        STEPS_PER_ROUND, len(buckets.buckets)
    )


def test_batches_have_about_the_same_tokens():
    specs = (WIDE, SHORT, LARGE)
    buckets = build_buckets(specs, batch_size=8, image_p=0.0, seed=0)
    tokens = [
        b.batch_size * specs[b.dataset_index].latent_frames * specs[b.dataset_index].tokens_per_frame
        for b in buckets.buckets
    ]
    assert max(tokens) <= 1.3 * min(tokens)


def test_every_video_of_every_shape_is_sampled_equally_often():
    buckets = build_buckets([WIDE, SHORT], batch_size=8, image_p=0.0, seed=0)
    counts = Counter()
    for step in range(20 * STEPS_PER_ROUND):
        batch = buckets.at(step)
        counts.update((batch.bucket.dataset_index, index) for index in batch.indices)
    assert len(counts) == WIDE.num_videos + SHORT.num_videos
    # The sequence of a dataset repeats no video within an epoch, so its counts differ by one at most.
    by_dataset = [[count for (d, _), count in counts.items() if d == dataset] for dataset in (0, 1)]
    for own_counts in by_dataset:
        assert max(own_counts) - min(own_counts) <= 1
    means = [sum(own) / spec.num_videos for own, spec in zip(by_dataset, (WIDE, SHORT), strict=True)]
    assert means[0] == pytest.approx(means[1], rel=0.15)


def test_images_have_their_share_and_are_one_frame():
    buckets = build_buckets([WIDE, SHORT], batch_size=8, image_p=0.25, seed=0)
    used = [buckets.at(step).bucket for step in range(10 * STEPS_PER_ROUND)]
    share = sum(bucket.latent_frames == 1 for bucket in used) / len(used)
    assert share == pytest.approx(0.25, abs=0.03)
    assert {bucket.dataset_index for bucket in used if bucket.latent_frames == 1} == {0, 1}
