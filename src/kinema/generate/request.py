"""A film to be made: every setting decided, and checked against what the model can do."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UserError
from kinema.generate.condition import Condition, Line, Picture
from kinema.generate.picture import fit, read_picture, size_like
from kinema.models.source import ModelFolder
from kinema.shapes import VideoShape

Image = str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """A film to be made, every setting decided."""

    condition: Condition
    film: VideoShape
    fps: float
    steps: int
    guidance: tuple[float, ...]
    shift: float
    seed: int
    noise: Float[Tensor, "1 c f h w"] | None = None
    """In place of the seed's."""


def decide(
    model: ModelFolder,
    prompt: str,
    *,
    negative: str | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    fps: float | None = None,
    steps: int | None = None,
    guidance: float | tuple[float, ...] | None = None,
    shift: float | None = None,
    seed: int = 0,
    noise: Float[Tensor, "1 c f h w"] | None = None,
    image: Image | None = None,
    last_image: Image | None = None,
) -> Request:
    """Decide every setting, and check that the model can do it.

    Args:
        prompt: what the film shows.
        negative: what guidance steers away from.
        size: width and height in pixels. None: the model's, in the proportions of `image` if there is one.
        frames: how many. None: the model's.
        fps: frames per second. None: the model's.
        steps: of the solver. None: the model's.
        guidance: scale of classifier-free guidance, 1 is off; one for each expert, or one for all.
        shift: of the noise schedule towards noise. None: the model's.
        seed: of the noise, which is drawn on the CPU, so that any machine draws the same.
        noise: float32, in place of the seed's.
        image: the first frame, a path or an array uint8 h w 3; it is cropped to the film's proportions.
        last_image: the last frame.

    Raises:
        UserError: a setting is out of range or the model can't do it; the message says what it can.
    """
    recipe = model.recipe
    given = [(0, image), (-1, last_image)]
    originals = [(frame, read_picture(source)) for frame, source in given if source is not None]
    unit = model.vae.stride.spatial * model.dit.patch
    if size is None:
        size = size_like(originals[0][1], recipe.size, unit) if originals else recipe.size
    film = VideoShape(frames=recipe.frames if frames is None else frames, height=size[1], width=size[0])
    near = film.rounded(model.vae.stride, model.dit.patch)
    if near != film:
        raise UserError(
            f"{film.frames} frames at {size[0]}x{size[1]} do not fit this model: frames must be a "
            f"multiple of {model.vae.stride.temporal} plus 1 and sides multiples of {unit}; "
            f"the nearest is {near.frames} frames at {near.width}x{near.height}"
        )
    pictures = tuple(
        Picture(image=fit(picture, size), frame=frame, original=picture) for frame, picture in originals
    )
    condition = Condition(
        lines=(Line(prompt=prompt),),
        negative=recipe.negative if negative is None else negative,
        pictures=pictures,
    ).at(film)
    _check_pictures(model, condition, film)
    if guidance is None:
        guidance = recipe.guidance
    scales = guidance if isinstance(guidance, tuple) else (guidance,) * recipe.experts
    request = Request(
        condition=condition,
        film=film,
        fps=recipe.fps if fps is None else fps,
        steps=recipe.steps if steps is None else steps,
        guidance=tuple(float(scale) for scale in scales),
        shift=recipe.shift if shift is None else shift,
        seed=seed,
        noise=noise,
    )
    _check_numbers(model, request)
    return request


def _check_numbers(model: ModelFolder, request: Request) -> None:
    if request.steps < 1:
        raise UserError(f"{request.steps} steps make no film; give 1 or more")
    if not 0 < request.fps <= 1000:
        raise UserError(f"{request.fps} frames per second are not possible; give above 0 up to 1000")
    if not 0 < request.shift < float("inf"):
        raise UserError(f"a shift of {request.shift} is not possible; give a number above 0")
    if not 0 <= request.seed < 2**63:
        raise UserError(f"the seed {request.seed} is out of range; give 0 up to 2^63 - 1")
    experts = model.recipe.experts
    if len(request.guidance) != experts:
        raise UserError(
            f"{len(request.guidance)} guidance scales for a model of {experts} "
            f"transformer{'s' if experts > 1 else ''}; give one for each, or one for all"
        )
    if not all(0 <= scale < 1000 for scale in request.guidance):
        raise UserError(f"guidance {request.guidance} is out of range; give 1 (off) to about 10")


def _check_pictures(model: ModelFolder, condition: Condition, film: VideoShape) -> None:
    """Whether the model takes these pictures."""
    frames = [picture.frame for picture in condition.pictures]
    pictures = model.recipe.pictures
    if pictures == "none" and (frames or condition.latents):
        raise UserError(
            f"{model.name} makes films from text alone; for pictures use a model that takes them "
            "(Wan image-to-video, Wan 2.2 TI2V-5B, world)"
        )
    if pictures != "channels":
        return
    ends = {0, film.frames - 1} if model.dit.image_positions else {0}
    if model.dit.image_positions and set(frames) != ends:
        raise UserError(f"{model.name} connects a first and a last picture; give image and last_image")
    if not frames:
        raise UserError(f"{model.name} makes films from a picture; give image")
    if model.sees_pictures and set(frames) != ends:
        raise UserError(f"{model.name} starts from one picture; give image alone")
