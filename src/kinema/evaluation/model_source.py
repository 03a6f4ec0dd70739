"""A model that films prompts, as the scorecard wants it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kinema.evaluation.video_sources import FrameArray, SampleRequest, VideoFormat
from kinema.models.formats.loader import open_model
from kinema.pipeline.batch import generate_batch
from kinema.pipeline.device import resolve_device
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import VideoRequest

GPU_BATCH_SIZE = 16
"""Films made at once on a GPU."""
_FINGERPRINT_BYTES = 1 << 20
"""Bytes at either end of a weights file that tell it from another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineGenerator:
    """Films from a pipeline: the noise of each comes from its own seed alone."""

    pipeline: Pipeline

    def generate(self, requests: Sequence[SampleRequest], video_format: VideoFormat) -> Iterator[FrameArray]:
        """Films made in one batch."""
        size = (video_format.width, video_format.height)
        return generate_batch(
            self.pipeline,
            [
                VideoRequest(
                    prompt=order.prompt,
                    seed=order.seed,
                    num_frames=video_format.num_frames,
                    size=size,
                    fps=video_format.fps,
                )
                for order in requests
            ],
        )


@dataclass(frozen=True, kw_only=True)
class PipelineGeneratorFactory:
    """A model by its name or folder: little enough to be handed to another process, which loads it there.

    On a processor a film is made by one thread, and every process makes its own: on two cores that is
    faster than two threads for one film, and no figure depends on how many processes there are.

    Attributes:
        model: of the model.
        requested_batch_size: films in a batch. None makes a GPU's worth on a GPU and single films on a processor,
            where batches of 4 and 8 cost 0.98 and 1.09 of single films at 128 x 128.
    """

    model: str
    requested_batch_size: int | None = None

    @property
    def per_process(self) -> bool:
        """Whether every process films for itself; a GPU is for one process."""
        return resolve_device("auto").type == "cpu"

    @property
    def batch_size(self) -> int:
        """Films in a batch."""
        return self.requested_batch_size or (1 if self.per_process else GPU_BATCH_SIZE)

    def load_generator(self) -> PipelineGenerator:
        """Load it.

        Raises:
            UserError: there is none.
        """
        return PipelineGenerator(pipeline=load(self.model))

    def load_reconstructor(self) -> Callable[[FrameArray], FrameArray]:
        """Load its autoencoder alone: films there and back again."""
        vae = open_model(self.model).load_vae(device=resolve_device("cpu"))

        def through(frames: FrameArray) -> FrameArray:
            film = (
                torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
            )
            with torch.no_grad():
                back = vae.decode(vae.encode(film))[0].permute(1, 2, 3, 0)
            return back.mul(127.5).add(128).clamp(0, 255).to(torch.uint8).numpy()

        return through

    def resolve_video_format(
        self, *, size: tuple[int, int] | None, num_frames: int | None, fps: float | None
    ) -> VideoFormat:
        """The films it wants to make, but for what is asked for. `size` is width and height.

        Raises:
            UserError: there is no such model.
        """
        recipe = open_model(self.model).sampling_defaults
        width, height = recipe.size if size is None else size
        return VideoFormat(
            height=height, width=width, num_frames=num_frames or recipe.num_frames, fps=fps or recipe.fps
        )

    def fingerprint(self) -> str:
        """Changes when the weights do: results of two models must not meet in one folder."""
        folder = open_model(self.model).folder
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".json", ".safetensors"):
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
                digest.update(_read_ends(path))
        return digest.hexdigest()[:16]


def _read_ends(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(_FINGERPRINT_BYTES)
        file.seek(max(0, path.stat().st_size - _FINGERPRINT_BYTES))
        return start + file.read()
