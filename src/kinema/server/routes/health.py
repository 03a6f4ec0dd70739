"""Health check and metrics."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse

from kinema.server.dependencies import AppState
from kinema.server.errors import ApiError
from kinema.server.metrics import CONTENT_TYPE
from kinema.server.schemas.responses import Health


def router(state: AppState) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["server"])

    @routes.get("/healthz", response_model=Health)
    async def healthz() -> JSONResponse:
        """Whether the server accepts requests for videos."""
        model_info = await state.get_model_info()
        num_alive = state.supervisor.num_alive
        if num_alive == 0 and state.settings.workers:
            raise ApiError(
                503, "No worker is running.", code="no_workers", headers={"retry-after-ms": "1000"}
            )
        return JSONResponse(Health(status="ok", model=model_info.name, workers=num_alive).model_dump())

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Metrics in Prometheus' text format."""
        text = state.metrics.render(
            videos=await state.run_in_thread(state.store.count_by_status),
            workers=state.supervisor.num_alive,
            worker_restarts=state.supervisor.restarts,
            event_streams=state.open_event_streams,
            disk_free_bytes=await state.run_in_thread(state.files.free_bytes),
            disk_used_bytes=await state.run_in_thread(state.files.used_bytes),
        )
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    return routes
