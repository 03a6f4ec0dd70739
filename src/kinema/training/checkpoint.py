"""Training checkpoints: written atomically, verified on load, pruned after a successful write.

A run's folder has a folder `step-00001200/` per checkpoint, with safetensors files (one for each part, or one
for each process that wrote: `sharded_checkpoint`), `state.json` and, written last, `manifest.json` with the
size and SHA-256 of every file. A checkpoint is written under a temporary name, flushed and renamed, so a
reader finds a complete checkpoint or none. Damage is found by the hashes; the newest valid checkpoint is
loaded instead, with a warning.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from kinema.atomic_io import file_sha256, write_text
from kinema.errors import UserError
from kinema.training import shard_files

MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a training run after a step.

    Attributes:
        step: number of steps done.
        parts: named groups of tensors (model, ema, optimizer).
        state: plain JSON values (settings, best step, its scores).
    """

    step: int
    parts: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def checkpoint_dir(run_dir: Path, step: int) -> Path:
    """Return the folder of the checkpoint of `step`."""
    return run_dir / f"step-{step:08d}"


def save(run_dir: Path, checkpoint: Checkpoint, *, keep_last: int, best_step: int | None = None) -> Path:
    """Write a checkpoint, then prune older ones.

    Args:
        run_dir: the run's folder; created if it does not exist.
        checkpoint: to write.
        keep_last: number of complete checkpoints to keep, newest first; at least 1.
        best_step: the checkpoint of this step is kept as well.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: the disk is full. The run's older checkpoints are untouched.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    tensors = [tensor for part in checkpoint.parts.values() for tensor in part.values()]
    require_space(run_dir, sum(t.numel() * t.element_size() for t in tensors))
    final = checkpoint_dir(run_dir, checkpoint.step)
    temporary = run_dir / f".{final.name}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, part in checkpoint.parts.items():
        copies = {key: value.detach().contiguous().cpu() for key, value in part.items()}
        safetensors.torch.save_file(copies, temporary / f"{name}.safetensors")
    commit(temporary, final, step=checkpoint.step, state=checkpoint.state)
    prune(run_dir, keep_last=keep_last, best_step=best_step)
    return final


def require_space(run_dir: Path, needed: int) -> None:
    """Raise a `UserError` where the disk has no room for a checkpoint of `needed` bytes."""
    free = shutil.disk_usage(run_dir).free
    if free < needed * 1.05 + (1 << 20):
        raise UserError(
            f"{run_dir} has {free >> 20} MiB free and a checkpoint needs {needed >> 20} MiB; "
            "free some space and resume"
        )


def commit(temporary: Path, final: Path, *, step: int, state: Mapping[str, Any]) -> None:
    """Make a folder with all tensors the checkpoint of a step.

    Args:
        temporary: the folder.
        final: the name that it gets.
        step: number of steps done.
        state: plain JSON values.
    """
    (temporary / STATE).write_text(json.dumps(dict(state), indent=1, sort_keys=True))
    manifest = {}
    for path in sorted(temporary.iterdir()):
        manifest[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        _fsync(path)
    (temporary / MANIFEST).write_text(json.dumps({"step": step, "files": manifest}, indent=1))
    _fsync(temporary / MANIFEST)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _fsync(final.parent)
    write_text(final.parent / "latest", f"{final.name}\n")


def list_steps(run_dir: Path) -> list[int]:
    """Return the steps that have a complete checkpoint in `run_dir`, oldest first."""
    found = (p for p in run_dir.glob("step-*") if (p / MANIFEST).is_file())
    return sorted(int(p.name.removeprefix("step-")) for p in found)


def _read_in_full(part: str, name: str) -> None:
    del part, name


def load(
    run_dir: Path,
    *,
    step: int | None = None,
    like: Callable[[str, str], Tensor | None] = _read_in_full,
) -> Checkpoint:
    """Load the checkpoint of `step`, or the newest valid one.

    Args:
        run_dir: the run's folder.
        step: number of steps done.
        like: the sharded tensor of a part and name, if any: see `shard_files.read_sharded`.

    Raises:
        UserError: there is none, or the requested one is damaged.
    """
    candidates = [step] if step is not None else list_steps(run_dir)[::-1]
    for candidate in candidates:
        fault = _find_damage(checkpoint_dir(run_dir, candidate))
        if fault is None:
            return _read(checkpoint_dir(run_dir, candidate), candidate, like)
        message = f"checkpoint {checkpoint_dir(run_dir, candidate)} is damaged ({fault})"
        if step is not None:
            raise UserError(f"{message}; choose another of {list_steps(run_dir)}")
        warnings.warn(f"{message}; using an older one", stacklevel=2)
    raise UserError(f"{run_dir} has no complete checkpoint; start the training again, or name another folder")


def _read(folder: Path, step: int, like: Callable[[str, str], Tensor | None]) -> Checkpoint:
    parts: Mapping[str, Mapping[str, Tensor]]
    if any(folder.glob(f"{shard_files.PREFIX}*.safetensors")):
        parts = shard_files.read_sharded(folder, like)
    else:
        parts = {p.stem: safetensors.torch.load_file(p) for p in sorted(folder.glob("*.safetensors"))}
    return Checkpoint(step=step, parts=parts, state=json.loads((folder / STATE).read_text()))


def _find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint's folder, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError):
        return "no readable manifest"
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
        if file_sha256(path) != entry["sha256"]:
            return f"{name} does not match its sha256"
    return None


def prune(run_dir: Path, *, keep_last: int, best_step: int | None) -> None:
    """Remove checkpoints that are neither among the newest nor of `best_step`, and unfinished ones."""
    # Only complete checkpoints count, so that an incomplete one never replaces the last good one.
    for old in list_steps(run_dir)[: -max(keep_last, 1)]:
        if old != best_step:
            shutil.rmtree(checkpoint_dir(run_dir, old))
    for leftover in run_dir.glob(".step-*.part"):
        shutil.rmtree(leftover, ignore_errors=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
