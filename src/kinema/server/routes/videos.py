"""The OpenAI Videos API, with interpolation and cancelling added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.requests import Request

from kinema.server.dependencies import AppState, current_owner
from kinema.server.dialects.self_hosted import ParsedBody, parse_create, parse_options
from kinema.server.errors import bad_request, not_found
from kinema.server.file_store import SPRITESHEET_FILE, THUMBNAIL_FILE, VIDEO_FILE
from kinema.server.form_parsing import parse_body
from kinema.server.job import Job, JobStatus, is_job_id
from kinema.server.job_store import JobFilter
from kinema.server.openapi_schema import openapi_body
from kinema.server.schemas.requests import (
    PLAIN,
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
    VideoDetails,
    VideoList,
    VideoObject,
    request_settings,
    to_video_object,
)
from kinema.server.submit import submit_job

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
        after: Annotated[str | None, Query(max_length=100), PLAIN] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 20,
        order: Literal["asc", "desc"] = "desc",
        q: Annotated[
            str, Query(max_length=200, description="Words of the prompt, in any order."), PLAIN
        ] = "",
        status: JobStatus | None = None,
        favorite: bool | None = None,
        folder: Annotated[str | None, Query(max_length=200), PLAIN] = None,
        deleted: Annotated[bool, Query(description="Deleted videos that can be restored.")] = False,
    ) -> JSONResponse:
        """The caller's videos, newest first; for the next page, `after` is the last id of this one."""
        if after is not None and not is_job_id(after):
            raise bad_request(
                "'after' must be the id of a video: the last one of the page before.", param="after"
            )
        which = JobFilter(
            owner=current_owner(request),
            status=status,
            search=q,
            favourite=favorite,
            folder=folder,
            deleted=deleted,
        )
        page = await state.run_in_thread(
            state.store.list_jobs, which, after=after, limit=limit, newest_first=order == "desc"
        )
        listed = VideoList(
            object="list",
            data=[to_video_object(job) for job in page.jobs],
            first_id=page.jobs[0].id if page.jobs else None,
            last_id=page.jobs[-1].id if page.jobs else None,
            has_more=page.has_more,
        )
        return JSONResponse(listed.model_dump())

    @routes.get("/{video_id}", response_model=VideoObject)
    async def retrieve(request: Request, video_id: str) -> JSONResponse:
        """A video and its progress."""
        return await video_response(state, await state.get_job_or_404(request, video_id))

    @routes.delete("/{video_id}", response_model=VideoDeleted)
    async def delete(request: Request, video_id: str) -> JSONResponse:
        """Delete a video and its files; a running one is cancelled."""
        job = await state.get_job_or_404(request, video_id)
        grace_s = state.settings.delete_grace_s
        if not await state.run_in_thread(
            state.store.delete, job.id, owner=current_owner(request), grace_s=grace_s
        ):
            raise not_found(f"There is no video {job.id}; it was deleted.", param="video_id")
        return JSONResponse(VideoDeleted(id=job.id, object="video.deleted", deleted=True).model_dump())

    @routes.get(
        "/{video_id}/content", response_class=FileResponse, responses={200: {"content": _CONTENT_SCHEMAS}}
    )
    async def content(request: Request, video_id: str, variant: ContentVariant = "video") -> Response:
        """The video's file, a thumbnail, or a sheet of its frames; byte ranges are supported."""
        job = await state.get_job_or_404(request, video_id)
        if job.status != "completed":
            reason = f" ({job.error_message})" if job.error_message else ""
            raise bad_request(f"Video {job.id} is {job.status}{reason}; there is nothing to download.",
                              code="video_not_ready")  # fmt: skip
        file_name, media_type = _VARIANT_FILES[variant]
        try:
            if state.settings.download_links == "redirect":
                link = await state.run_in_thread(state.files.link, job, file_name)
                if link is not None:
                    return RedirectResponse(link, 307, {"cache-control": "no-store"})
            path = await state.run_in_thread(state.files.verified_path, job, file_name)
        except FileNotFoundError:
            raise not_found(f"The {variant} of video {job.id} no longer exists.", param="video_id") from None
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
            job = await submit_job(
                state, request, fields, parsed.body, source_job=source, warnings=parsed.warnings
            )
        return await video_response(state, job, ignored=parsed.ignored)

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
        return await video_response(state, job)

    return routes


async def video_response(state: AppState, job: Job, *, ignored: tuple[str, ...] = ()) -> JSONResponse:
    """A job as the API reports it, with its place in the queue and its settings."""

    def find_details() -> VideoDetails:
        position = state.store.queue_position(job)
        eta_s = None
        if not job.is_finished and (mean_s := state.store.mean_work_s(job.served_model)) is not None:
            ahead = 0 if position is None else position + 1
            rest = mean_s * (1 - job.progress / 100) if position is None else mean_s
            eta_s = round(rest + ahead * mean_s / max(1, state.supervisor.num_alive), 1)
        return VideoDetails(
            queue_position=None if position is None else position + 1,
            eta_seconds=eta_s,
            settings=request_settings(job),
            ignored=ignored,
        )

    video = to_video_object(job, await state.run_in_thread(find_details))
    return JSONResponse(video.model_dump(), headers={"openai-poll-after-ms": POLL_AFTER_MS})


async def submit_body(
    state: AppState, request: Request, body_type: type[GenerationOptions], *, strict: bool
) -> tuple[Job, ParsedBody]:
    """The job of a request for a video.

    Raises:
        ApiError: the video can't be generated, or the queue is full.
    """
    async with parse_body(request) as fields:
        if body_type is CreateVideoRequest:
            parsed = parse_create(fields, strict=strict)
        else:
            parsed = parse_options(body_type, fields, strict=strict)
        with parsed.client_names():
            job = await submit_job(state, request, fields, parsed.body, warnings=parsed.warnings)
    return job, parsed


def _submit_endpoint(state: AppState, body_type: type[GenerationOptions]) -> Callable[..., object]:
    async def endpoint(request: Request, strict: Strict = False) -> JSONResponse:
        job, parsed = await submit_body(state, request, body_type, strict=strict)
        return await video_response(state, job, ignored=parsed.ignored)

    return endpoint
