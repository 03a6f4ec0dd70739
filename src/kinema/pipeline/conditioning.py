"""What a film is made from: words, and frames that are given.

Text to film, picture to film, first and last frame, continuing, connecting and editing are one thing
here: a `Conditioning` says which latent frames are given, at which noise level each is held, and which
prompt speaks when. `LatentConditioning` is the frames' part of it on the latent grid.
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

from kinema import sampling
from kinema.errors import UserError
from kinema.frames import to_model_range
from kinema.shapes import LatentShape, Stride, VideoShape


@dataclass(frozen=True, kw_only=True)
class TimedPrompt:
    """A prompt and the film frame, from 0, at which it begins to speak."""

    prompt: str
    frame: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageCondition:
    """A picture the film shows.

    Attributes:
        image: already of the film's size.
        frame: where it stands, from 0; negative counts from the end, -1 is the last.
        sigma: the noise level at which it is held while the rest is made; 0 shows it as it is, a little
            noise lets the rest depend on it less. The finished film has it clean.
        original: the picture before it was fitted to the film, for encoders that look at it themselves.
    """

    image: UInt8[np.ndarray, "h w 3"]
    frame: int = 0
    sigma: float = 0.0
    original: UInt8[np.ndarray, "h2 w2 3"] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < 1:
            raise UserError(f"a frame can't be held at noise level {self.sigma}; levels are 0 up to below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentCondition:
    """Latent frames that are given as they are, normalised: the end of another film, say.

    Attributes:
        latents: in the film's latent height and width.
        frame: the latent frame at which they begin; negative counts from the end.
        sigma: as for a `ImageCondition`.
        release_sigma: the noise level at which they are let go, and made again with the rest; 0 keeps them.
    """

    latents: Float[Tensor, "1 c f h w"]
    frame: int = 0
    sigma: float = 0.0
    release_sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < 1:
            raise UserError(f"frames can't be held at noise level {self.sigma}; levels are 0 up to below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoCondition:
    """Frames that the film shows one after the other: the end of another film, say.

    They fill whole latent frames: 4k + 1 of them at the beginning (for a temporal stride of 4), 4k later.
    What came before a later clip is not known, so its first frame is taken to have stood still until then.

    Attributes:
        frames: already of the film's size.
        frame: the film frame at which they begin, from 0; negative counts from the end.
        release_sigma: as for `LatentCondition`.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    frame: int = 0
    release_sigma: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class EditSource:
    """A film that is changed: the solver starts from it, partly noised, and not from noise.

    Attributes:
        frames: as many as the film has, of its size.
        sigma: how noisy it is made, above 0 to 1 (SDEdit, arXiv 2108.01073).
        mask: where it may change, 0 to 1; None: everywhere.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    sigma: float
    mask: Float[np.ndarray, "h w"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditioning:
    """All that a film is made from.

    Attributes:
        prompts: the prompts in the order in which they speak; the first speaks from frame 0.
        negative_prompt: what guidance steers away from, throughout.
        images: at different frames.
        latents: at different latent frames.
        videos: likewise.
        edit_source: the film that is changed, if one is.
    """

    prompts: tuple[TimedPrompt, ...]
    negative_prompt: str = ""
    images: tuple[ImageCondition, ...] = ()
    latents: tuple[LatentCondition, ...] = ()
    videos: tuple[VideoCondition, ...] = ()
    edit_source: EditSource | None = None

    def __post_init__(self) -> None:
        if not self.prompts or self.prompts[0].frame != 0:
            raise UserError("nothing speaks at the beginning; the first prompt starts at frame 0")
        starts = [line.frame for line in self.prompts]
        for before, after in itertools.pairwise(starts):
            if after <= before:
                raise UserError(
                    f"a prompt that starts at frame {after} follows one at {before}; order them by time"
                )

    def prompt_index_per_frame(self, shape: LatentShape, stride: Stride) -> tuple[int, ...]:
        """For each latent frame the index of the line that speaks at the first film frame it holds."""
        firsts = [shape.first_video_frame(frame, stride) for frame in range(shape.frames)]
        return tuple(max(i for i, line in enumerate(self.prompts) if line.frame <= first) for first in firsts)

    @property
    def num_encodes(self) -> int:
        """How many pictures and films the autoencoder has to read."""
        return len(self.images) + len(self.videos) + (self.edit_source is not None)

    def resolve_frames(self, video_shape: VideoShape) -> Conditioning:
        """The same with pictures' frames counted from the beginning.

        Raises:
            UserError: a picture stands outside the film, two stand at one frame, or a prompt never speaks.
        """
        pictures = []
        for picture in self.images:
            frame = picture.frame + video_shape.frames if picture.frame < 0 else picture.frame
            if not 0 <= frame < video_shape.frames:
                raise UserError(
                    f"a picture at frame {picture.frame} is outside a film of {video_shape.frames} frames; "
                    f"frames are 0 to {video_shape.frames - 1}"
                )
            if picture.image.shape[:2] != (video_shape.height, video_shape.width):
                raise ValueError(f"a picture of {picture.image.shape} in a film of {video_shape}")
            pictures.append(dataclasses.replace(picture, frame=frame))
        pictures.sort(key=lambda picture: picture.frame)
        for before, after in itertools.pairwise(pictures):
            if before.frame == after.frame:
                raise UserError(f"two pictures stand at frame {before.frame}; give each a frame of its own")
        if self.prompts[-1].frame >= video_shape.frames:
            raise UserError(
                f"a prompt starts at frame {self.prompts[-1].frame}, after the last of {video_shape.frames} frames; "
                "start it earlier or make a longer film"
            )
        return dataclasses.replace(self, images=tuple(pictures))


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentConditioning:
    """Given latent frames on the grid of a film.

    Attributes:
        latents: clean, zero where nothing is given.
        sigmas: the noise level at which each latent frame is held; 1 where it is free.
        release_sigmas: the noise level of the rest at which each is let go; 0 where it is not. None: nowhere.
    """

    latents: Float[Tensor, "1 c f h w"]
    sigmas: Float[Tensor, " f"]
    release_sigmas: Float[Tensor, " f"] | None = None

    @classmethod
    def empty(cls, channels: int, shape: LatentShape) -> LatentConditioning:
        """All frames are free."""
        return cls(
            latents=torch.zeros(1, channels, shape.frames, shape.height, shape.width),
            sigmas=torch.ones(shape.frames),
        )

    def to_clamp(self, noise: Float[Tensor, "1 c f h w"]) -> sampling.FrameClamp | None:
        """What the solver holds, or None where all frames are free."""
        frames = self.sigmas < 1
        if not frames.any():
            return None
        return sampling.FrameClamp(
            frames=frames,
            latents=sampling.add_noise(self.latents.to(noise), noise, self.sigmas),
            sigmas=self.sigmas,
            release_sigmas=self.release_sigmas,
            noise=noise,
        )

    def restore_conditioning(self, latents: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h w"]:
        """The finished latents, with the given frames clean in their places, but for those let go."""
        kept = (
            self.sigmas < 1 if self.release_sigmas is None else (self.sigmas < 1) & (self.release_sigmas == 0)
        )
        frames = kept.to(latents.device)[None, None, :, None, None]
        return torch.where(frames, self.latents.to(latents), latents)


def encode_conditions(
    conditioning: Conditioning,
    shape: LatentShape,
    stride: Stride,
    channels: int,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> LatentConditioning:
    """Given frames on the latent grid.

    The first film frame is a latent frame of its own. A later picture stands for the whole group of film
    frames that share its latent frame, because latents can't hold one of them alone.

    Args:
        conditioning: with frames counted from the beginning.
        shape: of the film's latents.
        stride: of the autoencoder.
        channels: of a latent.
        encode: films in [-1, 1] to normalised latents.

    Raises:
        UserError: two things are given for one latent frame, or latents don't fit the film.
    """
    free = LatentConditioning.empty(channels, shape)
    latents, level = free.latents.clone(), free.sigmas.clone()
    until = torch.zeros_like(level)

    def place(
        frame: int, values: Float[Tensor, "1 c f h w"], sigma: float, release_sigma: float = 0.0
    ) -> None:
        span = slice(frame, frame + values.shape[2])
        if (level[span] < 1).any():
            raise UserError(
                f"two things are given for latent frame {frame}, which stands for {stride.temporal} film "
                "frames; put them further apart"
            )
        latents[:, :, span] = values.to(latents)
        level[span], until[span] = sigma, release_sigma

    for given in conditioning.latents:
        frame = given.frame + shape.frames if given.frame < 0 else given.frame
        expected = (1, channels, given.latents.shape[2], shape.height, shape.width)
        if given.latents.shape != expected or not 0 <= frame <= shape.frames - given.latents.shape[2]:
            raise UserError(
                f"given latents of {tuple(given.latents.shape)} at latent frame {given.frame} do not fit "
                f"{shape.frames} latent frames of {channels} x {shape.height} x {shape.width}"
            )
        place(frame, given.latents, given.sigma, given.release_sigma)
    for clip in conditioning.videos:
        first = clip.frame + shape.video(stride).frames if clip.frame < 0 else clip.frame
        pixels = to_model_range(clip.frames)
        if first:
            pixels = torch.cat([pixels[:, :, :1], pixels], dim=2)
        values = encode(pixels)
        frame = shape.latent_frame_index(first, stride)
        place(frame, values[:, :, 1:] if first else values, 0.0, clip.release_sigma)
    for picture in conditioning.images:
        pixels = to_model_range(picture.image[None])
        frame = shape.latent_frame_index(picture.frame, stride)
        if frame:
            still = pixels.expand(-1, -1, 1 + stride.temporal, -1, -1)
            place(frame, encode(still)[:, :, 1:], picture.sigma)
        else:
            place(0, encode(pixels), picture.sigma)
    return LatentConditioning(latents=latents, sigmas=level, release_sigmas=until)


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedEdit:
    """The film that is changed, on the latent grid.

    Attributes:
        latents: clean.
        sigma: at which the solver starts.
        mask: 1 where it may change, 0 where not; None: everywhere.
    """

    latents: Float[Tensor, "1 c f h w"]
    sigma: float
    mask: Float[Tensor, "1 1 f h w"] | None

    def noised_latents(self, noise: Float[Tensor, "1 c f h w"], sigma: float) -> Float[Tensor, "1 c f h w"]:
        """What the solver starts from."""
        return sampling.add_noise(self.latents.to(noise), noise, sigma)

    def inpaint_mask(self, noise: Float[Tensor, "1 c f h w"]) -> sampling.InpaintMask | None:
        """What the solver keeps, or None where all may change."""
        if self.mask is None:
            return None
        return sampling.InpaintMask(clean=self.latents.to(noise), noise=noise, mask=self.mask.to(noise))


def encode_edit(
    edit_source: EditSource,
    stride: Stride,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> EncodedEdit:
    """The film that is changed, on the latent grid.

    A latent pixel is free where any of its pixels is; what the mask leaves out is put back in pixels.
    """
    latents = encode(to_model_range(edit_source.frames))
    free = None
    if edit_source.mask is not None:
        mask = torch.tensor(edit_source.mask).float()[None, None]
        free = torch.nn.functional.max_pool2d(mask, stride.spatial)[:, :, None]
        free = (free > 0).to(latents).expand(-1, -1, latents.shape[2], -1, -1)
    return EncodedEdit(latents=latents, sigma=edit_source.sigma, mask=free)


def composite_mask(
    edit_source: EditSource, frames: UInt8[np.ndarray, "f h w 3"]
) -> UInt8[np.ndarray, "f h w 3"]:
    """The changed film with every pixel as it was that the mask leaves out."""
    if edit_source.mask is None:
        return frames
    share = edit_source.mask.astype(np.float32)[:, :, None]
    return np.rint(edit_source.frames + share * (frames.astype(np.float32) - edit_source.frames)).astype(
        np.uint8
    )


def encode_i2v_channels(
    conditioning: Conditioning,
    video_shape: VideoShape,
    shape: LatentShape,
    stride: Stride,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> Float[Tensor, "1 k f h w"]:
    """Mask and condition channels, as Wan's image-to-video transformers read them beside the noise.

    The condition is the encoding of a film that shows the pictures and is grey elsewhere; the mask has one
    channel for each film frame of a latent frame's group, and the first frame fills its group alone.

    Args:
        conditioning: with frames counted from the beginning.
        video_shape: its shape.
        shape: of its latents.
        stride: of the autoencoder.
        encode: films in [-1, 1] to normalised latents.

    Raises:
        UserError: a picture is held at a noise level, or latents are given: these models can't.
    """
    if conditioning.latents or conditioning.videos or any(picture.sigma for picture in conditioning.images):
        raise UserError(
            "this model takes whole pictures only, not latents or pictures held at a noise level; "
            "use a model with a time for each latent frame (Wan 2.2 TI2V-5B, world)"
        )
    shown = torch.zeros(1, 3, video_shape.frames, video_shape.height, video_shape.width)
    given = torch.zeros(video_shape.frames)
    for picture in conditioning.images:
        shown[:, :, picture.frame] = to_model_range(picture.image[None])[:, :, 0]
        given[picture.frame] = 1
    groups = torch.cat([given[:1].expand(stride.temporal), given[1:]]).view(shape.frames, stride.temporal)
    mask = groups.T[None, :, :, None, None].expand(-1, -1, -1, shape.height, shape.width)
    latents = encode(shown)
    return torch.cat([mask.to(latents), latents], dim=1)
