"""What runs on a node of a Ray cluster: an actor that holds a worker process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from kinema.errors import UserError
from kinema.server.data_dir import ensure_data_dir, lock_for_restore
from kinema.server.open_stores import DATABASE_VARIABLE
from kinema.server.worker_config import WorkerConfig, worker_command


class WorkerProcess:
    """A worker process on a node. Ray makes it an actor.

    Args:
        config: the worker's; its data folder is replaced by a temporary one of the node.
        database: URL of the job store.
        name: of the temporary folder, unique on the cluster.
    """

    def __init__(self, config: WorkerConfig, database: str, name: str) -> None:
        self._folder = ensure_data_dir(Path(tempfile.gettempdir()) / name)
        # What a worker left here that was killed; the job has another folder by now.
        with contextlib.suppress(UserError), lock_for_restore(self._folder):
            for job in (self._folder / "videos").glob("video_*"):
                shutil.rmtree(job, ignore_errors=True)
        self._config = dataclasses.replace(config, data_dir=str(self._folder))
        self._database = database
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def reserve_port(self) -> tuple[str, int]:
        """Address at which the processes of a group find each other."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    def run(self, rank: int, count: int, group_address: tuple[str, int]) -> int:
        """Start the process if it does not run yet, and wait for its end; its exit code."""
        env = {**os.environ, DATABASE_VARIABLE: self._database}
        if count > 1:
            host, port = group_address
            env |= {
                "RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": "0",
                "MASTER_ADDR": host, "MASTER_PORT": str(port),
            }  # fmt: skip
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(worker_command(self._config), stdin=subprocess.PIPE, env=env)
        return self._process.wait()

    def location(self) -> tuple[str, int]:
        """Host and process id; 0 before it has started."""
        return socket.gethostname(), 0 if self._process is None else self._process.pid

    def stop(self) -> None:
        """Let the worker save its job and end."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def kill(self) -> None:
        """End a worker that is frozen."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
