"""The configuration of a worker process, and the command that starts one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinema.models.formats.serialization import to_json

if TYPE_CHECKING:
    from kinema.server.settings import Settings


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """Configuration of a worker process; settings as in `kinema.server.settings.Settings`."""

    data_dir: str
    model: str
    device: str
    lease_s: float
    max_attempts: int
    checkpoint_interval_s: float
    retention_s: float
    worker_index: int = 0
    """Number of this worker; with several GPUs worker n uses the n-th."""
    sign: bool = False
    certificate: str = ""
    certificate_key: str = ""
    loras: tuple[tuple[str, str], ...] = ()
    """Names and paths of the LoRAs that requests may use."""
    database: str = ""
    """Not part of the command line: it may hold a password."""
    storage: str = ""
    tracing: bool = False
    attached: bool = True
    """Whether the end of standard input means that the server is gone."""


def worker_config(settings: Settings, *, worker_index: int, attached: bool) -> WorkerConfig:
    """A worker with a server's settings."""
    return WorkerConfig(
        data_dir=str(settings.data_dir),
        storage=settings.storage,
        model=settings.model,
        device=settings.device,
        worker_index=worker_index,
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        checkpoint_interval_s=settings.checkpoint_interval_s,
        retention_s=settings.retention_s,
        sign=settings.sign,
        certificate=settings.certificate,
        certificate_key=settings.certificate_key,
        loras=tuple((lora.name, str(lora.path.expanduser().absolute())) for lora in settings.loras),
        tracing=settings.tracing,
        attached=attached,
    )


def worker_command(config: WorkerConfig) -> list[str]:
    """The command that starts a worker; servers recognise workers by it."""
    return [sys.executable, "-m", "kinema.server.worker", to_json(config)]
