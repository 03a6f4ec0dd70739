"""A finished film and what it was made from."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.pipeline.metadata import GenerationMetadata
from kinema.pipeline.tail_latents import pack_latents


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedVideo:
    """Frames, and the request that made them.

    Attributes:
        frames: the pictures.
        fps: frames per second.
        prompt: what it was asked for; lines of a storyboard are joined.
        seed: of the noise; None where the noise was given.
        num_inference_steps: of the solver.
        guidance_scale: scale of each expert.
        model: what the model was loaded from.
        tail_latents: latents of its last groups of frames, from which it can go on; None where they are not known.
        metadata: the whole request and what made it, as it is kept in the film's file.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float
    prompt: str = ""
    seed: int | None = None
    num_inference_steps: int = 0
    guidance_scale: tuple[float, ...] = ()
    model: str = ""
    tail_latents: Float[Tensor, "1 c g h2 w2"] | None = None
    metadata: GenerationMetadata | None = None

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.frames) / self.fps

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the film, with the request that made it; the name's ending chooses the format (.mp4, ...).

        An MP4 also carries the latents of its end, so that it can be extended without encoding it again.

        Raises:
            UserError: the folder does not exist or can't be written, or the ending is unknown.
        """
        from kinema.atomic_io import atomic_write
        from kinema.media.mp4_uuid_box import append_box, supports_box
        from kinema.media.write import write_video

        comment = "" if self.metadata is None else self.metadata.to_json()
        if self.tail_latents is None or not supports_box(path):
            write_video(path, self.frames, fps=self.fps, comment=comment)
            return
        with atomic_write(path) as beside:
            write_video(beside, self.frames, fps=self.fps, comment=comment)
            append_box(
                beside,
                pack_latents(
                    self.tail_latents,
                    model_fingerprint="" if self.metadata is None else self.metadata.fingerprint,
                ),
            )


def to_frames(video: Float[Tensor, "1 3 f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    """Films in [-1, 1] as uint8, rounded to nearest."""
    scaled = video[0].permute(1, 2, 3, 0).float().div(2).add_(0.5).clamp_(0, 1).mul_(255).round_()
    return scaled.to(torch.uint8).cpu().numpy()
