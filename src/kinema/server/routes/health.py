"""Health check and metrics."""

from __future__ import annotations

import contextlib
import time

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse

from kinema.server.dependencies import AppState
from kinema.server.errors import ApiError
from kinema.server.job_store import StoreBusyError
from kinema.server.metrics import CONTENT_TYPE
from kinema.server.schemas.responses import Health, Liveness
from kinema.server.supervisor import Readiness


def router(state: AppState) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["server"])

    @routes.get("/healthz", response_model=Liveness)
    async def healthz() -> JSONResponse:
        """Whether the server's process answers; an orchestrator restarts it if it does not."""
        return JSONResponse(Liveness(status="ok").model_dump())

    @routes.get("/readyz", response_model=Health)
    async def readyz() -> JSONResponse:
        """Whether a video can be made: a worker has loaded the model, and jobs can be stored."""

        def find_readiness() -> Readiness:
            state.check_capacity()
            return state.supervisor.readiness()

        readiness = await state.run_in_thread(find_readiness)
        if readiness.storage_error:
            raise _not_ready("Jobs can't be stored now.", "storage")
        if readiness.model_info is None or readiness.workers_ready == 0:
            raise _not_ready("No worker has loaded the model yet.", "starting")
        health = Health(status="ok", model=readiness.model_info.name, workers=readiness.workers_ready)
        return JSONResponse(health.model_dump())

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Metrics in Prometheus' text format."""
        started_at = time.perf_counter()
        videos: dict[str, int] = {}
        store_up = num_workers = num_running = 0
        with contextlib.suppress(StoreBusyError):
            videos = await state.run_in_thread(state.store.count_by_status)
            num_workers = len(await state.run_in_thread(state.store.workers))
            num_running = len(await state.run_in_thread(state.store.leases))
            store_up = 1
        store_seconds = (time.perf_counter() - started_at) / 3
        text = state.metrics.render(
            videos=videos,
            store_up=store_up,
            store_seconds=store_seconds,
            store_workers=num_workers,
            store_running=num_running,
            workers=state.supervisor.num_alive,
            worker_restarts=state.supervisor.restarts,
            event_streams=state.open_event_streams.total(),
            disk_free_bytes=await state.run_in_thread(state.files.free_bytes),
            disk_used_bytes=await state.run_in_thread(state.files.used_bytes),
        )
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    return routes


def _not_ready(message: str, code: str) -> ApiError:
    return ApiError(503, message, code=code, headers={"retry-after-ms": "1000", "retry-after": "1"})
