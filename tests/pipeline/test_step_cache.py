"""Requests with a step cache: the video, what is printed, and what does not go together."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.pipeline.pipeline import load
from kinema.pipeline.progress import SamplingStep
from kinema.pipeline.request import VideoRequest

BASE = VideoRequest(
    prompt="a red ball rolls to the left", size=(64, 64), num_frames=5, num_inference_steps=12
)


@pytest.fixture(scope="module")
def pipe():
    return load("world", device="cpu", dtype="float32")


def test_the_video_changes_a_little_and_the_error_is_printed(pipe, caplog):
    exact = pipe.generate(BASE).frames.astype(int)
    request = dataclasses.replace(BASE, step_cache=0.5)
    with caplog.at_level(logging.INFO, logger="kinema"):
        found = pipe.generate(request).frames.astype(int)
    [line] = [record.getMessage() for record in caplog.records if "step cache" in record.getMessage()]
    assert "of 12 steps reused the last result; their velocity was off by" in line
    assert not line.startswith("step cache: 0 ")
    assert 0 < np.abs(found - exact).mean() < 10
    steps = [event for event in pipe.stream(request) if isinstance(event, SamplingStep)]
    assert len(steps) == 12
    assert steps[0].to_state() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_cache": 0.0}, "step_cache can't be 0.0; give above 0 up to 1"),
        ({"step_cache": 2.0}, "step_cache can't be 2.0"),
        ({"num_frames": 401}, "sampled block by block has no step cache"),
        ({"num_inference_steps": 4}, "of 4 steps a step cache could skip none"),
    ],
)
def test_what_does_not_go_together_is_one_line(pipe, changes, message):
    with pytest.raises(UserError, match=message) as error:
        pipe.resolve(dataclasses.replace(BASE, **{"step_cache": 0.1, **changes}))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="without a step cache"):
        list(pipe.generate_batch([dataclasses.replace(BASE, step_cache=0.1)] * 2))
