"""Renders a dataset in parallel. An interrupted run can be continued and gives the same bytes."""

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
    """The result of rendering a dataset."""

    out: Path
    num_rendered: int
    num_failed: int
    first_failure: str
    """The reason of the first failure; empty if there was none."""

    def line(self) -> str:
        """A summary in one line."""
        failed = f", {self.num_failed} failed ({self.first_failure})" if self.num_failed else ""
        return f"{self.num_rendered} videos in {self.out}{failed}"


def render_dataset(config: DatasetConfig, *, workers: int = 0, quiet: bool = False) -> RenderSummary:
    """Render all clips of a dataset. Shards that an earlier run finished are kept.

    The files depend only on the configuration, not on `workers` or on interruptions.

    Args:
        config: the dataset.
        workers: number of processes; 0 uses one per core.
        quiet: show no progress bar.

    Raises:
        UserError: the folder holds another dataset or cannot be written, or a worker was killed.
    """
    _prepare_folder(config)
    pending = [k for k in range(config.num_shards) if not shard_manifest_path(config, k).exists()]
    done = sum(num_clips_in_shard(config, k) for k in range(config.num_shards) if k not in set(pending))
    num_processes = min(workers or os.cpu_count() or 1, max(1, len(pending)))
    with Progress(
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=quiet,
        transient=False,
    ) as bar:
        task = bar.add_task("", total=config.count, completed=done)
        if pending and num_processes == 1:
            for shard in pending:
                write_shard(config, shard, lambda: bar.advance(task))
        elif pending:
            _render_in_processes(
                config, pending, num_processes, lambda num_done: bar.update(task, completed=done + num_done)
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
    """Create the folder, or check that it holds the same configuration."""
    settings = asdict(config)
    settings.pop("out")
    text = json.dumps(settings, sort_keys=True, indent=1) + "\n"
    config_file = config.out / "request.json"
    try:
        for folder in ("", "parts", "tracks", "videos" if config.format == "mp4" else "shards"):
            (config.out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {config.out}: {error.strerror}; choose another folder") from None
    for partial in config.out.glob("*/.*.part*"):
        # A partial file of an interrupted run.
        partial.unlink(missing_ok=True)
    if config_file.exists():
        if config_file.read_text() != text:
            raise UserError(
                f"{config.out} holds videos of another configuration (its request.json differs); "
                "choose another folder or repeat the same options"
            )
    else:
        write_text(config_file, text)


def _render_in_processes(
    config: DatasetConfig, pending_shards: list[int], num_processes: int, on_progress: Callable[[int], None]
) -> None:
    """Render the pending shards in several processes; each takes the next shard when it is free."""
    context = multiprocessing.get_context("spawn")
    next_shard, num_done = context.Value("l", 0), context.Value("l", 0)
    failures = context.SimpleQueue()
    workers = [
        context.Process(
            target=_render_worker, args=(config, pending_shards, next_shard, num_done, failures), daemon=True
        )
        for _ in range(num_processes)
    ]
    with single_threaded():
        for worker in workers:
            worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            multiprocessing.connection.wait([worker.sentinel for worker in workers if worker.is_alive()], 0.2)
            on_progress(num_done.value)
            if not failures.empty() or any(worker.exitcode for worker in workers):
                break
        else:
            on_progress(num_done.value)
    finally:
        # After a failure or an interrupt, stop the other workers too.
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
    if not failures.empty():
        raise UserError(failures.get())
    if num_done.value < sum(num_clips_in_shard(config, shard) for shard in pending_shards):
        raise UserError(
            "a worker process was killed, perhaps for lack of memory; run the same command again to continue"
        )


def _render_worker(
    config: DatasetConfig,
    pending_shards: list[int],
    next_shard: Synchronized[int],
    num_done: Synchronized[int],
    failures: SimpleQueue[str],
) -> None:
    """Render shards until none is left."""

    def on_clip_done() -> None:
        with num_done.get_lock():
            num_done.value += 1
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            sys.exit(1)

    while True:
        with next_shard.get_lock():
            position = next_shard.value
            next_shard.value += 1
        if position >= len(pending_shards):
            return
        try:
            write_shard(config, pending_shards[position], on_clip_done)
        except UserError as error:
            failures.put(str(error))
            return
