"""Resolve a request: fill in the model's defaults, read input files, plan the segments, check the limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema import sampling
from kinema.errors import UserError
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.sampling_recipes import apply_recipe, fast_defaults, find_recipe, recognize_recipe
from kinema.pipeline import segment_planning
from kinema.pipeline.conditioning import ControlCondition
from kinema.pipeline.control import detect_edges, place_on_canvas
from kinema.pipeline.images import load_image, resize_and_crop, size_for_aspect
from kinema.pipeline.loras import ResolvedLora, resolve_loras
from kinema.pipeline.request import (
    EditInput,
    ExtendInput,
    ImageInput,
    InterpolateInput,
    VideoPath,
    VideoRequest,
    is_data_url,
)
from kinema.pipeline.request_checks import (
    check_combinations,
    check_images,
    check_shape,
    check_task_supported,
    requested_num_frames,
    require_streaming,
    required_image_frames,
)
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.segment_planning import KeyframeImage, SegmentPlan, VideoSpec
from kinema.pipeline.segments import Segment, VideoTimeline, split_long_segment
from kinema.pipeline.source_frames import read_source_frames, resize_frames
from kinema.pipeline.tail_latents import read_tail_latents
from kinema.shapes import VideoShape


def resolve_request(
    model: ModelCheckpoint,
    request: VideoRequest,
    *,
    noise: Float[Tensor, "1 c f h w"] | None = None,
    lora_files: Mapping[str, Path] | None = None,
) -> ResolvedRequest:
    """Decide every setting, and check that the model can do it.

    Args:
        model: its defaults and limits.
        request: what the user set.
        noise: in place of the seed's noise.
        lora_files: LoRAs that requests may name, by their names.

    Raises:
        UserError: a setting is out of range, two contradict each other, a file can't be read, or the model
            can't do it; the message says what it can.
    """
    loras = resolve_loras(model, request.loras, lora_files or {})
    defaults = _recipe_defaults(model, request, loras)
    check_combinations(request)
    check_task_supported(model, request)
    fps = defaults.fps if request.fps is None else request.fps
    if not 0 < fps <= 1000:
        raise UserError(f"{fps} frames per second are not possible; give above 0 up to 1000")
    spec, plan = _plan_segments(model, request, fps)
    for segment in plan.segments:
        if segment.join_mode == "cut":
            conditioning = segment.conditioning.resolve_frames(segment.video_shape)
            check_images(model, conditioning, segment.video_shape)
    is_streamed = _needs_streaming(model, plan)
    segments = plan.segments if is_streamed else _split_long_segments(spec, plan.segments)
    source = plan.source_frames
    if noise is not None and (len(segments) > 1 or source is not None):
        raise UserError(
            "this video is sampled in several segments, each with noise of its own; leave out noise"
        )
    if defaults.sigmas and request.num_inference_steps not in (None, len(defaults.sigmas)):
        raise UserError(
            f"the recipe {defaults.recipe} has {len(defaults.sigmas)} steps, not "
            f"{request.num_inference_steps}; leave out num_inference_steps"
        )
    scale = defaults.guidance_scale if request.guidance_scale is None else request.guidance_scale
    scales = scale if isinstance(scale, tuple) else (scale,) * defaults.num_experts
    num_inference_steps, flow_shift = request.num_inference_steps, request.flow_shift
    num_inference_steps = defaults.num_inference_steps if num_inference_steps is None else num_inference_steps
    flow_shift = defaults.flow_shift if flow_shift is None else flow_shift
    size = (segments[0].video_shape.width, segments[0].video_shape.height)
    filled = dataclasses.replace(
        request,
        negative_prompt=segments[0].conditioning.negative_prompt,
        size=size,
        fps=fps,
        num_inference_steps=num_inference_steps,
        guidance_scale=tuple(float(scale) for scale in scales),
        flow_shift=flow_shift,
        # Only where it decides something, so that other requests stay as they were.
        recipe="none" if request.recipe == "none" else defaults.recipe,
    )
    resolved = ResolvedRequest(
        request=filled,
        segments=segments,
        is_streamed=is_streamed,
        timeline=VideoTimeline.from_frames(source, plan.tail_latents)
        if source is not None
        else VideoTimeline.empty(segments[0].video_shape),
        target_video=plan.target_video,
        num_frames=_count_frames(spec, segments, plan),
        size=size,
        fps=fps,
        num_inference_steps=num_inference_steps,
        guidance_scale=tuple(float(scale) for scale in scales),
        flow_shift=flow_shift,
        seed=request.seed,
        noise=noise,
        loras=loras,
        defaults=defaults,
    )
    _check_settings(model, resolved)
    return resolved


def _recipe_defaults(
    model: ModelCheckpoint, request: VideoRequest, loras: Sequence[ResolvedLora]
) -> SamplingDefaults:
    """The model's defaults, under the recipe of the request or of a step-distilled LoRA.

    Raises:
        UserError: there is no such recipe, or the model and its LoRAs are not distilled.
    """
    defaults = model.sampling_defaults
    if request.recipe not in (None, "fast"):
        return defaults if request.recipe == "none" else apply_recipe(defaults, find_recipe(request.recipe))
    for lora in loras:
        for match in lora.matches if any(lora.strengths) else ():
            recipe = recognize_recipe(match.file.path.name, match.file.metadata)
            if recipe is not None:
                return apply_recipe(defaults, recipe)
    return fast_defaults(defaults, name=model.name) if request.recipe == "fast" else defaults


def _needs_streaming(model: ModelCheckpoint, plan: SegmentPlan) -> bool:
    """Whether the plan has a segment that is longer than the model was trained for.

    Videos that are edited, extended, looped or interpolated are not streamed: they exist already and are
    continued segment by segment. Models that can't stream sample up to twice their length in one segment, as
    well as they can; beyond that their videos fall apart.

    Raises:
        UserError: the video is too long for a model that can't stream.
    """
    defaults = model.sampling_defaults
    if plan.source_frames is not None or plan.target_video is not None:
        return False
    for segment in plan.segments:
        if segment.join_mode != "cut" or segment.conditioning.edit_source is not None:
            return False
    if defaults.block_frames is not None:
        require_streaming(model)
        return True
    if defaults.image_conditioning == "control":
        return False  # Each segment continues the frames of the one before.
    longest = max(segment.video_shape.frames for segment in plan.segments)
    if longest <= defaults.num_frames * (1 if defaults.can_stream else 2):
        return False
    require_streaming(model)
    return True


def _split_long_segments(spec: VideoSpec, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Segments longer than the model samples at once, each as a chain of overlapping ones."""
    if spec.window is None or not spec.overlap:
        return segments
    split: list[Segment] = []
    for segment in segments:
        if segment.join_mode == "cut":
            split += split_long_segment(segment, spec.stride, window=spec.window, overlap=spec.overlap)
        else:
            split.append(segment)
    return tuple(split)


def _count_frames(spec: VideoSpec, segments: tuple[Segment, ...], plan: SegmentPlan) -> int:
    """Frames of the finished video, as `VideoTimeline.append` joins the segments."""
    count = 0 if plan.source_frames is None else len(plan.source_frames)
    for segment in segments:
        count += segment.video_shape.frames - len(segment.dropped_frames)
        after = max(1, segment.overlap_after * spec.stride.temporal)
        if segment.join_mode in ("continue", "interpolate", "loop"):
            count -= spec.stride.frames(segment.overlap_before)
        if segment.join_mode in ("prepend", "interpolate", "loop"):
            count -= after
        if segment.join_mode == "interpolate" and plan.target_video is not None:
            count += len(plan.target_video)
    return count


def _plan_segments(
    model: ModelCheckpoint, request: VideoRequest, fps: float
) -> tuple[VideoSpec, SegmentPlan]:
    """The segments of the task, before long ones are split."""
    source = request.source
    match source:
        case ExtendInput():
            frames, spec = _load_source_video(model, request, fps, source.video)
            tail = None if source.backward else _load_tail_latents(model, source.video, spec)
            return spec, segment_planning.plan_extension(
                spec, request.prompt, frames, tail, backward=source.backward, loop=request.loop
            )
        case InterpolateInput():
            frames, spec = _load_source_video(model, request, fps, source.first)
            target = resize_frames(read_source_frames(source.last, fps), spec.size)
            tail = _load_tail_latents(model, source.first, spec)
            return spec, segment_planning.plan_interpolation(spec, request.prompt, frames, tail, target)
        case EditInput():
            frames, spec = _load_source_video(model, request, fps, source.video)
            mask = None if source.mask is None else _read_mask(source.mask, spec, len(frames), fps)
            if source.expand is not None:
                frames, mask, spec = _expand(model, frames, source.expand, spec)
            needs_images = model.sampling_defaults.image_conditioning == "channels"
            return spec, segment_planning.plan_edit(
                spec,
                request.prompt,
                frames,
                strength=source.strength,
                mask=mask,
                control=_control_condition(request, spec, fps),
                references=tuple(load_image(image) for image in request.references),
                image_frames=required_image_frames(model) if needs_images else (),
            )
    if request.storyboard:
        shots = sorted(request.storyboard, key=lambda shot: shot.seconds)
        images = [None if shot.image is None else load_image(shot.image) for shot in shots]
        first = next((image for image in images if image is not None), None)
        spec = _video_spec(model, request, fps, first, requested_num_frames(request, fps))
        return spec, segment_planning.plan_storyboard(spec, shots, images, loop=request.loop)
    return _plan_text_and_images(model, request, fps)


def _plan_text_and_images(
    model: ModelCheckpoint, request: VideoRequest, fps: float
) -> tuple[VideoSpec, SegmentPlan]:
    """A prompt, and images at their times."""
    inputs: list[tuple[int, ImageInput]] = [] if request.image is None else [(0, request.image)]
    inputs += [(round(key.seconds * fps), key.image) for key in request.keyframes]
    inputs += [] if request.last_image is None else [(-1, request.last_image)]
    keyframes = [KeyframeImage(frame=frame, image=load_image(image)) for frame, image in inputs]
    if any(key.frame < -1 or (key.frame < 0 and request.last_image is None) for key in keyframes):
        raise UserError("an image can't stand before the video begins; give times of 0 or more")
    num_frames = request.num_frames
    first = keyframes[0].image if keyframes else None
    if request.control is not None:
        video = read_source_frames(request.control.video, fps)
        first = video[0] if first is None else first
        if num_frames is None and request.seconds is None:
            num_frames = min(len(video), model.sampling_defaults.num_frames)
            num_frames = 1 + (num_frames - 1) // model.vae.stride.temporal * model.vae.stride.temporal
    spec = _video_spec(model, request, fps, first, num_frames)
    if request.seconds is not None:
        num_frames = spec.nearest_valid(requested_num_frames(request, fps) or 1)
        spec = dataclasses.replace(spec, num_frames=num_frames)
    check_shape(model, spec.shape(spec.default_num_frames if spec.num_frames is None else spec.num_frames))
    plan = segment_planning.plan_text_to_video(spec, request.prompt, keyframes, loop=request.loop)
    if request.control is None and not request.references:
        return spec, plan
    # The first segment is the video; a second one closes a loop.
    conditioning = dataclasses.replace(
        plan.segments[0].conditioning,
        control=_control_condition(request, spec, fps),
        references=tuple(load_image(image) for image in request.references),
    )
    first_segment = dataclasses.replace(plan.segments[0], conditioning=conditioning)
    return spec, dataclasses.replace(plan, segments=(first_segment, *plan.segments[1:]))


def _control_condition(request: VideoRequest, spec: VideoSpec, fps: float) -> ControlCondition | None:
    """The control video at the frame rate and size of the result."""
    if request.control is None:
        return None
    frames = resize_frames(read_source_frames(request.control.video, fps), spec.size)
    if request.control.kind == "edge":
        frames = detect_edges(frames)
    return ControlCondition(frames=frames, scale=request.control.scale)


def _read_mask(
    mask: ImageInput, spec: VideoSpec, num_frames: int, fps: float
) -> Float[np.ndarray, "h w"] | Float[np.ndarray, "f h w"]:
    """A mask from an image, or one for each frame from a video; the last frame of a short one stays."""
    path = None if isinstance(mask, np.ndarray) or is_data_url(mask) else Path(mask)
    is_video = path is not None and (path.suffix.lower() in _VIDEO_SUFFIXES or path.is_dir())
    if path is None or not is_video:
        return resize_and_crop(load_image(mask), spec.size).mean(axis=2).astype(np.float32) / 255
    frames = resize_frames(read_source_frames(path, fps)[:num_frames], spec.size)
    grey = frames.mean(axis=3).astype(np.float32) / 255
    return np.concatenate([grey, np.repeat(grey[-1:], num_frames - len(grey), axis=0)])


_VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif")


def _expand(
    model: ModelCheckpoint,
    frames: UInt8[np.ndarray, "f h w 3"],
    expand: tuple[int, int, int, int],
    spec: VideoSpec,
) -> tuple[UInt8[np.ndarray, "f h2 w2 3"], Float[np.ndarray, "h2 w2"], VideoSpec]:
    """A video on a larger canvas, and the mask of what is new."""
    canvas, mask = place_on_canvas(frames, expand)
    size = (canvas.shape[2], canvas.shape[1])
    check_shape(model, VideoShape(frames=1, height=size[1], width=size[0]))
    return canvas, mask, dataclasses.replace(spec, size=size)


def _video_spec(
    model: ModelCheckpoint,
    request: VideoRequest,
    fps: float,
    image: np.ndarray | None,
    num_frames: int | None,
) -> VideoSpec:
    """What all segments have in common; `image` gives the aspect ratio where no size was requested."""
    defaults, stride = model.sampling_defaults, model.vae.stride
    unit = stride.spatial * model.dit.patch_size
    size = request.size
    if size is None:
        size = defaults.size if image is None else size_for_aspect(image, defaults.size, unit)
    check_shape(model, VideoShape(frames=1, height=size[1], width=size[0]))
    continues = defaults.image_conditioning in ("frames", "control")
    window = 1 + stride.groups(defaults.num_frames)
    return VideoSpec(
        size=size,
        fps=fps,
        stride=stride,
        window=window if continues else None,
        overlap=max(1, window // 4) if continues and window > 2 else 0,
        num_frames=num_frames,
        default_num_frames=defaults.num_frames,
        image_pins_one_frame=defaults.image_conditioning in ("channels", "control", "control_channels"),
        negative_prompt=defaults.negative_prompt
        if request.negative_prompt is None
        else request.negative_prompt,
    )


def _load_source_video(
    model: ModelCheckpoint, request: VideoRequest, fps: float, path: VideoPath
) -> tuple[UInt8[np.ndarray, "f h w 3"], VideoSpec]:
    """A source video at the frame rate and size of the result: its own size, if the model can sample that."""
    frames = read_source_frames(path, fps)
    height, width = frames.shape[1:3]
    unit = model.vae.stride.spatial * model.dit.patch_size
    area = model.sampling_defaults.size[0] * model.sampling_defaults.size[1]
    fits = not height % unit and not width % unit and height * width <= area
    if request.size is None and fits:
        request = dataclasses.replace(request, size=(width, height))
    spec = _video_spec(model, request, fps, frames[0], requested_num_frames(request, fps))
    return resize_frames(frames, spec.size), spec


def _load_tail_latents(model: ModelCheckpoint, path: VideoPath, spec: VideoSpec) -> Tensor | None:
    """The tail latents in a file of ours, if they fit the requested size."""
    tail = read_tail_latents(path, model_fingerprint=fingerprint(model.folder))
    side = model.vae.stride.spatial
    expected = (1, model.vae.z_dim, spec.size[1] // side, spec.size[0] // side)
    fits = tail is not None and (*tail.shape[:2], *tail.shape[3:]) == expected
    return tail if fits else None


def _check_settings(model: ModelCheckpoint, resolved: ResolvedRequest) -> None:
    if resolved.num_inference_steps < 1:
        raise UserError(f"{resolved.num_inference_steps} steps are not possible; give 1 or more")
    if not 0 < resolved.flow_shift < float("inf"):
        raise UserError(f"a flow shift of {resolved.flow_shift} is not possible; give a number above 0")
    if not 0 <= resolved.seed < 2**63:
        raise UserError(f"the seed {resolved.seed} is out of range; give 0 up to 2^63 - 1")
    _check_step_cache(resolved)
    experts = model.sampling_defaults.num_experts
    if len(resolved.guidance_scale) != experts:
        raise UserError(
            f"{len(resolved.guidance_scale)} guidance scales for a model of {experts} "
            f"transformer{'s' if experts > 1 else ''}; give one for each, or one for all"
        )
    if not all(0 <= scale < 1000 for scale in resolved.guidance_scale):
        raise UserError(
            f"a guidance scale of {resolved.guidance_scale} is out of range; give 1 (off) to about 10"
        )


def _check_step_cache(resolved: ResolvedRequest) -> None:
    threshold = resolved.request.step_cache
    if threshold is None:
        return
    if not 0 < threshold <= 1:
        raise UserError(f"step_cache can't be {threshold}; give above 0 up to 1, for example 0.05")
    if resolved.is_streamed:
        raise UserError("a video that is sampled block by block has no step cache; leave out step_cache")
    if resolved.num_inference_steps <= sampling.StepCache.MIN_STEPS:
        raise UserError(
            f"of {resolved.num_inference_steps} steps a step cache could skip none; leave out step_cache, or "
            "give more steps"
        )
