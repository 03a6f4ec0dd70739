"""Server-sent events with the progress of a video."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from kinema.server.dependencies import AppState, current_owner
from kinema.server.file_store import PREVIEW_FILE
from kinema.server.job import Job
from kinema.server.schemas.responses import to_video_object

POLL_INTERVAL_S = 0.1
KEEPALIVE_INTERVAL_S = 15.0
"""A stream without events for this long sends a comment, so that proxies do not close it."""

_RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {
    "type": "object", "required": ["event", "data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string", "description": "JSON."}},
}}}}}  # fmt: skip
"""The schema is of one event."""


def router(state: AppState) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.get(
        "/v1/videos/{video_id}/events",
        tags=["videos"],
        response_class=StreamingResponse,
        responses=_RESPONSES,
    )
    async def events(request: Request, video_id: str) -> StreamingResponse:
        """Events of a video: `progress` and `preview`, and at the end `completed` or `failed`."""
        job = await state.get_job_or_404(request, video_id)
        return EventStreamResponse(state, current_owner(request), _stream_events(state, job))

    @routes.get("/v1/events", tags=["videos"], response_class=StreamingResponse, responses=_RESPONSES)
    async def all_events(request: Request) -> StreamingResponse:
        """Events of all videos of the caller, from now on.

        `ready` says that the stream has begun: what a client lists after it is not older than the stream.
        Then `created` for queued videos, `progress`, `preview`, `completed`, `failed` and `deleted`; a
        finished video whose labels change is sent again.
        """
        owner = current_owner(request)
        return EventStreamResponse(state, owner, _stream_changes(state, owner))

    return routes


class EventStreamResponse(StreamingResponse):
    """Server-sent events. The stream counts from here on, and until the response ends in whatever way.

    Raises:
        ApiError: too many event streams are open.
    """

    def __init__(self, state: AppState, owner: str, events: AsyncIterator[str]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._state, self._owner = state, owner
        state.open_event_stream(owner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._state.close_event_stream(self._owner)


async def _stream_events(state: AppState, job: Job) -> AsyncIterator[str]:
    """Poll the job and send what has changed."""
    revision, preview_count, last_event_at = -1, 0, time.monotonic()
    while True:
        if job.revision != revision:
            revision, last_event_at = job.revision, time.monotonic()
            yield _format_progress(job)
            if job.preview_count > preview_count:
                preview_count = job.preview_count
                image = await state.run_in_thread(_preview_data_url, state, job)
                if image is not None:
                    yield _format_sse("preview", {"id": job.id, "step": job.step, "image": image})
        if job.is_finished:
            yield _format_sse(job.status, to_video_object(job).model_dump())
            return
        if time.monotonic() - last_event_at > KEEPALIVE_INTERVAL_S:
            last_event_at = time.monotonic()
            yield ": alive\n\n"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(state.draining.wait(), POLL_INTERVAL_S)
            return
        current = await state.run_in_thread(state.store.get, job.id, owner=job.owner)
        if current is None:
            yield _format_sse("deleted", {"id": job.id})
            return
        job = current


async def _stream_changes(state: AppState, owner: str) -> AsyncIterator[str]:
    """Poll the owner's jobs and send what has changed."""
    since = 0
    previews: dict[str, int] = {}
    # What has changed before is for lists; only the number of the last change counts.
    while jobs := await state.run_in_thread(state.store.changes, owner, since=since):
        since = jobs[-1].change
    yield _format_sse("ready", {})
    last_event_at = time.monotonic()
    while True:
        for job in await state.run_in_thread(state.store.changes, owner, since=since):
            since, last_event_at = job.change, time.monotonic()
            if job.deleted_at is not None:
                yield _format_sse("deleted", {"id": job.id})
                continue
            if job.status != "in_progress":
                previews.pop(job.id, None)
                name = "created" if job.status == "queued" else job.status
                yield _format_sse(name, to_video_object(job).model_dump())
                continue
            yield _format_progress(job)
            if job.preview_count > previews.get(job.id, 0):
                previews[job.id] = job.preview_count
                image = await state.run_in_thread(_preview_data_url, state, job)
                if image is not None:
                    yield _format_sse("preview", {"id": job.id, "step": job.step, "image": image})
        if time.monotonic() - last_event_at > KEEPALIVE_INTERVAL_S:
            last_event_at = time.monotonic()
            yield ": alive\n\n"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(state.draining.wait(), POLL_INTERVAL_S)
            return


def _format_progress(job: Job) -> str:
    return _format_sse("progress", {
        "id": job.id, "status": job.status, "progress": job.progress, "stage": job.stage,
        "step": job.step, "total_steps": job.total_steps,
    })  # fmt: skip


def _format_sse(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _preview_data_url(state: AppState, job: Job) -> str | None:
    """The preview as a data URL; None if it was removed in the meantime."""
    try:
        data = state.files.path(job, PREVIEW_FILE).read_bytes()
    except OSError:
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
