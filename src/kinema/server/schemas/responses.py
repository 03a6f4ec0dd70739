"""What the API answers: the types of its document, and films in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from kinema.server.job import Job

POLL_AFTER_MS = "500"
"""How long a client shall wait before it asks again; it takes whole digits only."""


class VideoError(BaseModel):
    """Why a film failed."""

    code: str
    message: str


class KinemaInfo(BaseModel):
    """What Kinema says beyond the Videos API."""

    width: int | None = Field(description="Of the film itself, in pixels; None where its source decides.")
    height: int | None
    task: str
    seed: int
    step: int
    total_steps: int
    stage: str


class VideoObject(BaseModel):
    """A film."""

    id: Annotated[str, Field(examples=["video_186b1c6f2a9d3e401f2e3d4c5b6a7988"])]
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: Annotated[int, Field(ge=0, le=100)]
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    remixed_from_video_id: str | None
    size: Annotated[str, Field(examples=["1280x720"])]
    seconds: Annotated[str, Field(examples=["4"])]
    error: VideoError | None
    kinema: KinemaInfo


class VideoList(BaseModel):
    """A page of films."""

    object: Literal["list"]
    data: list[VideoObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """A film is gone."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class ModelObject(BaseModel):
    """A name the served model answers to."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[ModelObject]


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every answer from 400 on."""

    error: ErrorDetail


def to_video_object(job: Job) -> dict[str, object]:
    """A film as the API tells it; every name is always there."""
    wanted = job.spec
    error = None
    if job.status == "failed":
        error = {
            "code": job.error_code or "server_error",
            "message": job.error_message or "The film failed.",
        }
    return {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": job.status,
        "progress": job.progress,
        "created_at": job.created_at,
        "completed_at": job.completed_at,
        "expires_at": job.expires_at,
        "prompt": job.prompt,
        "remixed_from_video_id": job.remixed_from,
        "size": job.size,
        "seconds": job.seconds,
        "error": error,
        "kinema": {
            "width": wanted.width,
            "height": wanted.height,
            "verb": wanted.task,
            "seed": wanted.seed,
            "step": job.step,
            "steps": job.total_steps,
            "stage": job.stage,
        },
    }
