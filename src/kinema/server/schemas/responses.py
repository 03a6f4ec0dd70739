"""Response bodies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from kinema.server.job import Job, JobStatus

POLL_AFTER_MS = "500"
"""Value of the header that tells clients how long to wait between two polls; digits only."""


class VideoError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class VideoSource(BaseModel):
    """A video that another one is made from."""

    role: Annotated[str, Field(examples=["video", "next_video", "remix"])]
    id: str


class KinemaInfo(BaseModel):
    """Fields beyond the OpenAI API."""

    width: int | None = Field(description="Of the video itself, in pixels; null where its source decides.")
    height: int | None
    num_frames: int | None = Field(description="Of the video itself; null where its source decides.")
    fps: float | None
    task: str
    seed: int
    step: int
    total_steps: int
    stage: str
    sources: list[VideoSource] = Field(description="The videos of this server that it is made from.")
    favorite: bool
    folder: str | None
    queue_position: int | None = Field(
        description="1 is next; null where it is not queued, and in lists and events."
    )
    eta_seconds: float | None = Field(description="Estimated time until it is finished; null as above.")
    settings: dict[str, Any] | None = Field(
        description="The request as `VideoRequest` holds it, without files; null in lists and events."
    )
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
    warnings: list[str] = Field(
        description="What differs from the request, and what the model may not know. Of a finished video "
        "also what a prompt was read as."
    )
    kinema: KinemaInfo


class VideoList(BaseModel):
    """A page of videos."""

    object: Literal["list"]
    data: list[VideoObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoHistory(BaseModel):
    """What a video was made from, and what was made from it."""

    object: Literal["video.history"]
    video: VideoObject
    sources: list[VideoObject] = Field(
        description="All videos that it goes back to, those that are deleted left out; nearest first."
    )
    derived: list[VideoObject] = Field(description="The videos that are made from it directly.")


class FolderInfo(BaseModel):
    """A folder of videos."""

    name: str
    count: int


class FolderList(BaseModel):
    """The caller's folders, by name."""

    data: list[FolderInfo]


class VideoDeleted(BaseModel):
    """A video is deleted."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class ModelCapabilities(BaseModel):
    """What the served model can generate on this server; the first fields as in `ModelInfo`."""

    name: str
    width: int
    height: int
    size_multiple: int
    num_frames: int
    fps: float
    temporal_stride: int
    num_inference_steps: int
    guidance_scale: float
    supports_images: bool
    tasks: list[str]
    upscale_factors: list[int]
    num_experts: int
    boundary_ratio: float | None
    loras: list[str]
    can_stream: bool = Field(description="Whether it makes live videos.")
    max_seconds: float
    max_frames: int
    max_pixels: int
    sizes: list[str] = Field(description="Sizes that it generates well.")


class VocabularyObject(BaseModel):
    """What the model knows."""

    words: list[str] | None = Field(
        description="The words of its training captions; null: it knows more than can be listed."
    )
    examples: list[str] = Field(description="Prompts that it follows.")


class ModelObject(BaseModel):
    """A name of the served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kinema: ModelCapabilities


class ModelList(BaseModel):
    """All names of the served model."""

    object: Literal["list"]
    data: list[ModelObject]


class CostEstimateObject(BaseModel):
    """What a video would cost on this server."""

    seconds: float = Field(description="Time to generate it, without waiting in the queue.")
    peak_memory: int = Field(description="Bytes.")
    available_memory: int = Field(description="Bytes.")


class VideoCheck(BaseModel):
    """What the evaluator says about a finished video."""

    object: Literal["video.check"]
    id: str
    scored: bool = Field(description="Whether the evaluator can score this video against its prompt.")
    reason: str = Field(description="Why it can't; empty if it can.")
    prompt: str = Field(
        "", description="The prompt that is checked: the own one, or what it was rewritten to."
    )
    objects: list[str] = Field(description="The objects that it looked for.")
    verdicts: dict[str, bool] = Field(description="Pass or fail by each measure that applies to the prompt.")
    is_correct: bool | None = Field(
        description="Whether the objects are there and do what the prompt says; null if not scored."
    )


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
    param: str = Field(description="The field of the request, or the part of it, that the error is about.")
    code: str | None


class ErrorBody(BaseModel):
    """Body of every response with a status of 400 or more."""

    error: ErrorDetail


@dataclass(frozen=True, kw_only=True)
class VideoDetails:
    """What takes longer to find out than a row has to say.

    Attributes:
        queue_position: 1 is next.
        eta_seconds: until it is finished.
        settings: see `KinemaInfo`.
        ignored: unknown fields of the request.
    """

    queue_position: int | None = None
    eta_seconds: float | None = None
    settings: dict[str, Any] | None = None
    ignored: tuple[str, ...] = ()


_NO_DETAILS = VideoDetails()


def to_video_object(job: Job, details: VideoDetails = _NO_DETAILS) -> VideoObject:
    """A job as the API reports it."""
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
        warnings=list(job.warnings),
        kinema=KinemaInfo(
            width=job.width,
            height=job.height,
            num_frames=job.num_frames,
            fps=job.fps,
            task=job.task,
            seed=job.seed,
            step=job.step,
            total_steps=job.total_steps,
            stage=job.stage,
            sources=[VideoSource(role=source.role, id=source.id) for source in job.sources],
            favorite=job.labels.favourite,
            folder=job.labels.folder or None,
            queue_position=details.queue_position,
            eta_seconds=details.eta_seconds,
            settings=details.settings,
            ignored=list(details.ignored),
        ),
    )


_FILE_FIELDS = ("image", "last_image", "keyframes", "control", "references", "source")


def request_settings(job: Job) -> dict[str, Any] | None:
    """The request of a job without its files; None where it can't be read."""
    # A plain dictionary: a request that another version of Kinema wrote can be shown too.
    try:
        values = json.loads(job.request_json)
        storyboard = [{**shot, "image": None} for shot in values.get("storyboard", ())]
    except (ValueError, TypeError, AttributeError):
        return None
    settings = {name: value for name, value in values.items() if name not in _FILE_FIELDS}
    return {**settings, "storyboard": storyboard} if storyboard else settings
