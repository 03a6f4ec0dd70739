"""The input of a control branch (VACE, arXiv 2503.07598): what is known of a video, and what steers it.

Every task of VACE is one video and one mask. Where the mask is 0 the video is kept, where it is 1 it is
generated, and what the video shows there is a control signal (depth, poses, edges), or grey for none. Both
parts are encoded by themselves; the mask at full resolution becomes channels. Reference images are latent
frames in front of the video, which are sampled with it and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from kinema.errors import UserError
from kinema.frames import to_model_range
from kinema.pipeline.conditioning import Conditioning
from kinema.shapes import LatentShape, Stride, VideoShape

Encode = Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlInputs:
    """What a control branch reads.

    Attributes:
        channels: kept part, generated part and mask, on the latent grid.
        scale: factor of what the branch adds.
        num_references: latent frames of reference images in front of the video.
    """

    channels: Float[Tensor, "1 k f h w"]
    scale: float
    num_references: int


def encode_control(
    conditioning: Conditioning,
    video_shape: VideoShape,
    shape: LatentShape,
    stride: Stride,
    encode: Encode,
) -> ControlInputs:
    """Encode what is known of a video as the input of a control branch.

    Args:
        conditioning: with frames counted from the beginning.
        video_shape: of the video.
        shape: of its latents, without reference images.
        stride: of the autoencoder.
        encode: videos in [-1, 1] to normalised latents.

    Raises:
        UserError: an image is clamped at a sigma above 0, which these models can't do.
    """
    shown, mask = _shown_and_mask(conditioning, video_shape)
    generated = (mask > 0.5).to(shown)
    latents = torch.cat([encode(shown * (1 - generated)), encode(shown * generated)], dim=1)
    side = stride.spatial
    squares = mask.view(video_shape.frames, shape.height, side, shape.width, side)
    cells = squares.permute(2, 4, 0, 1, 3).flatten(0, 1)[None]
    # One frame of each group stands for its latent frame, as the models were trained.
    masks = functional.interpolate(
        cells, size=(shape.frames, shape.height, shape.width), mode="nearest-exact"
    )
    for image in reversed(conditioning.references):
        reference = encode(_fit_on_white(image, video_shape))
        latents = torch.cat([torch.cat([reference, torch.zeros_like(reference)], dim=1), latents], dim=2)
        masks = torch.cat([torch.zeros_like(masks[:, :, :1]), masks], dim=2)
    control = conditioning.control
    return ControlInputs(
        channels=torch.cat([latents, masks.to(latents)], dim=1),
        scale=1.0 if control is None else control.scale,
        num_references=len(conditioning.references),
    )


def encode_control_channels(
    conditioning: Conditioning,
    video_shape: VideoShape,
    shape: LatentShape,
    latent_channels: int,
    encode: Encode,
) -> Float[Tensor, "1 k f h w"]:
    """A control video and the first frame, which Fun-Control transformers read next to the latents.

    What is not given is zero.

    Args:
        conditioning: with frames counted from the beginning.
        video_shape: of the video.
        shape: of its latents.
        latent_channels: of the autoencoder.
        encode: videos in [-1, 1] to normalised latents.

    Raises:
        UserError: latents, clips or noised images are known: these models can't.
    """
    if conditioning.latents or conditioning.videos or any(image.sigma for image in conditioning.images):
        raise UserError(
            "this model takes a control video and a clean first frame only, no latents, clips or noised "
            "images; use Wan VACE"
        )
    size = (video_shape.height, video_shape.width)
    followed, first = torch.zeros(2, 1, latent_channels, shape.frames, shape.height, shape.width)
    if conditioning.control is not None:
        shown = torch.zeros(1, 3, video_shape.frames, *size)
        frames = to_model_range(conditioning.control.frames[: video_shape.frames])
        shown[:, :, : frames.shape[2]] = frames
        followed = encode(shown)
    for image in conditioning.images:
        first[:, :, :1] = encode(to_model_range(image.image[None]))
    return torch.cat([followed, first], dim=1)


def _shown_and_mask(
    conditioning: Conditioning, video_shape: VideoShape
) -> tuple[Float[Tensor, "1 3 f h w"], Float[Tensor, "1 1 f h w"]]:
    """The video in [-1, 1], 0 (grey) where nothing is known, and the mask of what is generated."""
    if conditioning.latents or any(image.sigma for image in conditioning.images):
        raise UserError(
            "this model takes clean frames only, no latents or noised images; use a model with a noise level "
            "for each latent frame (Wan 2.2 TI2V-5B, world)"
        )
    size = (video_shape.frames, video_shape.height, video_shape.width)
    shown, mask = torch.zeros(1, 3, *size), torch.ones(1, 1, *size)
    if conditioning.control is not None:
        frames = to_model_range(conditioning.control.frames[: video_shape.frames])
        shown[:, :, : frames.shape[2]] = frames
    source = conditioning.edit_source
    if source is not None and source.mask is not None:
        changed = torch.from_numpy(np.broadcast_to(source.mask, size).copy())
        mask[:] = changed
        kept = (changed <= 0.5).to(shown)
        # A control video stays visible where the source may change.
        shown = to_model_range(source.frames) * kept + shown * (1 - kept)
    elif source is not None and conditioning.control is None:
        shown = to_model_range(source.frames)
    for clip in conditioning.videos:
        first = clip.frame + video_shape.frames if clip.frame < 0 else clip.frame
        span = slice(first, first + len(clip.frames))
        shown[:, :, span], mask[:, :, span] = to_model_range(clip.frames), 0
    for image in conditioning.images:
        shown[:, :, image.frame], mask[:, :, image.frame] = to_model_range(image.image[None])[:, :, 0], 0
    return shown, mask


def _fit_on_white(image: UInt8[np.ndarray, "h w 3"], video_shape: VideoShape) -> Float[Tensor, "1 3 1 h2 w2"]:
    """An image scaled to fit into a frame, in the middle of white, in [-1, 1]."""
    pixels = to_model_range(image[None])[:, :, 0]
    height, width = image.shape[:2]
    scale = min(video_shape.height / height, video_shape.width / width)
    size = (max(1, int(height * scale)), max(1, int(width * scale)))
    scaled = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    canvas = torch.ones(1, 3, 1, video_shape.height, video_shape.width)
    top, left = (video_shape.height - size[0]) // 2, (video_shape.width - size[1]) // 2
    canvas[:, :, 0, top : top + size[0], left : left + size[1]] = scaled
    return canvas


_LOW_EDGE, _HIGH_EDGE = 100.0, 200.0
"""Thresholds of the gradient, as common for control videos."""


def detect_edges(frames: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h w 3"]:
    """White edges on black (Canny, PAMI-8, 1986), the control signal of edges."""
    return np.stack([_canny(frame) for frame in frames])


def _canny(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    from scipy import ndimage

    grey = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grey = ndimage.gaussian_filter(grey, 1.0)
    across, down = ndimage.sobel(grey, axis=1), ndimage.sobel(grey, axis=0)
    strength = np.hypot(across, down)
    # An edge is a local maximum along the gradient, whose direction is rounded to eighths of a turn.
    eighth = np.round(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    padded = np.pad(strength, 1)
    height, width = strength.shape
    thin = np.zeros_like(strength, dtype=bool)
    for direction, (row, column) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        behind = padded[1 - row : 1 - row + height, 1 - column : 1 - column + width]
        thin |= (eighth == direction) & (strength >= ahead) & (strength > behind)
    weak = thin & (strength > _LOW_EDGE)
    labels, count = ndimage.label(weak, structure=np.ones((3, 3)))
    strong = np.zeros(count + 1, dtype=bool)
    strong[np.unique(labels[weak & (strength > _HIGH_EDGE)])] = True
    strong[0] = False
    return np.repeat((strong[labels] * np.uint8(255))[:, :, None], 3, axis=2)


def place_on_canvas(
    frames: UInt8[np.ndarray, "f h w 3"], expand: Sequence[int]
) -> tuple[UInt8[np.ndarray, "f h2 w2 3"], Float[np.ndarray, "h2 w2"]]:
    """A video in the middle of a larger grey one, and the mask of the new border, for outpainting.

    Args:
        frames: the video.
        expand: pixels to add to the left, top, right and bottom.
    """
    left, top, right, bottom = expand
    border = ((0, 0), (top, bottom), (left, right), (0, 0))
    canvas = np.pad(frames, border, constant_values=128)
    mask = np.pad(np.zeros(frames.shape[1:3], dtype=np.float32), border[1:3], constant_values=1.0)
    return canvas, mask
