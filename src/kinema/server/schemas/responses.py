"""Response bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from kinema.server.job import Job, JobStatus
from kinema.server.model_info import ModelInfo

POLL_AFTER_MS = "500"
"""Value of the header that tells clients how long to wait between two polls; digits only."""


class VideoError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class KinemaInfo(BaseModel):
    """Fields beyond the OpenAI API."""

    width: int | None = Field(description="Of the video itself, in pixels; null where its source decides.")
    height: int | None
    task: str
    seed: int
    step: int
    total_steps: int
    stage: str
    ignored: list[str] = Field(
        description="Fields of the request that are unknown, in the response to that request only."
    )


class VideoObject(BaseModel):
    """A video, finished or not."""

    id: Annotated[str, Field(examples=["video_186b1c6f2a9d3e401f2e3d4c5b6a7988"])]
    object: Literal["video"]
    model: str
    status: JobStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    remixed_from_video_id: str | None
    size: Annotated[str, Field(examples=["1280x720"])]
    seconds: Annotated[str, Field(examples=["4"])]
    error: VideoError | None
    warnings: list[str] = Field(description="What differs from the request, and what the model may not know.")
    kinema: KinemaInfo


class VideoList(BaseModel):
    """A page of videos."""

    object: Literal["list"]
    data: list[VideoObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """A video is deleted."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class ModelObject(BaseModel):
    """A name of the served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kinema: ModelInfo


class ModelList(BaseModel):
    """All names of the served model."""

    object: Literal["list"]
    data: list[ModelObject]


class CostEstimateObject(BaseModel):
    """What a video would cost on this server."""

    seconds: float = Field(description="Time to generate it, without waiting in the queue.")
    peak_memory: int = Field(description="Bytes.")
    available_memory: int = Field(description="Bytes.")


class Liveness(BaseModel):
    """The server's process answers."""

    status: Literal["ok"]


class Health(BaseModel):
    """The server is ready."""

    status: Literal["ok"]
    model: str
    workers: int


class ErrorDetail(BaseModel):
    """An error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Body of every response with a status of 400 or more."""

    error: ErrorDetail


def to_video_object(job: Job, *, ignored: Sequence[str] = (), warnings: Sequence[str] = ()) -> VideoObject:
    """A job as the API reports it.

    Args:
        job: the job.
        ignored: unknown fields of the request, in the response to it.
        warnings: what differs from the request, in the response to it.
    """
    error = None
    if job.status == "failed":
        error = VideoError(
            code=job.error_code or "server_error", message=job.error_message or "The video failed."
        )
    return VideoObject(
        id=job.id,
        object="video",
        model=job.model,
        status=job.status,
        progress=job.progress,
        created_at=job.created_at,
        completed_at=job.completed_at,
        expires_at=job.expires_at,
        prompt=job.prompt,
        remixed_from_video_id=job.remixed_from,
        size=job.size,
        seconds=job.seconds,
        error=error,
        warnings=list(warnings),
        kinema=KinemaInfo(
            width=job.width,
            height=job.height,
            task=job.task,
            seed=job.seed,
            step=job.step,
            total_steps=job.total_steps,
            stage=job.stage,
            ignored=list(ignored),
        ),
    )
