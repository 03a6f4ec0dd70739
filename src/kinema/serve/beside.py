"""The endpoints beside the Videos API: cancelling, events, models, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.requests import Request

from kinema.serve import jobs
from kinema.serve.answers import Model, ModelList, VideoObject, video_object
from kinema.serve.desk import Desk, owner_of
from kinema.serve.errors import ApiError, bad, missing
from kinema.serve.folder import PREVIEW, empty, folder_of, free_bytes, used_bytes
from kinema.serve.served import ALIASES, Served
from kinema.serve.video import Video
from kinema.serve.videos import told

LOOK_SECONDS = 0.1
ALIVE_SECONDS = 15.0
"""After so long without news a stream says that it lives, so that nothing in between closes it."""


def router(desk: Desk) -> APIRouter:
    """The endpoints."""
    routes = APIRouter()

    @routes.post("/v1/videos/{video_id}/cancel", response_model=VideoObject, tags=["videos"])
    async def cancel(request: Request, video_id: str) -> JSONResponse:
        """Stop a film that waits or is being made; it is then failed, with the code `cancelled`."""
        video = await desk.film(request, video_id)
        if await desk.ask(jobs.cancel, desk.store, owner_of(request), video.id):
            await desk.ask(empty, folder_of(desk.settings.data, video.id))
        video = await desk.film(request, video.id)
        if video.error_code != "cancelled":
            raise bad(f"Video {video.id} is {video.status} already.", code="video_ended")
        return told(video)

    @routes.get("/v1/videos/{video_id}/events", tags=["videos"], response_class=StreamingResponse, responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}})  # fmt: skip
    async def events(request: Request, video_id: str) -> StreamingResponse:
        """What happens to a film: server-sent events `progress`, `preview`, and `completed` or `failed`."""
        video = await desk.film(request, video_id)
        if desk.listeners >= desk.settings.limits.listeners:
            raise ApiError(429, "As many event streams are open as may be.", code="too_many_streams",
                           headers={"retry-after-ms": "5000"})  # fmt: skip
        return StreamingResponse(
            _events(desk, video),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @routes.get("/v1/models", response_model=ModelList, tags=["models"])
    async def models() -> JSONResponse:
        """The names the served model answers to."""
        served = await desk.served()
        return JSONResponse(
            {"object": "list", "data": [_model(served, name) for name in (served.name, *ALIASES)]}
        )

    @routes.get("/v1/models/{model}", response_model=Model, tags=["models"])
    async def model(model: str) -> JSONResponse:
        """What is known of a model."""
        served = await desk.served()
        if model not in (served.name, *ALIASES):
            raise missing(f"There is no model {model[:100]!r}; served: {', '.join((served.name, *ALIASES))}.")
        return JSONResponse(_model(served, model))

    @routes.get("/healthz", tags=["server"])
    async def healthz() -> JSONResponse:
        """Whether films can be asked for."""
        served = await desk.served()
        alive = desk.supervisor.alive
        if alive == 0 and desk.settings.workers:
            raise ApiError(
                503, "No worker is running.", code="no_workers", headers={"retry-after-ms": "1000"}
            )
        return JSONResponse({"status": "ok", "model": served.name, "workers": alive})

    @routes.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Numbers for Prometheus."""
        counts = await desk.ask(jobs.counts, desk.store)
        gauges = {f'kinema_videos{{status="{status}"}}': float(number) for status, number in counts.items()}
        gauges["kinema_workers"] = desk.supervisor.alive
        gauges["kinema_worker_restarts"] = desk.supervisor.restarts
        gauges["kinema_event_streams"] = desk.listeners
        gauges["kinema_disk_free_bytes"] = await desk.ask(free_bytes, desk.settings.data)
        gauges["kinema_disk_used_bytes"] = await desk.ask(used_bytes, desk.settings.data)
        return PlainTextResponse(
            desk.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return routes


def _model(served: Served, name: str) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "kinema",
        "kinema": {
            "model": served.name,
            "size": f"{served.width}x{served.height}",
            "seconds": served.seconds,
            "fps": served.fps,
            "frames": served.frames,
            "unit": served.unit,
            "steps": served.steps,
            "guidance": served.guidance,
            "pictures": served.pictures,
            "verbs": list(served.verbs),
        },
    }


async def _events(desk: Desk, video: Video) -> AsyncIterator[str]:
    """Look at the film again and again, and tell what is new."""
    change, preview, spoke = -1, 0, time.monotonic()
    desk.listeners += 1
    try:
        while True:
            if video.change != change:
                change, spoke = video.change, time.monotonic()
                yield _event("progress", {
                    "id": video.id, "status": video.status, "progress": video.progress, "stage": video.stage,
                    "step": video.step, "steps": video.steps,
                })  # fmt: skip
                if video.preview > preview:
                    preview = video.preview
                    image = await desk.ask(_preview, desk, video.id)
                    if image is not None:
                        yield _event("preview", {"id": video.id, "step": video.step, "image": image})
            if video.ended:
                yield _event(video.status, video_object(video))
                return
            if time.monotonic() - spoke > ALIVE_SECONDS:
                spoke = time.monotonic()
                yield ": alive\n\n"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(desk.draining.wait(), LOOK_SECONDS)
                return
            found = await desk.ask(jobs.find, desk.store, video.owner, video.id)
            if found is None:
                yield _event("deleted", {"id": video.id})
                return
            video = found
    finally:
        desk.listeners -= 1


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _preview(desk: Desk, identifier: str) -> str | None:
    """The preview as a data URL; None where it was removed meanwhile."""
    try:
        data = (folder_of(desk.settings.data, identifier) / PREVIEW).read_bytes()
    except OSError:
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
