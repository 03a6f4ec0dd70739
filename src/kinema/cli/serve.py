"""`kinema serve` and `kinema worker`: the HTTP API and its worker processes."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.errors import UserError, missing_extra

if TYPE_CHECKING:
    from kinema.server.settings import Settings


@dataclass(frozen=True, kw_only=True)
class WorkerArgs:
    """Options of a server and its workers. Flags at their defaults leave the choice to the settings file."""

    data: Path = Path("kinema-data")
    """Folder of the videos and the queue. Jobs in it continue when the server starts again."""
    database: str = ""
    """sqlite:///FILE, or postgresql://... for many servers; also KINEMA_DATABASE. By default in `data`."""
    storage: str = ""
    """Where files are: a folder, or s3://BUCKET/PREFIX. By default in `data`."""
    model: str = "world"
    """`world` (shipped), `testcard` (colour bars, to try a client), a folder, or a hub model."""
    device: str = "auto"
    """cpu, cuda, auto, or one of several GPUs: cuda:1."""
    sign: bool = False
    """Sign videos with content credentials (C2PA)."""
    settings: Path | None = None
    """TOML file with API keys, limits and more; see docs/serving.md."""

    def load_settings(self) -> Settings:
        """The flags, environment variables and settings file together.

        Raises:
            UserError: a setting is invalid, or a package is not installed.
        """
        try:
            from kinema.server.settings import load_settings
        except ModuleNotFoundError:
            raise missing_extra("serving", "serve") from None
        flags = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("data", "settings") and getattr(self, field.name) != field.default
        }
        return load_settings(self.settings, data_dir=self.data.expanduser().absolute(), **flags)


@dataclass(frozen=True, kw_only=True)
class Serve(WorkerArgs):
    """Serve the OpenAI Videos API."""

    port: int = 8000
    """Port to listen on; 0 takes a free one and prints it."""
    host: str = "127.0.0.1"
    """Address to listen on; other machines need API keys."""
    workers: int = 1
    """Worker processes; on GPUs, one for each."""
    ray: str = ""
    """Run the workers on a Ray cluster instead: HOST:PORT of its head node, or auto."""
    min_workers: int = 1
    """With --ray: workers that always run."""
    max_workers: int = 8
    """With --ray: the most workers, while many videos are queued."""
    scrub: bool = False
    """Check the digests of stored videos in the background."""
    studio: bool = False
    """Show the studio, the web page, under /studio/."""

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C. API keys are also read from KINEMA_API_KEYS, separated by commas."""
        settings = self.load_settings()
        from kinema.server.main import serve

        serve(settings)


@dataclass(frozen=True, kw_only=True)
class Worker(WorkerArgs):
    """Run an additional worker for a server on this machine."""

    def run(self) -> None:
        """Work until SIGTERM or Ctrl-C; the current job is saved and continues in another worker."""
        settings = self.load_settings()
        from kinema.server.data_dir import ensure_data_dir
        from kinema.server.open_stores import DATABASE_VARIABLE
        from kinema.server.worker_config import worker_command, worker_config

        if settings.database:
            ensure_data_dir(settings.data_dir)
            os.environ[DATABASE_VARIABLE] = settings.database
        elif not (settings.data_dir / "store.sqlite").is_file():
            data = settings.data_dir
            raise UserError(f"no server has used {data} yet; start `kinema serve --data {data}` first")
        command = worker_command(worker_config(settings, worker_index=0, attached=False))
        # Replaces this process: servers recognise workers by their command line.
        os.execv(command[0], command)
