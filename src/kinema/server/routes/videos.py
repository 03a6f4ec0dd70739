"""The OpenAI Videos API, with interpolation and cancelling added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import Request

from kinema.server.dependencies import AppState, current_owner
from kinema.server.dialects.self_hosted import ParsedBody, parse_create, parse_options
from kinema.server.errors import bad_request, not_found
from kinema.server.form_parsing import Fields, parse_body
from kinema.server.job import Job, is_job_id
from kinema.server.job_store import JobFilter
from kinema.server.openapi import openapi_body
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    GenerationOptions,
    InterpolateRequest,
    RemixRequest,
)
from kinema.server.schemas.responses import (
    POLL_AFTER_MS,
    VideoDeleted,
    VideoList,
    VideoObject,
    to_video_object,
)
from kinema.server.storage import (
    SPRITESHEET_FILE,
    THUMBNAIL_FILE,
    VIDEO_FILE,
)
from kinema.server.submit import Submission, submit_job

Strict = Annotated[bool, Query(description="Refuse unknown fields, which are otherwise ignored and listed.")]
ContentVariant = Literal["video", "thumbnail", "spritesheet"]
_VARIANT_FILES: dict[ContentVariant, tuple[str, str]] = {
    "video": (VIDEO_FILE, "video/mp4"),
    "thumbnail": (THUMBNAIL_FILE, "image/webp"),
    "spritesheet": (SPRITESHEET_FILE, "image/jpeg"),
}
_CONTENT_SCHEMAS = {
    media_type: {"schema": {"type": "string", "format": "binary"}}
    for _, media_type in _VARIANT_FILES.values()
}


def router(state: AppState) -> APIRouter:
    """The endpoints. Fixed paths are registered before those in which a video's id is a path segment."""
    routes = APIRouter(prefix="/v1/videos", tags=["videos"])

    for path, body_type, name, description in (
        ("", CreateVideoRequest, "create", "Generate a video from a prompt and, optionally, images."),
        ("/generations", CreateVideoRequest, "create_generation", "The same as `POST /v1/videos`."),
        ("/edits", EditRequest, "edit", "Change a video as the prompt says."),
        ("/extensions", ExtendRequest, "extend", "Continue a video after its end or before its beginning."),
        ("/interpolations", InterpolateRequest, "interpolate", "Generate the part between two videos."),
    ):
        routes.post(
            path,
            response_model=VideoObject,
            openapi_extra=openapi_body(body_type),
            name=name,
            description=description,
        )(_submit_endpoint(state, body_type))

    @routes.get("", response_model=VideoList)
    async def list_videos(
        request: Request,
        after: Annotated[str | None, Query(max_length=100)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> JSONResponse:
        """The caller's videos, newest first; for the next page, `after` is the last id of this one."""
        if after is not None and not is_job_id(after):
            raise bad_request(
                "'after' must be the id of a video: the last one of the page before.", param="after"
            )
        listed = await state.run_in_thread(
            state.store.list_jobs,
            JobFilter(owner=current_owner(request)),
            after=after,
            limit=limit,
            newest_first=order == "desc",
        )
        page = VideoList(
            object="list",
            data=[to_video_object(job) for job in listed.jobs],
            first_id=listed.jobs[0].id if listed.jobs else None,
            last_id=listed.jobs[-1].id if listed.jobs else None,
            has_more=listed.has_more,
        )
        return JSONResponse(page.model_dump())

    @routes.get("/{video_id}", response_model=VideoObject)
    async def retrieve(request: Request, video_id: str) -> JSONResponse:
        """A video and its progress."""
        return _video_response(await state.get_job_or_404(request, video_id))

    @routes.delete("/{video_id}", response_model=VideoDeleted)
    async def delete(request: Request, video_id: str) -> JSONResponse:
        """Delete a video and its files; a running one is cancelled."""
        job = await state.get_job_or_404(request, video_id)
        grace_s = state.settings.delete_grace_s
        if not await state.run_in_thread(
            state.store.delete, job.id, owner=current_owner(request), grace_s=grace_s
        ):
            raise not_found(f"There is no video {job.id}; it was deleted.")
        return JSONResponse(VideoDeleted(id=job.id, object="video.deleted", deleted=True).model_dump())

    @routes.get(
        "/{video_id}/content", response_class=FileResponse, responses={200: {"content": _CONTENT_SCHEMAS}}
    )
    async def content(request: Request, video_id: str, variant: ContentVariant = "video") -> FileResponse:
        """The video's file, a thumbnail, or a sheet of its frames; byte ranges are supported."""
        job = await state.get_job_or_404(request, video_id)
        if job.status != "completed":
            reason = f" ({job.error_message})" if job.error_message else ""
            raise bad_request(f"Video {job.id} is {job.status}{reason}; there is nothing to download.",
                              code="video_not_ready")  # fmt: skip
        file_name, media_type = _VARIANT_FILES[variant]
        try:
            path = await state.run_in_thread(state.files.verified_path, job, file_name)
        except FileNotFoundError:
            raise not_found(f"The {variant} of video {job.id} no longer exists.") from None
        return FileResponse(
            path,
            media_type=media_type,
            filename=f"{job.id}{path.suffix}",
            content_disposition_type="inline",
            headers={"cache-control": "private, max-age=3600"},
        )

    @routes.post("/{video_id}/remix", response_model=VideoObject, openapi_extra=openapi_body(RemixRequest))
    async def remix(request: Request, video_id: str, strict: Strict = False) -> JSONResponse:
        """Generate a video like another one, with another prompt."""
        async with parse_body(request) as fields:
            parsed = parse_options(RemixRequest, fields, strict=strict)
            source = await state.get_job_or_404(request, video_id)
            fields = {**fields, "from": source.id}
            return _submission_response(parsed, await submit_job(state, request, fields, parsed.body, source))

    @routes.post("/{video_id}/cancel", response_model=VideoObject)
    async def cancel(request: Request, video_id: str) -> JSONResponse:
        """Stop a queued or running video; it fails with the code `cancelled`."""
        job = await state.get_job_or_404(request, video_id)
        retention_s = state.settings.retention_s
        if await state.run_in_thread(
            state.store.cancel, job.id, owner=current_owner(request), retention_s=retention_s
        ):
            await state.run_in_thread(state.files.remove_other_attempts, job.id, "")
        job = await state.get_job_or_404(request, job.id)
        if job.error_code != "cancelled":
            raise bad_request(f"Video {job.id} is {job.status} already.", code="video_ended")
        return _video_response(job)

    return routes


def parse_video_body(body_type: type[GenerationOptions], fields: Fields, *, strict: bool) -> ParsedBody:
    """The body of a request for a video.

    Raises:
        ApiError: a field is missing or invalid.
    """
    if body_type is CreateVideoRequest:
        return parse_create(fields, strict=strict)
    return parse_options(body_type, fields, strict=strict)


def _video_response(job: Job) -> JSONResponse:
    headers = {"openai-poll-after-ms": POLL_AFTER_MS}
    return JSONResponse(to_video_object(job).model_dump(), headers=headers)


def _submission_response(parsed: ParsedBody, submission: Submission) -> JSONResponse:
    warnings = (*submission.warnings, *parsed.warnings)
    video = to_video_object(submission.job, ignored=parsed.ignored, warnings=warnings)
    return JSONResponse(video.model_dump(), headers={"openai-poll-after-ms": POLL_AFTER_MS})


def _submit_endpoint(state: AppState, body_type: type[GenerationOptions]) -> Callable[..., object]:
    async def endpoint(request: Request, strict: Strict = False) -> JSONResponse:
        async with parse_body(request) as fields:
            parsed = parse_video_body(body_type, fields, strict=strict)
            with parsed.client_names():
                submission = await submit_job(state, request, fields, parsed.body)
        return _submission_response(parsed, submission)

    return endpoint
