"""Windows of consecutive frames as videos of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kinema.data import rng
from kinema.data.dataset import VideoDataset
from kinema.frames import FrameArray


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowedVideos:
    """Windows cut from longer videos. They start at any frame, often in the middle of an event.

    Attributes:
        videos: none is shorter than a window.
        window_frames: length of a window in frames.
        windows_per_video: their starts are spread over the video.
        seed: of the starts.
    """

    videos: VideoDataset
    window_frames: int
    windows_per_video: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.videos) * self.windows_per_video

    def frames(self, index: int) -> FrameArray:
        """Return the frames of a window."""
        video, window = divmod(index, self.windows_per_video)
        frames = self.videos.frames(video)
        num_starts = len(frames) - self.window_frames + 1
        position = (window + rng.uniform(self.seed, "stretch", index)) / self.windows_per_video
        start = int(position * num_starts)
        return frames[start : start + self.window_frames]

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of the video that a window is cut from."""
        return self.videos.captions(index // self.windows_per_video)
