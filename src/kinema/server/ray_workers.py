"""Workers on a Ray cluster: actors that each run a worker process, as many as the queue needs.

This is a process of its own, which the server's supervisor starts and restarts like a worker, because Ray
ends a process that has lost its cluster. The actors live as long as it does. Several servers may share a
cluster: actors have names, so that all of them together run at most `max_workers` for a model.

An actor holds the standard input of its worker process: where the actor ends, the worker saves its job and
ends too. Whether a worker is alive is decided by the leases in the job store as everywhere else; Ray only
tells it earlier. A job continues from its last checkpoint in the file store, on any node.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.errors import UserError
from kinema.models.formats.serialization import from_json, to_json
from kinema.ray_tasks import connect_to_ray
from kinema.server.job_store import JobStore, StoreBusyError, WorkerRow
from kinema.server.leases import SilenceMonitor
from kinema.server.open_stores import DATABASE_VARIABLE, open_job_store
from kinema.server.ray_actor import WorkerProcess
from kinema.server.worker_config import WorkerConfig, worker_config

if TYPE_CHECKING:
    from kinema.server.settings import Settings

log = logging.getLogger("kinema.ray")

POLL_INTERVAL_S = 0.5
STOP_TIMEOUT_S = 18.0
"""Time that workers have to save their jobs; less than the server's own."""
FROZEN_LEASES = 3
"""A worker that sends no heartbeat for this many leases is ended."""
MAX_RESTART_BACKOFF_S = 30.0
RAPID_EXIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Configuration of the process; fields as in `kinema.server.settings.Settings`."""

    worker: WorkerConfig
    address: str
    min_workers: int
    max_workers: int
    processes_per_video: int
    memory_bytes: int | None
    resources: tuple[tuple[str, float], ...]
    idle_s: float


def ray_workers_command(settings: Settings) -> list[str]:
    """The command that runs the workers of a server on its Ray cluster."""
    config = RayConfig(
        worker=worker_config(settings, worker_index=0, attached=True),
        address=settings.ray,
        min_workers=settings.min_workers,
        max_workers=settings.max_workers,
        processes_per_video=settings.ray_processes_per_video,
        memory_bytes=settings.ray_memory_bytes or settings.limits.max_worker_bytes,
        resources=tuple(settings.ray_resources.items()),
        idle_s=settings.ray_idle_s,
    )
    return [sys.executable, "-m", "kinema.server.ray_workers", to_json(config)]


@dataclass(kw_only=True, eq=False)
class _Group:
    """The actors of one worker: one, or several that generate each video together.

    Attributes:
        actors: the first one is the worker.
        running: results of their `run`.
        location: result of the first one's `location`, until it is known.
        host, pid: of the first process; 0: not known yet.
        placement: placement group; None for one actor.
        started_at, idle_since: monotonic seconds.
        is_stopping: it was asked to end.
    """

    actors: list[Any]
    running: list[Any]
    location: Any
    placement: Any
    host: str = ""
    pid: int = 0
    started_at: float = field(default_factory=time.monotonic)
    idle_since: float = field(default_factory=time.monotonic)
    is_stopping: bool = False


class RayWorkers:
    """Keeps as many workers on a cluster as the queue needs.

    Args:
        config: configuration.
        database: URL of the job store.
        store: the job store.
    """

    def __init__(self, config: RayConfig, database: str, store: JobStore) -> None:
        self._config, self._database, self._store = config, database, store
        identity = hashlib.sha256(f"{database} {config.worker.storage} {config.worker.model}".encode())
        self._name = f"kinema-{identity.hexdigest()[:12]}"
        self._ray = connect_to_ray(config.address, namespace=self._name)
        self._gpus = self._num_gpus()
        self._actor_class = self._ray.remote(WorkerProcess)
        self._groups: dict[int, _Group] = {}
        self._start_after = dict.fromkeys(range(config.max_workers), 0.0)
        self._rapid_exits = dict.fromkeys(range(config.max_workers), 0)
        self._silence = SilenceMonitor(FROZEN_LEASES * config.worker.lease_s)

    def update(self) -> None:
        """Remove workers that have ended, and start or stop others."""
        rows = self._store.workers()
        silent = self._silence.silent({row.id: row.heartbeat for row in rows})
        for index, group in list(self._groups.items()):
            self._locate(group)
            row = _find_row(group, rows)
            if row is not None and row.id in silent:
                log.error("worker %s is frozen; ending it", row.id)
                for actor in group.actors:
                    actor.kill.remote()
            if self._has_ended(group):
                self._remove(index, group, row)
        target, busy = self._demand()
        now = time.monotonic()
        for index, group in self._groups.items():
            row = _find_row(group, rows)
            if row is not None and row.id in busy:
                group.idle_since = now
            is_surplus = index >= self._config.min_workers and len(self._groups) > target
            if is_surplus and not group.is_stopping and now - group.idle_since > self._config.idle_s:
                log.info("stopping worker %d, which is idle", index)
                group.is_stopping = True
                for actor in group.actors:
                    actor.stop.remote()
        for index in range(self._config.max_workers):
            if len(self._groups) >= target:
                break
            if index not in self._groups and now >= self._start_after[index]:
                self._groups[index] = self._start(index)

    def stop(self, timeout_s: float) -> None:
        """Let all workers save their jobs and end; kill those that take longer."""
        groups = list(self._groups.values())
        for group in groups:
            for actor in group.actors:
                actor.stop.remote()
        running = [reference for group in groups for reference in group.running]
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=timeout_s)
        for group in groups:
            self._kill(group)

    def _demand(self) -> tuple[int, frozenset[str]]:
        config, info = self._config, self._store.model_info(self._config.worker.model)
        if info is None:  # The first worker publishes the model.
            return config.min_workers, frozenset()
        demand = self._store.demand(info.name)
        jobs = demand.waiting + len(demand.busy_workers)
        return min(config.max_workers, max(config.min_workers, jobs)), demand.busy_workers

    def _num_gpus(self) -> int:
        device = self._config.worker.device
        if device == "cpu" or self._config.worker.model == "testcard":
            return 0
        return int(device.startswith("cuda") or self._ray.cluster_resources().get("GPU", 0) > 0)

    def _start(self, index: int) -> _Group:
        """Start actors; they wait until a node has room for all of them."""
        config = self._config
        count = config.processes_per_video
        options: dict[str, Any] = {
            "num_cpus": 1, "num_gpus": self._gpus, "resources": dict(config.resources),
            "memory": config.memory_bytes, "max_concurrency": 4, "get_if_exists": True,
        }  # fmt: skip
        placement = None
        if count > 1:
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            placement = self._placement_group(index)
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(placement)
        actors = []
        for rank in range(count):
            name = f"{self._name}-{index}-{rank}"
            actor = self._actor_class.options(name=name, **options)
            actors.append(actor.remote(config.worker, self._database, name))
        address = actors[0].reserve_port.remote()
        running = [actor.run.remote(rank, count, address) for rank, actor in enumerate(actors)]
        log.info("starting worker %d", index)
        return _Group(
            actors=actors, running=running, location=actors[0].location.remote(), placement=placement
        )

    def _placement_group(self, index: int) -> Any:
        """Room for all processes of a worker, as close together as possible."""
        config, ray = self._config, self._ray
        name = f"{self._name}-{index}"
        with contextlib.suppress(ValueError):  # Another server has made it.
            return ray.util.get_placement_group(name)
        bundle = {"CPU": 1.0, **dict(config.resources)}
        if self._gpus:
            bundle["GPU"] = float(self._gpus)
        if config.memory_bytes is not None:
            bundle["memory"] = float(config.memory_bytes)
        bundles = [dict(bundle) for _ in range(config.processes_per_video)]
        return ray.util.placement_group(bundles, strategy="PACK", name=name)

    def _locate(self, group: _Group) -> None:
        if group.pid or not self._ray.wait([group.location], timeout=0)[0]:
            return
        with contextlib.suppress(self._ray.exceptions.RayError):
            group.host, group.pid = self._ray.get(group.location)
            if not group.pid:
                group.location = group.actors[0].location.remote()

    def _has_ended(self, group: _Group) -> bool:
        return bool(self._ray.wait(group.running, timeout=0)[0])

    def _remove(self, index: int, group: _Group, row: WorkerRow | None) -> None:
        """Free the job of a worker that has ended, and the resources of its actors."""
        codes = []
        for reference in self._ray.wait(group.running, num_returns=len(group.running), timeout=0)[0]:
            try:
                codes.append(str(self._ray.get(reference)))
            except self._ray.exceptions.RayError as error:
                codes.append(type(error).__name__)
        self._kill(group)
        del self._groups[index]
        if row is not None:
            self._store.mark_worker_dead(row.id)
        if group.is_stopping:
            return
        uptime = time.monotonic() - group.started_at
        self._rapid_exits[index] = self._rapid_exits[index] + 1 if uptime < RAPID_EXIT_S else 0
        backoff = min(MAX_RESTART_BACKOFF_S, 0.5 * 2 ** min(10, self._rapid_exits[index]))
        self._start_after[index] = time.monotonic() + backoff
        log.warning("worker %d has ended (%s); starting it again", index, ", ".join(codes))

    def _kill(self, group: _Group) -> None:
        for actor in group.actors:
            self._ray.kill(actor)
        if group.placement is not None:
            self._ray.util.remove_placement_group(group.placement)


def _find_row(group: _Group, rows: list[WorkerRow]) -> WorkerRow | None:
    return next((row for row in rows if group.pid and (row.host, row.pid) == (group.host, group.pid)), None)


def run(config: RayConfig, database: str, should_stop: Callable[[], bool]) -> None:
    """Run workers until `should_stop`.

    Raises:
        UserError: the cluster or the database can't be used.
    """
    store = open_job_store(Path(config.worker.data_dir), database, durable=False)
    try:
        workers = RayWorkers(config, database, store)
        while not should_stop():
            try:
                workers.update()
            except StoreBusyError as error:
                log.warning("database: %s", error)
            time.sleep(POLL_INTERVAL_S)
        workers.stop(STOP_TIMEOUT_S)
    finally:
        store.close()


def main() -> None:
    """`python -m kinema.server.ray_workers CONFIG`; ends with its standard input."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop = threading.Event()

    def wait_for_end() -> None:
        while os.read(0, 1):
            pass
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=wait_for_end, daemon=True).start()
    try:
        config = from_json(RayConfig, sys.argv[1], source="the configuration of the workers")
        run(config, os.environ[DATABASE_VARIABLE], stop.is_set)
    except (UserError, StoreBusyError) as error:
        print(f"kinema: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
