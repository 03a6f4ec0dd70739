"""A request gives the same frames through the command line and through Python."""

import dataclasses

import numpy as np
import pytest

import kinema
from kinema.cli import main
from kinema.evaluation.tracking import track_objects
from kinema.media import read_video
from kinema.pipeline.reproduce import read_metadata

PROMPT = "a red ball rolls to the left"
REQUEST = kinema.VideoRequest(prompt=PROMPT, seed=1, num_inference_steps=2)
OPTIONS = ("--seed", "1", "--num-inference-steps", "2", "--device", "cpu", "--dtype", "float32")


@pytest.fixture(scope="module")
def pipe():
    return kinema.load("world", device="cpu", dtype="float32")


def assert_same_frames(pipe, request, path, *options):
    """Run the command line with a lossless file, and Python; compare every pixel. Returns the frames."""
    main(["generate", PROMPT, *OPTIONS, *options, "--out", str(path)])
    frames = read_video(path).frames
    assert np.array_equal(frames, pipe.generate(request).frames)
    return frames


def test_short_video(pipe, tmp_path):
    assert len(assert_same_frames(pipe, REQUEST, tmp_path / "short.zip")) == 17


def test_streamed_video(pipe, tmp_path):
    request = dataclasses.replace(REQUEST, seconds=4.0)
    assert pipe.resolve(request).is_streamed
    assert len(assert_same_frames(pipe, request, tmp_path / "streamed.zip", "--seconds", "4")) == 33


def test_upscaled_video(pipe, tmp_path):
    request = dataclasses.replace(REQUEST, upscale=2)
    frames = assert_same_frames(pipe, request, tmp_path / "large.zip", "--upscale", "2")
    assert frames.shape == (17, 256, 256, 3)


def test_metadata_holds_the_resolved_request(pipe, tmp_path):
    path = tmp_path / "video.mp4"
    main(["generate", PROMPT, *OPTIONS, "--out", str(path)])
    assert read_metadata(path).request.to_dict() == pipe.resolve(REQUEST).request.to_dict()


@pytest.mark.slow
def test_minute_long_video(pipe, tmp_path):
    request = dataclasses.replace(REQUEST, seconds=60.0, num_inference_steps=10)
    options = ("--seconds", "60", "--num-inference-steps", "10")
    frames = assert_same_frames(pipe, request, tmp_path / "long.zip", *options)
    assert len(frames) == 481
    video = track_objects(frames, 8.0)
    visible = np.any([track.clearly_visible for track in video.tracks], axis=0)
    assert visible.mean() > 0.5, "the video is not empty"
