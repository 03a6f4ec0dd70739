"""What the API answers: the types of its document, and films in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from kinema.serve.video import Video

POLL_MS = "500"
"""How long a client shall wait before it asks again; it takes whole digits only."""


class ErrorOfVideo(BaseModel):
    """Why a film failed."""

    code: str
    message: str


class Making(BaseModel):
    """What Kinema says beyond the Videos API."""

    width: int | None = Field(description="Of the film itself, in pixels; None where its source decides.")
    height: int | None
    verb: str
    seed: int
    step: int
    steps: int
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
    error: ErrorOfVideo | None
    kinema: Making


class VideoList(BaseModel):
    """A page of films."""

    object: Literal["list"]
    data: list[VideoObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """A film is gone."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class Model(BaseModel):
    """A name the served model answers to."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every answer from 400 on."""

    error: ErrorDetail


def video_object(video: Video) -> dict[str, object]:
    """A film as the API tells it; every name is always there."""
    wanted = video.wanted
    error = None
    if video.status == "failed":
        error = {
            "code": video.error_code or "server_error",
            "message": video.error_message or "The film failed.",
        }
    return {
        "id": video.id,
        "object": "video",
        "model": video.model,
        "status": video.status,
        "progress": video.progress,
        "created_at": video.created_at,
        "completed_at": video.completed_at,
        "expires_at": video.expires_at,
        "prompt": video.prompt,
        "remixed_from_video_id": video.remixed_from,
        "size": video.size,
        "seconds": video.seconds,
        "error": error,
        "kinema": {
            "width": wanted.width,
            "height": wanted.height,
            "verb": wanted.verb,
            "seed": wanted.seed,
            "step": video.step,
            "steps": video.steps,
            "stage": video.stage,
        },
    }
