"""Requests and answers of the API, with the fields of its OpenAPI document (a test compares them)."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

File = str | PathLike[str] | bytes
"""A path, the file's bytes, or a data URL."""
Status = Literal["queued", "in_progress", "completed", "failed"]
Variant = Literal["video", "thumbnail", "spritesheet"]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A part of a storyboard; `seconds` is when it begins."""

    prompt: str
    seconds: float = 0.0
    image: File | None = None
    transition: Literal["cut", "blend"] = "cut"


@dataclass(frozen=True, kw_only=True)
class Keyframe:
    """An image that the video shows at a time in seconds."""

    seconds: float
    image: File


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA of the server, by its name."""

    name: str
    strength: float = 1.0
    low_noise_strength: float | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every request has; None leaves the choice to the model. See `kinema.VideoRequest`."""

    seed: int | None = None
    fps: float | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_scale_2: float | None = None
    boundary_ratio: float | None = None
    flow_shift: float | None = None
    negative_prompt: str | None = None
    upscale: int | None = None
    loras: tuple[Lora, ...] = ()
    recipe: str | None = None
    step_cache: float | None = None
    rewrite_prompt: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Create(Options):
    """A new video: `POST /v1/videos`. `control` is the id of a video of the server, or a file."""

    prompt: str
    model: str | None = None
    seconds: float | None = None
    num_frames: int | None = None
    size: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    input_reference: File | None = None
    last_image: File | None = None
    keyframes: tuple[Keyframe, ...] = ()
    storyboard: tuple[Shot, ...] = ()
    loop: bool = False
    control: File | None = None
    control_kind: Literal["raw", "depth", "pose", "edge"] = "raw"
    control_scale: float = 1.0
    references: tuple[File, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Remix(Options):
    """A video of the server with another prompt: `POST /v1/videos/{id}/remix`."""

    prompt: str
    strength: float | None = None


@dataclass(frozen=True, kw_only=True)
class Edit(Options):
    """A change of a video: `POST /v1/videos/edits`. `video` is an id, or a file.

    `expand` is in pixels: left, top, right, bottom.
    """

    prompt: str
    video: File
    strength: float | None = None
    mask: File | None = None
    expand: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Extend(Options):
    """A continuation: `POST /v1/videos/extensions`. `seconds` is the length of the new part."""

    prompt: str
    video: File
    seconds: float | None = None
    num_frames: int | None = None
    backward: bool = False
    loop: bool = False


@dataclass(frozen=True, kw_only=True)
class Interpolate(Options):
    """The part between two videos: `POST /v1/videos/interpolations`."""

    prompt: str
    video: File
    next_video: File
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class VideoFailure:
    """Why a video failed."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A video that another one is made from; `role` is video, next_video or remix."""

    role: str
    id: str


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video on the server, finished or not.

    Attributes:
        id: of the video.
        status: queued, in_progress, completed or failed.
        progress: in percent.
        model, prompt: of the request.
        size: width x height of the file.
        seconds: length of the file.
        created_at, completed_at, expires_at: Unix seconds.
        error: why it failed.
        warnings: what differs from the request, and what the model may not know.
        remixed_from: id of the video that it was derived from.
        width, height, num_frames, fps: of the file; None where its source decides.
        task: generate, edit, extend or interpolate.
        seed: of the noise.
        step, total_steps: solver steps, done and in all.
        stage: what was done last.
        sources: the videos that it is made from.
        favorite, folder: the owner's labels.
        queue_position: 1 is next.
        eta_seconds: estimated time until it is finished.
        settings: the request, without its files.
        ignored: fields of the request that the server does not know.
        preview: a rough image of the current step (WebP), if an event had one.
    """

    id: str
    status: Status
    progress: int
    model: str
    prompt: str
    size: str
    seconds: float
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error: VideoFailure | None
    warnings: tuple[str, ...]
    remixed_from: str | None
    width: int | None
    height: int | None
    num_frames: int | None
    fps: float | None
    task: str
    seed: int
    step: int
    total_steps: int
    stage: str
    sources: tuple[Source, ...]
    favorite: bool
    folder: str | None
    queue_position: int | None
    eta_seconds: float | None
    settings: dict[str, Any] | None
    ignored: tuple[str, ...]
    preview: bytes | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it is completed or failed."""
        return self.status in ("completed", "failed")


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of videos; the next one begins after `videos[-1].id`."""

    videos: tuple[Video, ...]
    has_more: bool


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Estimated cost of a video: seconds without waiting in the queue, and bytes."""

    seconds: float
    peak_memory: int
    available_memory: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """The served model under one of its names; `info` is what it can generate."""

    id: str
    info: dict[str, Any]
