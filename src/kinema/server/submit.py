"""From a request to a film in the queue, for every verb."""

from __future__ import annotations

import dataclasses
import itertools
import os
import secrets
import shutil
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import Request

from kinema.server import queue
from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import ApiError, bad_request
from kinema.server.form_parsing import hash_body, read_idempotency_key
from kinema.server.job import Job
from kinema.server.job_spec import JobSpec, ShotSpec, Task
from kinema.server.model_info import (
    MODEL_ALIASES,
    OPENAI_SIZES,
    ModelInfo,
    check_duration,
    format_seconds,
    resolve_format,
    size_for_aspect,
)
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    InterpolateRequest,
    RemixRequest,
    SamplingOptions,
    VideoRef,
)
from kinema.server.storage import VIDEO_FILE, delete_job_dir, get_job_dir

REMIX_STRENGTH = 0.75
"""A remix keeps what happens and changes what the new words change: further from its source than an edit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _SourceVideo:
    """A film that another is made from."""

    file_name: str
    width: int
    height: int
    seconds: float
    size: str
    model: str
    job: Job | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _JobDraft:
    """All of an order but who gives it."""

    model: str
    size: str
    seconds: str
    spec: JobSpec
    remixed_from: str | None = None


async def submit_job(state: AppState, request: Request, fields: dict[str, object], body: SamplingOptions,
                    source_job: Job | None = None) -> Job:  # fmt: skip
    """Put a film into the queue, last of all, so that a request that fails leaves nothing.

    Raises:
        ApiError: it can't be made, or the queue is full.
    """
    served = await state.require_capacity()
    limits = state.settings.limits
    if body.num_inference_steps is not None and body.num_inference_steps > limits.max_inference_steps:
        raise bad_request(
            f"{body.num_inference_steps} steps are not possible here; give 1 to {limits.max_inference_steps}.",
            param="steps",
        )
    identifier = queue.new_id()
    key = read_idempotency_key(request)
    data = state.settings.data_dir
    folder = get_job_dir(data, identifier)
    await state.run_in_thread(folder.mkdir)
    taken = False
    try:
        draft = await _build_draft(state, request, served, body, folder, source_job)
        order = queue.JobCreate(
            id=identifier,
            owner=current_owner(request),
            model=draft.model,
            size=draft.size,
            seconds=draft.seconds,
            spec=draft.spec,
            remixed_from=draft.remixed_from,
            idempotency_key=key,
            request_hash=None if key is None else await hash_body({"path": request.scope["path"], **fields}),
        )
        video, taken = await state.insert_batcher.enqueue(order)
    except queue.QueueFull:
        raise ApiError(
            429, "As many films wait as this server takes; try again when some are done.",
            code="queue_full", headers={"retry-after-ms": "2000", "retry-after": "2"},
        ) from None  # fmt: skip
    except queue.IdempotencyConflict:
        raise bad_request("This Idempotency-Key came before with another request; use a new one.",
                  param="Idempotency-Key", code="idempotency_key_reused") from None  # fmt: skip
    finally:
        if not taken:
            await state.run_in_thread(delete_job_dir, data, identifier)
    if taken:
        state.metrics.submitted[draft.spec.task] += 1
    return video


async def _build_draft(
    state: AppState,
    request: Request,
    model_info: ModelInfo,
    body: SamplingOptions,
    job_dir: Path,
    source_job: Job | None,
) -> _JobDraft:
    if isinstance(body, CreateVideoRequest):
        return await _draft_create(state, model_info, body, job_dir)
    if isinstance(body, InterpolateRequest):
        return await _draft_interpolate(state, request, model_info, body, job_dir)
    if isinstance(body, ExtendRequest):
        return await _draft_extend(state, request, model_info, body, job_dir)
    if isinstance(body, EditRequest):
        return await _draft_edit(state, request, model_info, body, job_dir)
    if isinstance(body, RemixRequest) and source_job is not None:
        return await _draft_remix(state, model_info, body, job_dir, source_job)
    raise TypeError(f"nothing is made from {type(body).__name__}")


async def _draft_create(
    state: AppState, model_info: ModelInfo, body: CreateVideoRequest, job_dir: Path
) -> _JobDraft:
    limits = state.settings.limits
    told = resolve_format(model_info, limits, model=body.model, size=body.size, seconds=body.seconds)
    fps = body.fps or model_info.fps
    if told.duration_s * fps > limits.max_frames:
        raise bad_request(f"{format_seconds(told.duration_s)} seconds at {fps:g} frames per second are more than the "
                  f"{limits.max_frames} frames allowed; ask for less.", param="fps")  # fmt: skip
    if not model_info.supports_images and (
        body.input_reference or body.last_frame or any(s.image for s in body.storyboard)
    ):
        raise bad_request(
            f"{model_info.name} makes films from words alone; leave the pictures out.",
            param="input_reference",
        )
    image = last = None
    if body.input_reference is not None:
        image = (await state.upload_reader.read_image(body.input_reference, job_dir, "first")).file_name
    if body.last_frame is not None:
        last = (await state.upload_reader.read_image(body.last_frame, job_dir, "last")).file_name
    shots = []
    for number, shot in enumerate(body.storyboard):
        shown = None
        if shot.image is not None:
            shown = (await state.upload_reader.read_image(shot.image, job_dir, f"shot-{number}")).file_name
        shots.append(
            ShotSpec(prompt=shot.prompt, seconds=shot.seconds, image=shown, transition=shot.transition)
        )
    _check_shots(shots, told.duration_s)
    wanted = JobSpec(
        prompt=body.prompt,
        width=told.width,
        height=told.height,
        seconds=told.duration_s,
        fps=body.fps,
        image=image,
        last_image=last,
        loop=body.loop,
        storyboard=tuple(shots),
    )
    return _JobDraft(
        model=told.model,
        size=told.size,
        seconds=told.seconds,
        spec=_with_sampling_options(wanted, body, None),
    )


def _check_shots(shots: list[ShotSpec], duration_s: float) -> None:
    times = [shot.seconds for shot in shots]
    if times and (times[0] != 0 or any(b <= a for a, b in itertools.pairwise(times))):
        raise bad_request("The first shot of a storyboard begins at 0 seconds, each later one after the last.",
                  param="storyboard")  # fmt: skip
    if times and times[-1] >= duration_s:
        raise bad_request(f"A shot begins at {format_seconds(times[-1])} seconds, but the film ends at {format_seconds(duration_s)}.",
                  param="storyboard")  # fmt: skip


async def _draft_remix(
    state: AppState, model_info: ModelInfo, body: RemixRequest, job_dir: Path, source_job: Job
) -> _JobDraft:
    found = await _link_source_video(state, source_job, job_dir, "source")
    if "edit" in model_info.tasks:
        wanted = JobSpec(
            task="edit",
            prompt=body.prompt,
            width=found.width,
            height=found.height,
            source_video=found.file_name,
            strength=body.strength or REMIX_STRENGTH,
        )
    else:
        # Without a film to start from, the same noise under other words is the nearest thing to it.
        wanted = dataclasses.replace(source_job.spec, prompt=body.prompt)
    return _JobDraft(model=found.model, size=found.size, seconds=source_job.seconds,
                  spec=_with_sampling_options(wanted, body, source_job), remixed_from=source_job.id)  # fmt: skip


async def _draft_edit(
    state: AppState, request: Request, model_info: ModelInfo, body: EditRequest, job_dir: Path
) -> _JobDraft:
    _require_task(model_info, "edit")
    found = await _resolve_source_video(state, request, model_info, body.video, job_dir, "source")
    wanted = JobSpec(
        task="edit",
        prompt=body.prompt,
        width=found.width,
        height=found.height,
        source_video=found.file_name,
        strength=body.strength or JobSpec.strength,
    )
    return _JobDraft(
        model=found.model,
        size=found.size,
        seconds=format_seconds(found.seconds),
        spec=_with_sampling_options(wanted, body, found.job),
        remixed_from=None if found.job is None else found.job.id,
    )


async def _draft_extend(
    state: AppState, request: Request, model_info: ModelInfo, body: ExtendRequest, job_dir: Path
) -> _JobDraft:
    _require_task(model_info, "extend")
    check_duration(model_info, state.settings.limits, body.seconds)
    found = await _resolve_source_video(state, request, model_info, body.video, job_dir, "source")
    total = check_duration(model_info, state.settings.limits, found.seconds + body.seconds)
    wanted = JobSpec(
        task="extend",
        prompt=body.prompt,
        width=found.width,
        height=found.height,
        seconds=body.seconds,
        source_video=found.file_name,
        backward=body.backward,
    )
    return _JobDraft(model=found.model, size=found.size, seconds=format_seconds(total),
                  spec=_with_sampling_options(wanted, body, None))  # fmt: skip


async def _draft_interpolate(
    state: AppState, request: Request, model_info: ModelInfo, body: InterpolateRequest, job_dir: Path
) -> _JobDraft:
    _require_task(model_info, "connect")
    seconds = model_info.seconds if body.seconds is None else body.seconds
    first = await _resolve_source_video(state, request, model_info, body.video, job_dir, "source")
    last = await _resolve_source_video(state, request, model_info, body.next_video, job_dir, "second")
    total = check_duration(model_info, state.settings.limits, first.seconds + seconds + last.seconds)
    wanted = JobSpec(
        task="connect",
        prompt=body.prompt,
        width=first.width,
        height=first.height,
        seconds=seconds,
        source_video=first.file_name,
        next_video=last.file_name,
    )
    return _JobDraft(model=first.model, size=first.size, seconds=format_seconds(total),
                  spec=_with_sampling_options(wanted, body, None))  # fmt: skip


def _require_task(model_info: ModelInfo, task: Task) -> None:
    if task not in model_info.tasks:
        raise bad_request(f"{model_info.name} can't {task} films; it makes them from words and pictures.")


def _with_sampling_options(spec: JobSpec, body: SamplingOptions, source_job: Job | None) -> JobSpec:
    """With what every verb takes; a film made from another keeps what that one was made with."""
    before = JobSpec(seed=secrets.randbelow(2**31)) if source_job is None else source_job.spec
    return dataclasses.replace(
        spec,
        seed=before.seed if body.seed is None else body.seed,
        num_inference_steps=before.num_inference_steps
        if body.num_inference_steps is None
        else body.num_inference_steps,
        guidance_scale=before.guidance_scale if body.guidance_scale is None else body.guidance_scale,
        negative_prompt=before.negative_prompt if body.negative_prompt is None else body.negative_prompt,
    )


async def _resolve_source_video(
    state: AppState,
    request: Request,
    model_info: ModelInfo,
    video_input: UploadFile | VideoRef,
    job_dir: Path,
    file_stem: str,
) -> _SourceVideo:
    """The film that was given, as a file in `job_dir`."""
    if isinstance(video_input, VideoRef):
        return await _link_source_video(
            state, await state.get_job_or_404(request, video_input.id), job_dir, file_stem
        )
    read = await state.upload_reader.read_video(video_input, job_dir, file_stem)
    width, height = size_for_aspect(model_info, read.width / read.height)
    # The client knows four sizes and no other; the film's own stand beside.
    size = OPENAI_SIZES[1] if read.width > read.height else OPENAI_SIZES[0]
    return _SourceVideo(
        file_name=read.file_name,
        width=width,
        height=height,
        seconds=read.num_frames / read.fps,
        size=size,
        model=MODEL_ALIASES[0],
    )


async def _link_source_video(state: AppState, job: Job, job_dir: Path, file_stem: str) -> _SourceVideo:
    """A film of this server. It gets a name of its own, so that the other one can be deleted meanwhile."""
    if job.status != "completed":
        raise bad_request(f"Video {job.id} is {job.status}; only a completed one can be made into another.",
                  code="video_not_ready", param="video")  # fmt: skip
    target = job_dir / f"{file_stem}.mp4"
    await state.run_in_thread(
        _link_or_copy, get_job_dir(state.settings.data_dir, job.id) / VIDEO_FILE, target
    )
    wanted = job.spec
    return _SourceVideo(
        file_name=target.name,
        width=wanted.width or 0,
        height=wanted.height or 0,
        seconds=float(job.seconds),
        size=job.size,
        model=job.model,
        job=job,
    )


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise bad_request("The video's file is gone; its time is over.", code="video_expired") from None
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
