"""Events of a generation: what `Pipeline.stream` yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.pipeline.latent_preview import LatentPreviewer


@dataclass(frozen=True, kw_only=True)
class StageProgress:
    """Progress of a stage other than sampling."""

    name: Literal["text", "images", "decode"]
    done: int
    total: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplerState:
    """The state after a step, from which the rest gives the uninterrupted video, bit for bit.

    Attributes:
        index: of the step, from 0, as `SamplingStep.index`.
        latents: row 0 holds the video's latents so far: those of finished segments, then those of the current
            one; further rows hold what a multi-step solver keeps.
    """

    index: int
    latents: Float[Tensor, "k c f h w"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingStep:
    """A step of the solver is done.

    Attributes:
        index: from 0, counted through all segments or blocks of the video.
        total: how many there are.
        sigma: the noise level now reached.
        latents: of the current segment, at that level, normalised. Do not write into them: the solver
            continues from them.
        clean: the network's estimate of the finished latents.
        finished_latents: of the segments before.
        history: what a multi-step solver keeps.
        previewer: latents to images.
        resumable: whether `to_state` gives a state; streams are sampled again from their start.
    """

    index: int
    total: int
    sigma: float
    latents: Float[Tensor, "b c f h w"]
    clean: Float[Tensor, "b c f h w"]
    finished_latents: tuple[Float[Tensor, "1 c _ h w"], ...] = ()
    history: tuple[Float[Tensor, "b c f h w"], ...] = ()
    previewer: LatentPreviewer | None = None
    resumable: bool = True

    def preview(self) -> UInt8[np.ndarray, "f2 h2 w2 3"]:
        """The estimate of the finished video as `LatentPreviewer.render` shows it."""
        if self.previewer is None:
            raise ValueError("this run was started without a previewer")
        return self.previewer.render(self.clean)

    def to_state(self) -> SamplerState | None:
        """The state on the CPU, or None where the run can't be resumed."""
        if not self.resumable:
            return None
        past = sum(part.shape[2] for part in self.finished_latents)
        rows = [torch.cat([*self.finished_latents, self.latents], dim=2)]
        for row in self.history:
            rows.append(torch.nn.functional.pad(row, (0, 0, 0, 0, past, 0)))
        return SamplerState(index=self.index, latents=torch.cat(rows).cpu())


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameChunk:
    """The next frames of the video are finished.

    Attributes:
        frames: the frames.
        done: frames so far, these included.
        total: frames of the whole video.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    done: int
    total: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """The last event.

    Attributes:
        num_frames: of the whole video.
        tail_latents: latents of the last groups of frames, from which the video can be extended without
            encoding it again; None where they are not known.
    """

    num_frames: int
    tail_latents: Float[Tensor, "1 c g h w"] | None = None


Event = StageProgress | SamplingStep | FrameChunk | Finished
