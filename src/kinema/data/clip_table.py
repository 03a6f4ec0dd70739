"""The table of all candidate clips: `clips.parquet` of a curated set."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinema.atomic_io import write_bytes
from kinema.data.media_item import MediaItem, MediaKind
from kinema.errors import UserError

CLIPS_FILE = "clips.parquet"


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """A candidate clip, kept or dropped. A source without clips has one row, with the reason.

    Attributes:
        clip_id: hash of the source's content, the frames and the crop.
        source: the file, for people; `archive.tar::member` inside an archive.
        path: of the file, absolute.
        member: inside a tar.
        kind: `video`, `image`, `frames`, `array`, `missing` or `caption_only`.
        row_in_shard: of an `array`.
        source_fps: rate of sources without times; None for others.
        source_sha256: of the source's content; empty where it can't be read.
        start_s: time of the first frame in the source, in seconds.
        end_s: time at which the last frame ends.
        width: of the source in pixels, upright.
        height: of the source in pixels.
        fps: of the source, measured; 0 for an image.
        source_frames: frames of the source that were decoded.
        num_frames: of the clip.
        clip_fps: of the clip.
        frames: the source's frames that are the clip, one index for each.
        crop: left, top, width and height in pixels of the source.
        buckets: `WIDTHxHEIGHTxFRAMES` that the clip is trained in.
        transforms: what is done to the source, for people.
        black: share of black frames.
        white: share of white frames.
        frozen: share of steps in which nothing changes.
        motion: mean gray difference at 15 frames per second, 0 to 255.
        motion_patch_min: the same of the patch that changes least.
        sharpness: median variance of the Laplacian.
        flicker: mean second difference of the brightness.
        upscale: factor by which the smallest bucket enlarges the clip.
        hashes: perceptual hashes of five frames.
        duplicate_of: clip_id of the clip that it repeats.
        duplicate_distance: mean bits of difference to the nearest other clip; 64 where there is none.
        kept: whether it is used.
        reason: why not; empty where it is.
        detail: the value that decided, for people.
        caption: the first caption.
        captions: all of them.
        caption_source: `sidecar`, a table's name, `file_name`, or a model.
        repeats: how often it is used in an epoch.
    """

    clip_id: str
    source: str
    path: str
    member: str = ""
    kind: MediaKind = "video"
    row_in_shard: int = 0
    source_fps: float | None = None
    source_sha256: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    source_frames: int = 0
    num_frames: int = 0
    clip_fps: float = 0.0
    frames: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    buckets: tuple[str, ...] = ()
    transforms: str = ""
    black: float = 0.0
    white: float = 0.0
    frozen: float = 0.0
    motion: float = 0.0
    motion_patch_min: float = 0.0
    sharpness: float = 0.0
    flicker: float = 0.0
    upscale: float = 0.0
    hashes: tuple[int, ...] = ()
    duplicate_of: str = ""
    duplicate_distance: float = 64.0
    kept: bool = False
    reason: str = ""
    detail: str = ""
    caption: str = ""
    captions: tuple[str, ...] = ()
    caption_source: str = ""
    repeats: int = 1

    @property
    def item(self) -> MediaItem:
        """What the frames are read from."""
        return MediaItem(
            path=self.path,
            member=self.member,
            kind=self.kind,
            row_in_shard=self.row_in_shard,
            fps=self.source_fps,
        )


_TYPES = {
    "str": pa.string(),
    "MediaKind": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "float | None": pa.float64(),
    "bool": pa.bool_(),
    "tuple[int, ...]": pa.list_(pa.int64()),
    "tuple[str, ...]": pa.list_(pa.string()),
}
SCHEMA = pa.schema(
    [
        (field.name, pa.list_(pa.uint64()) if field.name == "hashes" else _TYPES[str(field.type)])
        for field in dataclasses.fields(ClipRow)
    ]
)
"""Columns of `clips.parquet`: the fields of `ClipRow`."""


def write_clips(folder: Path, rows: Iterable[ClipRow]) -> None:
    """Write the table, sorted by clip_id. Equal rows give equal bytes."""
    ordered = sorted(rows, key=lambda row: (row.clip_id, row.source))
    values = [
        {field.name: getattr(row, field.name) for field in dataclasses.fields(ClipRow)} for row in ordered
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values, schema=SCHEMA), buffer, compression="zstd")
    write_bytes(folder / CLIPS_FILE, buffer.getvalue())


def read_clips(folder: Path) -> list[ClipRow]:
    """The table of a curated set.

    Raises:
        UserError: the folder is not a curated set, or its table is damaged.
    """
    path = folder / CLIPS_FILE
    if not path.is_file():
        raise UserError(f"{folder} is not a curated set (no {CLIPS_FILE}); make one with `kinema data build`")
    try:
        values: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException):
        raise UserError(f"{path} is damaged; run `kinema data filter {folder}` to write it again") from None
    for row in values:
        row |= {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    return [ClipRow(**row) for row in values]


def parse_bucket(text: str) -> tuple[int, int, int]:
    """Width, height and frames of a bucket's name."""
    width, height, frames = (int(part) for part in text.split("x"))
    return width, height, frames
