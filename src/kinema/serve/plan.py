"""What a film would cost, before it is asked for: `POST /v1/videos/plan`.

The API process knows no model. A process of its own counts and measures, one at a time, and its answers are
kept: the same film costs the same.

    python -m kinema.serve.plan MODEL DEVICE WIDTHxHEIGHT SECONDS FPS STEPS GUIDANCE PICTURES
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
from kinema.serve.bodies import CreateBody, checked
from kinema.serve.desk import Desk
from kinema.serve.document import body_of
from kinema.serve.errors import ApiError, bad
from kinema.serve.fields import fields_of
from kinema.serve.served import measure

SECONDS = 120.0
"""Until a plan is given up."""
_KEPT = 256
"""Plans that are remembered."""


class PlanObject(BaseModel):
    """What a film would cost here."""

    seconds: float = Field(description="To make it, without waiting for others.")
    memory: int = Field(description="Bytes at the worst moment.")
    free: int = Field(description="Bytes that there are.")


def router(desk: Desk) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()
    turn = asyncio.Semaphore(1)
    kept: dict[tuple[str, ...], dict[str, float]] = {}

    @routes.post(
        "/v1/videos/plan", response_model=PlanObject, openapi_extra=body_of(CreateBody), tags=["videos"]
    )
    async def plan(request: Request) -> JSONResponse:
        """What the film would cost in time and memory; nothing is made."""
        async with fields_of(request, largest=desk.settings.limits.body) as fields:
            body = checked(CreateBody, fields)
        if desk.settings.model == "testcard":
            raise bad("The test card is made at once and needs no plan.", code="no_plan")
        served = await desk.served()
        told = measure(served, desk.settings.limits, model=body.model, size=body.size, seconds=body.seconds)
        given = (body.input_reference, body.last_frame, *(shot.image for shot in body.storyboard))
        guidance = served.guidance if body.guidance is None else body.guidance
        question = (
            desk.settings.model, desk.settings.device, f"{told.width}x{told.height}", str(told.length),
            str(body.fps or served.fps), str(body.steps or served.steps), str(guidance),
            str(sum(picture is not None for picture in given)),
        )  # fmt: skip
        if question not in kept:
            async with turn:
                if question not in kept:
                    answer = await _asked(question)
                    if len(kept) >= _KEPT:
                        kept.clear()
                    kept[question] = answer
        return JSONResponse(kept[question])

    return routes


async def _asked(question: tuple[str, ...]) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kinema.serve.plan", *question,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, said = await asyncio.wait_for(process.communicate(), SECONDS)
    except BaseException as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(error, TimeoutError):
            raise ApiError(503, "The plan takes too long; the server is busy.", code="no_plan") from None
        raise
    if process.returncode == 2:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        raise bad(lines[-1] if lines else "The film can't be planned.", code="no_plan")
    if process.returncode != 0:
        raise ApiError(500, "The plan could not be made; the server's log says more.", code="no_plan")
    return json.loads(out)


def planned(
    model: str, device: str, size: str, seconds: float, fps: float, steps: int, guidance: float, pictures: int
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
            num_inference_steps=steps,
            guidance_scale=guidance,
            image=blank if pictures else None,
            last_image=blank if pictures > 1 else None,
        ),
    )
    found = pipe.estimate_cost(request)
    return {"seconds": found.seconds, "memory": found.peak_bytes, "free": found.available}


def main() -> None:
    """Answer one question, in JSON. Exits with 2 and one line for what cannot be made."""
    model, device, size, seconds, fps, steps, guidance, pictures = sys.argv[1:]
    try:
        answer = planned(
            model, device, size, float(seconds), float(fps), int(steps), float(guidance), int(pictures)
        )
    except UserError as error:
        print(str(error), file=sys.stderr)
        sys.exit(2)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
