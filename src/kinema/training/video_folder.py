"""Films that are there already: a store that a run filmed, or a folder of `kinema world films`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import UInt8
from safetensors import safe_open

from kinema.data.dataset import VideoDataset
from kinema.errors import UserError
from kinema.media import read_video
from kinema.simulator.annotation_io import captions_from_json
from kinema.training.render_shards import open_shards_dir

MANIFEST = "manifest.parquet"


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """Where a clip of a folder is, and what is said of it."""

    file: Path
    index_in_file: int
    captions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderVideos:
    """Films of a folder of `kinema world films`, MP4 or raw; `kinema.data.dataset.PipelineBackend`."""

    clips: tuple[_Clip, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of film `index`, read from its file."""
        clip = self.clips[index]
        if clip.file.suffix == ".safetensors":
            with safe_open(clip.file, framework="np") as shard:
                return shard.get_slice("frames")[clip.index_in_file]
        return np.ascontiguousarray(read_video(clip.file).frames)

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of film `index`, the plain one first."""
        return self.clips[index].captions


@dataclass(frozen=True, kw_only=True, eq=False)
class SubsetVideos:
    """Some of the films, in a row."""

    videos: VideoDataset
    start: int
    count: int

    def __len__(self) -> int:
        return self.count

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of film `index`."""
        return self.videos.frames(self.start + index)

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of film `index`."""
        return self.videos.captions(self.start + index)


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedDataset:
    """Films of one shape."""

    videos: VideoDataset
    fps: float | None
    """None where the folder does not say."""

    def split(self, num_held_out: int) -> tuple[VideoDataset, VideoDataset]:
        """Films to train on, and the last `is_held_out` to validate on.

        Raises:
            UserError: there are too few.
        """
        count = len(self.videos) - num_held_out
        if count < 1:
            raise UserError(
                f"{len(self.videos)} films can't spare {num_held_out} to validate on; make more of them"
            )
        return (
            SubsetVideos(videos=self.videos, start=0, count=count),
            SubsetVideos(videos=self.videos, start=count, count=num_held_out),
        )


def open_dataset(folder: Path) -> OpenedDataset:
    """The films of a folder, of either kind.

    Raises:
        UserError: it holds none, or films of several shapes.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; give one that `kinema world films` wrote, or a run's films"
        )
    if not (folder / MANIFEST).is_file():
        films = open_shards_dir(folder)
        if not len(films):
            raise UserError(
                f"{folder} holds no films (no {MANIFEST}, no films-00000.safetensors); "
                "make some with `kinema world films`, or leave --films out"
            )
        return OpenedDataset(videos=films, fps=None)
    columns = ["file", "place", "captions", "status", "height", "width", "frames", "fps"]
    rows = [r for r in pq.read_table(folder / MANIFEST, columns=columns).to_pylist() if r["status"] == "ok"]
    shapes = {(row["width"], row["height"], row["frames"]) for row in rows}
    if len(shapes) != 1:
        raise UserError(
            f"{folder} holds films of {len(shapes)} shapes; give a folder for each: --films ONE --films OTHER"
        )
    clips = tuple(
        _Clip(
            file=folder / row["file"],
            index_in_file=row["place"],
            captions=tuple(caption.text for caption in captions_from_json(row["captions"])),
        )
        for row in rows
    )
    return OpenedDataset(videos=FolderVideos(clips=clips), fps=rows[0]["fps"])
