"""The backend of a model by its name."""

from __future__ import annotations

from kinema.server.backends.base import Backend


def load_backend(model: str, device: str, worker_index: int = 0) -> Backend:
    """The backend of a model.

    Args:
        model: `testcard`, or a model as `kinema.load` takes it.
        device: auto, cpu, cuda, or cuda:1.
        worker_index: number of this worker; with several GPUs each worker has its own.

    Raises:
        UserError: there is no such model or device.
    """
    if model == "testcard":
        from kinema.server.backends.fake import FakeBackend

        return FakeBackend()
    # Imports torch, which the fake backend and the server do not need.
    from kinema.server.backends.pipeline import PipelineBackend

    return PipelineBackend(model, device, worker_index)
