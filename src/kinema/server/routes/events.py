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

from kinema.server import queue
from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import ApiError, bad_request, not_found
from kinema.server.job import Job
from kinema.server.model_info import MODEL_ALIASES, ModelInfo
from kinema.server.routes.videos import video_response
from kinema.server.schemas.responses import ModelList, ModelObject, VideoObject, to_video_object
from kinema.server.storage import PREVIEW_FILE, free_bytes, get_job_dir, remove_all_files, used_bytes

POLL_INTERVAL_S = 0.1
KEEPALIVE_INTERVAL_S = 15.0
"""After so long without news a stream says that it lives, so that nothing in between closes it."""


def router(state: AppState) -> APIRouter:
    """The endpoints."""
    routes = APIRouter()

    @routes.post("/v1/videos/{video_id}/cancel", response_model=VideoObject, tags=["videos"])
    async def cancel(request: Request, video_id: str) -> JSONResponse:
        """Stop a film that waits or is being made; it is then failed, with the code `cancelled`."""
        video = await state.get_job_or_404(request, video_id)
        if await state.run_in_thread(queue.cancel, state.database, current_owner(request), video.id):
            await state.run_in_thread(remove_all_files, get_job_dir(state.settings.data_dir, video.id))
        video = await state.get_job_or_404(request, video.id)
        if video.error_code != "cancelled":
            raise bad_request(f"Video {video.id} is {video.status} already.", code="video_ended")
        return video_response(video)

    @routes.get("/v1/videos/{video_id}/events", tags=["videos"], response_class=StreamingResponse, responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}})  # fmt: skip
    async def events(request: Request, video_id: str) -> StreamingResponse:
        """What happens to a film: server-sent events `progress`, `preview`, and `completed` or `failed`."""
        video = await state.get_job_or_404(request, video_id)
        if state.open_event_streams >= state.settings.limits.max_event_streams:
            raise ApiError(429, "As many event streams are open as may be.", code="too_many_streams",
                           headers={"retry-after-ms": "5000"})  # fmt: skip
        return StreamingResponse(
            _stream_events(state, video),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @routes.get("/v1/models", response_model=ModelList, tags=["models"])
    async def models() -> JSONResponse:
        """The names the served model answers to."""
        served = await state.get_model_info()
        return JSONResponse(
            {
                "object": "list",
                "data": [_model_object(served, name) for name in (served.name, *MODEL_ALIASES)],
            }
        )

    @routes.get("/v1/models/{model}", response_model=ModelObject, tags=["models"])
    async def model(model: str) -> JSONResponse:
        """What is known of a model."""
        served = await state.get_model_info()
        if model not in (served.name, *MODEL_ALIASES):
            raise not_found(
                f"There is no model {model[:100]!r}; served: {', '.join((served.name, *MODEL_ALIASES))}."
            )
        return JSONResponse(_model_object(served, model))

    @routes.get("/healthz", tags=["server"])
    async def healthz() -> JSONResponse:
        """Whether films can be asked for."""
        served = await state.get_model_info()
        alive = state.supervisor.num_alive
        if alive == 0 and state.settings.workers:
            raise ApiError(
                503, "No worker is running.", code="no_workers", headers={"retry-after-ms": "1000"}
            )
        return JSONResponse({"status": "ok", "model": served.name, "workers": alive})

    @routes.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Numbers for Prometheus."""
        counts = await state.run_in_thread(queue.count_by_status, state.database)
        gauges = {f'kinema_videos{{status="{status}"}}': float(number) for status, number in counts.items()}
        gauges["kinema_workers"] = state.supervisor.num_alive
        gauges["kinema_worker_restarts"] = state.supervisor.restarts
        gauges["kinema_event_streams"] = state.open_event_streams
        gauges["kinema_disk_free_bytes"] = await state.run_in_thread(free_bytes, state.settings.data_dir)
        gauges["kinema_disk_used_bytes"] = await state.run_in_thread(used_bytes, state.settings.data_dir)
        return PlainTextResponse(
            state.metrics.render(gauges), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return routes


def _model_object(model_info: ModelInfo, name: str) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "kinema",
        "kinema": {
            "model": model_info.name,
            "size": f"{model_info.width}x{model_info.height}",
            "seconds": model_info.seconds,
            "fps": model_info.fps,
            "frames": model_info.num_frames,
            "unit": model_info.size_multiple,
            "steps": model_info.num_inference_steps,
            "guidance": model_info.guidance_scale,
            "pictures": model_info.supports_images,
            "verbs": list(model_info.tasks),
        },
    }


async def _stream_events(state: AppState, job: Job) -> AsyncIterator[str]:
    """Look at the film again and again, and tell what is new."""
    change, preview, spoke = -1, 0, time.monotonic()
    state.open_event_streams += 1
    try:
        while True:
            if job.revision != change:
                change, spoke = job.revision, time.monotonic()
                yield _format_sse("progress", {
                    "id": job.id, "status": job.status, "progress": job.progress, "stage": job.stage,
                    "step": job.step, "steps": job.total_steps,
                })  # fmt: skip
                if job.preview_count > preview:
                    preview = job.preview_count
                    image = await state.run_in_thread(_preview_data_url, state, job.id)
                    if image is not None:
                        yield _format_sse("preview", {"id": job.id, "step": job.step, "image": image})
            if job.is_finished:
                yield _format_sse(job.status, to_video_object(job))
                return
            if time.monotonic() - spoke > KEEPALIVE_INTERVAL_S:
                spoke = time.monotonic()
                yield ": alive\n\n"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(state.draining.wait(), POLL_INTERVAL_S)
                return
            found = await state.run_in_thread(queue.get_job, state.database, job.owner, job.id)
            if found is None:
                yield _format_sse("deleted", {"id": job.id})
                return
            job = found
    finally:
        state.open_event_streams -= 1


def _format_sse(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _preview_data_url(state: AppState, job_id: str) -> str | None:
    """The preview as a data URL; None where it was removed meanwhile."""
    try:
        data = (get_job_dir(state.settings.data_dir, job_id) / PREVIEW_FILE).read_bytes()
    except OSError:
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
