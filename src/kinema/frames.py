"""Conversion between uint8 frames at the edges and float videos inside, in one place."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import ModelOutputError

FrameArray = UInt8[np.ndarray, "f h w 3"]
"""The frames of a video: uint8 sRGB."""


def to_model_range(frames: UInt8[np.ndarray, "f h w 3"]) -> Float[Tensor, "1 3 f h w"]:
    """uint8 frames as a float32 video in [-1, 1]."""
    scaled = torch.tensor(frames).float().div_(255).mul_(2).sub_(1)
    return scaled.permute(3, 0, 1, 2)[None].contiguous()


def to_frames(video: Float[Tensor, "1 3 f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    """A video in [-1, 1] as uint8 frames, rounded to nearest and clipped."""
    scaled = video[0].permute(1, 2, 3, 0).float().div(2).add_(0.5).clamp_(0, 1).mul_(255).round_()
    return scaled.to(torch.uint8).cpu().numpy()


def require_finite(values: Float[Tensor, "..."], what: str) -> None:
    """Refuse a model's output that is not a number: as frames it would be black, without any error.

    Args:
        values: latents, or a video in [-1, 1].
        what: their name in the message.

    Raises:
        ModelOutputError: a value is NaN or infinite.
    """
    if not torch.isfinite(values).all():
        raise ModelOutputError(
            f"the model's {what} are not numbers (NaN or infinite): its weights are damaged or do not fit "
            "its precision; download them again, or use another dtype"
        )


def videos_to_model_range(videos: UInt8[Tensor, "b f h w 3"]) -> Float[Tensor, "b 3 f h w"]:
    """Convert a batch of uint8 videos on any device to float32 in [-1, 1]; not contiguous."""
    return videos.float().permute(0, 4, 1, 2, 3) / 127.5 - 1
