"""The endpoints of the Videos API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import Request

from kinema.serve import jobs
from kinema.serve.answers import POLL_MS, Deleted, VideoList, VideoObject, video_object
from kinema.serve.bodies import ConnectBody, CreateBody, EditBody, ExtendBody, RemixBody, checked
from kinema.serve.desk import Desk, owner_of
from kinema.serve.document import body_of
from kinema.serve.errors import bad, missing
from kinema.serve.fields import fields_of
from kinema.serve.folder import FILM, SPRITES, THUMBNAIL, discard, folder_of
from kinema.serve.taking import take_film
from kinema.serve.video import Video

Variant = Literal["video", "thumbnail", "spritesheet"]
_FILES: dict[Variant, tuple[str, str]] = {
    "video": (FILM, "video/mp4"),
    "thumbnail": (THUMBNAIL, "image/webp"),
    "spritesheet": (SPRITES, "image/jpeg"),
}

_CONTENT = {kind: {"schema": {"type": "string", "format": "binary"}} for _, kind in _FILES.values()}


def told(video: Video) -> JSONResponse:
    """A film, and when to ask for it again."""
    return JSONResponse(video_object(video), headers={"openai-poll-after-ms": POLL_MS})


def router(desk: Desk) -> APIRouter:
    """The endpoints. Those with fixed names come before those where a name stands for a film."""
    routes = APIRouter(prefix="/v1/videos", tags=["videos"])
    largest = desk.settings.limits.body

    @routes.post("", response_model=VideoObject, openapi_extra=body_of(CreateBody))
    async def create(request: Request) -> JSONResponse:
        """Begin a film from words and, if given, pictures."""
        async with fields_of(request, largest=largest) as fields:
            return told(await take_film(desk, request, fields, checked(CreateBody, fields)))

    for path, kind, name, words in (
        ("/edits", EditBody, "edit", "Begin a film that changes another as the prompt says."),
        ("/extensions", ExtendBody, "extend", "Begin a film that goes on where another ends."),
        ("/connections", ConnectBody, "connect", "Begin a film that leads from one film to another."),
    ):
        routes.post(
            path, response_model=VideoObject, openapi_extra=body_of(kind), name=name, description=words
        )(_from_films(desk, kind, largest))

    @routes.get("", response_model=VideoList)
    async def list_videos(
        request: Request,
        after: Annotated[str | None, Query(max_length=100)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> JSONResponse:
        """The caller's films, newest first; the next page is `after` the last of this one."""
        if after is not None and not jobs.is_id(after):
            raise bad("'after' is the id of a video: the last one of the page before.", param="after")
        found, more = await desk.ask(
            jobs.page, desk.store, owner_of(request), after=after, limit=limit, newest_first=order == "desc"
        )
        return JSONResponse({
            "object": "list",
            "data": [video_object(video) for video in found],
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
            "has_more": more,
        })  # fmt: skip

    @routes.get("/{video_id}", response_model=VideoObject)
    async def retrieve(request: Request, video_id: str) -> JSONResponse:
        """A film, and how far it is."""
        return told(await desk.film(request, video_id))

    @routes.delete("/{video_id}", response_model=Deleted)
    async def delete(request: Request, video_id: str) -> JSONResponse:
        """Forget a film and free its disk; one that is being made is cancelled."""
        video = await desk.film(request, video_id)
        if not await desk.ask(jobs.delete, desk.store, owner_of(request), video.id):
            raise missing(f"There is no video {video.id}; it was deleted.")
        await desk.ask(discard, desk.settings.data, video.id)
        return JSONResponse({"id": video.id, "object": "video.deleted", "deleted": True})

    @routes.get("/{video_id}/content", response_class=FileResponse, responses={200: {"content": _CONTENT}})
    async def content(request: Request, video_id: str, variant: Variant = "video") -> FileResponse:
        """The film itself, a picture of it, or a sheet of its frames; ranges of bytes are served."""
        video = await desk.film(request, video_id)
        if video.status != "completed":
            because = f" ({video.error_message})" if video.error_message else ""
            raise bad(f"Video {video.id} is {video.status}{because}; there is nothing to download.",
                      code="video_not_ready")  # fmt: skip
        name, kind = _FILES[variant]
        path = folder_of(desk.settings.data, video.id) / name
        if not await desk.ask(path.is_file):
            raise missing(f"The {variant} of video {video.id} is not here any more.")
        return FileResponse(
            path,
            media_type=kind,
            filename=f"{video.id}{path.suffix}",
            content_disposition_type="inline",
            headers={"cache-control": "private, max-age=3600"},
        )

    @routes.post("/{video_id}/remix", response_model=VideoObject, openapi_extra=body_of(RemixBody))
    async def remix(request: Request, video_id: str) -> JSONResponse:
        """Begin a film like another, with other words."""
        async with fields_of(request, largest=largest) as fields:
            body = checked(RemixBody, fields)
            source = await desk.film(request, video_id)
            return told(await take_film(desk, request, {**fields, "from": source.id}, body, source))

    return routes


def _from_films(
    desk: Desk, kind: type[EditBody] | type[ExtendBody] | type[ConnectBody], largest: int
) -> Callable[..., object]:
    async def endpoint(request: Request) -> JSONResponse:
        async with fields_of(request, largest=largest) as fields:
            return told(await take_film(desk, request, fields, checked(kind, fields)))

    return endpoint
