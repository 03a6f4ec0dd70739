"""Training checkpoints that survive: complete or absent, verified on load, pruned last.

A run's folder holds `step-00001200/` folders, each with safetensors files, `state.json` and, written last,
`manifest.json` with the size and sha256 of every file. A checkpoint is written under a temporary name,
flushed, and renamed; a reader therefore meets a whole checkpoint or none. What was corrupted later is
found by its hash, and the newest valid checkpoint is used instead, with a warning that says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from kinema.atomic_io import write_text
from kinema.errors import UserError

MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One complete moment of a training run.

    `parts` are named groups of tensors (model, ema, optimizer); `state` is plain JSON (step, samples seen,
    configuration, best score).
    """

    step: int
    parts: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def checkpoint_dir(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of `step` lives in a run's folder."""
    return run_dir / f"step-{step:08d}"


def save(run_dir: Path, checkpoint: Checkpoint, *, keep_last: int, best_step: int | None = None) -> Path:
    """Write a checkpoint, then prune older ones.

    Args:
        run_dir: the run's folder; made if it does not exist.
        checkpoint: what to write.
        keep_last: how many complete checkpoints stay, newest first; at least 1.
        best_step: the step whose checkpoint is kept beside them, if any.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: the disk has no room for it. The run's older checkpoints are untouched.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    needed = sum(t.numel() * t.element_size() for part in checkpoint.parts.values() for t in part.values())
    free = shutil.disk_usage(run_dir).free
    if free < needed * 1.05 + (1 << 20):
        raise UserError(
            f"{run_dir} has {free >> 20} MiB free and a checkpoint needs {needed >> 20} MiB; "
            "free some space and resume"
        )
    final = checkpoint_dir(run_dir, checkpoint.step)
    beside = run_dir / f".{final.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for name, tensors in checkpoint.parts.items():
        held = {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
        safetensors.torch.save_file(held, beside / f"{name}.safetensors")
    (beside / STATE).write_text(json.dumps(dict(checkpoint.state), indent=1, sort_keys=True))
    manifest = {}
    for path in sorted(beside.iterdir()):
        manifest[path.name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        _fsync(path)
    (beside / MANIFEST).write_text(json.dumps({"step": checkpoint.step, "files": manifest}, indent=1))
    _fsync(beside / MANIFEST)
    if final.exists():
        shutil.rmtree(final)
    beside.rename(final)
    _fsync(run_dir)
    write_text(run_dir / "latest", f"{final.name}\n")
    _prune(run_dir, keep_last=keep_last, best_step=best_step)
    return final


def list_steps(run_dir: Path) -> list[int]:
    """Steps that have a finished checkpoint in `run_dir`, oldest first."""
    found = (p for p in run_dir.glob("step-*") if (p / MANIFEST).is_file())
    return sorted(int(p.name.removeprefix("step-")) for p in found)


def load(run_dir: Path, *, step: int | None = None) -> Checkpoint:
    """The checkpoint of `step`, or the newest valid one.

    Raises:
        UserError: there is none, or the one asked for is damaged.
    """
    candidates = [step] if step is not None else list_steps(run_dir)[::-1]
    for candidate in candidates:
        fault = _find_damage(checkpoint_dir(run_dir, candidate))
        if fault is None:
            return _read(checkpoint_dir(run_dir, candidate), candidate)
        message = f"checkpoint {checkpoint_dir(run_dir, candidate)} is damaged ({fault})"
        if step is not None:
            raise UserError(f"{message}; choose another of {list_steps(run_dir)}")
        warnings.warn(f"{message}; going back to an older one", stacklevel=2)
    raise UserError(
        f"{run_dir} holds no complete checkpoint; start the training again, or name another folder"
    )


def _read(folder: Path, step: int) -> Checkpoint:
    parts = {p.stem: safetensors.torch.load_file(p) for p in sorted(folder.glob("*.safetensors"))}
    return Checkpoint(step=step, parts=parts, state=json.loads((folder / STATE).read_text()))


def _find_damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's folder, or None."""
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
        if _sha256(path) != entry["sha256"]:
            return f"{name} does not match its sha256"
    return None


def _prune(run_dir: Path, *, keep_last: int, best_step: int | None) -> None:
    # Only complete checkpoints count, so that an unfinished one can never push out the last good one.
    for old in list_steps(run_dir)[: -max(keep_last, 1)]:
        if old != best_step:
            shutil.rmtree(checkpoint_dir(run_dir, old))
    for leftover in run_dir.glob(".step-*.part"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
