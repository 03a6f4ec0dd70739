"""A caller's library of videos: labels, folders, restoring what was deleted, and where a video comes from."""

from __future__ import annotations

import dataclasses

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.requests import Request

from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import not_found
from kinema.server.form_parsing import parse_body
from kinema.server.job import Job, is_job_id
from kinema.server.openapi_schema import openapi_body
from kinema.server.routes.videos import video_response
from kinema.server.schemas.requests import LabelsRequest, validate_body
from kinema.server.schemas.responses import (
    FolderInfo,
    FolderList,
    VideoHistory,
    VideoObject,
    to_video_object,
)

MAX_HISTORY = 200
"""Videos that a history goes back to."""


def router(state: AppState) -> APIRouter:
    """The endpoints; to be registered before those of `kinema.server.routes.videos`."""
    routes = APIRouter(prefix="/v1/videos", tags=["library"])

    @routes.get("/folders", response_model=FolderList)
    async def folders(request: Request) -> JSONResponse:
        """The caller's folders, and how many videos are in each."""
        counts = await state.run_in_thread(state.store.folders, current_owner(request))
        listed = FolderList(data=[FolderInfo(name=name, count=count) for name, count in counts.items()])
        return JSONResponse(listed.model_dump())

    @routes.patch("/{video_id}", response_model=VideoObject, openapi_extra=openapi_body(LabelsRequest))
    async def set_labels(request: Request, video_id: str) -> JSONResponse:
        """Mark a video as a favorite, or put it into a folder."""
        async with parse_body(request) as fields:
            body = validate_body(LabelsRequest, fields)
        job = await state.get_job_or_404(request, video_id)
        labels = job.labels
        if body.favorite is not None:
            labels = dataclasses.replace(labels, favourite=body.favorite)
        if "folder" in body.model_fields_set:
            labels = dataclasses.replace(labels, folder=body.folder or "")
        changed = await state.run_in_thread(
            state.store.set_labels, job.id, owner=current_owner(request), labels=labels
        )
        return await video_response(state, _found(changed, video_id))

    @routes.post("/{video_id}/restore", response_model=VideoObject)
    async def restore(request: Request, video_id: str) -> JSONResponse:
        """Bring a deleted video back, within the time for which the server keeps it."""
        restored = None
        if is_job_id(video_id):
            restored = await state.run_in_thread(
                state.store.restore,
                video_id,
                owner=current_owner(request),
                retention_s=state.settings.retention_s,
            )
        return await video_response(state, _found(restored, video_id))

    @routes.get("/{video_id}/history", response_model=VideoHistory)
    async def history(request: Request, video_id: str) -> JSONResponse:
        """The videos that a video goes back to, and those made from it."""
        job = await state.get_job_or_404(request, video_id)
        owner = current_owner(request)
        found = VideoHistory(
            object="video.history",
            video=to_video_object(job),
            sources=[to_video_object(one) for one in await state.run_in_thread(_ancestors, state, job)],
            derived=[
                to_video_object(one)
                for one in await state.run_in_thread(state.store.derived, job.id, owner=owner)
            ],
        )
        return JSONResponse(found.model_dump())

    return routes


def _ancestors(state: AppState, job: Job) -> list[Job]:
    """All sources of a video, and theirs, breadth first."""
    found: dict[str, Job] = {}
    waiting = [source.id for source in job.sources]
    while waiting and len(found) < MAX_HISTORY:
        source_id = waiting.pop(0)
        source = state.store.get(source_id, owner=job.owner)
        if source is not None and source_id not in found:
            found[source_id] = source
            waiting += [parent.id for parent in source.sources]
    return list(found.values())


def _found(job: Job | None, video_id: str) -> Job:
    if job is None:
        raise not_found(f"There is no video {video_id[:100]!r}; it may have been removed or have expired.",
                        param="video_id")  # fmt: skip
    return job
