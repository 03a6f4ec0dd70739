"""A job: what a client submits, what the store keeps of it, and its identifier."""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Literal

from kinema.errors import UserError
from kinema.pipeline.request import VideoRequest

JobStatus = Literal["queued", "in_progress", "completed", "failed"]
STATUSES: tuple[JobStatus, ...] = ("queued", "in_progress", "completed", "failed")

ID_PREFIX = "video_"


class QueueFullError(Exception):
    """The maximum number of jobs is waiting."""


class StorageQuotaError(Exception):
    """The stored videos of this owner, or of all, reach a limit; the message says which."""


class RequestTooLargeError(Exception):
    """A single request takes more space in the store than the limit."""


class IdempotencyConflictError(Exception):
    """The Idempotency-Key was used before, with a different request."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What an owner notes about a video.

    Attributes:
        favourite: whether it is one.
        folder: where it is filed; empty: nowhere.
        tags: words.
    """

    favourite: bool = False
    folder: str = ""
    tags: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As stored."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Labels:
        """Stored labels; names that this version does not know are ignored."""
        values = json.loads(text or "{}")
        return cls(
            favourite=bool(values.get("favourite", False)),
            folder=str(values.get("folder", "")),
            tags=tuple(map(str, values.get("tags", ()))),
        )


@dataclass(frozen=True, kw_only=True)
class JobSource:
    """A video that another one is made from.

    Attributes:
        role: video, next_video, control or remix.
        id: of the source; it may be deleted by now.
    """

    role: str
    id: str


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """What was recorded of a file when it was complete.

    Attributes:
        sha256: of its bytes, hexadecimal.
        size: in bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class JobCreate:
    """A new job.

    Attributes:
        id: of `new_id`.
        owner: who submits it.
        model, size, seconds, prompt: what the API reports.
        request: what is generated; file inputs are file names in the job's folder.
        served_model: name of the model that generates it (`ModelInfo.name`); empty: any.
        remixed_from: id of the video that this one is derived from.
        idempotency_key: of the HTTP request.
        request_hash: hash of the HTTP request, if it has a key.
        webhook_url: receiver of this job's events; None: the operator's.
        webhook_format: whose shape the events have.
        sources: the videos that it is made from.
        warnings: what of the request was changed or not used, a sentence each.
        num_frames, fps: of the video; None where they are not known in advance.
        input_bytes: size of the files in the job's folder.
        labels: of its owner.
    """

    id: str
    owner: str
    model: str
    size: str
    seconds: str
    prompt: str
    request: VideoRequest
    served_model: str = ""
    remixed_from: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    webhook_url: str | None = None
    webhook_format: str = "openai"
    sources: tuple[JobSource, ...] = ()
    warnings: tuple[str, ...] = ()
    num_frames: int | None = None
    fps: float | None = None
    input_bytes: int = 0
    labels: Labels = Labels()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job. Times are Unix seconds; `progress` is in percent.

    `size`, `seconds` and `prompt` are what the API reports; `request_json` is what is generated. File inputs
    of the request are file names in the job's folder.

    Attributes:
        task, seed, width, height: of the request, so that a list needs no `request_json`; the sides are
            those of the file, None where the source decides.
        served_model: name of the model that may claim it; empty: any.
        revision: how many times this row was changed.
        change: number of the last change, higher than those of all earlier changes of any job.
        attempt: fencing token of the attempt that runs, or of the one that made the files; else empty.
        worker_id: whose attempt it is.
        heartbeat: how many times the running attempt reported that it is alive.
        attempts: starts since the last checkpoint.
        worked_s: seconds of work, counted by the workers.
        checkpoint: path of the last checkpoint in the job's folder; empty: none.
        checkpoint_sha256: its digest.
        files: digests of the finished files by name.
        file_bytes: size of the inputs, and of the finished files.
        deleted_at: when the owner deleted it; it can be restored for a while.
        expires_uptime_s: server uptime at which a finished or deleted job is removed (see
            `JobStore.tick`).
        damage: what a check of the files found; empty: nothing.
    """

    id: str
    owner: str
    status: JobStatus
    progress: int
    step: int
    total_steps: int
    stage: str
    preview_count: int
    revision: int
    change: int
    model: str
    served_model: str
    task: str
    seed: int
    width: int | None
    height: int | None
    size: str
    seconds: str
    prompt: str
    remixed_from: str | None
    request_json: str = field(repr=False)
    created_at: int
    completed_at: int | None
    expires_at: int | None
    expires_uptime_s: float | None
    error_code: str | None
    error_message: str | None
    attempt: str
    worker_id: str | None
    heartbeat: int
    attempts: int
    worked_s: float
    checkpoint: str
    checkpoint_sha256: str
    files: dict[str, FileDigest]
    file_bytes: int
    labels: Labels
    deleted_at: int | None
    webhook_url: str | None
    webhook_format: str
    sources: tuple[JobSource, ...]
    warnings: tuple[str, ...]
    num_frames: int | None
    fps: float | None
    damage: str
    idempotency_key: str | None
    request_hash: str | None

    @property
    def request(self) -> VideoRequest:
        """The request; parsed on each access.

        Raises:
            UserError: another version of Kinema wrote it.
        """
        return VideoRequest.from_dict(json.loads(self.request_json), source="the request in the database")

    @property
    def is_finished(self) -> bool:
        """Whether the job is completed or failed."""
        return self.status in ("completed", "failed")


def new_job(create: JobCreate, *, created_at: int) -> Job:
    """The queued job of a submission."""
    request = create.request
    width, height = request.size or (None, None)
    return Job(
        id=create.id, owner=create.owner, status="queued", progress=0, step=0, total_steps=0, stage="",
        preview_count=0, revision=0, change=0, model=create.model, served_model=create.served_model,
        task=request.task, seed=request.seed,
        width=None if width is None else width * request.upscale,
        height=None if height is None else height * request.upscale,
        size=create.size, seconds=create.seconds, prompt=create.prompt, remixed_from=create.remixed_from,
        request_json=json.dumps(request.to_dict()), created_at=created_at, completed_at=None,
        expires_at=None, expires_uptime_s=None, error_code=None, error_message=None, attempt="",
        worker_id=None, heartbeat=0, attempts=0, worked_s=0.0, checkpoint="", checkpoint_sha256="", files={},
        file_bytes=create.input_bytes, labels=create.labels, deleted_at=None,
        webhook_url=create.webhook_url, webhook_format=create.webhook_format, sources=create.sources,
        warnings=create.warnings, num_frames=create.num_frames, fps=create.fps, damage="",
        idempotency_key=create.idempotency_key,
        request_hash=create.request_hash,
    )  # fmt: skip


def new_id() -> str:
    """A random identifier that sorts after all earlier ones.

    Pages of a list are addressed by it, so that deletions while a client reads pages shift nothing.
    """
    return f"{ID_PREFIX}{time.time_ns():016x}{secrets.token_hex(8)}"


def created_s(job_id: str) -> float:
    """When the identifier was made, in Unix seconds of the server that made it."""
    return int(job_id.removeprefix(ID_PREFIX)[:16], 16) / 1e9


def new_attempt() -> str:
    """A fencing token: no two attempts have the same, also after a database is restored from a backup."""
    return secrets.token_hex(8)


def is_job_id(text: str) -> bool:
    """Whether the text is well-formed as an identifier; folder names are built from it."""
    digits = text.removeprefix(ID_PREFIX)
    return (
        len(text) == len(ID_PREFIX) + 32
        and len(digits) == 32
        and all(c in "0123456789abcdef" for c in digits)
    )


def normalise_search_text(text: str) -> str:
    """Text in which words are found in any case."""
    return " ".join(text.casefold().split())


def require_labels(labels: Labels) -> Labels:
    """The labels, if they are short enough to be kept in the job's row.

    Raises:
        UserError: they are not.
    """
    if len(labels.folder) > 200 or len(labels.tags) > 50 or any(len(tag) > 100 for tag in labels.tags):
        raise UserError(
            "labels are too long; a folder has at most 200 characters, and a video at most 50 tags of 100"
        )
    return labels
