"""Checks of a request against the served model and the operator's limits; each error names its parameter.

Clients written for the hosted service ask for `sora-2` in one of four sizes, and the official client knows no
other values. Here they stand for the served model, in portrait or landscape format, at its own scale.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.server.errors import bad_request
from kinema.server.model_info import ModelInfo, format_seconds, size_for_aspect
from kinema.server.schemas.requests import CreateVideoRequest, GenerationOptions
from kinema.server.settings import Limits
from kinema.shapes import parse_size

MODEL_ALIASES = ("sora-2", "sora-2-pro")
"""Other names of the served model."""
OPENAI_SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024")
"""Sizes of the hosted service. A model that can't generate one uses its own size in that aspect ratio."""


@dataclass(frozen=True, kw_only=True)
class ResolvedFormat:
    """Model, size and length of a video: as reported to the client, and as generated.

    Attributes:
        model: the name that the client used.
        size: the size that the client requested, as text.
        seconds: the length as text.
        width, height: in pixels, before upscaling.
        duration_s: the length in seconds.
    """

    model: str
    size: str
    seconds: str
    width: int
    height: int
    duration_s: float


def resolve_format(
    model_info: ModelInfo, limits: Limits, *, model: str | None, size: str | None, seconds: float | None
) -> ResolvedFormat:
    """Size and length of a request. Defaults are the model's own, or for an alias the hosted service's.

    Raises:
        ApiError: another model is served, or this one can't generate the size or length.
    """
    name = _resolve_model(model_info, model)
    has_own_name = name == model_info.name
    if size is None:
        # No aspect ratio was requested: the model's own size gives the best quality.
        width, height = model_info.width, model_info.height
        size = f"{width}x{height}" if has_own_name else OPENAI_SIZES[1 if width > height else 0]
    else:
        width, height = _resolve_pixel_size(model_info, limits, size)
    if seconds is None:
        seconds = model_info.seconds if has_own_name else 4.0
    check_duration(model_info, limits, seconds)
    return ResolvedFormat(
        model=name,
        size=size,
        seconds=format_seconds(seconds),
        width=width,
        height=height,
        duration_s=seconds,
    )


def check_duration(model_info: ModelInfo, limits: Limits, seconds: float) -> None:
    """Refuse lengths beyond the limits.

    Raises:
        ApiError: the length is not allowed.
    """
    longest = min(limits.max_seconds, limits.max_frames / model_info.fps)
    if not 0 < seconds <= longest:
        raise bad_request(
            f"A video of {format_seconds(seconds)} seconds is not possible here; "
            f"request above 0 up to {format_seconds(longest)}.",
            param="seconds",
        )


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
    max_pixels = _max_pixels(model_info, limits)
    if factor > 1 and size[0] * size[1] * factor**2 > max_pixels:
        raise bad_request(
            f"{size[0]}x{size[1]} upscaled by {factor} has more than the {max_pixels} pixels allowed; "
            "request a smaller size or factor.",
            param="upscale",
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


def _resolve_model(model_info: ModelInfo, model: str | None) -> str:
    if model is None:
        return MODEL_ALIASES[0]
    if model != model_info.name and model not in MODEL_ALIASES:
        names = ", ".join((model_info.name, *MODEL_ALIASES))
        raise bad_request(f"There is no model {model[:100]!r} here; available: {names}.", param="model")
    return model


def _max_pixels(model_info: ModelInfo, limits: Limits) -> int:
    return limits.max_frame_pixels or 16 * model_info.width * model_info.height


def _resolve_pixel_size(model_info: ModelInfo, limits: Limits, size: str) -> tuple[int, int]:
    """Width and height to generate for a requested size."""
    max_pixels, multiple = _max_pixels(model_info, limits), model_info.size_multiple
    try:
        width, height = parse_size(size) if len(size) < 20 else (0, 0)
    except UserError:
        width = height = 0
    fits = 0 < width * height <= max_pixels and width % multiple == 0 and height % multiple == 0
    if fits and max(width, height) <= 8 * min(width, height):
        return width, height
    if size in OPENAI_SIZES:
        return size_for_aspect(model_info, width / height)
    sizes = [(model_info.width, model_info.height)]
    sizes += [size_for_aspect(model_info, aspect_ratio) for aspect_ratio in (1, 16 / 9, 9 / 16)]
    examples = ", ".join(dict.fromkeys(f"{width}x{height}" for width, height in sizes))
    raise bad_request(
        f"{model_info.name} can't generate {size[:40]!r}. It generates {examples}, and any width x height of "
        f"multiples of {multiple} with at most {max_pixels} pixels; for {', '.join(OPENAI_SIZES)} it uses "
        "their aspect ratio at its own scale.",
        param="size",
    )
