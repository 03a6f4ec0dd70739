"""`POST /v1/videos/estimate`: the cost of a video before it is submitted."""

from __future__ import annotations

import dataclasses
import json

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.requests import Request

from kinema.pipeline.request import VideoRequest
from kinema.server.cached_runs import CachedRuns
from kinema.server.child_process import run_module
from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import ApiError, bad_request
from kinema.server.form_parsing import parse_body
from kinema.server.openapi_schema import openapi_body
from kinema.server.request_limits import check_control_inputs, check_options, check_timeline
from kinema.server.schemas.requests import CreateVideoRequest, validate_body
from kinema.server.schemas.responses import CostEstimateObject
from kinema.server.schemas.to_request import openai_to_request
from kinema.server.video_format import resolve_format

ESTIMATE_TIMEOUT_S = 120.0
_MAX_CACHED_ESTIMATES = 256
_BLANK_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAA"
    "AElFTkSuQmCC"
)
"""One pixel in place of each image: the cost does not depend on what an image shows."""


def router(state: AppState) -> APIRouter:
    """The endpoint. One estimate runs at a time, and results are cached: equal requests cost the same."""
    routes = APIRouter()
    runs: CachedRuns[bytes] = CachedRuns(
        "estimates", code="too_many_estimates", param="body", max_cached=_MAX_CACHED_ESTIMATES
    )

    @routes.post(
        "/v1/videos/estimate",
        response_model=CostEstimateObject,
        openapi_extra=openapi_body(CreateVideoRequest),
        tags=["videos"],
    )
    async def estimate(request: Request) -> JSONResponse:
        """Time and memory of a video; nothing is generated."""
        async with parse_body(request) as fields:
            body = validate_body(CreateVideoRequest, fields)
        if state.settings.model == "testcard":
            raise bad_request("The test card has no cost to estimate.", code="no_estimate")
        key = json.dumps((await _build_request(state, body)).to_dict())
        result = await runs.get_or_run(key, current_owner(request), lambda: _run_estimate(state, key))
        return JSONResponse(json.loads(result))

    return routes


async def _build_request(state: AppState, body: CreateVideoRequest) -> VideoRequest:
    """The request with blank images, and without text and seed, which do not change the cost."""
    model_info, limits = await state.get_model_info(), state.settings.limits
    video_format = resolve_format(model_info, limits, body)
    size = (video_format.width, video_format.height)
    check_control_inputs(body, model_info)
    check_options(body, model_info, limits, size=size, duration_s=video_format.seconds)
    check_timeline(body, model_info, video_format.seconds)
    request = openai_to_request(
        body,
        {param: _BLANK_IMAGE for param, _ in body.image_inputs()},
        size=size,
        seconds=video_format.requested_seconds,
        num_frames=video_format.num_frames if video_format.requested_seconds is None else None,
        defaults=VideoRequest(),
    )
    return dataclasses.replace(
        request,
        seed=0,
        prompt="" if request.storyboard else "a video",
        # LoRAs are merged into the weights.
        loras=(),
        negative_prompt=None if request.negative_prompt is None else "a video",
        storyboard=tuple(dataclasses.replace(shot, prompt="a video") for shot in request.storyboard),
    )


async def _run_estimate(state: AppState, request: str) -> bytes:
    settings = state.settings
    try:
        result = await run_module(
            "kinema.server.estimate_worker",
            settings.model,
            settings.device,
            request,
            timeout_s=ESTIMATE_TIMEOUT_S,
        )
    except TimeoutError:
        raise ApiError(503, "The estimate takes too long; the server is busy.", code="no_estimate") from None
    if result.returncode == 2:
        raise bad_request(result.error or "The cost can't be estimated.", code="no_estimate")
    if result.returncode != 0:
        raise ApiError(500, "The estimate failed; the server's log has details.", code="no_estimate")
    return result.output
