"""Interface of a backend: what generates videos in a worker."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import UInt8

from kinema.atomic_io import atomic_write
from kinema.pipeline.request import VideoRequest
from kinema.server.backends.live import LiveSource
from kinema.server.model_info import ModelInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class JobProgress:
    """Progress of a job.

    Attributes:
        stage: what was done last.
        fraction: share of the whole work, 0 to 1.
        step: solver steps that are done.
        total_steps: solver steps of the whole video; 0 before the first.
        preview: renders a rough preview, `f h w 3`; None where there is none.
        save_checkpoint: writes the state to a file, from which `generate` resumes with the same result; None
            where the job can't be resumed.
    """

    stage: Literal["text", "images", "sample", "decode", "write"]
    fraction: float
    step: int = 0
    total_steps: int = 0
    preview: Callable[[], UInt8[np.ndarray, "f h w 3"]] | None = None
    save_checkpoint: Callable[[Path], None] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class JobResult:
    """The video's file is complete.

    Attributes:
        sample_frames: evenly spaced frames of the video, for its thumbnail and sprite sheet.
        warnings: what was done otherwise than the request says, a sentence each.
    """

    sample_frames: UInt8[np.ndarray, "f h w 3"]
    warnings: tuple[str, ...] = ()


class CheckpointError(Exception):
    """A checkpoint is damaged, or of another model or version: the job begins again."""


def save_checkpoint(path: Path, *, index: int, state: np.ndarray) -> None:
    """Write the state after a step."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, index=index, state=state)


def load_checkpoint(path: Path) -> tuple[int, np.ndarray]:
    """The step and the state that `save_checkpoint` wrote.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            index, state = int(arrays["index"]), arrays["state"]
    except Exception:  # numpy and zipfile raise errors of ten types where a file is damaged.
        raise CheckpointError(f"{path.name} is not a checkpoint") from None
    if index < 0 or state.dtype.name not in ("float16", "float32", "float64"):
        raise CheckpointError(f"{path.name} is not a checkpoint")
    if not np.isfinite(state).all():
        raise CheckpointError(f"{path.name} holds values that are not numbers")
    return index, state


class Backend(Protocol):
    """Generates videos with one model."""

    @property
    def model_info(self) -> ModelInfo:
        """What the model can generate."""
        ...

    def generate(
        self, request: VideoRequest, output: Path, *, resume_from: Path | None
    ) -> Generator[JobProgress | JobResult]:
        """Generate a video and write it to a file; yield progress, and the result at the end.

        Close the iterator to cancel; the file then does not exist.

        Args:
            request: file inputs are existing paths.
            output: the MP4 file to write.
            resume_from: a checkpoint to resume from.

        Raises:
            CheckpointError: `resume_from` can't be used.
            UserError: the video can't be generated; the message says why.
        """
        ...

    def live(self, request: VideoRequest) -> LiveSource:
        """A video without end.

        Args:
            request: size, guidance, seed and negative prompt.

        Raises:
            UserError: the model can't stream.
        """
        ...
