"""Captioned videos of one shape: the dataset protocol, in-memory videos, and subsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from kinema.frames import FrameArray


@runtime_checkable
class VideoDataset(Protocol):
    """Videos of one size and length, each with captions that describe it."""

    def __len__(self) -> int:
        """Return the number of videos."""
        ...

    def frames(self, index: int) -> FrameArray:
        """Return the frames of a video."""
        ...

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of a video, the plain one first."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemoryVideos:
    """Videos in one array, which may be memory-mapped."""

    pixels: UInt8[np.ndarray, "n f h w 3"]
    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.texts):
            raise ValueError(f"{len(self.pixels)} videos have {len(self.texts)} sets of captions")

    def __len__(self) -> int:
        return len(self.texts)

    def frames(self, index: int) -> FrameArray:
        """Return the frames of a video."""
        return self.pixels[index]

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of a video, the plain one first."""
        return self.texts[index]


@dataclass(frozen=True, kw_only=True, eq=False)
class SubsetVideos:
    """The `count` videos of a dataset from `start` on."""

    videos: VideoDataset
    start: int
    count: int

    def __len__(self) -> int:
        return self.count

    def frames(self, index: int) -> FrameArray:
        """Return the frames of a video."""
        return self.videos.frames(self.start + index)

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of a video, the plain one first."""
        return self.videos.captions(self.start + index)


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetSplit:
    """Videos of one shape to train on, and others of that shape to validate on.

    Attributes:
        train: to train on.
        held_out: to validate on.
        starts_midclip: whether they are windows that may start in the middle of an event.
    """

    train: VideoDataset
    held_out: VideoDataset
    starts_midclip: bool = False
