"""Filming the set: one clip to a file, or a shard of many with captions and facts.

A folder of films holds `manifest.parquet` (one row a clip), `films/` (MP4) or `shards/` (raw uint8
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
from kinema.simulator.captions import generate_captions
from kinema.world.clip import Clip, make_clip
from kinema.world.facts import Event
from kinema.world.record import captions_json, facts_arrays, facts_json
from kinema.world.spec import ClipSpec
from kinema.world.vocabulary import EVENTS

Split = Literal["train", "test", "all"]

COLUMNS = pa.schema(
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
        ("frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("file", pa.string()),
        ("place", pa.int32()),
        ("tracks", pa.string()),
        ("facts", pa.string()),
    ]
)
"""The manifest. `id` is a hash of the frames as rendered; `frames` counts what decodes from `file`;
`place` is the clip's row in a raw shard (0 in an MP4); `captions` and `facts` are JSON
(`kinema.world.record`); measurements lie in `tracks` under `<index>/<name>`. A failed clip has a reason,
no file, and stays in the table."""


@dataclass(frozen=True, kw_only=True)
class FilmsRequest:
    """What to film."""

    out: Path
    count: int
    seed: int = 0
    size: str = "128x128"
    frames: int = 33
    lab: bool = False
    split: Split = "all"
    event: str = ""
    format: Literal["mp4", "raw"] = "mp4"
    shard: int = 64

    def __post_init__(self) -> None:
        if self.count < 1 or self.shard < 1:
            raise UserError(
                f"a count of {self.count} in shards of {self.shard} is empty; both are at least 1"
            )
        if self.split != "all" and not self.lab:
            raise UserError("only lab clips have a split; add --lab or leave the split out")
        known_event(self.event)
        parse_size(self.size)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.shard)


@dataclass(frozen=True, kw_only=True)
class Filmed:
    """One clip that was written."""

    caption: str
    clip: Clip


def known_event(name: str) -> Event | None:
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


def clip_seed(seed: int, index: int) -> int:
    """The seed of the `index`-th clip: consecutive numbers from a place that a hash of `seed` chooses.

    The film set spreads events and outcomes evenly over consecutive seeds; hashed ones would lose that.
    """
    digest = hashlib.blake2b(f"kinema films {seed}".encode(), digest_size=4).digest()
    return (int.from_bytes(digest, "big") << 24) + index


def clip_id(frames: UInt8[np.ndarray, "f h w c"]) -> str:
    """A name for the content: 128 bits of a hash of the shape and the pixels."""
    digest = hashlib.blake2b(str(frames.shape).encode(), digest_size=16)
    digest.update(frames.tobytes())
    return digest.hexdigest()


def pictures(clip: Clip) -> UInt8[np.ndarray, "f h w 3"]:
    """The frames of a clip that was rendered."""
    if clip.frames is None:
        raise ValueError("the clip was made without rendering it")
    return clip.frames


def film_one(*, event: str, seed: int, size: str, frames: int, lab: bool, out: Path) -> Filmed:
    """Film one clip to a file whose ending chooses the format.

    Raises:
        UserError: no such event, size, length or file format.
    """
    width, height = parse_size(size)
    spec = ClipSpec(seed=seed, lab=lab, event=known_event(event), height=height, width=width, frames=frames)
    clip = make_clip(spec)
    told = generate_captions(clip.facts)
    caption = next((c.text for c in told if c.style == "plain"), told[0].text)
    write_video(out, pictures(clip), clip.facts.fps, comment=caption)
    return Filmed(caption=caption, clip=clip)


def spec_of(request: FilmsRequest, index: int) -> ClipSpec:
    """What the `index`-th clip is made from."""
    width, height = parse_size(request.size)
    return ClipSpec(
        seed=clip_seed(request.seed, index),
        lab=request.lab,
        event=known_event(request.event),
        height=height,
        width=width,
        frames=request.frames,
        split=request.split if request.lab else "all",
    )


def part_of(request: FilmsRequest, shard: int) -> Path:
    """Where a shard's part of the manifest lies once the shard is finished."""
    return request.out / "parts" / f"{shard:05d}.parquet"


def shard_size(request: FilmsRequest, shard: int) -> int:
    """How many clips a shard holds."""
    return min(request.shard, request.count - shard * request.shard)


def film_shard(request: FilmsRequest, shard: int, advance: Callable[[], None]) -> None:
    """Film one shard: its frames, its measurements and, last of all, its part of the manifest."""
    rows: list[dict[str, object]] = []
    arrays: dict[str, np.ndarray] = {}
    stack: list[np.ndarray] = []
    first = shard * request.shard
    tracks = f"tracks/{shard:05d}.safetensors"
    for index in range(first, first + shard_size(request, shard)):
        spec = spec_of(request, index)
        try:
            clip = make_clip(spec)
            row = _row(request, index, spec, clip, place=len(stack), tracks=tracks)
        except UserError as error:
            rows.append(_failure(request, index, spec, str(error)))
        else:
            rows.append(row)
            if request.format == "raw":
                stack.append(pictures(clip))
            arrays |= {f"{index:07d}/{name}": array for name, array in facts_arrays(clip.facts).items()}
        advance()
    if stack:
        write_bytes(request.out / f"shards/{shard:05d}.safetensors", save({"frames": np.stack(stack)}))
    write_bytes(request.out / tracks, save(arrays))
    write_bytes(part_of(request, shard), parquet(pa.Table.from_pylist(rows, schema=COLUMNS)))


def _row(
    request: FilmsRequest, index: int, spec: ClipSpec, clip: Clip, *, place: int, tracks: str
) -> dict[str, object]:
    """One line of the manifest; an MP4 is written on the way and counted as it decodes."""
    facts = clip.facts
    frames = pictures(clip)
    told = generate_captions(facts)
    if request.format == "mp4":
        file, place = f"films/{index:07d}.mp4", 0
        write_video(request.out / file, frames, facts.fps, comment=told[0].text)
        decoded = sum(1 for _ in frames_in(request.out / file))
        if decoded != len(frames):
            raise UserError(f"{decoded} of {len(frames)} frames decode from {file}")
    else:
        file, decoded = f"shards/{index // request.shard:05d}.safetensors", len(frames)
    return {
        "id": clip_id(frames),
        "index": index,
        "seed": spec.seed,
        "status": "ok",
        "reason": "",
        "event": facts.event,
        "outcome": facts.outcome,
        "lab": facts.lab,
        "split": request.split,
        "camera": facts.camera,
        "core": told[0].text,
        "captions": captions_json(told),
        "fps": facts.fps,
        "frames": decoded,
        "height": facts.height,
        "width": facts.width,
        "file": file,
        "place": place,
        "tracks": tracks,
        "facts": facts_json(facts),
    }


def _failure(request: FilmsRequest, index: int, spec: ClipSpec, reason: str) -> dict[str, object]:
    return {
        "id": "",
        "index": index,
        "seed": spec.seed,
        "status": "failed",
        "reason": reason,
        "event": request.event,
        "outcome": "",
        "lab": request.lab,
        "split": request.split,
        "camera": "",
        "core": "",
        "captions": "[]",
        "fps": spec.fps,
        "frames": 0,
        "height": spec.height,
        "width": spec.width,
        "file": "",
        "place": 0,
        "tracks": "",
        "facts": "",
    }


def parquet(table: pa.Table) -> bytes:
    """The table as a Parquet file; the same table is the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
