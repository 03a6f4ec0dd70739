"""A film to be made: every setting decided, and checked against what the model can do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import UserError
from kinema.generate import verbs
from kinema.generate.condition import Condition
from kinema.generate.picture import fit, read_picture, size_like
from kinema.generate.tail import tail_of
from kinema.generate.takes import Reel, Take, empty_reel
from kinema.generate.verbs import Canvas, Draft, Still
from kinema.generate.wish import Connect, Edit, Extend, FilmPath, Image, Keyframe, Shot, Wish
from kinema.models.fingerprint import fingerprint
from kinema.models.source import ModelFolder
from kinema.shapes import VideoShape

__all__ = ["Connect", "Edit", "Extend", "Image", "Keyframe", "Request", "Shot", "Wish", "decide"]

REFINE = (1, 2, 4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """A film to be made, every setting decided.

    Attributes:
        takes: the runs of the solver that make it, one for most films.
        reel: the film before the first take: nothing, or the one that is to go on.
        goal: the film that a bridge leads up to.
        fps: frames per second.
        steps: of the solver, in each take.
        guidance: scale of each expert.
        shift: of the noise schedule.
        seed: of the noise.
        noise: in place of the seed's; of the only take.
        wish: what was asked for.
    """

    takes: tuple[Take, ...]
    reel: Reel
    goal: UInt8[np.ndarray, "f h w 3"] | None = None
    fps: float
    steps: int
    guidance: tuple[float, ...]
    shift: float
    seed: int
    noise: Float[Tensor, "1 c f h w"] | None = None
    wish: Wish

    @property
    def condition(self) -> Condition:
        """What the first take is made from."""
        return self.takes[0].condition

    @property
    def film(self) -> VideoShape:
        """What the first take makes."""
        return self.takes[0].film

    @property
    def largest(self) -> VideoShape:
        """The longest take."""
        return max((take.film for take in self.takes), key=lambda film: film.frames)

    @property
    def given(self) -> int:
        """The most pictures and films that the autoencoder has to read for a take."""
        return max(take.condition.given + (take.joint != "cut") for take in self.takes)


def decide(model: ModelFolder, wish: Wish) -> Request:
    """Decide every setting, and check that the model can do it.

    Raises:
        UserError: a setting is out of range, two contradict each other, a file can't be read, or the model
            can't do it; the message says what it can.
    """
    recipe = model.recipe
    _check_combinations(wish)
    _check_verbs(model, wish)
    fps = recipe.fps if wish.fps is None else wish.fps
    if not 0 < fps <= 1000:
        raise UserError(f"{fps} frames per second are not possible; give above 0 up to 1000")
    draft = _draft(model, wish, fps)
    for take in draft.takes:
        if take.joint == "cut":
            _check_pictures(model, take.condition.at(take.film), take.film)
    if wish.noise is not None and (len(draft.takes) > 1 or draft.reel is not None):
        raise UserError("this film takes more than noise of its own size to make; leave out noise")
    guidance = recipe.guidance if wish.guidance is None else wish.guidance
    scales = guidance if isinstance(guidance, tuple) else (guidance,) * recipe.experts
    reel = empty_reel(draft.takes[0].film) if draft.reel is None else Reel.of(draft.reel, draft.tail)
    request = Request(
        takes=draft.takes,
        reel=reel,
        goal=draft.goal,
        fps=fps,
        steps=recipe.steps if wish.steps is None else wish.steps,
        guidance=tuple(float(scale) for scale in scales),
        shift=recipe.shift if wish.shift is None else wish.shift,
        seed=wish.seed,
        noise=wish.noise,
        wish=wish,
    )
    _check_numbers(model, request)
    return request


def _draft(model: ModelFolder, wish: Wish, fps: float) -> Draft:
    """The takes of the verb."""
    source = wish.source
    if isinstance(source, Extend):
        reel, canvas = _opened(model, wish, fps, source.film)
        tail = _tail(model, source.film, canvas) if not source.backward else None
        return verbs.extension(canvas, wish.prompt, reel, tail, backward=source.backward)
    if isinstance(source, Connect):
        reel, canvas = _opened(model, wish, fps, source.first)
        goal = _fitted(_read(source.last, fps), canvas.size)
        return verbs.bridge(canvas, wish.prompt, reel, _tail(model, source.first, canvas), goal)
    if isinstance(source, Edit):
        reel, canvas = _opened(model, wish, fps, source.film)
        mask = None if source.mask is None else fit(read_picture(source.mask), canvas.size)
        return verbs.change(
            canvas,
            wish.prompt,
            reel,
            strength=source.strength,
            mask=None if mask is None else mask.mean(axis=2).astype(np.float32) / 255,
            shows=_ends(model) if model.recipe.pictures == "channels" else (),
        )
    if wish.storyboard:
        shots = sorted(wish.storyboard, key=lambda shot: shot.seconds)
        images = [None if shot.image is None else read_picture(shot.image) for shot in shots]
        first = next((image for image in images if image is not None), None)
        canvas = _canvas(model, wish, fps, first, _asked(wish, fps))
        return verbs.story(canvas, shots, images, loop=wish.loop)
    return _plain(model, wish, fps)


def _plain(model: ModelFolder, wish: Wish, fps: float) -> Draft:
    """Words, and pictures at their times."""
    given: list[tuple[int, Image]] = [] if wish.image is None else [(0, wish.image)]
    given += [(round(key.seconds * fps), key.image) for key in wish.keyframes]
    given += [] if wish.last_image is None else [(-1, wish.last_image)]
    stills = [Still(frame=frame, image=read_picture(image)) for frame, image in given]
    if any(still.frame < -1 or (still.frame < 0 and wish.last_image is None) for still in stills):
        raise UserError("a picture can't stand before the film begins; give times of 0 or more")
    canvas = _canvas(model, wish, fps, stills[0].image if stills else None, wish.frames)
    if wish.seconds is not None:
        canvas = dataclasses.replace(canvas, frames=canvas.near(_asked(wish, fps) or 1))
    _check_shape(model, canvas.shape(canvas.usual if canvas.frames is None else canvas.frames))
    return verbs.film(canvas, wish.prompt, stills, loop=wish.loop)


def _canvas(
    model: ModelFolder, wish: Wish, fps: float, image: np.ndarray | None, frames: int | None
) -> Canvas:
    """What all takes have in common; `image` gives the proportions where no size was asked for."""
    recipe, stride = model.recipe, model.vae.stride
    unit = stride.spatial * model.dit.patch
    size = wish.size
    if size is None:
        size = recipe.size if image is None else size_like(image, recipe.size, unit)
    _check_shape(model, VideoShape(frames=1, height=size[1], width=size[0]))
    onward = recipe.pictures == "frames"
    window = 1 + stride.groups(recipe.frames)
    return Canvas(
        size=size,
        fps=fps,
        stride=stride,
        window=window if onward else None,
        overlap=max(1, window // 4) if onward and window > 2 else 0,
        frames=frames,
        usual=recipe.frames,
        exact=recipe.pictures == "channels",
        negative=recipe.negative if wish.negative is None else wish.negative,
    )


def _opened(
    model: ModelFolder, wish: Wish, fps: float, film: FilmPath
) -> tuple[UInt8[np.ndarray, "f h w 3"], Canvas]:
    """A film at the frame rate and size in which it goes on: its own, if the model can make that."""
    frames = _read(film, fps)
    height, width = frames.shape[1:3]
    unit = model.vae.stride.spatial * model.dit.patch
    area = model.recipe.size[0] * model.recipe.size[1]
    own = not height % unit and not width % unit and height * width <= area
    if wish.size is None and own:
        wish = dataclasses.replace(wish, size=(width, height))
    canvas = _canvas(model, wish, fps, frames[0], _asked(wish, fps))
    return _fitted(frames, canvas.size), canvas


def _read(film: FilmPath, fps: float) -> UInt8[np.ndarray, "f h w 3"]:
    """A film's frames at that rate: for each moment the frame that is on screen."""
    from kinema.media.read import read_film

    footage = read_film(film)
    count = max(1, round(footage.end * fps))
    if count == len(footage.frames):
        return footage.frames
    # A hair later than the moment: times in files are rounded.
    moments = (np.arange(count) + 1e-3) / fps
    shown = np.searchsorted(footage.times, moments, side="right") - 1
    return footage.frames[np.clip(shown, 0, len(footage.frames) - 1)]


def _fitted(frames: UInt8[np.ndarray, "f h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "f h2 w2 3"]:
    if (frames.shape[2], frames.shape[1]) == size:
        return frames
    return np.stack([fit(frame, size) for frame in frames])


def _tail(model: ModelFolder, film: FilmPath, canvas: Canvas) -> Tensor | None:
    """The latents that come with a film of ours, if it is used as it is."""
    tail = tail_of(film, model=fingerprint(model.folder))
    side = model.vae.stride.spatial
    expected = (1, model.vae.z_dim, canvas.size[1] // side, canvas.size[0] // side)
    fits = tail is not None and (*tail.shape[:2], *tail.shape[3:]) == expected
    return tail if fits else None


def _asked(wish: Wish, fps: float) -> int | None:
    """Frames that are asked for, however many."""
    if wish.seconds is None:
        return wish.frames
    if not 0 < wish.seconds * fps < 1e7:
        raise UserError(f"{wish.seconds} seconds at {fps} frames per second make no film; give more than 0")
    return max(1, round(wish.seconds * fps))


def _check_shape(model: ModelFolder, film: VideoShape) -> None:
    near = film.rounded(model.vae.stride, model.dit.patch)
    if (near.width, near.height) != (film.width, film.height):
        unit = model.vae.stride.spatial * model.dit.patch
        raise UserError(
            f"films of {film.width}x{film.height} do not fit this model: sides must be multiples of {unit}; "
            f"the nearest is {near.width}x{near.height}"
        )
    if near != film:
        raise UserError(
            f"{film.frames} frames do not fit this model: frames must be a multiple of "
            f"{model.vae.stride.temporal} plus 1; the nearest is {near.frames} frames"
        )


def _check_combinations(wish: Wish) -> None:
    """What no model can do."""
    if wish.frames is not None and wish.seconds is not None:
        raise UserError("frames and seconds both say how long the film is; give one of them")
    if wish.frames is not None and wish.frames < 1:
        raise UserError(f"{wish.frames} frames are no film; give 1 or more")
    if wish.refine not in REFINE:
        raise UserError(f"a film can't be refined {wish.refine} times; give 1, 2 or 4")
    pictures = [
        name
        for name, given in (
            ("image", wish.image), ("last_image", wish.last_image), ("keyframes", wish.keyframes or None)
        )
        if given is not None
    ]  # fmt: skip
    if wish.storyboard and (pictures or wish.prompt):
        what = pictures[0] if pictures else "prompt"
        raise UserError(f"a storyboard has prompts and pictures of its own; put the {what} into a shot")
    if wish.loop and wish.last_image is not None:
        raise UserError("a loop has no last picture: its end flows into its beginning; leave out last_image")
    if wish.source is not None:
        others = [*pictures, *(["storyboard"] if wish.storyboard else []), *(["loop"] if wish.loop else [])]
        verb = {Extend: "an extension", Connect: "a bridge", Edit: "an edit"}[type(wish.source)]
        if others:
            raise UserError(f"{verb} starts from films alone; leave out {others[0]}")
        if isinstance(wish.source, Edit) and _asked(wish, 1.0) is not None:
            raise UserError("an edit is as long as the film it changes; leave out frames and seconds")


def _check_verbs(model: ModelFolder, wish: Wish) -> None:
    """What this model can't do."""
    kind, source = model.recipe.pictures, wish.source
    if kind == "frames" or isinstance(source, Edit) or (source is None and not wish.loop):
        return
    both = bool(model.dit.image_positions)
    if isinstance(source, Extend) and not source.backward and kind == "channels" and not both:
        return
    if isinstance(source, Connect) and kind == "channels" and both:
        return
    what = "close a loop" if source is None else "connect films"
    if isinstance(source, Extend):
        what = f"extend films{' backward' if source.backward else ''}"
    raise UserError(
        f"{model.name} can't {what}; use a model that takes given frames anywhere (world, Wan 2.2 TI2V-5B)"
    )


def _ends(model: ModelFolder) -> tuple[int, ...]:
    """Frames at which a model that reads pictures beside the noise wants them."""
    return (0, -1) if model.dit.image_positions else (0,)


def _check_numbers(model: ModelFolder, request: Request) -> None:
    if request.steps < 1:
        raise UserError(f"{request.steps} steps make no film; give 1 or more")
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
    if pictures == "none" and frames:
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
