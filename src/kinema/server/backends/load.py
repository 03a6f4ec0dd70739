"""The backend of a model by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kinema.server.backends.base import Backend


def load_backend(
    model: str, device: str, worker_index: int = 0, *, loras: Mapping[str, Path] | None = None
) -> Backend:
    """The backend of a model.

    Args:
        model: `testcard`, or a model as `kinema.load` takes it.
        device: auto, cpu, cuda, or cuda:1.
        worker_index: number of this worker; with several GPUs each worker has its own.
        loras: LoRAs that requests may use, by their names.

    Raises:
        UserError: there is no such model or device, or a LoRA does not fit the model.
    """
    if model == "testcard":
        from kinema.server.backends.fake import FakeBackend

        return FakeBackend(tuple(loras or ()))
    # Imports torch, which the fake backend and the server do not need.
    from kinema.server.backends.pipeline import PipelineBackend

    return PipelineBackend(model, device, worker_index, loras=loras)
