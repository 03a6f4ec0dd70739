"""fal's queue: `/fal/kinema/{model}`, and `/fal/run/kinema/{model}` for its blocking calls.

fal's clients insist on https and on fal's hosts: `fal_client.client.QUEUE_URL_FORMAT` and `RUN_URL_FORMAT`
point them to `http://HOST/fal/` and `http://HOST/fal/run/`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from kinema.server.dependencies import AppState, current_owner
from kinema.server.dialects.self_hosted import ParsedBody, client_names, decode_video_url, to_lora
from kinema.server.dialects.signed_links import LinkSigner, base_url
from kinema.server.dialects.webhooks import parse_webhook
from kinema.server.errors import ApiError, bad_request, not_found
from kinema.server.file_store import VIDEO_FILE
from kinema.server.form_parsing import Fields, parse_body
from kinema.server.job import Job
from kinema.server.routes.events import EventStreamResponse
from kinema.server.routes.sync import FAILURE_STATUS, wait_until_finished
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    GenerationOptions,
    validate_body,
)
from kinema.server.submit import JobWebhook, submit_job

STATUS_POLL_INTERVAL_S = 0.25
_PATHS: dict[str, type[GenerationOptions]] = {
    "": CreateVideoRequest,
    "text-to-video": CreateVideoRequest,
    "image-to-video": CreateVideoRequest,
    "first-last-frame-to-video": CreateVideoRequest,
    "extend-video": ExtendRequest,
    "video-to-video": EditRequest,
}
_RENAMED = {
    "image_url": "input_reference",
    "first_frame_url": "input_reference",
    "start_image_url": "input_reference",
    "end_image_url": "last_image",
    "last_frame_url": "last_image",
    "tail_image_url": "last_image",
    "video_url": "video",
    "mask_url": "mask",
    "duration": "seconds",
    "frames_per_second": "fps",
    "shift": "flow_shift",
    "video_size": "size",
    "image_size": "size",
    "num_steps": "num_inference_steps",
}
"""Kinema's names of fal's fields."""
_UNSUPPORTED = {
    "motion_strength": "no model here has this control",
    "generate_audio": "videos have no sound",
    "audio_url": "videos have no sound",
}
_NAMED_SIZES = {
    "square": "1:1", "square_hd": "1:1", "portrait_4_3": "3:4", "portrait_16_9": "9:16",
    "landscape_4_3": "4:3", "landscape_16_9": "16:9",
}  # fmt: skip


def router(state: AppState, signer: LinkSigner) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/fal", tags=["fal"])

    async def submit(request: Request, model: str, path: str, webhook: JobWebhook | None) -> Job:
        body_type = _PATHS.get(path)
        if body_type is None:
            raise not_found(f"There is no {path[:100]!r} here; available: {', '.join(filter(None, _PATHS))}.")
        async with parse_body(request) as fields:
            parsed = parse_fields(body_type, {**fields, "model": model})
            with parsed.client_names():
                warnings = tuple(f"{name}: there is no such field" for name in parsed.ignored)
                return await submit_job(
                    state, request, fields, parsed.body, warnings=warnings, webhook=webhook
                )

    @routes.post("/run/kinema/{model}")
    @routes.post("/run/kinema/{model}/{path}")
    async def run(request: Request, model: str, path: str = "") -> Response:
        """Generate a video, and answer when it is finished; a client that disconnects cancels it."""
        owner = current_owner(request)
        state.open_event_stream(owner)
        try:
            job = await wait_until_finished(state, request, await submit(request, model, path, None))
        finally:
            state.close_event_stream(owner)
        return JSONResponse(to_result(base_url(request), signer, job), headers=_headers(job))

    @routes.get("/kinema/{model}/requests/{request_id}/status")
    async def status(request: Request, model: str, request_id: str) -> Response:
        """The state of a request."""
        job = await state.get_job_or_404(request, request_id)
        body = await state.run_in_thread(_to_status, state, request, model, job)
        return JSONResponse(body, 200 if job.is_finished else 202, _headers(job))

    @routes.get("/kinema/{model}/requests/{request_id}/status/stream")
    async def status_stream(request: Request, model: str, request_id: str) -> Response:
        """The state of a request as server-sent events, until it is finished."""
        job = await state.get_job_or_404(request, request_id)
        return EventStreamResponse(state, job.owner, _stream_status(state, request, model, job))

    @routes.get("/kinema/{model}/requests/{request_id}", dependencies=[Depends(_model_name)])
    @routes.get("/kinema/{model}/requests/{request_id}/response", dependencies=[Depends(_model_name)])
    async def result(request: Request, request_id: str) -> Response:
        """The result of a request."""
        job = await state.get_job_or_404(request, request_id)
        if not job.is_finished:
            # The words that fal's clients look for.
            raise ApiError(400, "Request is still in progress", param="request_id", code="in_progress",
                           headers=_headers(job), retry=False)  # fmt: skip
        if job.status == "failed":
            code = job.error_code or "server_error"
            raise ApiError(
                FAILURE_STATUS.get(code, 500),
                job.error_message or "The video failed.",
                param="request_id",
                code=code,
                headers={**_headers(job), "x-fal-error-type": code},
                retry=False,
            )
        return JSONResponse(to_result(base_url(request), signer, job), headers=_headers(job))

    @routes.put("/kinema/{model}/requests/{request_id}/cancel", dependencies=[Depends(_model_name)])
    async def cancel(request: Request, request_id: str) -> Response:
        """Stop a request that is not finished."""
        job = await state.get_job_or_404(request, request_id)
        is_cancelled = await state.run_in_thread(
            state.store.cancel, job.id, owner=job.owner, retention_s=state.settings.retention_s
        )
        if not is_cancelled:
            return JSONResponse({"status": "ALREADY_COMPLETED"}, 400, _headers(job))
        await state.run_in_thread(state.files.remove_other_attempts, job.id, "")
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202, _headers(job))

    @routes.post("/kinema/{model}")
    @routes.post("/kinema/{model}/{path}")
    async def create(request: Request, model: str, path: str = "") -> Response:
        """Put a request into the queue."""
        webhook = parse_webhook(
            state.settings,
            request.query_params.get("fal_webhook"),
            param="fal_webhook",
            shape="fal",
            request=request,
        )
        job = await submit(request, model, path, webhook)
        body = await state.run_in_thread(_to_status, state, request, model, job)
        return JSONResponse({"request_id": job.id, **body}, headers=_headers(job))

    return routes


def parse_fields(body_type: type[GenerationOptions], fields: Fields) -> ParsedBody:
    """A body with fal's fields.

    Raises:
        ApiError: a field is missing or invalid, or known and impossible here.
    """
    mapped: Fields = {}
    origins: dict[str, str] = {}
    for name, value in fields.items():
        own = _RENAMED.get(name, name)
        if value in (None, "", "auto"):
            continue
        if name in _UNSUPPORTED:
            if value:
                raise bad_request(f"'{name}' is not possible here: {_UNSUPPORTED[name]}.", param=name,
                                  code="unsupported_parameter")  # fmt: skip
            continue
        if own in mapped:
            raise bad_request(f"'{name}' and '{origins.get(own, own)}' mean the same; send one of them.",
                              param=name, code="invalid_value")  # fmt: skip
        mapped[own] = value
        if own != name:
            origins[own] = name
    _map_values(mapped, origins)
    ignored: list[str] = []
    with client_names(origins):
        body = validate_body(body_type, mapped, ignored=ignored)
    names = tuple(origins.get(name, name) for name in ignored if name != "model")
    return ParsedBody(body=body, ignored=names, origins=origins)


def _map_values(fields: Fields, origins: dict[str, str]) -> None:
    """Values that fal writes differently."""
    seconds = fields.get("seconds")
    if isinstance(seconds, str) and re.fullmatch(r"[0-9.]{1,8}s", seconds):
        fields["seconds"] = seconds[:-1]
    size = fields.get("size")
    if isinstance(size, dict) and set(size) == {"width", "height"}:
        fields["size"] = f"{size['width']}x{size['height']}"
    elif isinstance(size, str) and size in _NAMED_SIZES:
        fields.pop("size")
        fields.setdefault("aspect_ratio", _NAMED_SIZES[size])
        origins["aspect_ratio"] = origins.pop("size", "size")
    for name in ("input_reference", "last_image", "mask"):
        if isinstance(fields.get(name), str):
            fields[name] = {"image_url": fields[name]}
    loras = fields.get("loras")
    if isinstance(loras, list):
        fields["loras"] = [to_lora(lora) if isinstance(lora, dict) else lora for lora in loras[:100]]
    video = fields.get("video")
    if isinstance(video, str):
        fields["video"] = decode_video_url(video, param=origins.get("video", "video"))


def to_result(base: str, signer: LinkSigner, job: Job) -> dict[str, Any]:
    """The result of a completed job.

    Args:
        base: scheme and host that the client called.
        signer: of links to the video.
        job: the job.
    """
    digest = job.files.get(VIDEO_FILE)
    return {
        "video": {
            "url": signer.link(base, job),
            "content_type": "video/mp4",
            "file_name": f"{job.id}.mp4",
            "file_size": None if digest is None else digest.size,
            "width": job.width,
            "height": job.height,
            "fps": job.fps,
            "num_frames": job.num_frames,
            "duration": float(job.seconds),
        },
        "seed": job.seed,
        "prompt": job.prompt,
        "timings": {"inference": round(job.worked_s, 3)},
        "warnings": list(job.warnings),
    }


def _to_status(state: AppState, request: Request, model: str, job: Job) -> dict[str, Any]:
    url = f"{base_url(request)}/fal/kinema/{model}/requests/{job.id}"
    urls = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
    body: dict[str, Any] = {"request_id": job.id, "logs": [], **urls}
    if job.is_finished:
        body |= {"status": "COMPLETED", "metrics": {"inference_time": round(job.worked_s, 3)}}
        if job.status == "failed":
            body |= {"error": job.error_message, "error_type": job.error_code}
        return body
    position = state.store.queue_position(job)
    if position is not None:
        return {**body, "status": "IN_QUEUE", "queue_position": position}
    message = f"{job.stage} {job.step}/{job.total_steps}" if job.total_steps else job.stage
    log = {"message": f"{message} ({job.progress} %)", "level": "INFO", "source": "kinema"}
    return {**body, "status": "IN_PROGRESS", "logs": [log]}


async def _stream_status(state: AppState, request: Request, model: str, job: Job) -> AsyncIterator[str]:
    revision = -1
    while True:
        if job.revision != revision:
            revision = job.revision
            body = await state.run_in_thread(_to_status, state, request, model, job)
            yield f"data: {json.dumps(body)}\n\n"
        if job.is_finished or state.draining.is_set():
            return
        await asyncio.sleep(STATUS_POLL_INTERVAL_S)
        current = await state.run_in_thread(state.store.get, job.id, owner=job.owner)
        if current is None:
            return
        job = current


def _model_name(model: str) -> str:
    """A request is found by its id alone; the name of the model is only part of the path."""
    return model


def _headers(job: Job) -> dict[str, str]:
    return {"x-fal-request-id": job.id}
