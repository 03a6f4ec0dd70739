"""Checks of a request: combinations that no model can do, and limits of a checkpoint."""

from __future__ import annotations

from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint
from kinema.pipeline.conditioning import Conditioning
from kinema.pipeline.request import EditInput, ExtendInput, InterpolateInput, VideoRequest, check_text
from kinema.shapes import VideoShape

UPSCALE_FACTORS = (1, 2, 4)
MAX_SHOTS = 500
"""Of a storyboard; likewise keyframes. Each shot is a run of the sampler, and planning compares them all."""


def requested_num_frames(request: VideoRequest, fps: float) -> int | None:
    """The requested length in frames, before rounding to what the model can sample."""
    if request.seconds is None:
        return request.num_frames
    if not 0 < request.seconds * fps < 1e7:
        raise UserError(
            f"{request.seconds} seconds at {fps} frames per second give no video; give more than 0"
        )
    return max(1, round(request.seconds * fps))


def check_combinations(request: VideoRequest) -> None:
    """Refuse what no model can do."""
    _check_texts(request)
    if request.num_frames is not None and request.seconds is not None:
        raise UserError("num_frames and seconds both set the length; give one of them")
    if request.num_frames is not None and request.num_frames < 1:
        raise UserError(f"{request.num_frames} frames are not possible; give 1 or more")
    if request.upscale not in UPSCALE_FACTORS:
        raise UserError(f"a video can't be upscaled by {request.upscale}; give 1, 2 or 4")
    for name, count in (("shots", len(request.storyboard)), ("keyframes", len(request.keyframes))):
        if count > MAX_SHOTS:
            raise UserError(f"{count} {name} are not possible; give at most {MAX_SHOTS}")
    images = [
        name
        for name, value in (
            ("image", request.image),
            ("last_image", request.last_image),
            ("keyframes", request.keyframes or None),
        )
        if value is not None
    ]
    if request.storyboard and (images or request.prompt):
        what = images[0] if images else "prompt"
        raise UserError(f"a storyboard has prompts and images of its own; put the {what} into a shot")
    if request.storyboard and (request.control is not None or request.references):
        raise UserError("a storyboard has no control video and no reference images; leave them out")
    if request.loop and request.last_image is not None:
        raise UserError("a loop has no last image: its last frame leads into its first; leave out last_image")
    if request.source is not None:
        leads_back = isinstance(request.source, ExtendInput) and not request.source.backward
        others = [
            *images,
            *(["storyboard"] if request.storyboard else []),
            *(["loop"] if request.loop and not leads_back else []),
        ]
        task = {"extend": "an extension", "interpolate": "an interpolation", "edit": "an edit"}[
            request.source.kind
        ]
        if others:
            raise UserError(f"{task} starts from videos alone; leave out {others[0]}")
        if request.control is not None and not isinstance(request.source, EditInput):
            raise UserError(f"{task} has no control video; leave out control")
        if request.references and not isinstance(request.source, EditInput):
            raise UserError(f"{task} has no reference images; leave out references")
        if isinstance(request.source, EditInput) and requested_num_frames(request, 1.0) is not None:
            raise UserError("an edit is as long as its source; leave out num_frames and seconds")


def _check_texts(request: VideoRequest) -> None:
    texts = {"the prompt": request.prompt, "the negative prompt": request.negative_prompt or ""}
    texts |= {
        f"the prompt of shot {number}": shot.prompt for number, shot in enumerate(request.storyboard, 1)
    }
    for name, text in texts.items():
        try:
            check_text(text)
        except ValueError as error:
            raise UserError(f"{name} is not possible: {error}") from None


def check_task_supported(model: ModelCheckpoint, request: VideoRequest) -> None:
    """Refuse tasks that this model can't do."""
    kind, source = model.sampling_defaults.image_conditioning, request.source
    expands = isinstance(source, EditInput) and source.expand is not None
    reads_channels = kind == "control_channels" and not request.references and not expands
    if reads_channels and request.control is not None and request.control.scale != 1:
        raise UserError(f"{model.name} takes a control video as it is; leave out its scale, or use Wan VACE")
    if kind != "control" and not reads_channels and (request.control or request.references or expands):
        what = "a control video" if request.control is not None else "reference images"
        if expands:
            what = "an expanded frame"
        raise UserError(
            f"{model.name} has no control branch, which {what} needs; use Wan VACE (1.3B, 14B, Fun-VACE-A14B)"
        )
    if (
        kind in ("frames", "control")
        or isinstance(source, EditInput)
        or (source is None and not request.loop)
    ):
        return
    both = bool(model.dit.image_positions)
    forward = isinstance(source, ExtendInput) and not source.backward
    if forward and not request.loop and kind == "channels" and not both:
        return
    if isinstance(source, InterpolateInput) and kind == "channels" and both:
        return
    what = "close a loop" if source is None or request.loop else "interpolate between videos"
    if isinstance(source, ExtendInput) and not request.loop:
        what = f"extend videos{' backward' if source.backward else ''}"
    raise UserError(
        f"{model.name} can't {what}; use a model that takes known frames anywhere (world, Wan 2.2 TI2V-5B)"
    )


def check_shape(model: ModelCheckpoint, video_shape: VideoShape) -> None:
    """Refuse sizes and lengths that the model can't sample; name the nearest one."""
    nearest = video_shape.rounded(model.vae.stride, model.dit.patch_size)
    if (nearest.width, nearest.height) != (video_shape.width, video_shape.height):
        unit = model.vae.stride.spatial * model.dit.patch_size
        raise UserError(
            f"videos of {video_shape.width}x{video_shape.height} do not fit this model: sides must be "
            f"multiples of {unit}; the nearest is {nearest.width}x{nearest.height}"
        )
    if nearest != video_shape:
        raise UserError(
            f"{video_shape.frames} frames do not fit this model: frames must be a multiple of "
            f"{model.vae.stride.temporal} plus 1; the nearest is {nearest.frames} frames"
        )


def check_images(model: ModelCheckpoint, conditioning: Conditioning, video_shape: VideoShape) -> None:
    """Refuse images that the model can't take."""
    frames = [image.frame for image in conditioning.images]
    kind = model.sampling_defaults.image_conditioning
    if kind == "none" and frames:
        raise UserError(
            f"{model.name} generates videos from text alone; for images use a model that takes them "
            "(Wan image-to-video, Wan 2.2 TI2V-5B, world)"
        )
    if kind == "control_channels" and set(frames) - {0}:
        raise UserError(f"{model.name} takes an image as the first frame alone; leave out the others")
    if kind in ("control", "control_channels") and any(image.sigma for image in conditioning.images):
        raise UserError(f"{model.name} takes clean images only; leave out their noise")
    if kind != "channels":
        return
    ends = {0, video_shape.frames - 1} if model.dit.image_positions else {0}
    if model.dit.image_positions and set(frames) != ends:
        raise UserError(f"{model.name} needs a first and a last image; give image and last_image")
    if not frames:
        raise UserError(f"{model.name} generates videos from an image; give image")
    if model.has_image_encoder and set(frames) != ends:
        raise UserError(f"{model.name} starts from one image; give image alone")


def required_image_frames(model: ModelCheckpoint) -> tuple[int, ...]:
    """Frames at which a model with image channels needs images."""
    return (0, -1) if model.dit.image_positions else (0,)


def require_streaming(model: ModelCheckpoint) -> None:
    """Refuse a model that can't continue from finished frames; say how long its videos are."""
    defaults = model.sampling_defaults
    if not defaults.can_stream:
        raise UserError(
            f"{model.name} can't continue from finished frames, so its videos end after "
            f"{defaults.num_frames} frames ({defaults.num_frames / defaults.fps:.1f} s); for longer ones use "
            "a model with a noise level for each latent frame (world, Wan 2.2 TI2V-5B)"
        )
