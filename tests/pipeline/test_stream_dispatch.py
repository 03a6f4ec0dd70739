"""`Pipeline.stream`: the one dispatcher, and writing its frames to a file while they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.media import psnr, read_video
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.progress import Event, Finished, FrameChunk, SamplingStep
from kinema.pipeline.reproduce import read_metadata
from kinema.pipeline.request import Shot, VideoRequest
from kinema.pipeline.video import write_events
from tests.fixtures import oracle
from tests.pipeline.test_upscale import downsample, same, smaller_model


@pytest.fixture(scope="module")
def video():
    return oracle.simulated_video(1, frames=33)


def request_for(num_frames: int, **fields) -> VideoRequest:
    return VideoRequest(prompt="a ball", num_frames=num_frames, **fields)


def frames_of(events: Iterator[Event]) -> list[np.ndarray]:
    return [event.frames for event in events if isinstance(event, FrameChunk)]


def test_short_videos_come_at_once_and_long_ones_in_chunks(video) -> None:
    for trained, is_streamed in ((33, False), (9, True)):
        pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=trained)
        assert pipe.resolve(request_for(33)).is_streamed == is_streamed
        chunks = frames_of(pipe.stream(request_for(33)))
        assert (len(chunks) > 1) == is_streamed
        assert np.array_equal(np.concatenate(chunks), video)


def test_generate_streams_long_videos_too(video) -> None:
    """A long request from Python used to be sampled in one piece, far beyond the trained length."""
    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=9)
    result = pipe.generate("a ball", num_frames=33)
    assert np.array_equal(result.frames, np.concatenate(frames_of(pipe.stream(request_for(33)))))
    assert max(frames for _, frames in pipe.model.oracle.calls) <= 3


def test_the_last_event_ends_the_video(video) -> None:
    for trained in (33, 9):
        pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=trained)
        *_, last = pipe.stream(request_for(33))
        assert isinstance(last, Finished)
        assert last.num_frames == 33
        assert last.tail_latents is not None
        with_encoder = pipe.vae.encode(oracle.to_float(video))
        count = last.tail_latents.shape[2]
        assert np.allclose(last.tail_latents, with_encoder[:, :, -count:].detach(), atol=1e-5)


def test_number_of_frames_is_known_before(video) -> None:
    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=17)
    for fields in ({}, {"loop": True}, {"seconds": 4.0}, {"last_image": video[3]}):
        request = VideoRequest(prompt="a ball", **fields)
        assert pipe.resolve(request).num_frames == len(pipe.generate(request).frames)
    board = VideoRequest(storyboard=(Shot(prompt="a ball"), Shot(prompt="a ball", seconds=1.0)), seconds=2.5)
    assert pipe.resolve(board).num_frames == len(pipe.generate(board).frames) == 20


def test_streams_have_no_state_to_resume(video) -> None:
    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=9)
    step = next(event for event in pipe.stream(request_for(33)) if isinstance(event, SamplingStep))
    assert step.to_state() is None
    short = next(event for event in pipe.stream(request_for(9)) if isinstance(event, SamplingStep))
    with pytest.raises(UserError, match="saved state"):
        pipe.stream(request_for(33), state=short.to_state())


def test_models_that_cannot_stream_say_how_long_their_videos_are(video) -> None:
    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=9)
    object.__setattr__(pipe.model.sampling_defaults, "image_conditioning", "none")
    assert not pipe.resolve(request_for(17)).is_streamed
    with pytest.raises(UserError, match="end after 9 frames"):
        pipe.resolve(request_for(33))


def test_only_upscaled_frames_are_yielded() -> None:
    large = oracle.simulated_video(3, side=64)
    low = downsample(large)
    pipe = smaller_model(large, 32)
    knows = pipe.model.oracle
    small = oracle.oracle_model({"a ball": low}).oracle

    def forward(latents, sigma, context, *, cache=None, **options):
        # The small video is sampled whole, the large one in tiles behind an empty cache.
        which = small if cache is None else knows
        return type(knows).forward(which, latents, sigma, context, cache=cache, **options)

    knows.forward = forward
    assert same(np.concatenate(frames_of(pipe.stream(request_for(17, upscale=2)))), large)
    assert same(pipe.generate(request_for(17, upscale=2)).frames, large)
    assert pipe.resolve(request_for(17, upscale=2)).output_size == (64, 64)
    with pytest.raises(UserError, match="give 1, 2 or 4"):
        pipe.stream(request_for(17, upscale=3))


def write(pipe: Pipeline, request: VideoRequest, path: Path, preview: Path | None = None) -> None:
    resolved = pipe.resolve(request)
    for _ in write_events(
        pipe.stream(resolved),
        path,
        resolved=resolved,
        metadata=lambda frames: pipe.metadata(resolved, frames),
        preview=preview,
    ):
        pass


@pytest.fixture
def with_fingerprint(monkeypatch):
    monkeypatch.setattr("kinema.pipeline.metadata.fingerprint", lambda folder: "0" * 64)


@pytest.mark.usefixtures("with_fingerprint")
def test_the_file_grows_while_the_video_is_generated(video, tmp_path: Path) -> None:
    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=9)
    out, live = tmp_path / "video.mp4", tmp_path / "live.mp4"
    write(pipe, request_for(33), out, live)
    for path in (out, live):
        back = read_video(path)
        assert back.fps == 8
        assert psnr(np.asarray(back.frames), video) > 25
    metadata = read_metadata(out)
    assert metadata.request.num_frames == 33
    assert metadata.request.num_inference_steps == 4
    assert not metadata.frames_sha256, "the frames were not all at hand when the file began"


@pytest.mark.usefixtures("with_fingerprint")
def test_a_short_video_s_file_carries_its_digest_and_tail(video, tmp_path: Path) -> None:
    from kinema.pipeline.tail_latents import read_tail_latents

    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=17)
    streamed, saved = tmp_path / "streamed.mp4", tmp_path / "saved.mp4"
    write(pipe, request_for(17), streamed)
    pipe.generate(request_for(17)).save(saved)
    assert read_metadata(streamed).frames_sha256 == read_metadata(saved).frames_sha256 != ""
    assert read_tail_latents(streamed, model_fingerprint="0" * 64) is not None
    assert streamed.read_bytes() == saved.read_bytes()


@pytest.mark.usefixtures("with_fingerprint")
def test_cancelling_leaves_the_preview_alone(video, tmp_path: Path, monkeypatch) -> None:
    pipe = oracle.oracle_pipeline({"a ball": video}, num_frames=9)
    dit = pipe.model.oracle
    usual, calls = dit.forward, []

    def interrupted(*arguments, **settings):
        calls.append(1)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return usual(*arguments, **settings)

    monkeypatch.setattr(dit, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(pipe, request_for(33), tmp_path / "a.mp4", tmp_path / "live.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["live.mp4"]
    assert len(read_video(tmp_path / "live.mp4").frames) >= 9
