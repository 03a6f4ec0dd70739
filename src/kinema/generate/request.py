"""A film to be made: every setting decided, and checked against what the model can do."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from kinema.errors import UserError
from kinema.generate.condition import Condition, Line, Picture
from kinema.generate.picture import fit, read_picture, size_like
from kinema.generate.wish import Connect, Edit, Extend, Image, Keyframe, Shot, Wish
from kinema.models.source import ModelFolder
from kinema.shapes import VideoShape

__all__ = ["Connect", "Edit", "Extend", "Image", "Keyframe", "Request", "Shot", "Wish", "decide"]


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


def decide(model: ModelFolder, wish: Wish) -> Request:
    """Decide every setting, and check that the model can do it.

    Raises:
        UserError: a setting is out of range or the model can't do it; the message says what it can.
    """
    recipe = model.recipe
    given = [(0, wish.image), (-1, wish.last_image)]
    originals = [(frame, read_picture(source)) for frame, source in given if source is not None]
    unit = model.vae.stride.spatial * model.dit.patch
    size = wish.size
    if size is None:
        size = size_like(originals[0][1], recipe.size, unit) if originals else recipe.size
    film = VideoShape(frames=_frames(model, wish), height=size[1], width=size[0])
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
        lines=(Line(prompt=wish.prompt),),
        negative=recipe.negative if wish.negative is None else wish.negative,
        pictures=pictures,
    ).at(film)
    _check_pictures(model, condition, film)
    guidance = recipe.guidance if wish.guidance is None else wish.guidance
    scales = guidance if isinstance(guidance, tuple) else (guidance,) * recipe.experts
    request = Request(
        condition=condition,
        film=film,
        fps=recipe.fps if wish.fps is None else wish.fps,
        steps=recipe.steps if wish.steps is None else wish.steps,
        guidance=tuple(float(scale) for scale in scales),
        shift=recipe.shift if wish.shift is None else wish.shift,
        seed=wish.seed,
        noise=wish.noise,
    )
    _check_numbers(model, request)
    return request


def _frames(model: ModelFolder, wish: Wish) -> int:
    """How many are asked for."""
    recipe = model.recipe
    if wish.seconds is None:
        return recipe.frames if wish.frames is None else wish.frames
    if wish.frames is not None:
        raise UserError("frames and seconds both say how long the film is; give one of them")
    fps = recipe.fps if wish.fps is None else wish.fps
    if not 0 < wish.seconds * fps < 1e7:
        raise UserError(f"{wish.seconds} seconds at {fps} frames per second make no film; give more than 0")
    # A film of n frames lasts n / fps; the model makes whole groups of frames after the first.
    near = VideoShape(frames=max(1, round(wish.seconds * fps)), height=1, width=1)
    return near.rounded(model.vae.stride).frames


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
