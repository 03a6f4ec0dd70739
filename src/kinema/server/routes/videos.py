"""The endpoints of the Videos API."""

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
)
from kinema.server.submit import submit_job

ContentVariant = Literal["video", "thumbnail", "spritesheet"]
_VARIANT_FILES: dict[ContentVariant, tuple[str, str]] = {
    "video": (VIDEO_FILE, "video/mp4"),
    "thumbnail": (THUMBNAIL_FILE, "image/webp"),
    "spritesheet": (SPRITESHEET_FILE, "image/jpeg"),
}

_CONTENT_SCHEMAS = {
    kind: {"schema": {"type": "string", "format": "binary"}} for _, kind in _VARIANT_FILES.values()
}


def video_response(job: Job) -> JSONResponse:
    """A film, and when to ask for it again."""
    return JSONResponse(to_video_object(job), headers={"openai-poll-after-ms": POLL_AFTER_MS})


def router(state: AppState) -> APIRouter:
    """The endpoints. Those with fixed names come before those where a name stands for a film."""
    routes = APIRouter(prefix="/v1/videos", tags=["videos"])
    largest = state.settings.limits.max_body_bytes

    @routes.post("", response_model=VideoObject, openapi_extra=openapi_body(CreateVideoRequest))
    async def create(request: Request) -> JSONResponse:
        """Begin a film from words and, if given, pictures."""
        async with parse_body(request, max_field_bytes=largest) as fields:
            return video_response(
                await submit_job(state, request, fields, validate_body(CreateVideoRequest, fields))
            )

    for path, kind, name, words in (
        ("/edits", EditRequest, "edit", "Begin a film that changes another as the prompt says."),
        ("/extensions", ExtendRequest, "extend", "Begin a film that goes on where another ends."),
        ("/connections", InterpolateRequest, "connect", "Begin a film that leads from one film to another."),
    ):
        routes.post(
            path, response_model=VideoObject, openapi_extra=openapi_body(kind), name=name, description=words
        )(_source_video_endpoint(state, kind, largest))

    @routes.get("", response_model=VideoList)
    async def list_videos(
        request: Request,
        after: Annotated[str | None, Query(max_length=100)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> JSONResponse:
        """The caller's films, newest first; the next page is `after` the last of this one."""
        if after is not None and not queue.is_job_id(after):
            raise bad_request("'after' is the id of a video: the last one of the page before.", param="after")
        found, more = await state.run_in_thread(
            queue.list_page,
            state.database,
            current_owner(request),
            after=after,
            limit=limit,
            newest_first=order == "desc",
        )
        return JSONResponse({
            "object": "list",
            "data": [to_video_object(video) for video in found],
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
            "has_more": more,
        })  # fmt: skip

    @routes.get("/{video_id}", response_model=VideoObject)
    async def retrieve(request: Request, video_id: str) -> JSONResponse:
        """A film, and how far it is."""
        return video_response(await state.get_job_or_404(request, video_id))

    @routes.delete("/{video_id}", response_model=VideoDeleted)
    async def delete(request: Request, video_id: str) -> JSONResponse:
        """Forget a film and free its disk; one that is being made is cancelled."""
        video = await state.get_job_or_404(request, video_id)
        if not await state.run_in_thread(queue.delete, state.database, current_owner(request), video.id):
            raise not_found(f"There is no video {video.id}; it was deleted.")
        await state.run_in_thread(delete_job_dir, state.settings.data_dir, video.id)
        return JSONResponse({"id": video.id, "object": "video.deleted", "deleted": True})

    @routes.get(
        "/{video_id}/content", response_class=FileResponse, responses={200: {"content": _CONTENT_SCHEMAS}}
    )
    async def content(request: Request, video_id: str, variant: ContentVariant = "video") -> FileResponse:
        """The film itself, a picture of it, or a sheet of its frames; ranges of bytes are served."""
        video = await state.get_job_or_404(request, video_id)
        if video.status != "completed":
            because = f" ({video.error_message})" if video.error_message else ""
            raise bad_request(f"Video {video.id} is {video.status}{because}; there is nothing to download.",
                      code="video_not_ready")  # fmt: skip
        name, kind = _VARIANT_FILES[variant]
        path = get_job_dir(state.settings.data_dir, video.id) / name
        if not await state.run_in_thread(path.is_file):
            raise not_found(f"The {variant} of video {video.id} is not here any more.")
        return FileResponse(
            path,
            media_type=kind,
            filename=f"{video.id}{path.suffix}",
            content_disposition_type="inline",
            headers={"cache-control": "private, max-age=3600"},
        )

    @routes.post("/{video_id}/remix", response_model=VideoObject, openapi_extra=openapi_body(RemixRequest))
    async def remix(request: Request, video_id: str) -> JSONResponse:
        """Begin a film like another, with other words."""
        async with parse_body(request, max_field_bytes=largest) as fields:
            body = validate_body(RemixRequest, fields)
            source = await state.get_job_or_404(request, video_id)
            return video_response(
                await submit_job(state, request, {**fields, "from": source.id}, body, source)
            )

    return routes


def _source_video_endpoint(
    state: AppState,
    body_type: type[EditRequest] | type[ExtendRequest] | type[InterpolateRequest],
    max_field_bytes: int,
) -> Callable[..., object]:
    async def endpoint(request: Request) -> JSONResponse:
        async with parse_body(request, max_field_bytes=max_field_bytes) as fields:
            return video_response(await submit_job(state, request, fields, validate_body(body_type, fields)))

    return endpoint
