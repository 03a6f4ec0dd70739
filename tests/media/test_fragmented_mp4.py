"""A fragmented MP4 is readable while it is written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from kinema.errors import UserError
from kinema.media import psnr, read_video
from kinema.media.fragmented_mp4 import open_fragmented
from tests.fixtures.media_videos import smooth_video


def count_frames(path: Path) -> int:
    """Frames that can be decoded now."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_frames_are_readable_while_writing(tmp_path: Path) -> None:
    video, path = smooth_video(frames=12, height=33, width=48), tmp_path / "live.mp4"
    with open_fragmented(path, fps=8, size=(48, 33)) as out:
        for start in range(0, 12, 4):
            out.write(video[start : start + 4])
            # The last fragment is complete when the next begins.
            assert count_frames(path) >= out.num_frames - 1
    back = read_video(path)
    assert back.fps == 8
    assert back.frames.shape == (12, 32, 48, 3)
    assert psnr(np.asarray(back.frames), video[:, :32]) > 25


def test_file_survives_an_interruption(tmp_path: Path) -> None:
    video, path = smooth_video(frames=8, height=32, width=32), tmp_path / "live.mp4"

    def stop() -> None:
        with open_fragmented(path, fps=8, size=(32, 32)) as out:
            out.write(video)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert count_frames(path) == 8


def test_unsupported_targets_are_rejected(tmp_path: Path) -> None:
    for path, size in [("a.webm", (32, 32)), ("a.mp4", (1, 8))]:
        with (
            pytest.raises(UserError, match=r"is an \.mp4"),
            open_fragmented(tmp_path / path, fps=8, size=size),
        ):
            pass
    with (
        pytest.raises(UserError, match="is not a folder"),
        open_fragmented(tmp_path / "no/a.mp4", fps=8, size=(8, 8)),
    ):
        pass
