"""Checkpoints that several processes write together, each its own shards, while training goes on.

The files are those of PyTorch's distributed checkpoint (DCP) in its safetensors form: the place of each shard
is in the header of its file. DCP reads them, in any number of processes, each only what it needs; no file is
a pickle. DCP's own writer exchanges a plan of all tensors between the processes for every checkpoint, which
takes ten times the time of the files. Here each process knows from the placements what it writes.

A checkpoint is written under a temporary name. When all processes have written, the first one adds
`state.json` and the manifest and renames the folder, as `kinema.training.checkpoint` does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from kinema.distributed.process_group import DistContext
from kinema.errors import UserError
from kinema.training import checkpoint
from kinema.training.shard_files import PREFIX, SEPARATOR, offsets_metadata


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
    _pending: Future[None] | None = field(default=None, init=False)
    _offsets: dict[str, tuple[int, ...] | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # A group of its own: the training exchanges tensors meanwhile.
        self._group = dist.new_group(backend="gloo")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def __enter__(self) -> ShardedSaver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error another process may be dead, and nothing more is agreed on.
        if kind is None or kind is GeneratorExit:
            self.wait()
        self._thread.shutdown(wait=False)

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
        # The next step changes the tensors while they are written.
        own, offsets = self._copy_own_shards(parts)
        final = checkpoint.checkpoint_dir(self.run_dir, step)
        temporary = self.run_dir / f".{final.name}.part"
        with self.dist_context.main_process_first():
            self.run_dir.mkdir(parents=True, exist_ok=True)
            if self.dist_context.is_main:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
        checkpoint.require_space(self.run_dir, sum(t.numel() * t.element_size() for t in own.values()))
        rank, world_size = self.dist_context.rank, self.dist_context.world_size
        path = temporary / f"{PREFIX}{rank + 1:05d}-of-{world_size:05d}.safetensors"
        keep_last, state = self.keep_last, dict(state)

        def commit() -> None:
            checkpoint.commit(temporary, final, step=step, state=state)
            checkpoint.prune(self.run_dir, keep_last=keep_last, best_step=best_step)

        def write() -> None:
            self._together(lambda: safetensors.torch.save_file(own, path, metadata=offsets_metadata(offsets)))
            self._together(commit if self.dist_context.is_main else lambda: None)

        self._pending = self._thread.submit(write)
        return final

    def wait(self) -> None:
        """Wait until the checkpoint before is complete in all processes.

        Raises:
            UserError: it could not be written.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _copy_own_shards(
        self, parts: Mapping[str, Mapping[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
        """Copies of what this process writes, and the place of each in the whole tensor."""
        own: dict[str, Tensor] = {}
        offsets: dict[str, tuple[int, ...]] = {}
        tensors = {
            f"{part}{SEPARATOR}{name}": t for part, named in parts.items() for name, t in named.items()
        }
        for index, (key, tensor) in enumerate(tensors.items()):
            if key not in self._offsets:
                self._offsets[key] = self._own_offset(index, tensor)
            offset = self._offsets[key]
            if offset is not None:
                local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
                own[key] = local.detach().to("cpu", copy=True).contiguous()
                offsets[key] = offset
        return own, offsets

    def _own_offset(self, index: int, tensor: Tensor) -> tuple[int, ...] | None:
        """Where the shard of this process lies in the whole tensor; None: another process writes it."""
        if not isinstance(tensor, DTensor):
            # Equal in all processes, which share the work.
            is_own = index % self.dist_context.world_size == self.dist_context.rank
            return (0,) * tensor.ndim if is_own else None
        coordinate = tensor.device_mesh.get_coordinate()
        assert coordinate is not None
        if any(p.is_replicate() and c for p, c in zip(tensor.placements, coordinate, strict=True)):
            return None
        shape, offset = compute_local_shape_and_global_offset(
            tensor.shape, tensor.device_mesh, tensor.placements
        )
        return tuple(offset) if all(shape) else None

    def _together(self, action: Callable[[], object]) -> None:
        """Run an action and wait for that of the other processes; an error in one is an error in all."""
        error: Exception | None = None
        try:
            action()
        except (OSError, safetensors.SafetensorError) as caught:
            error = caught
        failed = torch.tensor([float(error is not None)])
        dist.all_reduce(failed, group=self._group)
        if error is not None:
            raise UserError(
                f"a checkpoint in {self.run_dir} could not be written ({error}); free some space and resume"
            ) from error
        if failed.item():
            raise UserError(f"another process could not write its part of a checkpoint in {self.run_dir}")
