"""Filming the set: one clip to a file, or many with captions and facts, on all cores.

A folder of films holds `manifest.parquet` (one row a clip), `films/` (MP4) or `shards/` (raw uint8
frames), `tracks/` (measurements) and `parts/` (the manifest's pieces, one for each shard). A shard's
part is written last, so a shard without one is made again after a stop; nothing else is remembered.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Literal

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.numpy import save

from kinema.errors import UserError, nearest
from kinema.files import write_bytes, write_text
from kinema.media import frames as frames_in
from kinema.media import write_film
from kinema.shapes import parse_size
from kinema.world.captions import captions
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
class Summary:
    """What was filmed."""

    out: Path
    filmed: int
    failed: int
    reason: str
    """Why the first clip that failed did."""

    def line(self) -> str:
        """For the person who asked."""
        failed = f", {self.failed} failed ({self.reason})" if self.failed else ""
        return f"{self.filmed} films in {self.out}{failed}"


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
    raise UserError(f"there is no event {name!r}{nearest(name, EVENTS)}; choose one of: {', '.join(EVENTS)}")


def clip_seed(seed: int, index: int) -> int:
    """The seed of the `index`-th clip: 48 bits of a hash, the same on any machine."""
    digest = hashlib.blake2b(f"kinema films {seed} {index}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


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
    told = captions(clip.facts)
    caption = next((c.text for c in told if c.style == "plain"), told[0].text)
    write_film(out, pictures(clip), clip.facts.fps, comment=caption)
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


def film_many(request: FilmsRequest, *, workers: int = 0, quiet: bool = False) -> Summary:
    """Film all clips of a request; those that an earlier run finished are kept.

    The bytes depend on the request alone, not on `workers` or on stops in between.

    Raises:
        UserError: the folder holds another request, can't be written, or a worker was killed.
    """
    _prepare(request)
    waiting = [k for k in range(request.shards) if not _part(request, k).exists()]
    done = sum(_size(request, k) for k in range(request.shards) if k not in set(waiting))
    processes = min(workers or os.cpu_count() or 1, max(1, len(waiting)))
    with Progress(
        TextColumn("filming"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=quiet,
        transient=False,
    ) as bar:
        task = bar.add_task("", total=request.count, completed=done)
        if waiting and processes == 1:
            for shard in waiting:
                _film_shard(request, shard, lambda: bar.advance(task))
        elif waiting:
            _in_processes(request, waiting, processes, lambda made: bar.update(task, completed=done + made))
    table = pa.concat_tables([pq.read_table(_part(request, k)) for k in range(request.shards)])
    write_bytes(request.out / "manifest.parquet", _parquet(table))
    failed = [row for row in table.select(["status", "reason"]).to_pylist() if row["status"] != "ok"]
    return Summary(
        out=request.out,
        filmed=request.count - len(failed),
        failed=len(failed),
        reason=failed[0]["reason"] if failed else "",
    )


def _prepare(request: FilmsRequest) -> None:
    """Make the folder, or see that it holds this very request."""
    wanted = asdict(request)
    wanted.pop("out")
    text = json.dumps(wanted, sort_keys=True, indent=1) + "\n"
    note = request.out / "request.json"
    try:
        for folder in ("", "parts", "tracks", "films" if request.format == "mp4" else "shards"):
            (request.out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't make {request.out}: {error.strerror}; choose another folder") from None
    if note.exists():
        if note.read_text() != text:
            raise UserError(
                f"{request.out} holds films of another request (its request.json differs); "
                "choose another folder or repeat the same options"
            )
    else:
        write_text(note, text)


def _part(request: FilmsRequest, shard: int) -> Path:
    return request.out / "parts" / f"{shard:05d}.parquet"


def _size(request: FilmsRequest, shard: int) -> int:
    return min(request.shard, request.count - shard * request.shard)


def _in_processes(
    request: FilmsRequest, waiting: list[int], processes: int, report: Callable[[int], None]
) -> None:
    """Share the waiting shards among processes; each takes the next one when it is free."""
    context = multiprocessing.get_context("spawn")
    taken, made = context.Value("l", 0), context.Value("l", 0)
    troubles = context.SimpleQueue()
    crew = [
        context.Process(target=_worker, args=(request, waiting, taken, made, troubles), daemon=True)
        for _ in range(processes)
    ]
    for worker in crew:
        worker.start()
    try:
        while any(worker.is_alive() for worker in crew):
            multiprocessing.connection.wait([worker.sentinel for worker in crew if worker.is_alive()], 0.2)
            report(made.value)
            if not troubles.empty():
                raise UserError(troubles.get())
            if any(worker.exitcode for worker in crew):
                break
    finally:
        for worker in crew:
            if worker.is_alive() and any(other.exitcode for other in crew):
                worker.terminate()
        for worker in crew:
            worker.join()
    if not troubles.empty():
        raise UserError(troubles.get())
    if any(worker.exitcode for worker in crew):
        raise UserError(
            "a worker was stopped, perhaps for want of memory; run the same command again to go on"
        )


def _worker(
    request: FilmsRequest,
    waiting: list[int],
    taken: Synchronized[int],
    made: Synchronized[int],
    troubles: SimpleQueue[str],
) -> None:
    """Film shards until none is left. One thread to a process: the parallel work is in the clips."""
    numba.set_num_threads(1)

    def advance() -> None:
        with made.get_lock():
            made.value += 1

    while True:
        with taken.get_lock():
            place = taken.value
            taken.value += 1
        if place >= len(waiting):
            return
        try:
            _film_shard(request, waiting[place], advance)
        except UserError as error:
            troubles.put(str(error))
            return


def _film_shard(request: FilmsRequest, shard: int, advance: Callable[[], None]) -> None:
    """Film one shard: its frames, its measurements and, last of all, its part of the manifest."""
    rows: list[dict[str, object]] = []
    arrays: dict[str, np.ndarray] = {}
    stack: list[np.ndarray] = []
    first = shard * request.shard
    tracks = f"tracks/{shard:05d}.safetensors"
    for index in range(first, first + _size(request, shard)):
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
    write_bytes(_part(request, shard), _parquet(pa.Table.from_pylist(rows, schema=COLUMNS)))


def _row(
    request: FilmsRequest, index: int, spec: ClipSpec, clip: Clip, *, place: int, tracks: str
) -> dict[str, object]:
    """One line of the manifest; an MP4 is written on the way and counted as it decodes."""
    facts = clip.facts
    frames = pictures(clip)
    told = captions(facts)
    if request.format == "mp4":
        file, place = f"films/{index:07d}.mp4", 0
        write_film(request.out / file, frames, facts.fps, comment=told[0].text)
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


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
