"""What the served model can make, known without the model: sizes, lengths, and what stands in for them.

Code that was written for the hosted service asks for `sora-2` in one of four sizes, and its client knows no
other values. They are taken for what they mean: the served model, upright or wide, at its own scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.server.settings import Limits
from kinema.shapes import parse_size

MODEL_ALIASES = ("sora-2", "sora-2-pro")
"""Names under which the served model answers too."""
OPENAI_SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024")
"""The sizes of the hosted service; a model that can't make them makes its own size in their proportions."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The model that the workers serve.

    Attributes:
        name: what it is asked for by.
        width: of its own size, in pixels.
        height: of its own size.
        size_multiple: sides are multiples of this.
        num_frames: of its own length.
        fps: frames per second.
        temporal_stride: films have a multiple of this and one more frames.
        num_inference_steps: of the solver.
        guidance_scale: scale.
        supports_images: whether frames can be given.
        tasks: what it can do with films.
    """

    name: str
    width: int
    height: int
    size_multiple: int
    num_frames: int
    fps: float
    temporal_stride: int
    num_inference_steps: int
    guidance_scale: float
    supports_images: bool
    tasks: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Its own length; whole frames at its own rate."""
        return self.num_frames / self.fps


@dataclass(frozen=True, kw_only=True)
class ResolvedFormat:
    """Model, size and length of a film: what the caller is told, and what is made."""

    model: str
    size: str
    seconds: str
    width: int
    height: int
    duration_s: float


def resolve_model(model_info: ModelInfo, model: str | None) -> str:
    """The name the caller used, if the served model answers to it.

    Raises:
        UserError: it does not.
    """
    if model is None:
        return MODEL_ALIASES[0]
    if model != model_info.name and model not in MODEL_ALIASES:
        raise UserError(
            f"there is no model {model[:100]!r} here; served: {', '.join((model_info.name, *MODEL_ALIASES))}"
        )
    return model


def resolve_format(
    model_info: ModelInfo, limits: Limits, *, model: str | None, size: str | None, seconds: float | None
) -> ResolvedFormat:
    """Size and length for a request, by its own defaults or, under another's name, by those of that one.

    Raises:
        UserError: another model is served, or it can't make this; the message says what it can.
    """
    name = resolve_model(model_info, model)
    own = name == model_info.name
    if size is None:
        # Nobody asked for proportions: the model's own are what it is best at.
        width, height = model_info.width, model_info.height
        size = f"{width}x{height}" if own else OPENAI_SIZES[1 if width > height else 0]
    else:
        width, height = resolve_pixel_size(model_info, limits, size)
    if seconds is None:
        seconds = model_info.seconds if own else 4.0
    return ResolvedFormat(
        model=name,
        size=size,
        seconds=format_seconds(check_duration(model_info, limits, seconds)),
        width=width,
        height=height,
        duration_s=seconds,
    )


def check_duration(model_info: ModelInfo, limits: Limits, seconds: float) -> float:
    """The length, if it is allowed.

    Raises:
        UserError: it is not.
    """
    longest = min(limits.max_seconds, limits.max_frames / model_info.fps)
    if not 0 < seconds <= longest:
        raise UserError(
            f"a film of {format_seconds(seconds)} seconds is not possible here; "
            f"give above 0 up to {format_seconds(longest)}"
        )
    return seconds


def resolve_pixel_size(model_info: ModelInfo, limits: Limits, size: str) -> tuple[int, int]:
    """Width and height to be made.

    Raises:
        UserError: the model can't make that size.
    """
    own = model_info.width * model_info.height
    most = limits.max_frame_pixels or 16 * own
    try:
        width, height = parse_size(size) if len(size) < 20 else (0, 0)
    except UserError:
        width = height = 0
    fits = (
        0 < width * height <= most
        and width % model_info.size_multiple == 0
        and height % model_info.size_multiple == 0
    )
    if fits and max(width, height) <= 8 * min(width, height):
        return width, height
    if size in OPENAI_SIZES:
        return size_for_aspect(model_info, width / height)
    alike = [size_for_aspect(model_info, shape) for shape in (1, 16 / 9, 9 / 16)]
    some = dict.fromkeys([f"{model_info.width}x{model_info.height}", *(f"{w}x{h}" for w, h in alike)])
    raise UserError(
        f"{model_info.name} can't make {size[:40]!r}; it makes {', '.join(some)}, and any width x height of "
        f"multiples of {model_info.size_multiple} with at most {most} pixels; {', '.join(OPENAI_SIZES)} are made in their "
        "proportions at its own scale"
    )


def size_for_aspect(model_info: ModelInfo, aspect_ratio: float) -> tuple[int, int]:
    """Width and height of that proportion with about the pixels of the model's own size."""
    area = model_info.width * model_info.height
    sides = math.sqrt(area * aspect_ratio), math.sqrt(area / aspect_ratio)
    width, height = (
        max(1, round(side / model_info.size_multiple)) * model_info.size_multiple for side in sides
    )
    return width, height


def format_seconds(seconds: float) -> str:
    """Seconds as the API writes them: `4`, `2.125`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") if abs(seconds) < 1e9 else f"{seconds:g}"
