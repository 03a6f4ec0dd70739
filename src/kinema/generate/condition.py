"""What a film is made from: words, and frames that are given.

Text to film, picture to film, first and last frame, continuing, connecting and editing are one thing
here: a `Condition` says which latent frames are given, at which noise level each is held, and which
prompt speaks when. `Given` is the frames' part of it on the latent grid.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema import flow
from kinema.errors import UserError
from kinema.shapes import LatentShape, Stride, VideoShape


@dataclass(frozen=True, kw_only=True)
class Line:
    """A prompt and the film frame, from 0, at which it begins to speak."""

    prompt: str
    frame: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture the film shows.

    Attributes:
        image: already of the film's size.
        frame: where it stands, from 0; negative counts from the end, -1 is the last.
        level: the noise level at which it is held while the rest is made; 0 shows it as it is, a little
            noise lets the rest depend on it less. The finished film has it clean.
        original: the picture before it was fitted to the film, for encoders that look at it themselves.
    """

    image: UInt8[np.ndarray, "h w 3"]
    frame: int = 0
    level: float = 0.0
    original: UInt8[np.ndarray, "h2 w2 3"] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.level < 1:
            raise UserError(f"a frame can't be held at noise level {self.level}; levels are 0 up to below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Latents:
    """Latent frames that are given as they are, normalised: the end of another film, say.

    Attributes:
        latents: in the film's latent height and width.
        frame: the latent frame at which they begin; negative counts from the end.
        level: as for a `Picture`.
        until: the noise level at which they are let go, and made again with the rest; 0 keeps them.
    """

    latents: Float[Tensor, "1 c f h w"]
    frame: int = 0
    level: float = 0.0
    until: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.level < 1:
            raise UserError(f"frames can't be held at noise level {self.level}; levels are 0 up to below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Frames that the film shows one after the other: the end of another film, say.

    They fill whole latent frames: 4k + 1 of them at the beginning (for a temporal stride of 4), 4k later.
    What came before a later clip is not known, so its first frame is taken to have stood still until then.

    Attributes:
        frames: already of the film's size.
        frame: the film frame at which they begin, from 0; negative counts from the end.
        until: as for `Latents`.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    frame: int = 0
    until: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Base:
    """A film that is changed: the solver starts from it, partly noised, and not from noise.

    Attributes:
        frames: as many as the film has, of its size.
        level: how noisy it is made, above 0 to 1 (SDEdit, arXiv 2108.01073).
        mask: where it may change, 0 to 1; None: everywhere.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    level: float
    mask: Float[np.ndarray, "h w"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """All that a film is made from.

    Attributes:
        lines: the prompts in the order in which they speak; the first speaks from frame 0.
        negative: what guidance steers away from, throughout.
        pictures: at different frames.
        latents: at different latent frames.
        clips: likewise.
        base: the film that is changed, if one is.
    """

    lines: tuple[Line, ...]
    negative: str = ""
    pictures: tuple[Picture, ...] = ()
    latents: tuple[Latents, ...] = ()
    clips: tuple[Clip, ...] = ()
    base: Base | None = None

    def __post_init__(self) -> None:
        if not self.lines or self.lines[0].frame != 0:
            raise UserError("nothing speaks at the beginning; the first prompt starts at frame 0")
        starts = [line.frame for line in self.lines]
        for before, after in itertools.pairwise(starts):
            if after <= before:
                raise UserError(
                    f"a prompt that starts at frame {after} follows one at {before}; order them by time"
                )

    def speaking(self, shape: LatentShape, stride: Stride) -> tuple[int, ...]:
        """For each latent frame the index of the line that speaks at the first film frame it holds."""
        firsts = [shape.first_frame_of(frame, stride) for frame in range(shape.frames)]
        return tuple(max(i for i, line in enumerate(self.lines) if line.frame <= first) for first in firsts)

    @property
    def given(self) -> int:
        """How many pictures and films the autoencoder has to read."""
        return len(self.pictures) + len(self.clips) + (self.base is not None)

    def at(self, film: VideoShape) -> Condition:
        """The same with pictures' frames counted from the beginning.

        Raises:
            UserError: a picture stands outside the film, two stand at one frame, or a prompt never speaks.
        """
        pictures = []
        for picture in self.pictures:
            frame = picture.frame + film.frames if picture.frame < 0 else picture.frame
            if not 0 <= frame < film.frames:
                raise UserError(
                    f"a picture at frame {picture.frame} is outside a film of {film.frames} frames; "
                    f"frames are 0 to {film.frames - 1}"
                )
            if picture.image.shape[:2] != (film.height, film.width):
                raise ValueError(f"a picture of {picture.image.shape} in a film of {film}")
            pictures.append(dataclasses.replace(picture, frame=frame))
        pictures.sort(key=lambda picture: picture.frame)
        for before, after in itertools.pairwise(pictures):
            if before.frame == after.frame:
                raise UserError(f"two pictures stand at frame {before.frame}; give each a frame of its own")
        if self.lines[-1].frame >= film.frames:
            raise UserError(
                f"a prompt starts at frame {self.lines[-1].frame}, after the last of {film.frames} frames; "
                "start it earlier or make a longer film"
            )
        return dataclasses.replace(self, pictures=tuple(pictures))


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """Given latent frames on the grid of a film.

    Attributes:
        latents: clean, zero where nothing is given.
        level: the noise level at which each latent frame is held; 1 where it is free.
        until: the noise level of the rest at which each is let go; 0 where it is not. None: nowhere.
    """

    latents: Float[Tensor, "1 c f h w"]
    level: Float[Tensor, " f"]
    until: Float[Tensor, " f"] | None = None

    @classmethod
    def nothing(cls, channels: int, shape: LatentShape) -> Given:
        """All frames are free."""
        return cls(
            latents=torch.zeros(1, channels, shape.frames, shape.height, shape.width),
            level=torch.ones(shape.frames),
        )

    def held(self, noise: Float[Tensor, "1 c f h w"]) -> flow.Held | None:
        """What the solver holds, or None where all frames are free."""
        frames = self.level < 1
        if not frames.any():
            return None
        return flow.Held(
            frames=frames,
            latents=flow.noised(self.latents.to(noise), noise, self.level),
            time=self.level,
            until=self.until,
            noise=noise,
        )

    def settled(self, latents: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h w"]:
        """The finished latents, with the given frames clean in their places, but for those let go."""
        kept = self.level < 1 if self.until is None else (self.level < 1) & (self.until == 0)
        frames = kept.to(latents.device)[None, None, :, None, None]
        return torch.where(frames, self.latents.to(latents), latents)


def hold(
    condition: Condition,
    shape: LatentShape,
    stride: Stride,
    channels: int,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> Given:
    """Given frames on the latent grid.

    The first film frame is a latent frame of its own. A later picture stands for the whole group of film
    frames that share its latent frame, because latents can't hold one of them alone.

    Args:
        condition: with frames counted from the beginning.
        shape: of the film's latents.
        stride: of the autoencoder.
        channels: of a latent.
        encode: films in [-1, 1] to normalised latents.

    Raises:
        UserError: two things are given for one latent frame, or latents don't fit the film.
    """
    free = Given.nothing(channels, shape)
    latents, level = free.latents.clone(), free.level.clone()
    until = torch.zeros_like(level)

    def place(frame: int, values: Float[Tensor, "1 c f h w"], held: float, let_go: float = 0.0) -> None:
        span = slice(frame, frame + values.shape[2])
        if (level[span] < 1).any():
            raise UserError(
                f"two things are given for latent frame {frame}, which stands for {stride.temporal} film "
                "frames; put them further apart"
            )
        latents[:, :, span] = values.to(latents)
        level[span], until[span] = held, let_go

    for given in condition.latents:
        frame = given.frame + shape.frames if given.frame < 0 else given.frame
        expected = (1, channels, given.latents.shape[2], shape.height, shape.width)
        if given.latents.shape != expected or not 0 <= frame <= shape.frames - given.latents.shape[2]:
            raise UserError(
                f"given latents of {tuple(given.latents.shape)} at latent frame {given.frame} do not fit "
                f"{shape.frames} latent frames of {channels} x {shape.height} x {shape.width}"
            )
        place(frame, given.latents, given.level, given.until)
    for clip in condition.clips:
        first = clip.frame + shape.video(stride).frames if clip.frame < 0 else clip.frame
        pixels = film_of(clip.frames)
        if first:
            pixels = torch.cat([pixels[:, :, :1], pixels], dim=2)
        values = encode(pixels)
        frame = shape.latent_frame_of(first, stride)
        place(frame, values[:, :, 1:] if first else values, 0.0, clip.until)
    for picture in condition.pictures:
        pixels = pixels_of(picture.image)[:, :, None]
        frame = shape.latent_frame_of(picture.frame, stride)
        if frame:
            still = pixels.expand(-1, -1, 1 + stride.temporal, -1, -1)
            place(frame, encode(still)[:, :, 1:], picture.level)
        else:
            place(0, encode(pixels), picture.level)
    return Given(latents=latents, level=level, until=until)


@dataclass(frozen=True, kw_only=True, eq=False)
class Changed:
    """The film that is changed, on the latent grid.

    Attributes:
        latents: clean.
        level: at which the solver starts.
        free: 1 where it may change, 0 where not; None: everywhere.
    """

    latents: Float[Tensor, "1 c f h w"]
    level: float
    free: Float[Tensor, "1 1 f h w"] | None

    def start(self, noise: Float[Tensor, "1 c f h w"], level: float) -> Float[Tensor, "1 c f h w"]:
        """What the solver starts from."""
        return flow.noised(self.latents.to(noise), noise, level)

    def blend(self, noise: Float[Tensor, "1 c f h w"]) -> flow.Blend | None:
        """What the solver keeps, or None where all may change."""
        if self.free is None:
            return None
        return flow.Blend(clean=self.latents.to(noise), noise=noise, free=self.free.to(noise))


def change(
    base: Base,
    stride: Stride,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> Changed:
    """The film that is changed, on the latent grid.

    A latent pixel is free where any of its pixels is; what the mask leaves out is put back in pixels.
    """
    latents = encode(film_of(base.frames))
    free = None
    if base.mask is not None:
        mask = torch.tensor(base.mask).float()[None, None]
        free = torch.nn.functional.max_pool2d(mask, stride.spatial)[:, :, None]
        free = (free > 0).to(latents).expand(-1, -1, latents.shape[2], -1, -1)
    return Changed(latents=latents, level=base.level, free=free)


def kept_outside(base: Base, frames: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h w 3"]:
    """The changed film with every pixel as it was that the mask leaves out."""
    if base.mask is None:
        return frames
    share = base.mask.astype(np.float32)[:, :, None]
    return np.rint(base.frames + share * (frames.astype(np.float32) - base.frames)).astype(np.uint8)


def channels_of(
    condition: Condition,
    film: VideoShape,
    shape: LatentShape,
    stride: Stride,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> Float[Tensor, "1 k f h w"]:
    """Mask and condition channels, as Wan's image-to-video transformers read them beside the noise.

    The condition is the encoding of a film that shows the pictures and is grey elsewhere; the mask has one
    channel for each film frame of a latent frame's group, and the first frame fills its group alone.

    Args:
        condition: with frames counted from the beginning.
        film: its shape.
        shape: of its latents.
        stride: of the autoencoder.
        encode: films in [-1, 1] to normalised latents.

    Raises:
        UserError: a picture is held at a noise level, or latents are given: these models can't.
    """
    if condition.latents or condition.clips or any(picture.level for picture in condition.pictures):
        raise UserError(
            "this model takes whole pictures only, not latents or pictures held at a noise level; "
            "use a model with a time for each latent frame (Wan 2.2 TI2V-5B, world)"
        )
    shown = torch.zeros(1, 3, film.frames, film.height, film.width)
    given = torch.zeros(film.frames)
    for picture in condition.pictures:
        shown[:, :, picture.frame] = pixels_of(picture.image)
        given[picture.frame] = 1
    groups = torch.cat([given[:1].expand(stride.temporal), given[1:]]).view(shape.frames, stride.temporal)
    mask = groups.T[None, :, :, None, None].expand(-1, -1, -1, shape.height, shape.width)
    latents = encode(shown)
    return torch.cat([mask.to(latents), latents], dim=1)


def film_of(frames: UInt8[np.ndarray, "f h w 3"]) -> Float[Tensor, "1 3 f h w"]:
    """Frames in [-1, 1]."""
    scaled = torch.tensor(frames).float().div_(255).mul_(2).sub_(1)
    return scaled.permute(3, 0, 1, 2)[None].contiguous()


def pixels_of(image: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 h w"]:
    """A picture in [-1, 1]."""
    scaled = torch.tensor(image).float().div_(255).mul_(2).sub_(1)
    return scaled.permute(2, 0, 1)[None]
