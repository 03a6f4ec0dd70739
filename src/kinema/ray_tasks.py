"""Jobs on the machines of a Ray cluster, with the results of `kinema.process_pool.run_jobs`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from kinema.errors import UserError, missing_extra
from kinema.process_pool import THREAD_ENV_VARS

Job = TypeVar("Job")
JobResult = TypeVar("JobResult")

_JOBS_AHEAD_PER_WORKER = 3


def connect_to_ray(address: str, *, namespace: str | None = None) -> ModuleType:
    """Connect this process to a Ray cluster, and return the package.

    Args:
        address: `HOST:PORT` of a cluster that this machine belongs to, `ray://HOST:PORT` from outside of it
            (needs `ray[client]`), or `auto`: the cluster of this machine (`RAY_ADDRESS`, or the one that
            `ray start` started); without one, this machine becomes a cluster until the process ends.
        namespace: of named actors.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise missing_extra("Ray", "ray") from None
    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"namespace": namespace, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        try:
            ray.init(address="auto" if address == "auto" else address, **options)
        except ConnectionError:
            if address != "auto":
                raise
            ray.init(include_dashboard=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"can't connect to a Ray cluster at {address!r} ({reason:.200}); give HOST:PORT of its head "
            "node, or auto"
        ) from None
    return ray


def _call(work: Callable[[Job], JobResult], job: Job) -> JobResult:
    """What is sent to the cluster: Ray takes no built-in functions."""
    return work(job)


@dataclass(frozen=True, kw_only=True)
class RayTasks:
    """The cores of a Ray cluster as workers of `kinema.process_pool.run_jobs`.

    Attributes:
        address: as `connect_to_ray` takes it.
        uses_gpu: whether each job has a GPU of its own, where the cluster has any.
    """

    address: str
    uses_gpu: bool = False

    def run(self, work: Callable[[Job], JobResult], jobs: Iterable[Job]) -> Iterator[JobResult]:
        """Run jobs as Ray tasks with one thread each; yield their results in the order of the jobs.

        A job whose node dies is run again elsewhere. Paths in jobs must exist on every node.

        Raises:
            UserError: see `connect_to_ray`; also what `work` raises.
        """
        ray = connect_to_ray(self.address)
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if self.uses_gpu else 0
        remote = ray.remote(_call).options(
            num_cpus=1,
            num_gpus=min(1, gpus),
            runtime_env={"env_vars": dict.fromkeys(THREAD_ENV_VARS, "1")},
        )
        ahead = _JOBS_AHEAD_PER_WORKER * max(1, gpus or int(resources.get("CPU", 1)))
        submitted: deque[Any] = deque()
        try:
            for job in jobs:
                submitted.append(remote.remote(work, job))
                if len(submitted) >= ahead:
                    yield self._result(ray, submitted.popleft())
            while submitted:
                yield self._result(ray, submitted.popleft())
        finally:
            for reference in submitted:
                ray.cancel(reference, force=True)

    @staticmethod
    def _result(ray: ModuleType, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None
