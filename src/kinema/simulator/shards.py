"""Filming the set: one clip to a file, or a shard of many with captions and facts.

A folder of films holds `manifest.to_parquet_bytes` (one row a clip), `films/` (MP4) or `shards/` (raw uint8
frames), `tracks/` (measurements) and `parts/` (the manifest's pieces, one for each shard). A shard's
part is written last, so a shard without one is made again after a stop; nothing else is remembered.
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
"""The manifest. `id` is a hash of the frames as rendered; `num_frames` counts what decodes from `file`;
`row_in_shard` is the clip's row in a raw shard (0 in an MP4); `captions` and `facts` are JSON
(`kinema.simulator.annotation_io`); measurements lie in `tracks_file` under `<index>/<name>`. A failed clip has a reason,
no file, and stays in the table."""


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """What to film."""

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
                f"a count of {self.count} in shards of {self.shard_size} is empty; both are at least 1"
            )
        if self.split != "all" and not self.lab:
            raise UserError("only lab clips have a split; add --lab or leave the split out")
        parse_event(self.event)
        parse_size(self.size)

    @property
    def num_shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.shard_size)


@dataclass(frozen=True, kw_only=True)
class RenderedClip:
    """One clip that was written."""

    caption: str
    clip: Clip


def parse_event(name: str) -> Event | None:
    """The event of that name; None for an empty one, which draws.

    Raises:
        UserError: there is no such event; the message names the nearest.
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
    """The seed of the `index`-th clip: consecutive numbers from a place that a hash of `seed` chooses.

    The film set spreads events and outcomes evenly over consecutive seeds; hashed ones would lose that.
    """
    digest = hashlib.blake2b(f"kinema films {seed}".encode(), digest_size=4).digest()
    return (int.from_bytes(digest, "big") << 24) + index


def compute_clip_id(frames: UInt8[np.ndarray, "f h w c"]) -> str:
    """A name for the content: 128 bits of a hash of the shape and the pixels."""
    digest = hashlib.blake2b(str(frames.shape).encode(), digest_size=16)
    digest.update(frames.tobytes())
    return digest.hexdigest()


def rendered_frames(clip: Clip) -> UInt8[np.ndarray, "f h w 3"]:
    """The frames of a clip that was rendered."""
    if clip.frames is None:
        raise ValueError("the clip was made without rendering it")
    return clip.frames


def render_clip(*, event: str, seed: int, size: str, num_frames: int, lab: bool, out: Path) -> RenderedClip:
    """Film one clip to a file whose ending chooses the format.

    Raises:
        UserError: no such event, size, length or file format.
    """
    width, height = parse_size(size)
    spec = ClipSpec(
        seed=seed, lab=lab, event=parse_event(event), height=height, width=width, num_frames=num_frames
    )
    clip = make_clip(spec)
    told = generate_captions(clip.annotations)
    caption = next((c.text for c in told if c.style == "plain"), told[0].text)
    write_video(out, rendered_frames(clip), clip.annotations.fps, comment=caption)
    return RenderedClip(caption=caption, clip=clip)


def build_clip_spec(config: DatasetConfig, index: int) -> ClipSpec:
    """What the `index`-th clip is made from."""
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
    """Where a shard's part of the manifest lies once the shard is finished."""
    return config.out / "parts" / f"{shard_index:05d}.parquet"


def num_clips_in_shard(config: DatasetConfig, shard_index: int) -> int:
    """How many clips a shard holds."""
    return min(config.shard_size, config.count - shard_index * config.shard_size)


def write_shard(config: DatasetConfig, shard_index: int, on_clip_done: Callable[[], None]) -> None:
    """Film one shard: its frames, its measurements and, last of all, its part of the manifest."""
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
    """One line of the manifest; an MP4 is written on the way and counted as it decodes."""
    annotations = clip.annotations
    frames = rendered_frames(clip)
    told = generate_captions(annotations)
    if config.format == "mp4":
        file, row_in_shard = f"videos/{index:07d}.mp4", 0
        write_video(config.out / file, frames, annotations.fps, comment=told[0].text)
        decoded = sum(1 for _ in frames_in(config.out / file))
        if decoded != len(frames):
            raise UserError(f"{decoded} of {len(frames)} frames decode from {file}")
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
        "core": told[0].text,
        "captions": captions_to_json(told),
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
    """The table as a Parquet file; the same table is the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
