"""OpenRouter's video API: `/api/v1/videos`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from starlette.requests import Request

from kinema.server.dependencies import AppState
from kinema.server.dialects.self_hosted import client_names
from kinema.server.dialects.signed_links import LinkSigner, base_url
from kinema.server.dialects.webhooks import parse_webhook
from kinema.server.errors import bad_request
from kinema.server.form_parsing import Fields, parse_body
from kinema.server.job import Job
from kinema.server.model_info import ModelInfo
from kinema.server.routes.sync import file_response
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    NumFrames,
    Prompt,
    StrictModel,
    check_count,
    validate_body,
)
from kinema.server.submit import submit_job
from kinema.server.video_format import MODEL_ALIASES, RESOLUTIONS, example_sizes, max_pixels

PROVIDER = "kinema"
"""Model names may start with it, and it is the name of `provider.options` with further fields."""
Status = Literal["pending", "in_progress", "completed", "failed", "cancelled", "expired"]
_FIELD_NAMES = {"seconds": "duration", "input_reference": "frame_images", "last_image": "frame_images"}
"""OpenRouter's names of Kinema's fields, for errors."""


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _ImageUrl(_Lenient):
    url: str


class FrameImage(_Lenient):
    """An image that the video begins or ends with."""

    type: Literal["image_url"] = "image_url"
    image_url: _ImageUrl
    frame_type: Literal["first_frame", "last_frame"]


class OpenRouterRequest(StrictModel):
    """A new video."""

    model: Annotated[str, StringConstraints(max_length=200)]
    prompt: Prompt
    duration: Annotated[float, Field(gt=0, le=86400)] | None = None
    num_frames: NumFrames | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    size: str | None = None
    seed: int | None = None
    frame_images: Annotated[list[FrameImage], BeforeValidator(check_count(2))] = Field([])
    input_references: Annotated[list[Any], BeforeValidator(check_count(40))] = Field([])
    generate_audio: bool | None = None
    callback_url: str | None = None
    provider: dict[str, Any] | None = None


class OpenRouterJob(BaseModel):
    """A video, finished or not; `urls` need no key, `unsigned_urls` do."""

    id: str
    polling_url: str
    status: Status
    generation_id: str
    model: str
    created_at: int
    progress: int
    size: str
    error: str | None = None
    urls: list[str] | None = None
    unsigned_urls: list[str] | None = None
    usage: dict[str, float] | None = None
    warnings: list[str]
    ignored: list[str] | None = None


def router(state: AppState, signer: LinkSigner) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api/v1/videos", tags=["OpenRouter"])

    def response(request: Request, job: Job, *, status: int = 200, ignored: list[str] | None = None) -> Any:
        video = to_job(base_url(request), signer, job)
        video.ignored = ignored or None
        return JSONResponse(video.model_dump(exclude_none=True), status)

    @routes.post("", status_code=202, response_model=OpenRouterJob)
    async def create(request: Request) -> JSONResponse:
        """Generate a video."""
        ignored: list[str] = []
        async with parse_body(request) as fields:
            body = validate_body(OpenRouterRequest, fields, ignored=ignored)
            webhook = parse_webhook(
                state.settings, body.callback_url, param="callback_url", shape="openrouter", request=request
            )
            with client_names(_FIELD_NAMES):
                video = validate_body(CreateVideoRequest, to_fields(body), ignored=ignored)
                job = await submit_job(state, request, fields, video, webhook=webhook)
        return response(request, job, status=202, ignored=ignored)

    @routes.get("/models")
    async def models() -> JSONResponse:
        """What the served model can generate."""
        model_info = await state.get_model_info()
        return JSONResponse({"data": [to_model(state, model_info)]})

    @routes.get("/{job_id}", response_model=OpenRouterJob)
    async def retrieve(request: Request, job_id: str) -> JSONResponse:
        """A video and its progress."""
        return response(request, await state.get_job_or_404(request, job_id))

    @routes.get("/{job_id}/content", response_class=FileResponse)
    async def content(request: Request, job_id: str, index: int = 0) -> FileResponse:
        """The file of a completed video."""
        job = await state.get_job_or_404(request, job_id)
        if index != 0:
            raise bad_request(f"There is no video {index}; each job has one, with index 0.", param="index")
        if job.status != "completed":
            raise bad_request(f"Video {job.id} is {to_status(job)}; there is nothing to download.",
                              param="job_id", code="video_not_ready")  # fmt: skip
        return await file_response(state, job)

    return routes


def to_fields(body: OpenRouterRequest) -> Fields:
    """The body as fields of Kinema's API.

    Raises:
        ApiError: it asks for something that is not possible here.
    """
    if body.generate_audio:
        raise bad_request("'generate_audio' is not possible here: videos have no sound.",
                          param="generate_audio", code="unsupported_parameter")  # fmt: skip
    if body.input_references:
        raise bad_request(
            "'input_references' are not possible here; send the first or last image as frame_images.",
            param="input_references",
            code="unsupported_parameter",
        )
    names = ("prompt", "num_frames", "resolution", "aspect_ratio", "size", "seed")
    fields: Fields = {name: getattr(body, name) for name in names}
    fields |= {"model": body.model.removeprefix(f"{PROVIDER}/"), "seconds": body.duration}
    for image in body.frame_images:
        name = "input_reference" if image.frame_type == "first_frame" else "last_image"
        if name in fields:
            raise bad_request(f"There are two images for the {image.frame_type}; send one.",
                              param="frame_images", code="invalid_value")  # fmt: skip
        fields[name] = {"image_url": image.image_url.url}
    options = (body.provider or {}).get("options")
    own = options.get(PROVIDER) if isinstance(options, dict) else None
    if isinstance(own, dict):
        fields |= {name: value for name, value in own.items() if name not in fields}
    return {name: value for name, value in fields.items() if value is not None}


def to_status(job: Job) -> Status:
    """OpenRouter's word for the state of a job."""
    if job.status == "failed":
        return "cancelled" if job.error_code == "cancelled" else "failed"
    return "pending" if job.status == "queued" else job.status


def to_job(base: str, signer: LinkSigner, job: Job) -> OpenRouterJob:
    """A job in OpenRouter's shape.

    Args:
        base: scheme and host that the client called.
        signer: of links to the video.
        job: the job.
    """
    polling_url = f"{base}/api/v1/videos/{job.id}"
    is_completed = job.status == "completed"
    return OpenRouterJob(
        id=job.id,
        polling_url=polling_url,
        status=to_status(job),
        generation_id=job.id,
        model=job.model,
        created_at=job.created_at,
        progress=job.progress,
        size=job.size,
        error=(job.error_message or "The video failed.") if job.status == "failed" else None,
        urls=[signer.link(base, job)] if is_completed else None,
        unsigned_urls=[f"{polling_url}/content?index=0"] if is_completed else None,
        usage={"cost": 0.0} if is_completed else None,
        warnings=list(job.warnings),
    )


def to_model(state: AppState, model_info: ModelInfo) -> dict[str, Any]:
    """The served model in OpenRouter's list of models."""
    limits = state.settings.limits
    most, longest = (
        max_pixels(model_info, limits),
        min(limits.max_seconds, limits.max_frames / model_info.fps),
    )
    return {
        "id": f"{PROVIDER}/{model_info.name}",
        "canonical_slug": f"{PROVIDER}/{model_info.name}",
        "name": f"Kinema: {model_info.name}",
        "created": 0,
        "aliases": list(MODEL_ALIASES),
        "supported_resolutions": [name for name, side in RESOLUTIONS.items() if side * side * 16 / 9 <= most],
        "supported_aspect_ratios": ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21"],
        "supported_sizes": list(example_sizes(model_info)),
        "supported_durations": list(range(1, int(longest) + 1)),
        "supported_frame_images": ["first_frame", "last_frame"] if model_info.supports_images else [],
        "generate_audio": False,
        "seed": True,
        "pricing_skus": {},
        "allowed_passthrough_parameters": sorted(
            set(CreateVideoRequest.model_fields) - set(OpenRouterRequest.model_fields)
        ),
    }
