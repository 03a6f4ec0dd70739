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
        weight: share of the training steps, relative to other splits; None: by the number of videos.
    """

    train: VideoDataset
    held_out: VideoDataset
    starts_midclip: bool = False
    weight: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedVideos:
    """Datasets of several shapes as one: the first frames and the centres that all of them have.

    Attributes:
        datasets: the datasets.
        entries: dataset and video of each video.
        shape: frames, height and width of all videos.
    """

    datasets: tuple[VideoDataset, ...]
    entries: tuple[tuple[int, int], ...]
    shape: tuple[int, int, int]

    @classmethod
    def join(cls, datasets: Sequence[VideoDataset], weights: Sequence[float | None]) -> JoinedVideos:
        """Join datasets.

        Args:
            datasets: each with a video.
            weights: share of each dataset, whose videos are repeated or left out for it; None keeps all.
        """
        shapes = [dataset.frames(0).shape[:3] for dataset in datasets]
        frames, height, width = (min(sizes) for sizes in zip(*shapes, strict=True))
        total = sum(len(dataset) for dataset in datasets)
        known = sum(weight or 0.0 for weight in weights)
        entries = []
        for number, (dataset, weight) in enumerate(zip(datasets, weights, strict=True)):
            count = len(dataset) if weight is None else max(1, round(total * weight / known))
            entries += [(number, index % len(dataset)) for index in range(count)]
        return cls(datasets=tuple(datasets), entries=tuple(entries), shape=(frames, height, width))

    def __len__(self) -> int:
        return len(self.entries)

    def frames(self, index: int) -> FrameArray:
        """Return the centre of a video's first frames."""
        dataset, video = self.entries[index]
        whole = self.datasets[dataset].frames(video)
        frames, height, width = self.shape
        top, left = (whole.shape[1] - height) // 2, (whole.shape[2] - width) // 2
        return whole[:frames, top : top + height, left : left + width]

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of a video, the plain one first."""
        dataset, video = self.entries[index]
        return self.datasets[dataset].captions(video)


def join_splits(splits: Sequence[DatasetSplit]) -> DatasetSplit:
    """Return splits of several shapes as one; a single split stays as it is."""
    if len(splits) == 1:
        return splits[0]
    weights = [split.weight for split in splits]
    return DatasetSplit(
        train=JoinedVideos.join([split.train for split in splits], weights),
        held_out=JoinedVideos.join([split.held_out for split in splits], [None] * len(splits)),
    )
