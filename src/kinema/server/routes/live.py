"""Live videos: `/v1/live`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import Request

from kinema.pipeline.request import Shot, VideoRequest
from kinema.pipeline.unknown_words import find_unknown_words
from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import ApiError, bad_request, to_api_error
from kinema.server.form_parsing import parse_body
from kinema.server.job import JobCreate, QueueFullError, RequestTooLargeError, StorageQuotaError, new_id
from kinema.server.live.sessions import LiveSession, LiveSessions
from kinema.server.model_info import ModelInfo, format_seconds
from kinema.server.openapi_schema import openapi_body
from kinema.server.routes.events import EventStreamResponse
from kinema.server.routes.videos import video_response
from kinema.server.schemas.live import (
    LiveBranchObject,
    LiveChangeRequest,
    LiveCreateRequest,
    LiveError,
    LiveList,
    LiveObject,
    LiveSaveRequest,
    LiveShotObject,
)
from kinema.server.schemas.requests import CreateVideoRequest, validate_body
from kinema.server.schemas.responses import VideoObject
from kinema.server.video_format import resolve_format

KEEPALIVE_INTERVAL_S = 10.0


def router(state: AppState, sessions: LiveSessions) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/v1/live", tags=["live"])

    @routes.post(
        "", status_code=201, response_model=LiveObject, openapi_extra=openapi_body(LiveCreateRequest)
    )
    async def create(request: Request) -> JSONResponse:
        """Begin a live video: a stream without end whose prompt may change at any time."""
        async with parse_body(request) as fields:
            body = validate_body(LiveCreateRequest, fields)
        model_info = await state.run_in_thread(state.check_capacity)
        if not model_info.can_stream:
            raise bad_request(
                f"{model_info.name} can't continue from finished frames, so it has no live videos.",
                param="model", code="unsupported",
            )  # fmt: skip
        options = CreateVideoRequest(prompt=body.prompt, size=body.size)
        video_format = resolve_format(model_info, state.settings.limits, options)
        size = (video_format.width, video_format.height)
        live = VideoRequest(
            prompt=body.prompt,
            negative_prompt=body.negative_prompt,
            size=size,
            seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
            num_inference_steps=body.num_inference_steps,
            guidance_scale=body.guidance_scale,
        )
        session = await sessions.open(
            current_owner(request),
            model=model_info.name,
            request=live,
            fps=model_info.fps,
            size=size,
            warnings=(*video_format.warnings, *_unknown_words(model_info, body.prompt)),
            num_workers=max(state.settings.workers, await state.run_in_thread(_local_workers, state)),
        )
        return JSONResponse(to_live_object(session).model_dump(), 201)

    @routes.get("", response_model=LiveList)
    async def list_live(request: Request) -> JSONResponse:
        """The caller's live videos that have not ended."""
        own = sessions.list_own(current_owner(request))
        return JSONResponse(
            LiveList(object="list", data=[to_live_object(session) for session in own]).model_dump()
        )

    @routes.get("/{live_id}", response_model=LiveObject)
    async def retrieve(request: Request, live_id: str) -> JSONResponse:
        """A live video."""
        session = sessions.find(live_id, current_owner(request))
        return JSONResponse(to_live_object(session).model_dump())

    @routes.patch("/{live_id}", response_model=LiveObject, openapi_extra=openapi_body(LiveChangeRequest))
    async def change(request: Request, live_id: str) -> JSONResponse:
        """Change the prompt, pause or go on, or step back to a frame and branch from it."""
        async with parse_body(request) as fields:
            body = validate_body(LiveChangeRequest, fields)
        session = sessions.find(live_id, current_owner(request))
        await sessions.change(session, body.model_dump(exclude_none=True))
        if body.prompt is not None:
            model_info = await state.get_model_info()
            session.warnings = tuple(_unknown_words(model_info, body.prompt))
        return JSONResponse(to_live_object(session).model_dump())

    @routes.delete("/{live_id}", response_model=LiveObject)
    async def end(request: Request, live_id: str) -> JSONResponse:
        """End a live video; what was not saved is gone."""
        session = sessions.find(live_id, current_owner(request))
        sessions.end(session)
        return JSONResponse(to_live_object(session).model_dump())

    @routes.get(
        "/{live_id}/frames/{frame}",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def frame(
        request: Request, live_id: str, frame: int, branch: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        """A frame that was made, as JPEG."""
        session = sessions.find(live_id, current_owner(request))
        image = await sessions.image(session, session.branch if branch is None else branch, frame)
        return Response(image, media_type="image/jpeg", headers={"cache-control": "no-store"})

    @routes.get(
        "/{live_id}/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(request: Request, live_id: str) -> StreamingResponse:
        """`state` at the beginning and after each change, and `frames` (base64 JPEG) just in time."""
        owner = current_owner(request)
        session = sessions.find(live_id, owner)
        return EventStreamResponse(state, owner, _stream(state, sessions, session))

    @routes.post(
        "/{live_id}/save",
        status_code=201,
        response_model=VideoObject,
        openapi_extra=openapi_body(LiveSaveRequest),
    )
    async def save(request: Request, live_id: str) -> JSONResponse:
        """Save a part of what was made as an ordinary video, with its prompts as a storyboard."""
        async with parse_body(request) as fields:
            body = validate_body(LiveSaveRequest, fields)
        session = sessions.find(live_id, current_owner(request))
        job_create, branch = _draft_saved(session, body)
        await state.run_in_thread(_keep_folder, state, job_create)
        try:
            job, _ = await state.insert_batcher.create(job_create)
        except (QueueFullError, StorageQuotaError, RequestTooLargeError) as error:
            await state.run_in_thread(state.files.discard_incoming, job_create.id)
            raise to_api_error(error) or ApiError(429, "The queue is full; try again later.") from None
        try:
            sessions.save(session, job_create.served_model, branch=branch, first=body.first_frame)
        except ApiError:
            await state.run_in_thread(
                state.store.cancel, job.id, owner=job.owner, retention_s=state.settings.retention_s
            )
            raise
        response = await video_response(state, job)
        response.status_code = 201
        return response

    return routes


def to_live_object(session: LiveSession) -> LiveObject:
    """A session as the API reports it."""
    branches = [
        LiveBranchObject(
            branch=number,
            frames=branch["num_frames"],
            shots=[
                LiveShotObject(
                    seconds=round(shot["frame"] / session.fps, 3),
                    prompt=shot["prompt"],
                    transition=shot["transition"],
                )
                for shot in branch["shots"]
            ],
        )
        for number, branch in enumerate(session.branches)
    ]
    shots = branches[session.branch].shots if branches else []
    width, height = session.size
    return LiveObject(
        id=session.id,
        object="live",
        status=session.status,
        model=session.model,
        created_at=session.created_at,
        size=f"{width}x{height}",
        fps=session.fps,
        seed=session.request.seed,
        prompt=shots[-1].prompt if shots else session.request.prompt,
        branch=session.branch,
        frames=session.num_frames,
        seconds=round(session.num_frames / session.fps, 3),
        shots=shots,
        branches=branches,
        num_inference_steps=session.num_inference_steps,
        speed=session.speed,
        error=LiveError(code="live_ended", message=session.error) if session.error else None,
        warnings=list(session.warnings),
    )


def _draft_saved(session: LiveSession, body: LiveSaveRequest) -> tuple[JobCreate, int]:
    """The job that saves a part of a session, and the branch.

    Raises:
        ApiError: there is no such part.
    """
    number = session.branch if body.branch is None else body.branch
    if number >= len(session.branches):
        raise bad_request(f"There is no branch {number}.", param="branch")
    branch = session.branches[number]
    available = branch["num_frames"] - body.first_frame
    if available < 1:
        raise bad_request(
            f"The branch has {branch['num_frames']} frames; 'first_frame' is less.", param="first_frame"
        )
    num_frames = min(available, body.num_frames or available)
    stop = body.first_frame + num_frames
    begun = [shot for shot in branch["shots"] if shot["frame"] < stop]
    first = max((n for n, shot in enumerate(begun) if shot["frame"] <= body.first_frame), default=0)
    shots = tuple(
        Shot(
            prompt=shot["prompt"],
            seconds=max(0, shot["frame"] - body.first_frame) / session.fps,
            transition=shot["transition"] if index else "cut",
        )
        for index, shot in enumerate(begun[first:])
    )
    request = VideoRequest(
        prompt="",
        negative_prompt=session.request.negative_prompt,
        size=session.size,
        fps=session.fps,
        num_frames=num_frames,
        storyboard=shots,
        seed=session.request.seed,
        guidance_scale=session.request.guidance_scale,
        num_inference_steps=session.num_inference_steps,
    )
    width, height = session.size
    job_id = new_id()
    create = JobCreate(
        id=job_id,
        owner=session.owner,
        model=session.model,
        # Only the session's worker claims it.
        served_model=f"{session.id}/{job_id}",
        size=f"{width}x{height}",
        seconds=format_seconds(num_frames / session.fps),
        prompt=" / ".join(shot.prompt for shot in shots)[:32_000],
        request=request,
        num_frames=num_frames,
        fps=session.fps,
    )
    return create, number


def _keep_folder(state: AppState, job_create: JobCreate) -> None:
    state.check_capacity()
    state.files.open_incoming(job_create.id)
    state.files.keep_incoming(job_create)


def _local_workers(state: AppState) -> int:
    return sum(worker.host == socket.gethostname() for worker in state.store.workers())


def _unknown_words(model_info: ModelInfo, prompt: str) -> list[str]:
    found = find_unknown_words(
        [prompt], model_info.vocabulary, synonyms_are_known=model_info.rewrites_prompts
    )
    message = found.message(model_info.name)
    return [message] if message else []


async def _stream(state: AppState, sessions: LiveSessions, session: LiveSession) -> AsyncIterator[str]:
    queue = sessions.add_viewer(session)
    try:
        yield _state_event(session)
        while session.status != "ended" and not state.draining.is_set():
            event = None
            with contextlib.suppress(TimeoutError):
                event = await asyncio.wait_for(queue.get(), KEEPALIVE_INTERVAL_S)
            if event is None:
                yield ": alive\n\n"
            elif event.data is None:
                yield _state_event(session)
            else:
                yield f"event: {event.name}\ndata: {event.data}\n\n"
        if session.status == "ended":
            yield _state_event(session)
    finally:
        sessions.remove_viewer(session, queue)


def _state_event(session: LiveSession) -> str:
    return f"event: state\ndata: {to_live_object(session).model_dump_json()}\n\n"
