"""Checks of a request against the served model and the operator's limits; each error names its parameter."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from kinema.server.errors import bad_request
from kinema.server.model_info import ModelInfo, format_seconds
from kinema.server.schemas.requests import CreateVideoRequest, EditRequest, GenerationOptions
from kinema.server.settings import Limits
from kinema.server.video_format import max_pixels


def check_options(
    body: GenerationOptions,
    model_info: ModelInfo,
    limits: Limits,
    *,
    size: tuple[int, int],
    duration_s: float,
    default_upscale: int = 1,
) -> None:
    """Check the options that all requests have.

    Args:
        body: the request.
        model_info: the served model.
        limits: of the operator.
        size: width and height before upscaling.
        duration_s: length of the finished video in seconds.
        default_upscale: where the body sets no factor.

    Raises:
        ApiError: an option is beyond the limits.
    """
    if body.num_inference_steps is not None and body.num_inference_steps > limits.max_inference_steps:
        raise bad_request(
            f"{body.num_inference_steps} steps are not possible here; "
            f"request 1 to {limits.max_inference_steps}.",
            param="num_inference_steps",
        )
    fps = body.fps or model_info.fps
    if duration_s * fps > limits.max_frames:
        raise bad_request(
            f"{format_seconds(duration_s)} seconds at {fps:g} frames per second are more than the "
            f"{limits.max_frames} frames allowed; request less.",
            param="fps",
        )
    factor = default_upscale if body.upscale is None else body.upscale
    if factor not in model_info.upscale_factors:
        factors = ", ".join(map(str, model_info.upscale_factors))
        raise bad_request(f"{model_info.name} upscales by {factors}, not by {factor}.", param="upscale")
    most = max_pixels(model_info, limits)
    if factor > 1 and size[0] * size[1] * factor**2 > most:
        raise bad_request(
            f"{size[0]}x{size[1]} upscaled by {factor} has more than the {most} pixels allowed; "
            "request a smaller size or factor.",
            param="upscale",
        )
    _check_experts(body, model_info)
    _check_loras(body, model_info)


def _check_loras(body: GenerationOptions, model_info: ModelInfo) -> None:
    """Check that the server has the LoRAs."""
    for number, lora in enumerate(body.loras or ()):
        if lora.name not in model_info.loras:
            available = ", ".join(model_info.loras) or "none"
            raise bad_request(
                f"There is no LoRA {lora.name!r} here; available: {available}.", param=f"loras.{number}.name"
            )
        if lora.low_noise_strength is not None and model_info.num_experts < 2:
            raise bad_request(
                f"{model_info.name} has one transformer; give the LoRA one strength.",
                param=f"loras.{number}.low_noise_strength",
            )


def _check_experts(body: GenerationOptions, model_info: ModelInfo) -> None:
    """Check the options of models with two experts."""
    if body.guidance_scale_2 is not None and model_info.num_experts < 2:
        raise bad_request(
            f"{model_info.name} has one transformer and one guidance scale; leave out guidance_scale_2.",
            param="guidance_scale_2",
        )
    if body.guidance_scale_2 is not None and body.guidance_scale is None:
        raise bad_request(
            "guidance_scale_2 is the scale of the second expert; send guidance_scale for the first one too.",
            param="guidance_scale",
        )
    own = model_info.boundary_ratio
    if body.boundary_ratio is not None and (own is None or abs(body.boundary_ratio - own) > 1e-6):
        reason = "has one transformer" if own is None else f"switches experts at {own:g}, as it was trained"
        raise bad_request(f"{model_info.name} {reason}; leave out boundary_ratio.", param="boundary_ratio")


def check_control_inputs(body: GenerationOptions, model_info: ModelInfo) -> None:
    """Check that the model takes control videos, references, and expanded frames, where a body has them.

    Raises:
        ApiError: it does not; the error names the parameter.
    """
    sent = {
        "control": isinstance(body, CreateVideoRequest) and body.control is not None,
        "references": isinstance(body, CreateVideoRequest) and bool(body.references),
        "expand": isinstance(body, EditRequest) and body.expand is not None,
    }
    for param, is_sent in sent.items():
        if is_sent and param not in model_info.control_inputs:
            raise bad_request(
                f"{model_info.name} has no control branch, which '{param}' needs; use Wan VACE.", param=param
            )
    if isinstance(body, EditRequest) and body.expand is not None:
        if body.mask is not None:
            raise bad_request("An edit has a mask or is expanded, not both; leave one out.", param="expand")
        if not any(body.expand):
            raise bad_request("Expand by at least one pixel, or leave 'expand' out.", param="expand")


def check_expanded_size(
    expand: Sequence[int], size: tuple[int, int], model_info: ModelInfo, limits: Limits
) -> None:
    """Check the size of a video with added pixels; `size` is that without them.

    Raises:
        ApiError: the model can't make it, or it is beyond the limits.
    """
    width, height = size[0] + expand[0] + expand[2], size[1] + expand[1] + expand[3]
    unit = model_info.size_multiple
    if width % unit or height % unit:
        raise bad_request(
            f"The video would have {width}x{height} pixels, and sides must be multiples of {unit}; "
            f"its source has {size[0]}x{size[1]}.",
            param="expand",
        )
    if width * height > max_pixels(model_info, limits):
        raise bad_request(
            f"The video would have {width}x{height} pixels, more than the "
            f"{max_pixels(model_info, limits)} allowed.",
            param="expand",
        )


def check_timeline(body: CreateVideoRequest, model_info: ModelInfo, duration_s: float) -> None:
    """Check images, keyframes and the storyboard of a new video.

    Raises:
        ApiError: the model takes no images, or a time is out of order or beyond the end.
    """
    if not model_info.supports_images:
        for param, _ in body.image_inputs():
            raise bad_request(
                f"{model_info.name} generates videos from text alone; send no images.", param=param
            )
    times = [shot.seconds for shot in body.storyboard]
    if times and (times[0] != 0 or any(b <= a for a, b in itertools.pairwise(times))):
        raise bad_request(
            "The first shot of a storyboard starts at 0 seconds, and each other shot after the one before.",
            param="storyboard",
        )
    if times and times[-1] >= duration_s:
        raise bad_request(
            f"A shot starts at {format_seconds(times[-1])} seconds, but the video ends at "
            f"{format_seconds(duration_s)}.",
            param="storyboard",
        )
    for keyframe in body.keyframes:
        if keyframe.seconds > duration_s:
            raise bad_request(
                f"A keyframe is at {format_seconds(keyframe.seconds)} seconds, but the video ends at "
                f"{format_seconds(duration_s)}.",
                param="keyframes",
            )
