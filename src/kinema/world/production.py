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
from kinema.world.films import FilmsRequest, film_shard, parquet, part_of, shard_size


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


def film_many(request: FilmsRequest, *, workers: int = 0, quiet: bool = False) -> Summary:
    """Film all clips of a request; those that an earlier run finished are kept.

    The bytes depend on the request alone, not on `workers` or on stops in between.

    Raises:
        UserError: the folder holds another request, can't be written, or a worker was killed.
    """
    _prepare(request)
    waiting = [k for k in range(request.shards) if not part_of(request, k).exists()]
    done = sum(shard_size(request, k) for k in range(request.shards) if k not in set(waiting))
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
                film_shard(request, shard, lambda: bar.advance(task))
        elif waiting:
            _in_processes(request, waiting, processes, lambda made: bar.update(task, completed=done + made))
    table = pa.concat_tables([pq.read_table(part_of(request, k)) for k in range(request.shards)])
    write_bytes(request.out / "manifest.parquet", parquet(table))
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
    for beside in request.out.glob("*/.*.part*"):
        # Half a file that a killed run left behind.
        beside.unlink(missing_ok=True)
    if note.exists():
        if note.read_text() != text:
            raise UserError(
                f"{request.out} holds films of another request (its request.json differs); "
                "choose another folder or repeat the same options"
            )
    else:
        write_text(note, text)


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
    with single_threaded():
        for worker in crew:
            worker.start()
    try:
        while any(worker.is_alive() for worker in crew):
            multiprocessing.connection.wait([worker.sentinel for worker in crew if worker.is_alive()], 0.2)
            report(made.value)
            if not troubles.empty() or any(worker.exitcode for worker in crew):
                break
        else:
            report(made.value)
    finally:
        # Those that are still at work stop with their parent, or with the first that failed.
        for worker in crew:
            worker.terminate()
        for worker in crew:
            worker.join()
    if not troubles.empty():
        raise UserError(troubles.get())
    if made.value < sum(shard_size(request, shard) for shard in waiting):
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
    """Film shards until none is left."""

    def advance() -> None:
        with made.get_lock():
            made.value += 1
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            sys.exit(1)

    while True:
        with taken.get_lock():
            place = taken.value
            taken.value += 1
        if place >= len(waiting):
            return
        try:
            film_shard(request, waiting[place], advance)
        except UserError as error:
            troubles.put(str(error))
            return
