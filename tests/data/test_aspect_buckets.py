"""Bucket tables of the trainers, to the last number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.aspect_buckets import (
    ai_toolkit_bucket,
    apply_cover_crop,
    choose_bucket,
    diffusion_pipe_bucket,
    diffusion_pipe_ratios,
    musubi_bucket,
    musubi_buckets,
    plan_cover_crop,
)

MUSUBI = [
    ((960, 544), (1920, 1080), (960, 544), (967, 544), 3, 0),
    ((960, 544), (1080, 1920), (544, 960), (544, 967), 0, 3),
    ((960, 544), (640, 480), (832, 624), (832, 624), 0, 0),
    ((512, 512), (1920, 1080), (672, 384), (683, 384), 5, 0),
    ((512, 512), (1080, 1920), (384, 672), (384, 683), 0, 5),
    ((512, 512), (640, 480), (592, 432), (592, 444), 0, 6),
    ((256, 256), (1920, 1080), (336, 192), (341, 192), 2, 0),
    ((256, 256), (1080, 1920), (192, 336), (192, 341), 0, 2),
    ((256, 256), (640, 480), (288, 224), (299, 224), 5, 0),
]


@pytest.mark.parametrize(("resolution", "count"), [((960, 544), 47), ((512, 512), 33), ((256, 256), 17)])
def test_number_of_musubi_buckets(resolution, count):
    assert len(musubi_buckets(resolution)) == count


@pytest.mark.parametrize(("resolution", "source", "bucket", "scaled", "left", "top"), MUSUBI)
def test_musubi(resolution, source, bucket, scaled, left, top):
    assert musubi_bucket(source, resolution) == bucket
    plan = plan_cover_crop(source, bucket)
    assert (plan.scaled, plan.left, plan.top) == (scaled, left, top)


def test_musubi_without_enlarging():
    assert musubi_bucket((330, 250), (512, 512), no_upscale=True) == (320, 240)
    assert musubi_bucket((1920, 1080), (512, 512), no_upscale=True) == (672, 384)


def test_diffusion_pipe():
    assert [round(ratio, 3) for ratio in diffusion_pipe_ratios()] == [0.5, 0.63, 0.794, 1, 1.26, 1.587, 2]
    assert diffusion_pipe_bucket((1920, 1080), (512, 512)) == (640, 400)
    assert diffusion_pipe_bucket((640, 480), (512, 512)) == (576, 464)


@pytest.mark.parametrize(
    ("source", "bucket"), [((1920, 1080), (672, 384)), ((640, 480), (576, 448)), ((320, 240), (320, 240))]
)
def test_ai_toolkit(source, bucket):
    assert ai_toolkit_bucket(source, (512, 512)) == bucket


def test_fixed_size():
    assert choose_bucket("fixed", (1920, 1080), (500, 300)) == (496, 288)


@given(
    width=st.integers(16, 4000),
    height=st.integers(16, 4000),
    rule=st.sampled_from(["musubi", "diffusion-pipe", "ai-toolkit", "fixed"]),
)
def test_a_bucket_is_covered_and_divisible(width, height, rule):
    bucket = choose_bucket(rule, (width, height), (512, 320), divisor=16)
    assert all(side % 16 == 0 and side > 0 for side in bucket)
    plan = plan_cover_crop((width, height), bucket)
    assert plan.scaled[0] >= bucket[0]
    assert plan.scaled[1] >= bucket[1]
    assert 0 <= plan.left <= plan.scaled[0] - bucket[0]
    assert 0 <= plan.top <= plan.scaled[1] - bucket[1]


def test_the_middle_is_cropped_without_stretching():
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    cropped = apply_cover_crop(image, plan_cover_crop((300, 100), (96, 96)))
    assert cropped.shape == (96, 96, 3)
    assert cropped.min() == 255
