"""A model that films prompts, as the scorecard wants it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kinema.evaluate.makers import Format, Frames, Order
from kinema.models.source import open_model
from kinema.pipeline.batch import generate_batch
from kinema.pipeline.device import resolve_device
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import VideoRequest

GPU_BATCH = 16
"""Films made at once on a GPU."""
_ENDS = 1 << 20
"""Bytes at either end of a weights file that tell it from another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineGenerator:
    """Films from a pipeline: the noise of each comes from its own seed alone."""

    pipeline: Pipeline

    def films(self, orders: Sequence[Order], form: Format) -> Iterator[Frames]:
        """Films made in one batch."""
        size = (form.width, form.height)
        return generate_batch(
            self.pipeline,
            [
                VideoRequest(
                    prompt=order.prompt, seed=order.seed, num_frames=form.frames, size=size, fps=form.fps
                )
                for order in orders
            ],
        )


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model by its name or folder: little enough to be handed to another process, which loads it there.

    On a processor a film is made by one thread, and every process makes its own: on two cores that is
    faster than two threads for one film, and no figure depends on how many processes there are.

    Attributes:
        name: of the model.
        films_at_once: films in a batch. None makes a GPU's worth on a GPU and single films on a processor,
            where batches of 4 and 8 cost 0.98 and 1.09 of single films at 128 x 128.
    """

    name: str
    films_at_once: int | None = None

    @property
    def apart(self) -> bool:
        """Whether every process films for itself; a GPU is for one process."""
        return resolve_device("auto").type == "cpu"

    @property
    def batch(self) -> int:
        """Films in a batch."""
        return self.films_at_once or (1 if self.apart else GPU_BATCH)

    def generator(self) -> PipelineGenerator:
        """Load it.

        Raises:
            UserError: there is none.
        """
        return PipelineGenerator(pipeline=load(self.name))

    def reconstruct(self) -> Callable[[Frames], Frames]:
        """Load its autoencoder alone: films there and back again."""
        vae = open_model(self.name).load_vae(device=resolve_device("cpu"))

        def through(frames: Frames) -> Frames:
            film = (
                torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
            )
            with torch.no_grad():
                back = vae.decode(vae.encode(film))[0].permute(1, 2, 3, 0)
            return back.mul(127.5).add(128).clamp(0, 255).to(torch.uint8).numpy()

        return through

    def form(self, *, size: tuple[int, int] | None, frames: int | None, fps: float | None) -> Format:
        """The films it wants to make, but for what is asked for. `size` is width and height.

        Raises:
            UserError: there is no such model.
        """
        recipe = open_model(self.name).recipe
        width, height = recipe.size if size is None else size
        return Format(height=height, width=width, frames=frames or recipe.frames, fps=fps or recipe.fps)

    def fingerprint(self) -> str:
        """Changes when the weights do: results of two models must not meet in one folder."""
        folder = open_model(self.name).folder
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".json", ".safetensors"):
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
                digest.update(_ends(path))
        return digest.hexdigest()[:16]


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(_ENDS)
        file.seek(max(0, path.stat().st_size - _ENDS))
        return start + file.read()
