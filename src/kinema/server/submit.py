"""From a validated request to a job in the queue, for every task."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import Request

from kinema.pipeline.request import EditInput, VideoRequest
from kinema.pipeline.unknown_words import find_unknown_words
from kinema.server.dependencies import AppState, current_owner
from kinema.server.errors import ApiError, bad_request, error_param, to_api_error
from kinema.server.file_store import VIDEO_FILE
from kinema.server.form_parsing import Fields, hash_body, read_idempotency_key
from kinema.server.job import (
    IdempotencyConflictError,
    Job,
    JobCreate,
    JobSource,
    QueueFullError,
    RequestTooLargeError,
    StorageQuotaError,
    new_id,
)
from kinema.server.job_store import CommitUnknownError
from kinema.server.model_info import ModelInfo, format_seconds, size_for_aspect
from kinema.server.request_limits import (
    check_control_inputs,
    check_expanded_size,
    check_options,
    check_timeline,
)
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    GenerationOptions,
    InterpolateRequest,
    RemixRequest,
    VideoRef,
)
from kinema.server.schemas.to_request import apply_options, inherited_options, openai_to_request
from kinema.server.storage import input_bytes
from kinema.server.video_format import MODEL_ALIASES, check_duration, resolve_format


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A job without id and owner."""

    model: str
    seconds: str
    prompt: str
    request: VideoRequest
    num_frames: int | None = None
    remixed_from: str | None = None
    sources: tuple[JobSource, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """Width and height of the file, which is the only size that the API reports."""
        width, height = self.request.size or (0, 0)
        source = self.request.source
        if isinstance(source, EditInput) and source.expand is not None:
            left, top, right, bottom = source.expand
            width, height = width + left + right, height + top + bottom
        return f"{width * self.request.upscale}x{height * self.request.upscale}"


@dataclass(frozen=True, kw_only=True)
class _SourceVideo:
    """A video that another one is made from.

    Attributes:
        file_name: in the folder of the new job.
        width, height: to generate, in pixels.
        seconds: its length.
        model: as the API reports it.
        job: of this server's video; None for an upload.
    """

    file_name: str
    width: int
    height: int
    seconds: float
    model: str
    job: Job | None = None


@dataclass(frozen=True, kw_only=True)
class JobWebhook:
    """Receiver of a job's events.

    Attributes:
        url: where they go; it is checked.
        format: whose shape they have, see `kinema.server.dialects.webhooks`.
    """

    url: str
    format: str


async def submit_job(
    state: AppState,
    http: Request,
    fields: Fields,
    body: GenerationOptions,
    *,
    source_job: Job | None = None,
    warnings: Sequence[str] = (),
    webhook: JobWebhook | None = None,
) -> Job:
    """Put a job into the queue. A request that fails leaves nothing behind.

    Args:
        state: of the server.
        http: the HTTP request.
        fields: its fields, for the hash of a request with an Idempotency-Key.
        body: the same fields, validated.
        source_job: of a remix.
        warnings: about the body; what differs from the request is added.
        webhook: receiver of the job's events, in place of the operator's.

    Raises:
        ApiError: the video can't be generated, or the queue is full.
    """
    job_id = new_id()
    idempotency_key = read_idempotency_key(http)

    def begin() -> tuple[ModelInfo, Path]:
        return state.check_capacity(), state.files.open_incoming(job_id)

    # Each change of threads is a wait when the server is busy: steps that may block are taken together.
    model_info, job_dir = await state.run_in_thread(begin)
    is_complete = False
    try:
        draft = await _Drafter(state, http, model_info, job_dir).draft(body, source_job)
        request_hash = None
        if idempotency_key is not None:
            request_hash = await hash_body({"path": http.scope["path"], **fields})
        create = JobCreate(
            id=job_id,
            owner=current_owner(http),
            model=draft.model,
            served_model=model_info.name,
            size=draft.size,
            seconds=draft.seconds,
            prompt=draft.prompt,
            request=draft.request,
            remixed_from=draft.remixed_from,
            sources=draft.sources,
            warnings=(*draft.warnings, *warnings, *_unknown_words(model_info, draft.request)),
            num_frames=draft.num_frames,
            fps=draft.request.fps or model_info.fps,
            webhook_url=None if webhook is None else webhook.url,
            webhook_format="openai" if webhook is None else webhook.format,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )
        is_complete = True
        # A client that disconnects now does not stop what has begun: the job may be in the queue already.
        job, is_new = await asyncio.shield(_enqueue(state, create, job_dir))
    except QueueFullError:
        raise ApiError(
            429, "The queue is full; try again when some videos are finished.",
            code="queue_full", headers={"retry-after-ms": "2000", "retry-after": "2"},
        ) from None  # fmt: skip
    except (StorageQuotaError, RequestTooLargeError) as error:
        raise to_api_error(error) or error from None
    except IdempotencyConflictError:
        raise bad_request("This Idempotency-Key was used with a different request; use a new one.",
                          param="Idempotency-Key", code="idempotency_key_reused") from None  # fmt: skip
    finally:
        if not is_complete:
            await state.run_in_thread(state.files.discard_incoming, job_id)
    if is_new:
        state.metrics.submitted.labels(draft.request.task).inc()
    return job


async def _enqueue(state: AppState, create: JobCreate, job_dir: Path) -> tuple[Job, bool]:
    """Keep the inputs, then add the job: each job in the queue has its folder."""
    is_new = False

    def keep_inputs() -> JobCreate:
        complete = dataclasses.replace(create, input_bytes=input_bytes(job_dir))
        state.files.keep_incoming(complete)
        return complete

    try:
        job, is_new = await state.insert_batcher.create(await state.run_in_thread(keep_inputs))
        if is_new:
            state.tracing.submitted(job)
        return job, is_new
    except CommitUnknownError:
        is_new = True  # The job may be in the queue: its folder stays.
        raise
    finally:
        if not is_new:
            await state.run_in_thread(state.files.discard_incoming, create.id)


class _Drafter:
    """Checks a request, stores its images and videos in the job's folder, and builds the `VideoRequest`."""

    def __init__(self, state: AppState, http: Request, model_info: ModelInfo, job_dir: Path) -> None:
        self._state, self._http, self._model_info, self._job_dir = state, http, model_info, job_dir
        self._limits = state.settings.limits

    async def draft(self, body: GenerationOptions, source_job: Job | None) -> _Draft:
        """The job of a request."""
        check_control_inputs(body, self._model_info)
        match body:
            case CreateVideoRequest():
                return await self._create(body)
            case InterpolateRequest():
                return await self._interpolate(body)
            case ExtendRequest():
                return await self._extend(body)
            case EditRequest():
                self._require_task("edit")
                source = await self._source_video("video", body.video)
                return await self._edit(body, source, seconds=format_seconds(source.seconds))
            case RemixRequest() if source_job is not None:
                return await self._remix(body, source_job)
        raise TypeError(f"there is no task for {type(body).__name__}")

    async def _create(self, body: CreateVideoRequest) -> _Draft:
        video_format = resolve_format(self._model_info, self._limits, body)
        size = (video_format.width, video_format.height)
        self._check_options(body, size, video_format.seconds)
        check_timeline(body, self._model_info, video_format.seconds)
        files, sources = await self._store_images(body), ()
        if body.control is not None:
            control = await self._source_video("control", body.control)
            files["control"], sources = control.file_name, _sources({"control": control})
        request = openai_to_request(
            body,
            files,
            size=size,
            seconds=video_format.requested_seconds,
            num_frames=video_format.num_frames if video_format.requested_seconds is None else None,
            defaults=_random_seed(),
        )
        return _Draft(
            model=video_format.model,
            seconds=format_seconds(video_format.seconds),
            prompt=body.prompt,
            request=request,
            num_frames=video_format.num_frames,
            sources=sources,
            warnings=video_format.warnings,
        )

    async def _remix(self, body: RemixRequest, source_job: Job) -> _Draft:
        source = await self._link_video("video", source_job)
        if "edit" in self._model_info.tasks:
            return await self._edit(body, source, seconds=source_job.seconds, role="remix")
        # The model can't start from a video. The same noise with another prompt gives the most similar one.
        before = source_job.request
        if before.files():
            raise bad_request(
                f"{self._model_info.name} can't edit videos, and the images and videos that {source_job.id} "
                "was made from are deleted; create a new video."
            )
        self._check_options(body, (source.width, source.height), source.seconds, before.upscale)
        request = apply_options(body, before)
        if not before.storyboard:
            request = dataclasses.replace(request, prompt=body.prompt)
        return _Draft(
            model=source_job.model,
            seconds=source_job.seconds,
            prompt=body.prompt,
            request=request,
            num_frames=source_job.num_frames,
            remixed_from=source_job.id,
            sources=(JobSource(role="remix", id=source_job.id),),
        )

    async def _edit(
        self, body: RemixRequest, source: _SourceVideo, *, seconds: str, role: str = "video"
    ) -> _Draft:
        # An edit of one of this server's videos has the seed and options of that video by default.
        defaults = _random_seed() if source.job is None else inherited_options(source.job.request)
        size = (source.width, source.height)
        self._check_options(body, size, source.seconds, defaults.upscale)
        if isinstance(body, EditRequest) and body.expand is not None:
            check_expanded_size(body.expand, size, self._model_info, self._limits)
        files = {"video": source.file_name, **await self._store_images(body)}
        return _Draft(
            model=source.model,
            seconds=seconds,
            prompt=body.prompt,
            request=openai_to_request(body, files, size=size, defaults=defaults),
            num_frames=None if source.job is None else source.job.num_frames,
            remixed_from=None if source.job is None else source.job.id,
            sources=_sources({role: source}),
        )

    async def _extend(self, body: ExtendRequest) -> _Draft:
        self._require_task("extend")
        seconds = self._new_seconds(body)
        check_duration(self._model_info, self._limits, seconds)
        source = await self._source_video("video", body.video)
        return self._longer_video(body, {"video": source}, seconds)

    async def _interpolate(self, body: InterpolateRequest) -> _Draft:
        self._require_task("interpolate")
        seconds = self._new_seconds(body)
        first = await self._source_video("video", body.video)
        last = await self._source_video("next_video", body.next_video)
        return self._longer_video(body, {"video": first, "next_video": last}, seconds)

    def _new_seconds(self, body: ExtendRequest | InterpolateRequest) -> float:
        """Length of the new part of an extension or interpolation."""
        if isinstance(body, ExtendRequest) and body.num_frames is not None:
            if body.seconds is not None:
                raise bad_request("num_frames and seconds both set the length; send one of them.",
                                  param="num_frames")  # fmt: skip
            return body.num_frames / (body.fps or self._model_info.fps)
        return self._model_info.seconds if body.seconds is None else body.seconds

    def _longer_video(
        self,
        body: ExtendRequest | InterpolateRequest,
        sources: dict[str, _SourceVideo],
        seconds: float,
    ) -> _Draft:
        """The draft of a video that consists of its sources and a new part of `seconds`."""
        source = sources["video"]
        files = {role: video.file_name for role, video in sources.items()}
        total = sum(video.seconds for video in sources.values()) + seconds
        check_duration(self._model_info, self._limits, total)
        size = (source.width, source.height)
        self._check_options(body, size, total)
        return _Draft(
            model=source.model,
            seconds=format_seconds(total),
            prompt=body.prompt,
            request=openai_to_request(body, files, size=size, seconds=seconds, defaults=_random_seed()),
            sources=_sources(sources),
        )

    def _require_task(self, task: str) -> None:
        if task not in self._model_info.tasks:
            raise bad_request(f"{self._model_info.name} can't {task} videos.", param="video")

    def _check_options(
        self, body: GenerationOptions, size: tuple[int, int], duration_s: float, default_upscale: int = 1
    ) -> None:
        check_options(
            body,
            self._model_info,
            self._limits,
            size=size,
            duration_s=duration_s,
            default_upscale=default_upscale,
        )

    async def _store_images(self, body: GenerationOptions) -> dict[str, str]:
        """Decode the request's images into the job's folder; their file names by parameter."""
        files = {}
        for param, image in body.image_inputs():
            with error_param(param):
                stored = await self._state.upload_reader.read_image(
                    image, self._job_dir, param.replace(".", "-"), owner=current_owner(self._http)
                )
            files[param] = stored.file_name
        return files

    async def _source_video(self, param: str, video_input: UploadFile | VideoRef) -> _SourceVideo:
        """A video of the request, as a file in the job's folder."""
        with error_param(param):
            if isinstance(video_input, VideoRef):
                return await self._link_video(
                    param, await self._state.get_job_or_404(self._http, video_input.id)
                )
            video = await self._state.upload_reader.read_video(
                video_input, self._job_dir, f"source-{param}", owner=current_owner(self._http)
            )
        width, height = size_for_aspect(self._model_info, video.width / video.height)
        return _SourceVideo(
            file_name=video.file_name,
            width=width,
            height=height,
            seconds=video.num_frames / video.fps,
            model=MODEL_ALIASES[0],
        )

    async def _link_video(self, param: str, job: Job) -> _SourceVideo:
        """A video of this server. It gets a second name, so that the first may be deleted in the meantime."""
        if job.status != "completed":
            raise bad_request(f"Video {job.id} is {job.status}; only a completed one can be a source.",
                              code="video_not_ready", param=param)  # fmt: skip
        video = self._state.files.path(job, VIDEO_FILE)
        target = self._job_dir / f"source-{param}.mp4"
        with error_param(param):
            await self._state.run_in_thread(_link_or_copy, video, target)
        width, height = job.request.size or (self._model_info.width, self._model_info.height)
        return _SourceVideo(
            file_name=target.name,
            width=width,
            height=height,
            seconds=float(job.seconds),
            model=job.model,
            job=job,
        )


def _sources(videos: dict[str, _SourceVideo]) -> tuple[JobSource, ...]:
    """Those of the videos that are on this server."""
    return tuple(
        JobSource(role=role, id=video.job.id) for role, video in videos.items() if video.job is not None
    )


def _unknown_words(model_info: ModelInfo, request: VideoRequest) -> tuple[str, ...]:
    """A warning about words that the model was not trained on."""
    prompts = (request.prompt, *(shot.prompt for shot in request.storyboard))
    is_rewritten = model_info.rewrites_prompts and request.allows_rewriting
    found = find_unknown_words(prompts, model_info.vocabulary, synonyms_are_known=is_rewritten)
    message = found.message(model_info.name)
    # A LoRA may have been trained on words of its own.
    return (message,) if message and not request.loras else ()


def _random_seed() -> VideoRequest:
    """Defaults of a video that is not derived from another one."""
    return VideoRequest(seed=secrets.randbelow(2**31))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise bad_request("The video's file is deleted; it has expired.", code="video_expired") from None
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
