"""Writes simulated clips: one clip to a file, or shards of a dataset.

A dataset folder contains `manifest.parquet` (one row per clip), `videos/` (MP4 files) or `shards/` (raw uint8
frames), `tracks/` (measurements) and `parts/` (the manifest of each shard). The part of a shard is written
last, so a shard without one is incomplete and is rendered again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from safetensors.numpy import save

from kinema.atomic_io import write_bytes
from kinema.errors import UserError, did_you_mean
from kinema.media import frames as frames_in
from kinema.media import write_video
from kinema.shapes import parse_size
from kinema.simulator.annotation_io import annotations_to_arrays, annotations_to_json, captions_to_json
from kinema.simulator.annotations import Event
from kinema.simulator.attributes import EVENTS
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import Clip, make_clip
from kinema.simulator.clip_spec import ClipSpec

Split = Literal["train", "test", "all"]

MANIFEST_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int64()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("event", pa.string()),
        ("outcome", pa.string()),
        ("lab", pa.bool_()),
        ("split", pa.string()),
        ("camera", pa.string()),
        ("core", pa.string()),
        ("captions", pa.string()),
        ("fps", pa.float64()),
        ("num_frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("file", pa.string()),
        ("row_in_shard", pa.int32()),
        ("tracks", pa.string()),
        ("annotations", pa.string()),
    ]
)
"""Columns of the manifest. `id` is a hash of the rendered frames, `num_frames` the number of frames that
decode from `file`, `row_in_shard` the clip's row in a raw shard (0 for MP4). `captions` and `annotations` are
JSON of `kinema.simulator.annotation_io`; `tracks` is the file whose arrays are named `<index>/<name>`. A clip
that failed has a row with a `reason` and no file."""


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """The configuration of a dataset.

    Raises:
        UserError: a count, size, event or split is invalid.
    """

    out: Path
    count: int
    seed: int = 0
    size: str = "128x128"
    num_frames: int = 33
    lab: bool = False
    split: Split = "all"
    event: str = ""
    format: Literal["mp4", "raw"] = "mp4"
    shard_size: int = 64

    def __post_init__(self) -> None:
        if self.count < 1 or self.shard_size < 1:
            raise UserError(
                f"count and shard size must be at least 1, not {self.count} and {self.shard_size}"
            )
        if self.split != "all" and not self.lab:
            raise UserError("only lab clips have a split; add --lab or leave the split out")
        parse_event(self.event)
        parse_size(self.size)

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return -(-self.count // self.shard_size)


@dataclass(frozen=True, kw_only=True)
class RenderedClip:
    """A clip that was written to a file."""

    caption: str
    clip: Clip


def parse_event(name: str) -> Event | None:
    """The event with a name; None for an empty name.

    Raises:
        UserError: there is no such event; the message suggests the closest name.
    """
    if not name:
        return None
    for event in EVENTS:
        if event == name:
            return event
    raise UserError(
        f"there is no event {name!r}{did_you_mean(name, EVENTS)}; choose one of: {', '.join(EVENTS)}"
    )


def derive_clip_seed(seed: int, index: int) -> int:
    """The seed of the `index`-th clip of a dataset.

    Seeds are consecutive from a hash of `seed`: events and outcomes are evenly spread over consecutive seeds,
    and hashing each index would lose that.
    """
    digest = hashlib.blake2b(f"kinema films {seed}".encode(), digest_size=4).digest()
    return (int.from_bytes(digest, "big") << 24) + index


def compute_clip_id(frames: UInt8[np.ndarray, "f h w c"]) -> str:
    """A 128-bit hash of the shape and the pixels, as hexadecimal digits."""
    digest = hashlib.blake2b(str(frames.shape).encode(), digest_size=16)
    digest.update(frames.tobytes())
    return digest.hexdigest()


def rendered_frames(clip: Clip) -> UInt8[np.ndarray, "f h w 3"]:
    """The frames of a rendered clip."""
    if clip.frames is None:
        raise ValueError("the clip was not rendered")
    return clip.frames


def render_clip(*, event: str, seed: int, size: str, num_frames: int, lab: bool, out: Path) -> RenderedClip:
    """Render one clip to a file.

    Args:
        event: name of the event; empty chooses one by the seed.
        seed: seed of the clip.
        size: WIDTHxHEIGHT in pixels.
        num_frames: number of frames.
        lab: use the lab.
        out: the file; its extension chooses the format.

    Raises:
        UserError: an unknown event or file format, or an invalid size or length.
    """
    width, height = parse_size(size)
    spec = ClipSpec(
        seed=seed, lab=lab, event=parse_event(event), height=height, width=width, num_frames=num_frames
    )
    clip = make_clip(spec)
    captions = generate_captions(clip.annotations)
    caption = next((c.text for c in captions if c.style == "plain"), captions[0].text)
    write_video(out, rendered_frames(clip), clip.annotations.fps, comment=caption)
    return RenderedClip(caption=caption, clip=clip)


def build_clip_spec(config: DatasetConfig, index: int) -> ClipSpec:
    """The specification of the `index`-th clip."""
    width, height = parse_size(config.size)
    return ClipSpec(
        seed=derive_clip_seed(config.seed, index),
        lab=config.lab,
        event=parse_event(config.event),
        height=height,
        width=width,
        num_frames=config.num_frames,
        split=config.split if config.lab else "all",
    )


def shard_manifest_path(config: DatasetConfig, shard_index: int) -> Path:
    """The manifest file of a shard. It exists once the shard is complete."""
    return config.out / "parts" / f"{shard_index:05d}.parquet"


def num_clips_in_shard(config: DatasetConfig, shard_index: int) -> int:
    """The number of clips in a shard."""
    return min(config.shard_size, config.count - shard_index * config.shard_size)


def write_shard(config: DatasetConfig, shard_index: int, on_clip_done: Callable[[], None]) -> None:
    """Render one shard: frames, measurements and, last, its part of the manifest."""
    rows: list[dict[str, object]] = []
    arrays: dict[str, np.ndarray] = {}
    stack: list[np.ndarray] = []
    first = shard_index * config.shard_size
    tracks = f"tracks/{shard_index:05d}.safetensors"
    for index in range(first, first + num_clips_in_shard(config, shard_index)):
        spec = build_clip_spec(config, index)
        try:
            clip = make_clip(spec)
            row = _manifest_row(config, index, spec, clip, row_in_shard=len(stack), tracks_file=tracks)
        except UserError as error:
            rows.append(_failed_row(config, index, spec, str(error)))
        else:
            rows.append(row)
            if config.format == "raw":
                stack.append(rendered_frames(clip))
            arrays |= {
                f"{index:07d}/{name}": array
                for name, array in annotations_to_arrays(clip.annotations).items()
            }
        on_clip_done()
    if stack:
        write_bytes(config.out / f"shards/{shard_index:05d}.safetensors", save({"frames": np.stack(stack)}))
    write_bytes(config.out / tracks, save(arrays))
    write_bytes(
        shard_manifest_path(config, shard_index),
        to_parquet_bytes(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)),
    )


def _manifest_row(
    config: DatasetConfig, index: int, spec: ClipSpec, clip: Clip, *, row_in_shard: int, tracks_file: str
) -> dict[str, object]:
    """The manifest row of a clip. In MP4 format, also writes the video and counts its decoded frames."""
    annotations = clip.annotations
    frames = rendered_frames(clip)
    captions = generate_captions(annotations)
    if config.format == "mp4":
        file, row_in_shard = f"videos/{index:07d}.mp4", 0
        write_video(config.out / file, frames, annotations.fps, comment=captions[0].text)
        decoded = sum(1 for _ in frames_in(config.out / file))
        if decoded != len(frames):
            raise UserError(f"only {decoded} of {len(frames)} frames decode from {file}")
    else:
        file, decoded = f"shards/{index // config.shard_size:05d}.safetensors", len(frames)
    return {
        "id": compute_clip_id(frames),
        "index": index,
        "seed": spec.seed,
        "status": "ok",
        "reason": "",
        "event": annotations.event,
        "outcome": annotations.outcome,
        "lab": annotations.lab,
        "split": config.split,
        "camera": annotations.camera,
        "core": captions[0].text,
        "captions": captions_to_json(captions),
        "fps": annotations.fps,
        "num_frames": decoded,
        "height": annotations.height,
        "width": annotations.width,
        "file": file,
        "row_in_shard": row_in_shard,
        "tracks": tracks_file,
        "annotations": annotations_to_json(annotations),
    }


def _failed_row(config: DatasetConfig, index: int, spec: ClipSpec, reason: str) -> dict[str, object]:
    return {
        "id": "",
        "index": index,
        "seed": spec.seed,
        "status": "failed",
        "reason": reason,
        "event": config.event,
        "outcome": "",
        "lab": config.lab,
        "split": config.split,
        "camera": "",
        "core": "",
        "captions": "[]",
        "fps": spec.fps,
        "num_frames": 0,
        "height": spec.height,
        "width": spec.width,
        "file": "",
        "row_in_shard": 0,
        "tracks": "",
        "annotations": "",
    }


def to_parquet_bytes(table: pa.Table) -> bytes:
    """Serialise a table as a Parquet file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
