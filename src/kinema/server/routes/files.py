"""`/files/...`: videos by signed links, see `kinema.server.dialects.signed_links`."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse

from kinema.server.dependencies import AppState
from kinema.server.dialects.signed_links import LinkSigner
from kinema.server.errors import ApiError
from kinema.server.job import is_job_id
from kinema.server.routes.sync import file_response


def router(state: AppState, signer: LinkSigner) -> APIRouter:
    """The endpoint."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/files/{job_id}/{expiry}/{signature}/{name}", response_class=FileResponse)
    async def file(job_id: str, expiry: int, signature: str, name: str) -> FileResponse:
        """The video of a link; the name at its end is for the client's file."""
        job = None
        if is_job_id(job_id) and signer.is_valid(job_id, expiry, signature):
            job = await state.run_in_thread(state.store.get, job_id, owner=None)
        if job is None or job.status != "completed":
            raise ApiError(404, f"There is no file {name[:100]!r}; its link may have expired.", param="path",
                           code="not_found", retry=False)  # fmt: skip
        return await file_response(state, job)

    return routes
