"""Conditioning: prompts by frame, and the frames that are known before sampling.

Text-to-video, image-to-video, first and last frame, extension, interpolation and editing are values of one
type: a `Conditioning` says which frames are known, at which sigma each is clamped, and which prompt applies
to which frames. `LatentConditioning` is the part about frames on the latent grid.
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
    """A prompt and the video frame, from 0, from which it applies."""

    prompt: str
    frame: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageCondition:
    """An image that the video shows.

    Attributes:
        image: already of the video's size.
        frame: its video frame, from 0; negative counts from the end, -1 is the last.
        sigma: the noise level at which it is clamped while the rest is sampled; 0 is exact, a little noise
            makes the rest depend on it less. The finished video has it clean.
        original: the image before it was cropped and resized, for image encoders that read it themselves.
    """

    image: UInt8[np.ndarray, "h w 3"]
    frame: int = 0
    sigma: float = 0.0
    original: UInt8[np.ndarray, "h2 w2 3"] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < 1:
            raise UserError(f"a frame can't be clamped at sigma {self.sigma}; give 0 up to below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentCondition:
    """Known latent frames, normalised: for example the end of another video.

    Attributes:
        latents: in the video's latent height and width.
        frame: the latent frame at which they begin; negative counts from the end.
        sigma: as for `ImageCondition`.
        release_sigma: the sigma below which they are sampled again with the rest; 0 clamps them to the end.
    """

    latents: Float[Tensor, "1 c f h w"]
    frame: int = 0
    sigma: float = 0.0
    release_sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < 1:
            raise UserError(f"frames can't be clamped at sigma {self.sigma}; give 0 up to below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoCondition:
    """Known video frames in a row: for example the end of another video.

    They fill whole latent frames: 4k + 1 frames at the beginning (for a temporal stride of 4), 4k later. The
    frames before a later clip are not known, so its first frame is repeated in front of it for encoding.

    Attributes:
        frames: already of the video's size.
        frame: the video frame at which they begin, from 0; negative counts from the end.
        release_sigma: as for `LatentCondition`.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    frame: int = 0
    release_sigma: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class EditSource:
    """The source of an edit: the solver starts from it, partly noised, instead of from noise.

    Attributes:
        frames: all frames of the video, of its size.
        sigma: the noise level to start from, above 0 to 1 (SDEdit, arXiv 2108.01073).
        mask: where the video may change, 0 to 1, in all frames or in each; None: everywhere.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    sigma: float
    mask: Float[np.ndarray, "h w"] | Float[np.ndarray, "f h w"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlCondition:
    """A control video: depth, poses or edges that the video follows; for models with a control branch.

    Attributes:
        frames: of the video's size, from its first frame; if they are fewer, later frames are free.
        scale: how strongly the video follows them; 1 is as trained.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditioning:
    """All that a segment is sampled from.

    Attributes:
        prompts: in the order of their frames; the first applies from frame 0.
        negative_prompt: what guidance steers away from, in all frames.
        images: known images, each at a frame of its own.
        latents: known latent frames.
        videos: known video frames.
        edit_source: the video to edit.
        control: a control video.
        references: images of what the video shows, of any size; for models with a control branch.
    """

    prompts: tuple[TimedPrompt, ...]
    negative_prompt: str = ""
    images: tuple[ImageCondition, ...] = ()
    latents: tuple[LatentCondition, ...] = ()
    videos: tuple[VideoCondition, ...] = ()
    edit_source: EditSource | None = None
    control: ControlCondition | None = None
    references: tuple[UInt8[np.ndarray, "_ _ 3"], ...] = ()

    def __post_init__(self) -> None:
        if not self.prompts or self.prompts[0].frame != 0:
            raise UserError("the first frames have no prompt; the first prompt starts at frame 0")
        starts = [prompt.frame for prompt in self.prompts]
        for before, after in itertools.pairwise(starts):
            if after <= before:
                raise UserError(
                    f"a prompt that starts at frame {after} follows one at {before}; order them by time"
                )

    def prompt_index_per_frame(self, shape: LatentShape, stride: Stride) -> tuple[int, ...]:
        """For each latent frame the index of the prompt of its first video frame."""
        first_frames = [shape.first_video_frame(frame, stride) for frame in range(shape.frames)]
        return tuple(
            max(index for index, prompt in enumerate(self.prompts) if prompt.frame <= first)
            for first in first_frames
        )

    @property
    def num_encodes(self) -> int:
        """How many images and clips the autoencoder has to encode."""
        control = 2 * (self.control is not None)
        return len(self.images) + len(self.videos) + (self.edit_source is not None) + control

    def resolve_frames(self, video_shape: VideoShape) -> Conditioning:
        """The same with frames of images counted from the beginning.

        Raises:
            UserError: an image is outside the video, two are at one frame, or a prompt begins after the end.
        """
        images = []
        for image in self.images:
            frame = image.frame + video_shape.frames if image.frame < 0 else image.frame
            if not 0 <= frame < video_shape.frames:
                raise UserError(
                    f"an image at frame {image.frame} is outside a video of {video_shape.frames} frames; "
                    f"frames are 0 to {video_shape.frames - 1}"
                )
            if image.image.shape[:2] != (video_shape.height, video_shape.width):
                raise ValueError(f"an image of {image.image.shape} in a video of {video_shape}")
            images.append(dataclasses.replace(image, frame=frame))
        images.sort(key=lambda image: image.frame)
        for before, after in itertools.pairwise(images):
            if before.frame == after.frame:
                raise UserError(f"two images are at frame {before.frame}; give each a frame of its own")
        last = self.prompts[-1].frame
        if last >= video_shape.frames:
            raise UserError(
                f"a prompt starts at frame {last}, after the last of {video_shape.frames} frames; start it "
                "earlier or make the video longer"
            )
        return dataclasses.replace(self, images=tuple(images))


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentConditioning:
    """Known latent frames on the grid of a video.

    Attributes:
        latents: clean, zero where nothing is known.
        sigmas: the noise level at which each latent frame is clamped; 1 where it is free.
        release_sigmas: the sigma below which each known frame is sampled again; 0: never. None: no frame.
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
        """The clamp of the solver; None if all frames are free."""
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
        """Put the known frames, clean, into finished latents, except those that were released."""
        clamped = (
            self.sigmas < 1 if self.release_sigmas is None else (self.sigmas < 1) & (self.release_sigmas == 0)
        )
        frames = clamped.to(latents.device)[None, None, :, None, None]
        return torch.where(frames, self.latents.to(latents), latents)


def encode_conditions(
    conditioning: Conditioning,
    shape: LatentShape,
    stride: Stride,
    channels: int,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> LatentConditioning:
    """Encode known frames onto the latent grid.

    The first video frame is a latent frame of its own. A later image fills the whole group of video frames
    that share its latent frame, because latents can't represent one of them alone.

    Args:
        conditioning: with frames counted from the beginning.
        shape: of the video's latents.
        stride: of the autoencoder.
        channels: of the latents.
        encode: videos in [-1, 1] to normalised latents.

    Raises:
        UserError: two inputs fall on one latent frame, or latents do not fit the video.
    """
    empty = LatentConditioning.empty(channels, shape)
    latents, sigmas = empty.latents.clone(), empty.sigmas.clone()
    release_sigmas = torch.zeros_like(sigmas)

    def place(
        frame: int, values: Float[Tensor, "1 c f h w"], sigma: float, release_sigma: float = 0.0
    ) -> None:
        span = slice(frame, frame + values.shape[2])
        if (sigmas[span] < 1).any():
            raise UserError(
                f"two inputs fall on latent frame {frame}, which stands for {stride.temporal} video frames; "
                "put them further apart"
            )
        latents[:, :, span] = values.to(latents)
        sigmas[span], release_sigmas[span] = sigma, release_sigma

    for known in conditioning.latents:
        frame = known.frame + shape.frames if known.frame < 0 else known.frame
        expected = (1, channels, known.latents.shape[2], shape.height, shape.width)
        if known.latents.shape != expected or not 0 <= frame <= shape.frames - known.latents.shape[2]:
            raise UserError(
                f"latents of {tuple(known.latents.shape)} at latent frame {known.frame} do not fit "
                f"{shape.frames} latent frames of {channels} x {shape.height} x {shape.width}"
            )
        place(frame, known.latents, known.sigma, known.release_sigma)
    for clip in conditioning.videos:
        first = clip.frame + shape.video(stride).frames if clip.frame < 0 else clip.frame
        pixels = to_model_range(clip.frames)
        if first:
            pixels = torch.cat([pixels[:, :, :1], pixels], dim=2)
        values = encode(pixels)
        frame = shape.latent_frame_index(first, stride)
        place(frame, values[:, :, 1:] if first else values, 0.0, clip.release_sigma)
    for image in conditioning.images:
        pixels = to_model_range(image.image[None])
        frame = shape.latent_frame_index(image.frame, stride)
        if frame:
            repeated = pixels.expand(-1, -1, 1 + stride.temporal, -1, -1)
            place(frame, encode(repeated)[:, :, 1:], image.sigma)
        else:
            place(0, encode(pixels), image.sigma)
    return LatentConditioning(latents=latents, sigmas=sigmas, release_sigmas=release_sigmas)


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedEdit:
    """The source of an edit on the latent grid.

    Attributes:
        latents: clean.
        sigma: the noise level to start from.
        mask: 1 where latents are sampled, 0 where they are kept; None: sampled everywhere.
    """

    latents: Float[Tensor, "b c f h w"]
    sigma: float
    mask: Float[Tensor, "1 1 f h w"] | None = None

    def noised_latents(self, noise: Float[Tensor, "b c f h w"], sigma: float) -> Float[Tensor, "b c f h w"]:
        """The latents that the solver starts from."""
        return sampling.add_noise(self.latents.to(noise), noise, sigma)

    def inpaint_mask(self, noise: Float[Tensor, "b c f h w"]) -> sampling.InpaintMask | None:
        """The mask of the solver; None if everything may change."""
        if self.mask is None:
            return None
        return sampling.InpaintMask(clean=self.latents.to(noise), noise=noise, mask=self.mask.to(noise))


def encode_edit(
    edit_source: EditSource,
    stride: Stride,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> EncodedEdit:
    """Encode the source of an edit.

    A latent pixel may change where any of its pixels may; `composite_mask` restores the other pixels.
    """
    latents = encode(to_model_range(edit_source.frames))
    latent_mask = None
    if edit_source.mask is not None:
        mask = torch.tensor(edit_source.mask).float()
        pooled = torch.nn.functional.max_pool2d(
            mask[None] if mask.dim() == 2 else mask[:, None], stride.spatial
        )
        pooled = pooled.view(1, 1, -1, *pooled.shape[-2:])
        if mask.dim() == 3:
            # The first frame is a latent frame of its own, the others are groups.
            groups = pooled[:, :, 1:].unflatten(2, (-1, stride.temporal)).amax(dim=3)
            pooled = torch.cat([pooled[:, :, :1], groups], dim=2)
        latent_mask = (pooled > 0).to(latents).expand(-1, -1, latents.shape[2], -1, -1)
    return EncodedEdit(latents=latents, sigma=edit_source.sigma, mask=latent_mask)


def composite_mask(
    edit_source: EditSource, frames: UInt8[np.ndarray, "f h w 3"]
) -> UInt8[np.ndarray, "f h w 3"]:
    """mask * edited + (1 - mask) * source."""
    if edit_source.mask is None:
        return frames
    weight = edit_source.mask.astype(np.float32)[..., None]
    blended = edit_source.frames + weight * (frames.astype(np.float32) - edit_source.frames)
    return np.rint(blended).astype(np.uint8)


def encode_i2v_channels(
    conditioning: Conditioning,
    video_shape: VideoShape,
    shape: LatentShape,
    stride: Stride,
    encode: Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]],
) -> Float[Tensor, "1 k f h w"]:
    """Mask and image channels, which Wan's image-to-video transformers read next to the latents.

    The image channels are the encoding of a video that shows the images and is grey elsewhere. The mask has
    one channel for each video frame of a latent frame's group; the first frame fills its group alone.

    Args:
        conditioning: with frames counted from the beginning.
        video_shape: of the video.
        shape: of its latents.
        stride: of the autoencoder.
        encode: videos in [-1, 1] to normalised latents.

    Raises:
        UserError: an image is clamped at a sigma above 0, or latents or clips are known: these models can't.
    """
    if conditioning.latents or conditioning.videos or any(image.sigma for image in conditioning.images):
        raise UserError(
            "this model takes clean images only, no latents, clips or noised images; use a model with a "
            "noise level for each latent frame (Wan 2.2 TI2V-5B, world)"
        )
    shown = torch.zeros(1, 3, video_shape.frames, video_shape.height, video_shape.width)
    is_known = torch.zeros(video_shape.frames)
    for image in conditioning.images:
        shown[:, :, image.frame] = to_model_range(image.image[None])[:, :, 0]
        is_known[image.frame] = 1
    groups = torch.cat([is_known[:1].expand(stride.temporal), is_known[1:]])
    mask = groups.view(shape.frames, stride.temporal).T[None, :, :, None, None]
    mask = mask.expand(-1, -1, -1, shape.height, shape.width)
    latents = encode(shown)
    return torch.cat([mask.to(latents), latents], dim=1)
