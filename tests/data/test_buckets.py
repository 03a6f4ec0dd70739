"""Which films a step trains on: a function of (seed, step), each film in turn, batches of equal tokens."""

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
    groups=st.lists(
        st.builds(BucketSpec, count=st.integers(1, 200), frames=st.integers(1, 9), tokens=st.integers(1, 64)),
        min_size=1,
        max_size=5,
    ),
    batch=st.integers(1, 32),
    pictures=st.floats(0, 0.5),
    step=st.integers(0, 10**6),
)
def test_indices_exist_at_any_step(groups, batch, pictures, step):
    buckets = build_buckets(groups, batch_size=batch, image_p=pictures, seed=1)
    drawn = buckets.at(step)
    assert drawn == buckets.at(step)
    assert len(drawn.indices) == drawn.bucket.batch_size >= 1
    assert all(0 <= film < groups[drawn.bucket.group].count for film in drawn.indices)
    assert sum(bucket.steps_per_round for bucket in buckets.buckets) >= min(
        STEPS_PER_ROUND, len(buckets.buckets)
    )


def test_batches_have_about_the_same_tokens():
    buckets = build_buckets([WIDE, SHORT, LARGE], batch_size=8, image_p=0.0, seed=0)
    groups = (WIDE, SHORT, LARGE)
    tokens = [
        b.batch_size * groups[b.group].latent_frames * groups[b.group].tokens_per_frame
        for b in buckets.buckets
    ]
    assert max(tokens) <= 1.3 * min(tokens)


def test_every_video_of_every_shape_is_sampled_equally_often():
    buckets = build_buckets([WIDE, SHORT], batch_size=8, image_p=0.0, seed=0)
    seen = Counter()
    for step in range(20 * STEPS_PER_ROUND):
        drawn = buckets.at(step)
        seen.update((drawn.bucket.group, film) for film in drawn.indices)
    assert len(seen) == WIDE.num_videos + SHORT.num_videos
    # Within a shape the order is endless and without repetition: counts differ by one at most.
    for group in (0, 1):
        counts = [count for (g, _), count in seen.items() if g == group]
        assert max(counts) - min(counts) <= 1
    means = [
        sum(c for (g, _), c in seen.items() if g == group) / part.num_videos
        for group, part in enumerate((WIDE, SHORT))
    ]
    assert means[0] == pytest.approx(means[1], rel=0.15)


def test_images_have_their_share_and_are_one_frame():
    buckets = build_buckets([WIDE, SHORT], batch_size=8, image_p=0.25, seed=0)
    drawn = [buckets.at(step).bucket for step in range(10 * STEPS_PER_ROUND)]
    share = sum(bucket.latent_frames == 1 for bucket in drawn) / len(drawn)
    assert share == pytest.approx(0.25, abs=0.03)
    assert {bucket.group for bucket in drawn if bucket.latent_frames == 1} == {0, 1}
