"""Model, size and length of a new video: as requested, and as this model generates it.

Clients written for hosted services ask for `sora-2` in one of four sizes, or for `720p`. Here they stand for
the served model. A model that can't generate such a size uses its own number of pixels in that aspect ratio,
and the response has the size that is generated. Every other size that does not fit is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.server.errors import bad_request
from kinema.server.model_info import ModelInfo, format_seconds, size_for_aspect
from kinema.server.schemas.requests import CreateVideoRequest
from kinema.server.settings import Limits
from kinema.shapes import parse_size

MODEL_ALIASES = ("sora-2", "sora-2-pro")
"""Other names of the served model."""
OPENAI_SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024")
"""Sizes of the hosted service. A model that can't generate one uses its own size in that aspect ratio."""
RESOLUTIONS = {
    "360p": 360, "480p": 480, "540p": 540, "580p": 580, "720p": 720, "768p": 768, "1080p": 1080,
    "1K": 1024, "2K": 1440, "4K": 2160,
}  # fmt: skip
"""Names of resolutions, with the length of the shorter side in pixels."""
_MAX_ASPECT_RATIO = 8.0
_ASPECT_RATIO = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)[:/x](\d{1,4}(?:\.\d{1,3})?)")


@dataclass(frozen=True, kw_only=True)
class ResolvedFormat:
    """Model, size and length of a video.

    Attributes:
        model: the name that the client used.
        width, height: in pixels, before upscaling.
        fps: frames per second.
        num_frames: the length that is generated.
        requested_seconds: the length before rounding; None where the request counts frames.
        warnings: what differs from the request.
    """

    model: str
    width: int
    height: int
    fps: float
    num_frames: int
    requested_seconds: float | None
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """The length that is generated."""
        return self.num_frames / self.fps


def resolve_format(model_info: ModelInfo, limits: Limits, body: CreateVideoRequest) -> ResolvedFormat:
    """Size and length of a request. Defaults are the model's own; for an alias it generates 4 seconds.

    Raises:
        ApiError: another model is served, or this one can't generate the size or length.
    """
    name = resolve_model_name(model_info, body.model)
    width, height, warnings = _resolve_pixel_size(model_info, limits, body)
    fps = body.fps or model_info.fps
    seconds = body.seconds
    if body.num_frames is not None:
        if seconds is not None and abs(body.num_frames - seconds * fps) > model_info.temporal_stride:
            raise bad_request(
                f"num_frames ({body.num_frames}) and seconds ({format_seconds(seconds)}) are different "
                "lengths; send one of them.",
                param="num_frames",
            )
        num_frames, seconds = model_info.nearest_num_frames(body.num_frames), None
        if num_frames != body.num_frames:
            warnings = (*warnings, f"num_frames: {body.num_frames} frames are generated as {num_frames}")
    else:
        if seconds is None:
            seconds = model_info.seconds if name == model_info.name else 4.0
        check_duration(model_info, limits, seconds)
        num_frames = max(1, round(seconds * fps))
        if not body.storyboard:
            num_frames = model_info.nearest_num_frames(num_frames)
        if body.seconds is not None and abs(num_frames / fps - seconds) > 0.0005:
            rounded = format_seconds(num_frames / fps)
            warnings = (*warnings, f"seconds: {format_seconds(seconds)} s are generated as {rounded} s")
    check_duration(model_info, limits, num_frames / fps, requested=seconds)
    return ResolvedFormat(
        model=name,
        width=width,
        height=height,
        fps=fps,
        num_frames=num_frames,
        requested_seconds=seconds,
        warnings=warnings,
    )


def check_duration(
    model_info: ModelInfo, limits: Limits, seconds: float, *, requested: float | None = None
) -> None:
    """Refuse lengths beyond the limits.

    Args:
        model_info: the served model.
        limits: of the operator.
        seconds: the length.
        requested: the length before rounding, which may be the longest one.

    Raises:
        ApiError: the length is not allowed.
    """
    longest = min(limits.max_seconds, limits.max_frames / model_info.fps)
    if not 0 < (seconds if requested is None else min(seconds, requested)) <= longest:
        raise bad_request(
            f"A video of {format_seconds(seconds)} seconds is not possible here; "
            f"request above 0 up to {format_seconds(longest)}.",
            param="seconds",
        )


def resolve_model_name(model_info: ModelInfo, model: str | None) -> str:
    """The name under which a client knows the served model.

    Raises:
        ApiError: another model is served.
    """
    if model is None:
        return MODEL_ALIASES[0]
    if model != model_info.name and model not in MODEL_ALIASES:
        names = ", ".join((model_info.name, *MODEL_ALIASES))
        raise bad_request(f"There is no model {model[:100]!r} here; available: {names}.", param="model")
    return model


def max_pixels(model_info: ModelInfo, limits: Limits) -> int:
    """The most pixels of a frame."""
    return limits.max_frame_pixels or 16 * model_info.width * model_info.height


def example_sizes(model_info: ModelInfo) -> tuple[str, ...]:
    """Sizes that the model generates well: its own, and about as many pixels in common aspect ratios."""
    sizes = [(model_info.width, model_info.height)]
    sizes += [size_for_aspect(model_info, aspect_ratio) for aspect_ratio in (1, 16 / 9, 9 / 16)]
    return tuple(dict.fromkeys(f"{width}x{height}" for width, height in sizes))


def parse_aspect_ratio(text: str) -> float:
    """Width divided by height, of `16:9`.

    Raises:
        ApiError: the text is no aspect ratio.
    """
    match = _ASPECT_RATIO.fullmatch(text)
    sides = (0.0, 0.0) if match is None else (float(match[1]), float(match[2]))
    if min(sides) <= 0 or not 1 / _MAX_ASPECT_RATIO <= sides[0] / sides[1] <= _MAX_ASPECT_RATIO:
        raise bad_request(
            f"{text[:40]!r} is no aspect ratio; send width:height, for example 16:9, 9:16 or 1:1.",
            param="aspect_ratio",
        )
    return sides[0] / sides[1]


def _resolve_pixel_size(
    model_info: ModelInfo, limits: Limits, body: CreateVideoRequest
) -> tuple[int, int, tuple[str, ...]]:
    """Width and height to generate, and warnings."""
    if body.size is not None:
        width, height = _fit_size(model_info, limits, body.size)
        if body.aspect_ratio is not None:
            requested = parse_size(body.size)
            ratio = parse_aspect_ratio(body.aspect_ratio)
            if abs(requested[0] / requested[1] / ratio - 1) > 0.05:
                raise bad_request(
                    f"{body.size} has another aspect ratio than {body.aspect_ratio}; send one of them.",
                    param="aspect_ratio",
                )
        return width, height, _size_warnings("size", body.size, width, height)
    if body.aspect_ratio is None and body.resolution is None:
        # The model's own size gives the best quality.
        return model_info.width, model_info.height, ()
    ratio = model_info.width / model_info.height
    if body.aspect_ratio is not None:
        ratio = parse_aspect_ratio(body.aspect_ratio)
    if body.resolution is None:
        return *size_for_aspect(model_info, ratio), ()
    short = {name.lower(): side for name, side in RESOLUTIONS.items()}.get(body.resolution.lower())
    if short is None:
        raise bad_request(
            f"{body.resolution[:40]!r} is no resolution; available: {', '.join(RESOLUTIONS)}.",
            param="resolution",
        )
    multiple = model_info.size_multiple
    sides = (short * max(1.0, ratio), short * max(1.0, 1 / ratio))
    width, height = (max(1, round(side / multiple)) * multiple for side in sides)
    if width * height > max_pixels(model_info, limits):
        width, height = size_for_aspect(model_info, ratio)
    requested = f"{body.resolution} ({round(sides[0])}x{round(sides[1])})"
    return width, height, _size_warnings("resolution", requested, width, height)


def _size_warnings(param: str, requested: str, width: int, height: int) -> tuple[str, ...]:
    generated = f"{width}x{height}"
    return () if generated in requested else (f"{param}: {requested} is generated as {generated}",)


def _fit_size(model_info: ModelInfo, limits: Limits, size: str) -> tuple[int, int]:
    """Width and height to generate for a requested size."""
    multiple, most = model_info.size_multiple, max_pixels(model_info, limits)
    try:
        width, height = parse_size(size) if len(size) < 20 else (0, 0)
    except UserError:
        width = height = 0
    fits = 0 < width * height <= most and width % multiple == 0 and height % multiple == 0
    if fits and max(width, height) <= _MAX_ASPECT_RATIO * min(width, height):
        return width, height
    if size in OPENAI_SIZES:
        return size_for_aspect(model_info, width / height)
    raise bad_request(
        f"{model_info.name} can't generate {size[:40]!r}. It generates "
        f"{', '.join(example_sizes(model_info))}, and any width x height of multiples of {multiple} with at "
        f"most {most} pixels; for {', '.join(OPENAI_SIZES)} it uses their aspect ratio at its own scale.",
        param="size",
    )
