"""What the two tasks read: films with captions, all in memory or mapped from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from kinema.data import rng


@runtime_checkable
class VideoDataset(Protocol):
    """Films of one size and length with the captions that fit each."""

    def __len__(self) -> int:
        """How many."""
        ...

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of film `index`."""
        ...

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of film `index`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemoryVideos:
    """Films in one array, which may be mapped from a file."""

    pixels: UInt8[np.ndarray, "n f h w 3"]
    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.texts):
            raise ValueError(f"{len(self.pixels)} films have {len(self.texts)} sets of captions")

    def __len__(self) -> int:
        return len(self.texts)

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of film `index`."""
        return self.pixels[index]

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of film `index`."""
        return self.texts[index]

    def subset(self, start: int, stop: int) -> InMemoryVideos:
        """Films `start` up to `stop`."""
        return InMemoryVideos(pixels=self.pixels[start:stop], texts=self.texts[start:stop])


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowedVideos:
    """Stretches of films as films of their own: they begin anywhere, and in the midst of what happens."""

    videos: VideoDataset
    window_frames: int
    """Frames of a stretch; no film has fewer."""
    windows_per_video: int
    """Stretches of a film, their beginnings spread over it."""
    seed: int = 0

    def __len__(self) -> int:
        return len(self.videos) * self.windows_per_video

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of stretch `index`."""
        film, place = divmod(index, self.windows_per_video)
        frames = self.videos.frames(film)
        room = len(frames) - self.window_frames + 1
        start = int((place + rng.uniform(self.seed, "stretch", index)) / self.windows_per_video * room)
        return frames[start : start + self.window_frames]

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of the film that stretch `index` is of."""
        return self.videos.captions(index // self.windows_per_video)
