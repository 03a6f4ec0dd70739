"""`POST /v1/videos/sync`: the video itself as the response, as vLLM-Omni and FastVideo answer it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.requests import Request

from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import ApiError
from kinema.server.file_store import VIDEO_FILE
from kinema.server.job import Job
from kinema.server.openapi_schema import openapi_body
from kinema.server.routes.videos import Strict, submit_body
from kinema.server.schemas.requests import CreateVideoRequest

POLL_INTERVAL_S = 0.1
FAILURE_STATUS = {"invalid_request": 400, "cancelled": 400, "time_limit": 504}
"""HTTP status by the code of a failed job; 500 for all others. Never 409, which clients repeat."""


def router(state: AppState) -> APIRouter:
    """The endpoint; to be registered before those of `kinema.server.routes.videos`."""
    routes = APIRouter(tags=["videos"])

    @routes.post(
        "/v1/videos/sync",
        response_class=FileResponse,
        openapi_extra=openapi_body(CreateVideoRequest),
        responses={200: {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def create_sync(request: Request, strict: Strict = False) -> FileResponse:
        """Generate a video and answer with the file; a client that disconnects cancels it."""
        owner = current_owner(request)
        # A waiting request is an open connection like an event stream, and counts as one.
        state.open_event_stream(owner)
        try:
            job, _ = await submit_body(state, request, CreateVideoRequest, strict=strict)
            job = await wait_until_finished(state, request, job)
        finally:
            state.close_event_stream(owner)
        return await file_response(state, job)

    return routes


async def wait_until_finished(state: AppState, request: Request, job: Job) -> Job:
    """The completed job. A client that disconnects in the meantime cancels it.

    Raises:
        ApiError: the job has failed, or the server shuts down.
    """
    is_finished = False
    try:
        while not job.is_finished:
            if await request.is_disconnected():
                raise ApiError(499, "The client has left; the video is cancelled.", param="body",
                               code="cancelled")  # fmt: skip
            if state.draining.is_set():
                raise ApiError(503, "The server is shutting down; try again.", param="body", code="draining",
                               headers={"retry-after-ms": "3000"})  # fmt: skip
            await asyncio.sleep(POLL_INTERVAL_S)
            current = await state.run_in_thread(state.store.get, job.id, owner=job.owner)
            if current is None:
                raise ApiError(
                    409, f"Video {job.id} was deleted.", param="body", code="cancelled", retry=False
                )
            job = current
        is_finished = True
    finally:
        if not is_finished:
            await asyncio.shield(
                state.run_in_thread(
                    state.store.cancel, job.id, owner=job.owner, retention_s=state.settings.retention_s
                )
            )
    if job.status == "failed":
        code = job.error_code or "server_error"
        message = job.error_message or "The video failed."
        raise ApiError(FAILURE_STATUS.get(code, 500), message, param="body", code=code, retry=False)
    return job


async def file_response(state: AppState, job: Job) -> FileResponse:
    """The video of a completed job, with what the client may want to know of it as headers.

    Raises:
        ApiError: the file is gone.
    """
    try:
        path = await state.run_in_thread(state.files.verified_path, job, VIDEO_FILE)
    except FileNotFoundError:
        message = f"The file of video {job.id} no longer exists."
        raise ApiError(500, message, param="body", code="server_error", retry=False) from None
    return FileResponse(
        path,
        media_type="video/mp4",
        filename=f"{job.id}{path.suffix}",
        content_disposition_type="inline",
        headers={
            "x-video-id": job.id,
            "x-model": job.model,
            "x-inference-time-s": f"{job.worked_s:.3f}",
            "cache-control": "no-store",
        },
    )
