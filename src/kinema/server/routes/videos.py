"""The OpenAI Videos API, with interpolation and cancelling added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import Request

from kinema.server import queue
from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import bad_request, not_found
from kinema.server.form_parsing import parse_body
from kinema.server.job import Job
from kinema.server.openapi import openapi_body
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    GenerationOptions,
    InterpolateRequest,
    RemixRequest,
    validate_body,
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
    delete_job_dir,
    get_job_dir,
    remove_all_files,
)
from kinema.server.submit import submit_job

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
        if after is not None and not queue.is_job_id(after):
            raise bad_request(
                "'after' must be the id of a video: the last one of the page before.", param="after"
            )
        jobs, has_more = await state.run_in_thread(
            queue.list_page,
            state.database,
            current_owner(request),
            after=after,
            limit=limit,
            newest_first=order == "desc",
        )
        page = VideoList(
            object="list",
            data=[to_video_object(job) for job in jobs],
            first_id=jobs[0].id if jobs else None,
            last_id=jobs[-1].id if jobs else None,
            has_more=has_more,
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
        if not await state.run_in_thread(queue.delete, state.database, current_owner(request), job.id):
            raise not_found(f"There is no video {job.id}; it was deleted.")
        await state.run_in_thread(delete_job_dir, state.settings.data_dir, job.id)
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
        path = get_job_dir(state.settings.data_dir, job.id) / file_name
        if not await state.run_in_thread(path.is_file):
            raise not_found(f"The {variant} of video {job.id} no longer exists.")
        return FileResponse(
            path,
            media_type=media_type,
            filename=f"{job.id}{path.suffix}",
            content_disposition_type="inline",
            headers={"cache-control": "private, max-age=3600"},
        )

    @routes.post("/{video_id}/remix", response_model=VideoObject, openapi_extra=openapi_body(RemixRequest))
    async def remix(request: Request, video_id: str) -> JSONResponse:
        """Generate a video like another one, with another prompt."""
        async with parse_body(request) as fields:
            body = validate_body(RemixRequest, fields)
            source = await state.get_job_or_404(request, video_id)
            return _video_response(
                await submit_job(state, request, {**fields, "from": source.id}, body, source)
            )

    @routes.post("/{video_id}/cancel", response_model=VideoObject)
    async def cancel(request: Request, video_id: str) -> JSONResponse:
        """Stop a queued or running video; it fails with the code `cancelled`."""
        job = await state.get_job_or_404(request, video_id)
        if await state.run_in_thread(queue.cancel, state.database, current_owner(request), job.id):
            await state.run_in_thread(remove_all_files, get_job_dir(state.settings.data_dir, job.id))
        job = await state.get_job_or_404(request, job.id)
        if job.error_code != "cancelled":
            raise bad_request(f"Video {job.id} is {job.status} already.", code="video_ended")
        return _video_response(job)

    return routes


def _video_response(job: Job) -> JSONResponse:
    headers = {"openai-poll-after-ms": POLL_AFTER_MS}
    return JSONResponse(to_video_object(job).model_dump(), headers=headers)


def _submit_endpoint(state: AppState, body_type: type[GenerationOptions]) -> Callable[..., object]:
    async def endpoint(request: Request) -> JSONResponse:
        async with parse_body(request) as fields:
            return _video_response(await submit_job(state, request, fields, validate_body(body_type, fields)))

    return endpoint
