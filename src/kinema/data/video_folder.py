"""Open a folder of videos: rendered shards, the output of `kinema dataset build`, or a curated set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors import safe_open

from kinema.data.clip_reader import ClipRequest, read_requests
from kinema.data.clip_table import CLIPS_FILE, parse_bucket, read_clips
from kinema.data.dataset import SubsetVideos, VideoDataset
from kinema.data.video_shards import open_shards, shard_path
from kinema.errors import UserError
from kinema.frames import FrameArray
from kinema.media import read_video

MANIFEST = "manifest.parquet"


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """One row of a manifest."""

    file: Path
    row_in_shard: int
    captions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderVideos:
    """The clips of a manifest, MP4 or raw; a `kinema.data.dataset.VideoDataset`."""

    clips: tuple[_Clip, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def frames(self, index: int) -> FrameArray:
        """Read the frames of a clip from its file."""
        clip = self.clips[index]
        if clip.file.suffix == ".safetensors":
            with safe_open(clip.file, framework="np") as shard:
                return shard.get_slice("frames")[clip.row_in_shard]
        return np.ascontiguousarray(read_video(clip.file).frames)

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of a clip, the plain one first."""
        return self.clips[index].captions


@dataclass(frozen=True, kw_only=True, eq=False)
class CuratedVideos:
    """Kept clips of one bucket of a curated set; a `kinema.data.dataset.VideoDataset`."""

    requests: tuple[ClipRequest, ...]

    def __len__(self) -> int:
        return len(self.requests)

    def frames(self, index: int) -> FrameArray:
        """Read the frames of a clip from its source, which is decoded up to the clip's end."""
        return next(frames for _, frames in read_requests([self.requests[index]]))

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of a clip, the plain one first."""
        return self.requests[index].row.captions


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedDataset:
    """Videos of one shape.

    Attributes:
        videos: all of them.
        fps: None where the folder does not record it.
    """

    videos: VideoDataset
    fps: float | None

    def split(self, num_held_out: int) -> tuple[VideoDataset, VideoDataset]:
        """Return the videos to train on, and the last `num_held_out` to validate on.

        Raises:
            UserError: nothing is left to train on.
        """
        count = len(self.videos) - num_held_out
        if count < 1:
            raise UserError(
                f"{len(self.videos)} videos are too few to hold out {num_held_out} for validation; "
                "add videos or hold out fewer"
            )
        return (
            SubsetVideos(videos=self.videos, start=0, count=count),
            SubsetVideos(videos=self.videos, start=count, count=num_held_out),
        )


def open_dataset(folder: Path) -> OpenedDataset:
    """Open a folder of videos of either kind.

    Raises:
        UserError: it has no videos, or videos of several shapes.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; use one that `kinema dataset build` or a training run wrote"
        )
    if not (folder / MANIFEST).is_file():
        videos = open_shards(folder)
        if not len(videos):
            raise UserError(
                f"{folder} has no videos (no {MANIFEST}, no {shard_path(folder, 0).name}); "
                "make some with `kinema dataset build`, or omit --videos to render them during training"
            )
        return OpenedDataset(videos=videos, fps=None)
    columns = ["file", "row_in_shard", "captions", "status", "height", "width", "num_frames", "fps"]
    rows = [r for r in pq.read_table(folder / MANIFEST, columns=columns).to_pylist() if r["status"] == "ok"]
    shapes = {(row["width"], row["height"], row["num_frames"]) for row in rows}
    if len(shapes) != 1:
        raise UserError(
            f"{folder} has videos of {len(shapes)} shapes and each folder must have one; "
            "make a folder for each shape and name all of them: --videos ONE --videos OTHER"
        )
    clips = tuple(
        _Clip(
            file=folder / row["file"],
            row_in_shard=row["row_in_shard"],
            captions=tuple(caption["text"] for caption in json.loads(row["captions"])),
        )
        for row in rows
    )
    return OpenedDataset(videos=FolderVideos(clips=clips), fps=rows[0]["fps"])


def open_datasets(folder: Path) -> list[OpenedDataset]:
    """Open a folder of any kind: a dataset for each bucket of a curated set, one for other folders.

    Raises:
        UserError: it has no videos.
    """
    if not (folder / CLIPS_FILE).is_file():
        return [open_dataset(folder)]
    rows = [row for row in read_clips(folder) if row.kept]
    if not rows:
        raise UserError(f"{folder} has no kept clips; see `kinema data report {folder}`")
    datasets: list[OpenedDataset] = []
    for bucket in sorted({bucket for row in rows for bucket in row.buckets}, key=parse_bucket):
        members = [row for row in rows if bucket in row.buckets]
        requests = tuple(ClipRequest(row=row, size=parse_bucket(bucket)[:2]) for row in members)
        datasets.append(
            OpenedDataset(videos=CuratedVideos(requests=requests), fps=members[0].clip_fps or None)
        )
    return datasets
