"""The backend with the shipped model: the frames of the Python API, streamed where the video is long."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.media.probe import probe
from kinema.media.read import read_video
from kinema.pipeline.pipeline import load
from kinema.pipeline.reproduce import frames_differ, read_metadata
from kinema.pipeline.request import VideoRequest
from kinema.server.backends.base import CheckpointError, JobProgress, JobResult
from kinema.server.backends.pipeline import PipelineBackend


@pytest.fixture(scope="module")
def backend():
    return PipelineBackend("world", "cpu")


@pytest.fixture(scope="module")
def pipeline():
    return load("world", device="cpu")


def run(backend, request, output, *, resume_from=None) -> tuple[list[JobProgress], JobResult]:
    *progress, result = backend.generate(request, output, resume_from=resume_from)
    assert isinstance(result, JobResult)
    return progress, result


def test_a_video_has_the_frames_of_the_python_api_and_resumes_from_a_checkpoint(tmp_path, backend, pipeline):
    request = VideoRequest(prompt="a red ball rolls to the left", seed=3, num_inference_steps=3)
    output = tmp_path / "video.mp4"
    progress, result = run(backend, request, output)
    frames = pipeline.generate(request).frames
    assert np.array_equal(result.sample_frames, frames)
    assert not frames_differ(read_metadata(output), frames)
    assert len(read_video(output).frames) == len(frames)
    fractions = [event.fraction for event in progress]
    assert fractions == sorted(fractions)
    checkpoint = tmp_path / "state.npz"
    events = backend.generate(request, tmp_path / "interrupted.mp4", resume_from=None)
    for event in events:
        if event.step == 2:
            event.save_checkpoint(checkpoint)
            break
    events.close()
    assert not (tmp_path / "interrupted.mp4").exists()
    progress, result = run(backend, request, output, resume_from=checkpoint)
    assert [event.step for event in progress if event.stage == "sample"] == [3]
    assert np.array_equal(result.sample_frames, frames)


def test_a_long_video_is_streamed_into_its_file_and_has_no_checkpoints(tmp_path, backend, pipeline):
    info = backend.model_info
    request = VideoRequest(
        prompt="a red ball rolls to the left", seed=3, seconds=2 * info.seconds, num_inference_steps=2
    )
    output = tmp_path / "video.mp4"
    progress, result = run(backend, request, output)
    frames = pipeline.generate(request).frames
    assert len(frames) > info.num_frames
    assert np.array_equal(result.sample_frames, frames)
    assert len(read_video(output).frames) == len(frames)
    assert read_metadata(output).frames_sha256 == ""
    assert all(event.save_checkpoint is None for event in progress)
    stages = [event.stage for event in progress]
    assert stages.index("decode") < len(stages) - 1 - stages[::-1].index("sample")
    fractions = [event.fraction for event in progress]
    assert fractions == sorted(fractions)


def test_upscaling_is_done_and_recorded(tmp_path, backend):
    request = VideoRequest(prompt="a red ball", seed=3, size=(64, 64), num_inference_steps=2, upscale=2)
    output = tmp_path / "video.mp4"
    progress, _ = run(backend, request, output)
    assert (probe(output).width, probe(output).height) == (128, 128)
    assert read_metadata(output).request.upscale == 2
    assert all(event.save_checkpoint is None for event in progress)


def test_a_damaged_checkpoint_is_an_error_in_one_line(tmp_path, backend):
    checkpoint = tmp_path / "state.npz"
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        run(backend, VideoRequest(prompt="a ball"), tmp_path / "video.mp4", resume_from=checkpoint)


def test_a_rewritten_prompt_is_a_warning(tmp_path, backend, pipeline):
    request = VideoRequest(prompt="a red orb bumps into a blue box", seed=3, num_inference_steps=1)
    (written,) = pipeline.resolve(request).rewritten_prompts.values()
    assert "red ball" in written
    _, result = run(backend, request, tmp_path / "video.mp4")
    assert result.warnings == (f"the prompt {request.prompt!r} is read as {written!r}",)
    request = VideoRequest(prompt="a red ball rolls to the left", seed=3, num_inference_steps=1)
    _, result = run(backend, request, tmp_path / "video.mp4")
    assert result.warnings == ()
