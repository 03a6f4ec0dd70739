"""Films on their way to a file: chosen, made, refined, written and watched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinema.cli.streaming_output import write_stream
from kinema.errors import UserError
from kinema.media import psnr, read_video
from kinema.pipeline.decoder import FrameChunk
from kinema.pipeline.deliver import stream_video
from tests.fixtures import oracle
from tests.pipeline.test_streaming import request_for
from tests.pipeline.test_upscale import downsample, same, smaller_model


@pytest.fixture(scope="module")
def video():
    return oracle.simulated_video(1, frames=33)


def test_short_videos_come_at_once_and_long_ones_in_chunks(video) -> None:
    for trained, parts in ((33, 1), (9, 4)):
        pipe = oracle.oracle_pipeline({"a ball": film}, frames=trained)
        made = [event for event in stream_video(pipe, request_for(pipe, 33)) if isinstance(event, FrameChunk)]
        assert len(made) >= parts
        assert (len(made) == 1) == (parts == 1)
        assert np.array_equal(np.concatenate([part.frames for part in made]), film)


def test_only_upscaled_frames_are_yielded() -> None:
    large = oracle.simulated_video(3, side=64)
    low = downsample(large)
    pipe = smaller_model(large, 32)
    knows = pipe.model.oracle
    small = oracle.oracle_model({"a ball": low}).oracle

    def forward(latents, sigma, context, *, blocks=(), cache=None):
        # The small film is made whole, the large one in windows behind an empty cache.
        which = small if cache is None else knows
        return type(knows).forward(which, latents, sigma, context, blocks=blocks, cache=cache)

    knows.forward = forward
    made = [
        e for e in stream_video(pipe, request_for(pipe, 17), upscale_factor=2) if isinstance(e, FrameChunk)
    ]
    assert same(np.concatenate([part.frames for part in made]), large)
    with pytest.raises(UserError, match="give 2 or 4"):
        next(stream_video(pipe, request_for(pipe, 17), upscale_factor=3))


def test_the_file_grows_while_the_video_is_generated(video, tmp_path: Path) -> None:
    pipe = oracle.oracle_pipeline({"a ball": film}, frames=9)
    out, live = tmp_path / "film.mp4", tmp_path / "live.mp4"
    assert write_stream(pipe, request_for(pipe, 33), out, upscale=1, preview=live, comment="made so") == 33
    for path in (out, live):
        back = read_video(path)
        assert back.fps == 8
        assert psnr(np.asarray(back.frames), film) > 25


def test_cancelling_leaves_the_preview_alone(video, tmp_path: Path, monkeypatch) -> None:
    pipe = oracle.oracle_pipeline({"a ball": film}, frames=9)
    dit = pipe.model.oracle
    usual, calls = dit.forward, []

    def tired(*arguments, **settings):
        calls.append(1)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return usual(*arguments, **settings)

    monkeypatch.setattr(dit, "forward", tired)
    with pytest.raises(KeyboardInterrupt):
        write_stream(
            pipe, request_for(pipe, 33), tmp_path / "a.mp4", upscale=1, preview=tmp_path / "live.mp4"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["live.mp4"]
    assert len(read_video(tmp_path / "live.mp4").frames) >= 9
