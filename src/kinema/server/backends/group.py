"""One video on several processes: the first one is the worker, the others do what it does.

Each process runs the same pipeline on the same request (`kinema.distributed.video_split`). The first process
sends the request with its files, and before each further event whether the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from kinema.distributed.process_group import PROCESS_GROUP_TIMEOUT, join_process_group
from kinema.errors import ModelOutputError, UserError
from kinema.pipeline.request import ImageInput, VideoRequest, is_data_url
from kinema.server.backends.base import Backend, CheckpointError, JobProgress, JobResult
from kinema.server.backends.live import LiveSource
from kinema.server.model_info import ModelInfo

log = logging.getLogger("kinema.worker")

LOST_PROCESS_EXIT_CODE = 5
_GO, _STOP = b"go", b"stop"
_CHECKPOINT = "checkpoint"


def join_group(device: str) -> int:
    """Join the processes that generate videos together; the rank of this one, 0 where it is alone.

    Args:
        device: of the worker; decides between NCCL and gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0
    is_cuda = device != "cpu" and torch.cuda.is_available()
    join_process_group("nccl" if is_cuda else "gloo", timeout=PROCESS_GROUP_TIMEOUT)
    return dist.get_rank()


class GroupBackend:
    """The backend of the first process.

    Args:
        backend: of a pipeline that was loaded after `join_group`.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def model_info(self) -> ModelInfo:
        """See `Backend.model_info`; live videos run on one process."""
        return dataclasses.replace(self._backend.model_info, can_stream=False)

    def live(self, request: VideoRequest) -> LiveSource:
        """See `Backend.live`."""
        del request
        raise UserError("live videos run on one process; start a worker without a group for them")

    def generate(
        self, request: VideoRequest, output: Path, *, resume_from: Path | None
    ) -> Generator[JobProgress | JobResult]:
        """See `Backend.generate`. The process exits where another one of the group is lost."""
        _broadcast(_pack(request, resume_from))
        events = self._backend.generate(request, output, resume_from=resume_from)
        try:
            with contextlib.closing(events):
                for event in events:
                    yield event
                    _broadcast(_GO)
        except (UserError, ModelOutputError, CheckpointError, MemoryError):
            _broadcast(_STOP)  # The others have met the same error, or are waiting.
            raise
        except GeneratorExit:
            _broadcast(_STOP)
            raise
        except RuntimeError as error:
            # The next job would wait for the lost process for ever.
            log.error("a process of the group is lost: %s", error)
            os._exit(LOST_PROCESS_EXIT_CODE)


def follow(backend: Backend) -> None:
    """Do what the first process does, until it ends."""
    with tempfile.TemporaryDirectory(prefix="kinema-group-") as name:
        folder = Path(name)
        while True:
            try:
                message = _receive()
            except RuntimeError:  # The first process has ended.
                return
            if message in (_GO, _STOP):
                continue
            request, checkpoint = _unpack(message, folder)
            events = backend.generate(request, folder / "video.mp4", resume_from=checkpoint)
            with (
                contextlib.suppress(UserError, ModelOutputError, CheckpointError),
                contextlib.closing(events),
            ):
                for _ in events:
                    if _receive() == _STOP:
                        break


def _pack(request: VideoRequest, checkpoint: Path | None) -> bytes:
    """The request and its files."""
    tensors: dict[str, Tensor] = {}

    def add(value: ImageInput) -> ImageInput:
        if isinstance(value, np.ndarray) or is_data_url(value):
            return value
        name = f"{len(tensors)}{Path(value).suffix}"
        tensors[name] = torch.from_numpy(np.fromfile(value, np.uint8))
        return name

    packed = request.map_files(add)
    if checkpoint is not None:
        tensors[_CHECKPOINT] = torch.from_numpy(np.fromfile(checkpoint, np.uint8))
    return safetensors.torch.save(tensors, {"request": json.dumps(packed.to_dict())})


def _unpack(message: bytes, folder: Path) -> tuple[VideoRequest, Path | None]:
    header = json.loads(message[8 : 8 + int.from_bytes(message[:8], "little")])
    names = {}
    for name, tensor in safetensors.torch.load(message).items():
        names[name] = folder / name
        names[name].write_bytes(tensor.numpy().tobytes())
    request = VideoRequest.from_dict(
        json.loads(header["__metadata__"]["request"]), source="a request of the group"
    )

    def resolve(value: ImageInput) -> ImageInput:
        return value if isinstance(value, np.ndarray) else names.get(str(value), value)

    return request.map_files(resolve), names.get(_CHECKPOINT)


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


def _broadcast(message: bytes) -> None:
    size = torch.tensor([len(message)], dtype=torch.int64, device=_device())
    dist.broadcast(size, 0)
    dist.broadcast(torch.frombuffer(bytearray(message), dtype=torch.uint8).to(_device()), 0)


def _receive() -> bytes:
    size = torch.zeros(1, dtype=torch.int64, device=_device())
    dist.broadcast(size, 0)
    message = torch.zeros(int(size.item()), dtype=torch.uint8, device=_device())
    dist.broadcast(message, 0)
    return message.cpu().numpy().tobytes()
