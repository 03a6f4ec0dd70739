"""What the served model can make, known without the model: sizes, lengths, and what stands in for them.

Code that was written for the hosted service asks for `sora-2` in one of four sizes, and its client knows no
other values. They are taken for what they mean: the served model, upright or wide, at its own scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.serve.settings import Limits
from kinema.shapes import parse_size

ALIASES = ("sora-2", "sora-2-pro")
"""Names under which the served model answers too."""
PROPORTIONS = ("720x1280", "1280x720", "1024x1792", "1792x1024")
"""The sizes of the hosted service; a model that can't make them makes its own size in their proportions."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """The model that the workers serve.

    Attributes:
        name: what it is asked for by.
        width: of its own size, in pixels.
        height: of its own size.
        unit: sides are multiples of this.
        frames: of its own length.
        fps: frames per second.
        temporal: films have a multiple of this and one more frames.
        steps: of the solver.
        guidance: scale.
        pictures: whether frames can be given.
        verbs: what it can do with films.
    """

    name: str
    width: int
    height: int
    unit: int
    frames: int
    fps: float
    temporal: int
    steps: int
    guidance: float
    pictures: bool
    verbs: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Its own length; whole frames at its own rate."""
        return self.frames / self.fps


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Model, size and length of a film: what the caller is told, and what is made."""

    model: str
    size: str
    seconds: str
    width: int
    height: int
    length: float


def name_of(served: Served, model: str | None) -> str:
    """The name the caller used, if the served model answers to it.

    Raises:
        UserError: it does not.
    """
    if model is None:
        return ALIASES[0]
    if model != served.name and model not in ALIASES:
        raise UserError(
            f"there is no model {model[:100]!r} here; served: {', '.join((served.name, *ALIASES))}"
        )
    return model


def measure(
    served: Served, limits: Limits, *, model: str | None, size: str | None, seconds: float | None
) -> Measure:
    """Size and length for a request, by its own defaults or, under another's name, by those of that one.

    Raises:
        UserError: another model is served, or it can't make this; the message says what it can.
    """
    name = name_of(served, model)
    own = name == served.name
    if size is None:
        # Nobody asked for proportions: the model's own are what it is best at.
        width, height = served.width, served.height
        size = f"{width}x{height}" if own else PROPORTIONS[1 if width > height else 0]
    else:
        width, height = pixels_of(served, limits, size)
    if seconds is None:
        seconds = served.seconds if own else 4.0
    return Measure(
        model=name,
        size=size,
        seconds=written(checked_seconds(served, limits, seconds)),
        width=width,
        height=height,
        length=seconds,
    )


def checked_seconds(served: Served, limits: Limits, seconds: float) -> float:
    """The length, if it is allowed.

    Raises:
        UserError: it is not.
    """
    longest = min(limits.seconds, limits.frames / served.fps)
    if not 0 < seconds <= longest:
        raise UserError(
            f"a film of {written(seconds)} seconds is not possible here; "
            f"give above 0 up to {written(longest)}"
        )
    return seconds


def pixels_of(served: Served, limits: Limits, size: str) -> tuple[int, int]:
    """Width and height to be made.

    Raises:
        UserError: the model can't make that size.
    """
    own = served.width * served.height
    most = limits.pixels or 16 * own
    try:
        width, height = parse_size(size) if len(size) < 20 else (0, 0)
    except UserError:
        width = height = 0
    fits = 0 < width * height <= most and width % served.unit == 0 and height % served.unit == 0
    if fits and max(width, height) <= 8 * min(width, height):
        return width, height
    if size in PROPORTIONS:
        return fitted(served, width / height)
    alike = [fitted(served, shape) for shape in (1, 16 / 9, 9 / 16)]
    some = dict.fromkeys([f"{served.width}x{served.height}", *(f"{w}x{h}" for w, h in alike)])
    raise UserError(
        f"{served.name} can't make {size[:40]!r}; it makes {', '.join(some)}, and any width x height of "
        f"multiples of {served.unit} with at most {most} pixels; {', '.join(PROPORTIONS)} are made in their "
        "proportions at its own scale"
    )


def fitted(served: Served, shape: float) -> tuple[int, int]:
    """Width and height of that proportion with about the pixels of the model's own size."""
    area = served.width * served.height
    sides = math.sqrt(area * shape), math.sqrt(area / shape)
    width, height = (max(1, round(side / served.unit)) * served.unit for side in sides)
    return width, height


def written(seconds: float) -> str:
    """Seconds as the API writes them: `4`, `2.125`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") if abs(seconds) < 1e9 else f"{seconds:g}"
