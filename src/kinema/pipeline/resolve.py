"""A film to be made: every setting decided, and checked against what the model can do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import UserError
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import ModelCheckpoint
from kinema.pipeline import segment_planning
from kinema.pipeline.conditioning import Conditioning
from kinema.pipeline.images import load_image, resize_and_crop, size_for_aspect
from kinema.pipeline.request import (
    EditInput,
    ExtendInput,
    ImageInput,
    InterpolateInput,
    Keyframe,
    Shot,
    VideoPath,
    VideoRequest,
)
from kinema.pipeline.segment_planning import KeyframeImage, SegmentPlan, VideoSpec
from kinema.pipeline.segments import Segment, VideoTimeline, empty_timeline
from kinema.pipeline.tail_latents import read_tail_latents
from kinema.shapes import VideoShape

__all__ = [
    "InterpolateInput",
    "EditInput",
    "ExtendInput",
    "ImageInput",
    "Keyframe",
    "ResolvedRequest",
    "Shot",
    "VideoRequest",
    "resolve_request",
]

UPSCALE_FACTORS = (1, 2, 4)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedRequest:
    """A film to be made, every setting decided.

    Attributes:
        segments: the runs of the solver that make it, one for most films.
        timeline: the film before the first take: nothing, or the one that is to go on.
        target_video: the film that a bridge leads up to.
        fps: frames per second.
        num_inference_steps: of the solver, in each take.
        guidance_scale: scale of each expert.
        flow_shift: of the noise schedule.
        seed: of the noise.
        noise: in place of the seed's; of the only take.
        request: what was asked for.
    """

    segments: tuple[Segment, ...]
    timeline: VideoTimeline
    target_video: UInt8[np.ndarray, "f h w 3"] | None = None
    fps: float
    num_inference_steps: int
    guidance_scale: tuple[float, ...]
    flow_shift: float
    seed: int
    noise: Float[Tensor, "1 c f h w"] | None = None
    request: VideoRequest

    @property
    def conditioning(self) -> Conditioning:
        """What the first take is made from."""
        return self.segments[0].conditioning

    @property
    def video_shape(self) -> VideoShape:
        """What the first take makes."""
        return self.segments[0].video_shape

    @property
    def largest_shape(self) -> VideoShape:
        """The longest take."""
        return max((take.video_shape for take in self.segments), key=lambda film: film.frames)

    @property
    def num_encodes(self) -> int:
        """The most pictures and films that the autoencoder has to read for a take."""
        return max(take.conditioning.num_encodes + (take.join_mode != "cut") for take in self.segments)


def resolve_request(model: ModelCheckpoint, video_request: VideoRequest) -> ResolvedRequest:
    """Decide every setting, and check that the model can do it.

    Raises:
        UserError: a setting is out of range, two contradict each other, a file can't be read, or the model
            can't do it; the message says what it can.
    """
    recipe = model.sampling_defaults
    _check_combinations(video_request)
    _check_task_supported(model, video_request)
    fps = recipe.fps if video_request.fps is None else video_request.fps
    if not 0 < fps <= 1000:
        raise UserError(f"{fps} frames per second are not possible; give above 0 up to 1000")
    draft = _plan_segments(model, video_request, fps)
    for take in draft.segments:
        if take.join_mode == "cut":
            _check_images(model, take.conditioning.resolve_frames(take.video_shape), take.video_shape)
    if video_request.noise is not None and (len(draft.segments) > 1 or draft.source_frames is not None):
        raise UserError("this film takes more than noise of its own size to make; leave out noise")
    guidance = recipe.guidance_scale if video_request.guidance_scale is None else video_request.guidance_scale
    scales = guidance if isinstance(guidance, tuple) else (guidance,) * recipe.num_experts
    reel = (
        empty_timeline(draft.segments[0].video_shape)
        if draft.source_frames is None
        else VideoTimeline.from_frames(draft.source_frames, draft.tail_latents)
    )
    request = ResolvedRequest(
        segments=draft.segments,
        timeline=reel,
        target_video=draft.target_video,
        fps=fps,
        num_inference_steps=recipe.num_inference_steps
        if video_request.num_inference_steps is None
        else video_request.num_inference_steps,
        guidance_scale=tuple(float(scale) for scale in scales),
        flow_shift=recipe.flow_shift if video_request.flow_shift is None else video_request.flow_shift,
        seed=video_request.seed,
        noise=video_request.noise,
        request=video_request,
    )
    _check_settings(model, request)
    return request


def _plan_segments(model: ModelCheckpoint, request: VideoRequest, fps: float) -> SegmentPlan:
    """The takes of the verb."""
    source = request.source
    if isinstance(source, ExtendInput):
        reel, canvas = _load_source_video(model, request, fps, source.video)
        tail = _load_tail_latents(model, source.video, canvas) if not source.backward else None
        return segment_planning.plan_extension(canvas, request.prompt, reel, tail, backward=source.backward)
    if isinstance(source, InterpolateInput):
        reel, canvas = _load_source_video(model, request, fps, source.first)
        goal = _resize_frames(_read_frames(source.last, fps), canvas.size)
        return segment_planning.plan_interpolation(
            canvas, request.prompt, reel, _load_tail_latents(model, source.first, canvas), goal
        )
    if isinstance(source, EditInput):
        reel, canvas = _load_source_video(model, request, fps, source.video)
        mask = None if source.mask is None else resize_and_crop(load_image(source.mask), canvas.size)
        return segment_planning.plan_edit(
            canvas,
            request.prompt,
            reel,
            strength=source.strength,
            mask=None if mask is None else mask.mean(axis=2).astype(np.float32) / 255,
            image_frames=_required_image_frames(model)
            if model.sampling_defaults.image_conditioning == "channels"
            else (),
        )
    if request.storyboard:
        shots = sorted(request.storyboard, key=lambda shot: shot.seconds)
        images = [None if shot.image is None else load_image(shot.image) for shot in shots]
        first = next((image for image in images if image is not None), None)
        canvas = _video_spec(model, request, fps, first, _requested_num_frames(request, fps))
        return segment_planning.plan_storyboard(canvas, shots, images, loop=request.loop)
    return _plan_text_and_images(model, request, fps)


def _plan_text_and_images(model: ModelCheckpoint, request: VideoRequest, fps: float) -> SegmentPlan:
    """Words, and pictures at their times."""
    given: list[tuple[int, ImageInput]] = [] if request.image is None else [(0, request.image)]
    given += [(round(key.seconds * fps), key.image) for key in request.keyframes]
    given += [] if request.last_image is None else [(-1, request.last_image)]
    stills = [KeyframeImage(frame=frame, image=load_image(image)) for frame, image in given]
    if any(still.frame < -1 or (still.frame < 0 and request.last_image is None) for still in stills):
        raise UserError("a picture can't stand before the film begins; give times of 0 or more")
    canvas = _video_spec(model, request, fps, stills[0].image if stills else None, request.num_frames)
    if request.seconds is not None:
        canvas = dataclasses.replace(
            canvas, num_frames=canvas.nearest_valid(_requested_num_frames(request, fps) or 1)
        )
    _check_shape(
        model, canvas.shape(canvas.default_num_frames if canvas.num_frames is None else canvas.num_frames)
    )
    return segment_planning.plan_text_to_video(canvas, request.prompt, stills, loop=request.loop)


def _video_spec(
    model: ModelCheckpoint,
    request: VideoRequest,
    fps: float,
    image: np.ndarray | None,
    num_frames: int | None,
) -> VideoSpec:
    """What all takes have in common; `image` gives the proportions where no size was asked for."""
    recipe, stride = model.sampling_defaults, model.vae.stride
    unit = stride.spatial * model.dit.patch_size
    size = request.size
    if size is None:
        size = recipe.size if image is None else size_for_aspect(image, recipe.size, unit)
    _check_shape(model, VideoShape(frames=1, height=size[1], width=size[0]))
    onward = recipe.image_conditioning == "frames"
    window = 1 + stride.groups(recipe.num_frames)
    return VideoSpec(
        size=size,
        fps=fps,
        stride=stride,
        window=window if onward else None,
        overlap=max(1, window // 4) if onward and window > 2 else 0,
        num_frames=num_frames,
        default_num_frames=recipe.num_frames,
        image_pins_one_frame=recipe.image_conditioning == "channels",
        negative_prompt=recipe.negative_prompt
        if request.negative_prompt is None
        else request.negative_prompt,
    )


def _load_source_video(
    model: ModelCheckpoint, request: VideoRequest, fps: float, path: VideoPath
) -> tuple[UInt8[np.ndarray, "f h w 3"], VideoSpec]:
    """A film at the frame rate and size in which it goes on: its own, if the model can make that."""
    frames = _read_frames(path, fps)
    height, width = frames.shape[1:3]
    unit = model.vae.stride.spatial * model.dit.patch_size
    area = model.sampling_defaults.size[0] * model.sampling_defaults.size[1]
    own = not height % unit and not width % unit and height * width <= area
    if request.size is None and own:
        request = dataclasses.replace(request, size=(width, height))
    canvas = _video_spec(model, request, fps, frames[0], _requested_num_frames(request, fps))
    return _resize_frames(frames, canvas.size), canvas


def _read_frames(path: VideoPath, fps: float) -> UInt8[np.ndarray, "f h w 3"]:
    """A film's frames at that rate: for each moment the frame that is on screen."""
    from kinema.media.read import read_video

    footage = read_video(path)
    count = max(1, round(footage.duration * fps))
    if count == len(footage.frames):
        return footage.frames
    # A hair later than the moment: times in files are rounded.
    moments = (np.arange(count) + 1e-3) / fps
    shown = np.searchsorted(footage.times, moments, side="right") - 1
    return footage.frames[np.clip(shown, 0, len(footage.frames) - 1)]


def _resize_frames(
    frames: UInt8[np.ndarray, "f h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "f h2 w2 3"]:
    if (frames.shape[2], frames.shape[1]) == size:
        return frames
    return np.stack([resize_and_crop(frame, size) for frame in frames])


def _load_tail_latents(model: ModelCheckpoint, path: VideoPath, spec: VideoSpec) -> Tensor | None:
    """The latents that come with a film of ours, if it is used as it is."""
    tail = read_tail_latents(path, model_fingerprint=fingerprint(model.folder))
    side = model.vae.stride.spatial
    expected = (1, model.vae.z_dim, spec.size[1] // side, spec.size[0] // side)
    fits = tail is not None and (*tail.shape[:2], *tail.shape[3:]) == expected
    return tail if fits else None


def _requested_num_frames(request: VideoRequest, fps: float) -> int | None:
    """Frames that are asked for, however many."""
    if request.seconds is None:
        return request.num_frames
    if not 0 < request.seconds * fps < 1e7:
        raise UserError(
            f"{request.seconds} seconds at {fps} frames per second make no film; give more than 0"
        )
    return max(1, round(request.seconds * fps))


def _check_shape(model: ModelCheckpoint, video_shape: VideoShape) -> None:
    near = video_shape.rounded(model.vae.stride, model.dit.patch_size)
    if (near.width, near.height) != (video_shape.width, video_shape.height):
        unit = model.vae.stride.spatial * model.dit.patch_size
        raise UserError(
            f"films of {video_shape.width}x{video_shape.height} do not fit this model: sides must be multiples of {unit}; "
            f"the nearest is {near.width}x{near.height}"
        )
    if near != video_shape:
        raise UserError(
            f"{video_shape.frames} frames do not fit this model: frames must be a multiple of "
            f"{model.vae.stride.temporal} plus 1; the nearest is {near.frames} frames"
        )


def _check_combinations(request: VideoRequest) -> None:
    """What no model can do."""
    if request.num_frames is not None and request.seconds is not None:
        raise UserError("frames and seconds both say how long the film is; give one of them")
    if request.num_frames is not None and request.num_frames < 1:
        raise UserError(f"{request.num_frames} frames are no film; give 1 or more")
    if request.upscale not in UPSCALE_FACTORS:
        raise UserError(f"a film can't be refined {request.upscale} times; give 1, 2 or 4")
    pictures = [
        name
        for name, given in (
            ("image", request.image), ("last_image", request.last_image), ("keyframes", request.keyframes or None)
        )
        if given is not None
    ]  # fmt: skip
    if request.storyboard and (pictures or request.prompt):
        what = pictures[0] if pictures else "prompt"
        raise UserError(f"a storyboard has prompts and pictures of its own; put the {what} into a shot")
    if request.loop and request.last_image is not None:
        raise UserError("a loop has no last picture: its end flows into its beginning; leave out last_image")
    if request.source is not None:
        others = [
            *pictures,
            *(["storyboard"] if request.storyboard else []),
            *(["loop"] if request.loop else []),
        ]
        verb = {ExtendInput: "an extension", InterpolateInput: "a bridge", EditInput: "an edit"}[
            type(request.source)
        ]
        if others:
            raise UserError(f"{verb} starts from films alone; leave out {others[0]}")
        if isinstance(request.source, EditInput) and _requested_num_frames(request, 1.0) is not None:
            raise UserError("an edit is as long as the film it changes; leave out frames and seconds")


def _check_task_supported(model: ModelCheckpoint, request: VideoRequest) -> None:
    """What this model can't do."""
    kind, source = model.sampling_defaults.image_conditioning, request.source
    if kind == "frames" or isinstance(source, EditInput) or (source is None and not request.loop):
        return
    both = bool(model.dit.image_positions)
    if isinstance(source, ExtendInput) and not source.backward and kind == "channels" and not both:
        return
    if isinstance(source, InterpolateInput) and kind == "channels" and both:
        return
    what = "close a loop" if source is None else "connect films"
    if isinstance(source, ExtendInput):
        what = f"extend films{' backward' if source.backward else ''}"
    raise UserError(
        f"{model.name} can't {what}; use a model that takes given frames anywhere (world, Wan 2.2 TI2V-5B)"
    )


def _required_image_frames(model: ModelCheckpoint) -> tuple[int, ...]:
    """Frames at which a model that reads pictures beside the noise wants them."""
    return (0, -1) if model.dit.image_positions else (0,)


def _check_settings(model: ModelCheckpoint, resolved: ResolvedRequest) -> None:
    if resolved.num_inference_steps < 1:
        raise UserError(f"{resolved.num_inference_steps} steps make no film; give 1 or more")
    if not 0 < resolved.flow_shift < float("inf"):
        raise UserError(f"a shift of {resolved.flow_shift} is not possible; give a number above 0")
    if not 0 <= resolved.seed < 2**63:
        raise UserError(f"the seed {resolved.seed} is out of range; give 0 up to 2^63 - 1")
    experts = model.sampling_defaults.num_experts
    if len(resolved.guidance_scale) != experts:
        raise UserError(
            f"{len(resolved.guidance_scale)} guidance scales for a model of {experts} "
            f"transformer{'s' if experts > 1 else ''}; give one for each, or one for all"
        )
    if not all(0 <= scale < 1000 for scale in resolved.guidance_scale):
        raise UserError(f"guidance {resolved.guidance_scale} is out of range; give 1 (off) to about 10")


def _check_images(model: ModelCheckpoint, conditioning: Conditioning, video_shape: VideoShape) -> None:
    """Whether the model takes these pictures."""
    frames = [picture.frame for picture in conditioning.images]
    pictures = model.sampling_defaults.image_conditioning
    if pictures == "none" and frames:
        raise UserError(
            f"{model.name} makes films from text alone; for pictures use a model that takes them "
            "(Wan image-to-video, Wan 2.2 TI2V-5B, world)"
        )
    if pictures != "channels":
        return
    ends = {0, video_shape.frames - 1} if model.dit.image_positions else {0}
    if model.dit.image_positions and set(frames) != ends:
        raise UserError(f"{model.name} connects a first and a last picture; give image and last_image")
    if not frames:
        raise UserError(f"{model.name} makes films from a picture; give image")
    if model.has_image_encoder and set(frames) != ends:
        raise UserError(f"{model.name} starts from one picture; give image alone")
