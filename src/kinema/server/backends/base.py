"""What makes films for a worker: the models, and the test card in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.server.job_spec import JobSpec
from kinema.server.model_info import ModelInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class JobProgress:
    """A film has come so far.

    Attributes:
        stage: what was done last.
        fraction: share of the whole, 0 to 1.
        step: of the solver, from 1; 0 before the first.
        total_steps: of the solver.
        preview: a rough picture, `f h w 3`; None where there is none.
        save_checkpoint: writes the state to a path, from which `generate` goes on to the same film; None where it can't.
    """

    stage: Literal["text", "pictures", "steps", "decode", "write"]
    fraction: float
    step: int = 0
    total_steps: int = 0
    preview: Callable[[], UInt8[np.ndarray, "f h w 3"]] | None = None
    save_checkpoint: Callable[[Path], None] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class JobResult:
    """The film is ready to be written.

    Attributes:
        write_video: writes it as MP4.
        frames: of the film, or some of them evenly spread: for thumbnail and sprite sheet.
    """

    write_video: Callable[[Path], None]
    frames: UInt8[np.ndarray, "f h w 3"]


class Backend(Protocol):
    """A model that makes films."""

    @property
    def model_info(self) -> ModelInfo:
        """What it can make."""
        ...

    def generate(
        self, spec: JobSpec, job_dir: Path, *, resume_from: Path | None
    ) -> Iterator[JobProgress | JobResult]:
        """Make a film and say how far it is; the last is the film. Stop reading to cancel.

        Args:
            spec: names of files in it are in `job_dir`.
            job_dir: of the film.
            resume_from: a state that was saved; the film goes on from there.

        Raises:
            UserError: the film can't be made as it is wanted; the message says why.
        """
        ...


def load_backend(model: str, device: str, worker_index: int = 0) -> Backend:
    """The maker of that name: `testcard`, or a model as `kinema.load` takes it.

    Args:
        model: its name.
        device: auto, cpu, cuda, or cuda:1.
        worker_index: of the worker among several, for each to have a GPU of its own.

    Raises:
        UserError: there is no such model or device.
    """
    if model == "testcard":
        from kinema.server.backends.fake import FakeBackend

        return FakeBackend()
    from kinema.server.backends.pipeline import PipelineBackend

    return PipelineBackend(model, device, worker_index)


def require_file(job_dir: Path, name: str | None) -> Path | None:
    """The path of a file the film is made from.

    Raises:
        UserError: it is not there any more.
    """
    if name is None:
        return None
    path = job_dir / name
    if not path.is_file():
        raise UserError(f"the given file {name} is not there any more; ask for the film again")
    return path
