"""Which films a step trains on: a function of (seed, step), each film in turn, batches of equal tokens."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.train import chance
from kinema.train.buckets import ROUND, Group, buckets_of

WIDE = Group(count=40, frames=5, tokens=16)
SHORT = Group(count=24, frames=3, tokens=16)
LARGE = Group(count=10, frames=5, tokens=36)


def test_one_shape_is_the_plain_order():
    buckets = buckets_of([WIDE], batch=8, pictures=0.0, seed=3)
    for step in (0, 4, 7, 123):
        assert list(buckets.at(step).films) == chance.batch_at(step, 8, 40, 3)
        assert buckets.at(step).bucket.frames == 5


@given(
    groups=st.lists(
        st.builds(Group, count=st.integers(1, 200), frames=st.integers(1, 9), tokens=st.integers(1, 64)),
        min_size=1,
        max_size=5,
    ),
    batch=st.integers(1, 32),
    pictures=st.floats(0, 0.5),
    step=st.integers(0, 10**6),
)
def test_any_step_has_films_that_exist(groups, batch, pictures, step):
    buckets = buckets_of(groups, batch=batch, pictures=pictures, seed=1)
    drawn = buckets.at(step)
    assert drawn == buckets.at(step)
    assert len(drawn.films) == drawn.bucket.batch >= 1
    assert all(0 <= film < groups[drawn.bucket.group].count for film in drawn.films)
    assert sum(bucket.share for bucket in buckets.buckets) >= min(ROUND, len(buckets.buckets))


def test_batches_have_about_the_same_tokens():
    buckets = buckets_of([WIDE, SHORT, LARGE], batch=8, pictures=0.0, seed=0)
    groups = (WIDE, SHORT, LARGE)
    tokens = [b.batch * groups[b.group].frames * groups[b.group].tokens for b in buckets.buckets]
    assert max(tokens) <= 1.3 * min(tokens)


def test_every_film_of_every_shape_comes_equally_often():
    buckets = buckets_of([WIDE, SHORT], batch=8, pictures=0.0, seed=0)
    seen = Counter()
    for step in range(20 * ROUND):
        drawn = buckets.at(step)
        seen.update((drawn.bucket.group, film) for film in drawn.films)
    assert len(seen) == WIDE.count + SHORT.count
    # Within a shape the order is endless and without repetition: counts differ by one at most.
    for group in (0, 1):
        counts = [count for (g, _), count in seen.items() if g == group]
        assert max(counts) - min(counts) <= 1
    means = [
        sum(c for (g, _), c in seen.items() if g == group) / part.count
        for group, part in enumerate((WIDE, SHORT))
    ]
    assert means[0] == pytest.approx(means[1], rel=0.15)


def test_pictures_have_their_share_and_are_one_frame():
    buckets = buckets_of([WIDE, SHORT], batch=8, pictures=0.25, seed=0)
    drawn = [buckets.at(step).bucket for step in range(10 * ROUND)]
    share = sum(bucket.frames == 1 for bucket in drawn) / len(drawn)
    assert share == pytest.approx(0.25, abs=0.03)
    assert {bucket.group for bucket in drawn if bucket.frames == 1} == {0, 1}
