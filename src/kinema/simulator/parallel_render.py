"""Filming many clips on all cores, so that a stop costs little and leaves no trace in the bytes."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kinema.atomic_io import write_bytes, write_text
from kinema.errors import UserError
from kinema.process_pool import single_threaded
from kinema.simulator.shards import (
    DatasetConfig,
    num_clips_in_shard,
    shard_manifest_path,
    to_parquet_bytes,
    write_shard,
)


@dataclass(frozen=True, kw_only=True)
class RenderSummary:
    """What was filmed."""

    out: Path
    num_rendered: int
    num_failed: int
    first_failure: str
    """Why the first clip that failed did."""

    def line(self) -> str:
        """For the person who asked."""
        failed = f", {self.num_failed} failed ({self.first_failure})" if self.num_failed else ""
        return f"{self.num_rendered} videos in {self.out}{failed}"


def render_dataset(config: DatasetConfig, *, workers: int = 0, quiet: bool = False) -> RenderSummary:
    """Film all clips of a request; those that an earlier run finished are kept.

    The bytes depend on the request alone, not on `workers` or on stops in between.

    Raises:
        UserError: the folder holds another request, can't be written, or a worker was killed.
    """
    _prepare_folder(config)
    waiting = [k for k in range(config.num_shards) if not shard_manifest_path(config, k).exists()]
    done = sum(num_clips_in_shard(config, k) for k in range(config.num_shards) if k not in set(waiting))
    processes = min(workers or os.cpu_count() or 1, max(1, len(waiting)))
    with Progress(
        TextColumn("filming"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=quiet,
        transient=False,
    ) as bar:
        task = bar.add_task("", total=config.count, completed=done)
        if waiting and processes == 1:
            for shard in waiting:
                write_shard(config, shard, lambda: bar.advance(task))
        elif waiting:
            _render_in_processes(
                config, waiting, processes, lambda made: bar.update(task, completed=done + made)
            )
    table = pa.concat_tables(
        [pq.read_table(shard_manifest_path(config, k)) for k in range(config.num_shards)]
    )
    write_bytes(config.out / "manifest.parquet", to_parquet_bytes(table))
    failed = [row for row in table.select(["status", "reason"]).to_pylist() if row["status"] != "ok"]
    return RenderSummary(
        out=config.out,
        num_rendered=config.count - len(failed),
        num_failed=len(failed),
        first_failure=failed[0]["reason"] if failed else "",
    )


def _prepare_folder(config: DatasetConfig) -> None:
    """Make the folder, or see that it holds this very request."""
    wanted = asdict(config)
    wanted.pop("out")
    text = json.dumps(wanted, sort_keys=True, indent=1) + "\n"
    note = config.out / "request.json"
    try:
        for folder in ("", "parts", "tracks", "videos" if config.format == "mp4" else "shards"):
            (config.out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't make {config.out}: {error.strerror}; choose another folder") from None
    for beside in config.out.glob("*/.*.part*"):
        # Half a file that a killed run left behind.
        beside.unlink(missing_ok=True)
    if note.exists():
        if note.read_text() != text:
            raise UserError(
                f"{config.out} holds videos of another configuration (its request.json differs); "
                "choose another folder or repeat the same options"
            )
    else:
        write_text(note, text)


def _render_in_processes(
    config: DatasetConfig, pending_shards: list[int], num_processes: int, on_progress: Callable[[int], None]
) -> None:
    """Share the waiting shards among processes; each takes the next one when it is free."""
    context = multiprocessing.get_context("spawn")
    taken, made = context.Value("l", 0), context.Value("l", 0)
    troubles = context.SimpleQueue()
    crew = [
        context.Process(
            target=_render_worker, args=(config, pending_shards, taken, made, troubles), daemon=True
        )
        for _ in range(num_processes)
    ]
    with single_threaded():
        for worker in crew:
            worker.start()
    try:
        while any(worker.is_alive() for worker in crew):
            multiprocessing.connection.wait([worker.sentinel for worker in crew if worker.is_alive()], 0.2)
            on_progress(made.value)
            if not troubles.empty() or any(worker.exitcode for worker in crew):
                break
        else:
            on_progress(made.value)
    finally:
        # Those that are still at work stop with their parent, or with the first that failed.
        for worker in crew:
            worker.terminate()
        for worker in crew:
            worker.join()
    if not troubles.empty():
        raise UserError(troubles.get())
    if made.value < sum(num_clips_in_shard(config, shard) for shard in pending_shards):
        raise UserError(
            "a worker was stopped, perhaps for want of memory; run the same command again to go on"
        )


def _render_worker(
    config: DatasetConfig,
    pending_shards: list[int],
    next_shard: Synchronized[int],
    num_done: Synchronized[int],
    failures: SimpleQueue[str],
) -> None:
    """Film shards until none is left."""

    def on_clip_done() -> None:
        with num_done.get_lock():
            num_done.value += 1
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            sys.exit(1)

    while True:
        with next_shard.get_lock():
            place = next_shard.value
            next_shard.value += 1
        if place >= len(pending_shards):
            return
        try:
            write_shard(config, pending_shards[place], on_clip_done)
        except UserError as error:
            failures.put(str(error))
            return
