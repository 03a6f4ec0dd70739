"""A finished film and what it was made from."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """Frames, and the request that made them.

    Attributes:
        frames: the pictures.
        fps: frames per second.
        prompt: what it was asked for; lines of a storyboard are joined.
        seed: of the noise; None where the noise was given.
        steps: of the solver.
        guidance: scale of each expert.
        model: what the model was loaded from.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float
    prompt: str = ""
    seed: int | None = None
    steps: int = 0
    guidance: tuple[float, ...] = ()
    model: str = ""

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.frames) / self.fps

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the film; the name's ending chooses the format (.mp4, .webm, .gif, ...).

        Raises:
            UserError: the folder does not exist or can't be written, or the ending is unknown.
        """
        from kinema.media.write import write_film

        write_film(path, self.frames, fps=self.fps)


def to_uint8(film: Float[Tensor, "1 3 f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    """Films in [-1, 1] as uint8, rounded to nearest."""
    scaled = film[0].permute(1, 2, 3, 0).float().div(2).add_(0.5).clamp_(0, 1).mul_(255).round_()
    return scaled.to(torch.uint8).cpu().numpy()
