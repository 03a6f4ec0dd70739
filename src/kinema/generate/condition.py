"""What a film is made from: words, and frames that are given.

Text to film, picture to film, first and last frame, continuing, connecting and editing are one thing
here: a `Condition` says which latent frames are given, at which noise level each is held, and which
prompt speaks when. `Held` is the same on the latent grid, as the sampler reads it.
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
        level: the noise level at which it is held while the rest is made: at 0 it is exact; above, the
            sampler takes it over from that level down, and it may change.
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
    """

    latents: Float[Tensor, "1 c f h w"]
    frame: int = 0
    level: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.level < 1:
            raise UserError(f"frames can't be held at noise level {self.level}; levels are 0 up to below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """All that a film is made from.

    Attributes:
        lines: the prompts in the order in which they speak; the first speaks from frame 0.
        negative: what guidance steers away from, throughout.
        pictures: at different frames.
        latents: at different latent frames.
    """

    lines: tuple[Line, ...]
    negative: str = ""
    pictures: tuple[Picture, ...] = ()
    latents: tuple[Latents, ...] = ()

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
        firsts = [0] + [1 + (k - 1) * stride.temporal for k in range(1, shape.frames)]
        return tuple(max(i for i, line in enumerate(self.lines) if line.frame <= first) for first in firsts)

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
class Held:
    """Given latent frames as the sampler sees them.

    Attributes:
        latents: zero where nothing is given.
        level: the noise level at which each latent frame is held; 1 where it is free.
    """

    latents: Float[Tensor, "1 c f h w"]
    level: Float[Tensor, " f"]

    @classmethod
    def free(cls, channels: int, shape: LatentShape) -> Held:
        """Nothing is given."""
        return cls(
            latents=torch.zeros(1, channels, shape.frames, shape.height, shape.width),
            level=torch.ones(shape.frames, dtype=torch.float64),
        )

    @property
    def empty(self) -> bool:
        """Whether nothing is given."""
        return bool((self.level == 1).all())

    def holds(self, t: float) -> Tensor:
        """Which latent frames are held at diffusion time `t`, shaped to multiply latents."""
        return (self.level < t).view(1, 1, -1, 1, 1)

    def times(self, t: float) -> Float[Tensor, "1 f"]:
        """The time of each latent frame when the free ones are at `t`."""
        return self.level.clamp(max=t)[None]

    def shown(
        self, x: Float[Tensor, "1 c f h w"], noise: Float[Tensor, "1 c f h w"], t: float
    ) -> Float[Tensor, "1 c f h w"]:
        """The latents as the network is shown them at `t`: held frames at their own level."""
        if self.empty:
            return x
        level = self.level.to(x).view(1, 1, -1, 1, 1)
        given = self.latents.to(x)
        return torch.where(self.holds(t).to(x.device), given + level * (noise - given), x)

    def steered(
        self, velocity: Float[Tensor, "1 c f h w"], noise: Float[Tensor, "1 c f h w"], t: float
    ) -> Float[Tensor, "1 c f h w"]:
        """The velocity that the solver follows: held frames go straight to what is given.

        So the solver's state of a held frame is what is given at noise level t, at every t; it is right when
        the frame is let go, and at t = 0 the frame is what was given.
        """
        if self.empty:
            return velocity
        return torch.where(self.holds(t).to(velocity.device), noise - self.latents.to(velocity), velocity)

    def settled(self, x: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h w"]:
        """The finished latents, with exact frames exactly as given rather than to the last rounding."""
        if self.empty:
            return x
        exact = (self.level == 0).view(1, 1, -1, 1, 1).to(x.device)
        return torch.where(exact, self.latents.to(x), x)


def hold(
    condition: Condition,
    shape: LatentShape,
    stride: Stride,
    channels: int,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> Held:
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
    free = Held.free(channels, shape)
    latents, level = free.latents.clone(), free.level.clone()

    def place(frame: int, values: Float[Tensor, "1 c f h w"], held: float) -> None:
        span = slice(frame, frame + values.shape[2])
        if (level[span] < 1).any():
            raise UserError(
                f"two things are given for latent frame {frame}, which stands for {stride.temporal} film "
                "frames; put them further apart"
            )
        latents[:, :, span] = values.to(latents)
        level[span] = held

    for given in condition.latents:
        frame = given.frame + shape.frames if given.frame < 0 else given.frame
        expected = (1, channels, given.latents.shape[2], shape.height, shape.width)
        if given.latents.shape != expected or not 0 <= frame <= shape.frames - given.latents.shape[2]:
            raise UserError(
                f"given latents of {tuple(given.latents.shape)} at latent frame {given.frame} do not fit "
                f"{shape.frames} latent frames of {channels} x {shape.height} x {shape.width}"
            )
        place(frame, given.latents, given.level)
    for picture in condition.pictures:
        pixels = pixels_of(picture.image)[:, :, None]
        frame = shape.latent_frame_of(picture.frame, stride)
        if frame:
            still = pixels.expand(-1, -1, 1 + stride.temporal, -1, -1)
            place(frame, encode(still)[:, :, 1:], picture.level)
        else:
            place(0, encode(pixels), picture.level)
    return Held(latents=latents, level=level)


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
    if condition.latents or any(picture.level for picture in condition.pictures):
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


def pixels_of(image: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 h w"]:
    """A picture in [-1, 1]."""
    scaled = torch.from_numpy(np.ascontiguousarray(image)).float().div_(255).mul_(2).sub_(1)
    return scaled.permute(2, 0, 1)[None]
