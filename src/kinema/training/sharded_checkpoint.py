"""Checkpoints that several processes write together, each its own shards, while training goes on.

PyTorch's distributed checkpoint (DCP) writes and reads the shards, here as safetensors files with the place
of each shard in their headers; no file is a pickle. Any number of processes reads them, each only what it
needs. A checkpoint is written under a temporary name. When all processes have written, the first one adds
`state.json` and the manifest and renames the folder, as `kinema.training.checkpoint` does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.storage import WriteResult

from kinema.distributed.process_group import DistContext
from kinema.training import checkpoint
from kinema.training.shard_files import SEPARATOR


class _Writer(HuggingFaceStorageWriter):
    """Calls `commit` in the first process when all have written."""

    def __init__(self, folder: Path, commit: Callable[[], None]) -> None:
        super().__init__(str(folder), save_distributed=True)
        self._commit = commit

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """See `StorageWriter.finish`."""
        super().finish(metadata, results)
        self._commit()


@dataclass(kw_only=True, eq=False)
class ShardedSaver:
    """Writes checkpoints in the background, one at a time.

    Attributes:
        run_dir: the run's folder.
        keep_last: see `checkpoint.save`.
        dist_context: the processes.
    """

    run_dir: Path
    keep_last: int
    dist_context: DistContext
    _group: Any = field(init=False)
    _pending: Future[Any] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # A group of its own: the training exchanges tensors meanwhile.
        self._group = dist.new_group(backend="gloo")

    def __enter__(self) -> ShardedSaver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error another process may be dead, and nothing more is agreed on.
        if kind is None or kind is GeneratorExit:
            self.wait()

    def save(
        self,
        step: int,
        parts: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        *,
        best_step: int | None,
    ) -> Path:
        """Copy the tensors, and begin to write them; every process calls it.

        Args:
            step: number of steps done.
            parts: named groups of tensors, sharded or equal in all processes.
            state: plain JSON values.
            best_step: the checkpoint of this step is kept as well.

        Returns:
            The folder that the checkpoint will have.

        Raises:
            UserError: the disk is full, or the checkpoint before could not be written.
        """
        self.wait()
        tensors = {
            # DCP copies tensors of a GPU, but writes those of a CPU while the next step may change them.
            f"{part}{SEPARATOR}{name}": tensor.detach().clone()
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        final = checkpoint.checkpoint_dir(self.run_dir, step)
        temporary = self.run_dir / f".{final.name}.part"
        with self.dist_context.main_process_first():
            self.run_dir.mkdir(parents=True, exist_ok=True)
            if self.dist_context.is_main:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
        checkpoint.require_space(self.run_dir, sum(t.numel() * t.element_size() for t in tensors.values()))
        keep_last, state = self.keep_last, dict(state)

        def commit() -> None:
            checkpoint.commit(temporary, final, step=step, state=state)
            checkpoint.prune(self.run_dir, keep_last=keep_last, best_step=best_step)

        pending = dcp.async_save(
            tensors, storage_writer=_Writer(temporary, commit), process_group=self._group
        )
        assert isinstance(pending, Future)
        self._pending = pending
        return final

    def wait(self) -> None:
        """Wait until the checkpoint before is complete."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()
