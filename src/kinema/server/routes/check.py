"""`GET /v1/videos/{id}/check`: a finished video against its prompt, by the evaluator of the lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.requests import Request

from kinema.server.cached_runs import CachedRuns
from kinema.server.child_process import run_module
from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import ApiError, bad_request, not_found
from kinema.server.file_store import VIDEO_FILE
from kinema.server.job import Job
from kinema.server.schemas.responses import VideoCheck, request_settings

CHECK_TIMEOUT_S = 120.0
_MAX_CACHED_CHECKS = 512


def router(state: AppState) -> APIRouter:
    """The endpoint. One check runs at a time, in a process of its own; a video never changes, so that results
    are cached."""
    routes = APIRouter(prefix="/v1/videos", tags=["videos"])
    runs: CachedRuns[dict[str, Any]] = CachedRuns(
        "checks", code="too_many_checks", param="video_id", max_cached=_MAX_CACHED_CHECKS
    )

    @routes.get("/{video_id}/check", response_model=VideoCheck)
    async def check(request: Request, video_id: str) -> JSONResponse:
        """Whether the video shows what its prompt says, where the evaluator can score it."""
        job = await state.get_job_or_404(request, video_id)
        if job.status != "completed":
            raise bad_request(f"Video {job.id} is {job.status}; there is nothing to check.",
                              code="video_not_ready")  # fmt: skip
        result = runs.get(job.id)
        if result is None and (reason := await _why_not(state, job)):
            result = {"scored": False, "reason": reason}
        if result is None:
            owner = current_owner(request)
            result = await runs.get_or_run(job.id, owner, lambda: _run_check(state, job))
        defaults = {"object": "video.check", "id": job.id, "objects": [], "verdicts": {}, "is_correct": None}
        found = VideoCheck.model_validate(defaults | result)
        return JSONResponse(found.model_dump())

    return routes


async def _why_not(state: AppState, job: Job) -> str:
    """Why the evaluator does not apply to a video; empty if it may."""
    model_info = await state.get_model_info()
    if job.served_model != model_info.name or not model_info.vocabulary:
        return "The evaluator scores videos of models that were trained on the simulator's lab."
    settings = request_settings(job) or {}
    if job.task != "generate" or settings.get("storyboard"):
        return "The evaluator scores videos that one prompt describes from the beginning to the end."
    return ""


async def _run_check(state: AppState, job: Job) -> dict[str, Any]:
    try:
        path: Path = await state.run_in_thread(state.files.verified_path, job, VIDEO_FILE)
    except FileNotFoundError:
        raise not_found(f"The file of video {job.id} no longer exists.", param="video_id") from None
    try:
        result = await run_module("kinema.evaluation.check", str(path), job.prompt, timeout_s=CHECK_TIMEOUT_S)
    except TimeoutError:
        raise ApiError(503, "The check takes too long; the server is busy.", code="no_check") from None
    if result.returncode == 2:
        raise bad_request(result.error or "The video can't be checked.", code="no_check", param="video_id")
    if result.returncode != 0:
        raise ApiError(500, "The check failed; the server's log has details.", code="no_check")
    return json.loads(result.output)
