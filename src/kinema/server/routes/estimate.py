"""What a film would cost, before it is asked for: `POST /v1/videos/plan`.

The API process knows no model. A process of its own counts and measures, one at a time, and its answers are
kept: the same film costs the same.

    python -m kinema.server.routes.estimate MODEL DEVICE WIDTHxHEIGHT SECONDS FPS STEPS GUIDANCE PICTURES
"""

from __future__ import annotations

import asyncio
import json
import sys

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import Request

from kinema.errors import UserError
from kinema.server.dependencies import AppState
from kinema.server.errors import ApiError, bad_request
from kinema.server.form_parsing import parse_body
from kinema.server.model_info import resolve_format
from kinema.server.openapi import openapi_body
from kinema.server.schemas.requests import CreateVideoRequest, validate_body

ESTIMATE_TIMEOUT_S = 120.0
"""Until a plan is given up."""
_MAX_CACHED_ESTIMATES = 256
"""Plans that are remembered."""


class CostEstimateObject(BaseModel):
    """What a film would cost here."""

    seconds: float = Field(description="To make it, without waiting for others.")
    peak_memory: int = Field(description="Bytes at the worst moment.")
    available_memory: int = Field(description="Bytes that there are.")


def router(state: AppState) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()
    turn = asyncio.Semaphore(1)
    kept: dict[tuple[str, ...], dict[str, float]] = {}

    @routes.post(
        "/v1/videos/plan",
        response_model=CostEstimateObject,
        openapi_extra=openapi_body(CreateVideoRequest),
        tags=["videos"],
    )
    async def estimate(request: Request) -> JSONResponse:
        """What the film would cost in time and memory; nothing is made."""
        async with parse_body(request, max_field_bytes=state.settings.limits.max_body_bytes) as fields:
            body = validate_body(CreateVideoRequest, fields)
        if state.settings.model == "testcard":
            raise bad_request("The test card is made at once and needs no plan.", code="no_plan")
        served = await state.get_model_info()
        told = resolve_format(
            served, state.settings.limits, model=body.model, size=body.size, seconds=body.seconds
        )
        given = (body.input_reference, body.last_frame, *(shot.image for shot in body.storyboard))
        guidance = served.guidance_scale if body.guidance_scale is None else body.guidance_scale
        question = (
            state.settings.model, state.settings.device, f"{told.width}x{told.height}", str(told.duration_s),
            str(body.fps or served.fps), str(body.num_inference_steps or served.num_inference_steps), str(guidance),
            str(sum(picture is not None for picture in given)),
        )  # fmt: skip
        if question not in kept:
            async with turn:
                if question not in kept:
                    answer = await _run_estimate(question)
                    if len(kept) >= _MAX_CACHED_ESTIMATES:
                        kept.clear()
                    kept[question] = answer
        return JSONResponse(kept[question])

    return routes


async def _run_estimate(arguments: tuple[str, ...]) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kinema.server.routes.estimate", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, said = await asyncio.wait_for(process.communicate(), ESTIMATE_TIMEOUT_S)
    except BaseException as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(error, TimeoutError):
            raise ApiError(503, "The plan takes too long; the server is busy.", code="no_plan") from None
        raise
    if process.returncode == 2:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        raise bad_request(lines[-1] if lines else "The film can't be planned.", code="no_plan")
    if process.returncode != 0:
        raise ApiError(500, "The plan could not be made; the server's log says more.", code="no_plan")
    return json.loads(out)


def estimate_cost(
    model: str,
    device: str,
    size: str,
    seconds: float,
    fps: float,
    num_inference_steps: int,
    guidance_scale: float,
    num_images: int,
) -> dict[str, float]:
    """Count and measure.

    Raises:
        UserError: the film can't be made.
    """
    import numpy as np

    from kinema.pipeline.pipeline import load
    from kinema.pipeline.request import VideoRequest
    from kinema.pipeline.resolve import resolve_request
    from kinema.shapes import parse_size

    pipe = load(model, device=device)
    width, height = parse_size(size)
    blank = np.zeros((height, width, 3), np.uint8)
    request = resolve_request(
        pipe.model,
        VideoRequest(
            prompt="a film",
            size=(width, height),
            seconds=seconds,
            fps=fps,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            image=blank if num_images else None,
            last_image=blank if num_images > 1 else None,
        ),
    )
    found = pipe.estimate_cost(request)
    return {"seconds": found.seconds, "memory": found.peak_bytes, "free": found.available}


def main() -> None:
    """Answer one question, in JSON. Exits with 2 and one line for what cannot be made."""
    model, device, size, seconds, fps, steps, guidance, pictures = sys.argv[1:]
    try:
        answer = estimate_cost(
            model, device, size, float(seconds), float(fps), int(steps), float(guidance), int(pictures)
        )
    except UserError as error:
        print(str(error), file=sys.stderr)
        sys.exit(2)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
