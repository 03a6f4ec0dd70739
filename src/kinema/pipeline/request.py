"""What a person may ask for: one type for every verb, with a default for everything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UserError

ImageInput = str | os.PathLike[str] | np.ndarray
"""A path, or an array uint8 h w 3."""
VideoPath = str | os.PathLike[str]
Transition = Literal["cut", "blend"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Keyframe:
    """A picture that the film shows at a time, in seconds from its beginning."""

    seconds: float
    image: ImageInput


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """A part of a storyboard.

    Attributes:
        prompt: what it shows.
        seconds: when it begins; the first shot begins at 0.
        image: what it begins with.
        transition: how it begins: after a cut, or as the shot before turns into it.
    """

    prompt: str
    seconds: float = 0.0
    image: ImageInput | None = None
    transition: Transition = "cut"


@dataclass(frozen=True, kw_only=True)
class ExtendInput:
    """A film is to go on, or with `backward` to begin earlier."""

    video: VideoPath
    backward: bool = False


@dataclass(frozen=True, kw_only=True)
class InterpolateInput:
    """A bridge is to lead from the end of one film to the beginning of another."""

    first: VideoPath
    last: VideoPath


@dataclass(frozen=True, kw_only=True, eq=False)
class EditInput:
    """A film is to be changed.

    Attributes:
        video: what is there.
        strength: how much of it is forgotten, above 0 to 1.
        mask: a picture, white where the film may change; None: everywhere.
    """

    video: VideoPath
    strength: float = 0.6
    mask: ImageInput | None = None

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise UserError(f"an edit can't have strength {self.strength}; give above 0 up to 1 (new)")


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoRequest:
    """All that a person may set. What is None is the model's own choice.

    Attributes:
        prompt: what the film shows.
        negative_prompt: what guidance steers away from.
        size: width and height in pixels; None: the model's, in the proportions of the first picture or film.
        num_frames: how many, or else
        seconds: how long, rounded to what the model can make. Of an extension or a bridge: of what is new.
        fps: frames per second.
        num_inference_steps: of the solver.
        guidance_scale: scale of classifier-free guidance, 1 is off; one for each expert, or one for all.
        flow_shift: of the noise schedule towards noise.
        seed: of the noise, which is drawn on the CPU, so that any machine draws the same.
        noise: float32, in place of the seed's.
        image: the first frame; it is cropped to the film's proportions.
        last_image: the last frame.
        keyframes: pictures at their times.
        storyboard: shots; the prompt is left empty then.
        loop: whether the last frame flows into the first.
        source: films to go on from, to connect, or to change.
        upscale: sides of the film, in multiples of what the model makes first: 1, 2 or 4.
    """

    prompt: str = ""
    negative_prompt: str | None = None
    size: tuple[int, int] | None = None
    num_frames: int | None = None
    seconds: float | None = None
    fps: float | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | tuple[float, ...] | None = None
    flow_shift: float | None = None
    seed: int = 0
    noise: Float[Tensor, "1 c f h w"] | None = None
    image: ImageInput | None = None
    last_image: ImageInput | None = None
    keyframes: tuple[Keyframe, ...] = ()
    storyboard: tuple[Shot, ...] = ()
    loop: bool = False
    source: ExtendInput | InterpolateInput | EditInput | None = None
    upscale: int = 1
