"""Trajectories of a teacher: the latents at some noise levels of its solver, from pure noise to data.

They are sampled once and stored in the run's folder, so that the student can learn each of them several
times: the teacher costs more than the student's training step.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinema import sampling
from kinema.atomic_io import atomic_write

TRAJECTORIES_DIR = "trajectories"
"""Folder in the run's folder, with one file for each batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """The trajectories of a batch.

    Attributes:
        states: the latents at every noise level, from noise to data, float32 on the CPU. Clean latent frames
            have the same values in all of them.
        is_noisy: the latent frames that were sampled; the others were known and clean.
        is_scored: the latent frames that the student learns.
        caption_rows: in the text table.
        block_frames: the blocks of a block-causal mask; empty: no mask.
    """

    states: Float[Tensor, "s b c f h w"]
    is_noisy: Bool[Tensor, "b f"]
    is_scored: Bool[Tensor, "b f"]
    caption_rows: tuple[int, ...]
    block_frames: tuple[int, ...] = ()

    def part(self, index: int, count: int) -> Trajectories:
        """Return every `count`-th trajectory, from `index` on."""
        own = slice(index, None, count)
        return dataclasses.replace(
            self,
            states=self.states[:, own],
            is_noisy=self.is_noisy[own],
            is_scored=self.is_scored[own],
            caption_rows=self.caption_rows[own],
        )


@torch.no_grad()
def sample_states(
    denoiser: sampling.Denoiser,
    latents: Float[Tensor, "b c f h w"],
    is_noisy: Bool[Tensor, "b f"],
    schedule: sampling.Schedule,
    *,
    solver: sampling.SolverName,
    every: int,
) -> Float[Tensor, "s b c f h w"]:
    """Run a solver and return the latents before the first step and after every `every`-th one.

    Args:
        denoiser: the teacher, with guidance.
        latents: pure noise in the noisy frames, data in the others, which stay as they are.
        is_noisy: the frames to sample.
        schedule: all steps of the solver.
        solver: see `kinema.sampling.sample`.
        every: number of solver steps between two states.
    """
    mask = is_noisy.to(latents)[:, None, :, None, None]

    def masked(latents: Tensor, sigma: Tensor) -> Tensor:
        # Where the velocity is 0, all solvers keep the latents.
        return denoiser(latents, sigma.to(is_noisy.device) * is_noisy).float() * mask

    states = [latents]
    for step in sampling.sample(masked, latents, schedule, solver=solver):
        if (step.index + 1) % every == 0:
            states.append(torch.where(mask > 0, step.latents, latents))
    return torch.stack(states).to("cpu", torch.float32)


def trajectory_path(run_dir: Path, index: int) -> Path:
    """Return the file of a batch."""
    return run_dir / TRAJECTORIES_DIR / f"{index:05d}.safetensors"


def save_trajectories(path: Path, trajectories: Trajectories) -> None:
    """Write the trajectories of a batch."""
    path.parent.mkdir(exist_ok=True)
    metadata = {
        "caption_rows": json.dumps(trajectories.caption_rows),
        "block_frames": json.dumps(trajectories.block_frames),
    }
    tensors = {
        "states": trajectories.states.contiguous(),
        "is_noisy": trajectories.is_noisy.contiguous(),
        # It is the same tensor where all noisy frames are scored, and a file holds no shared memory.
        "is_scored": trajectories.is_scored.clone(),
    }
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=metadata)


def load_trajectories(path: Path) -> Trajectories:
    """Read what `save_trajectories` wrote."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
        return Trajectories(
            states=file.get_tensor("states"),
            is_noisy=file.get_tensor("is_noisy"),
            is_scored=file.get_tensor("is_scored"),
            caption_rows=tuple(json.loads(metadata["caption_rows"])),
            block_frames=tuple(json.loads(metadata["block_frames"])),
        )


def load_all_trajectories(run_dir: Path, num_batches: int) -> Sequence[Trajectories]:
    """Read all batches of a run."""
    return [load_trajectories(trajectory_path(run_dir, index)) for index in range(num_batches)]


def missing_batches(run_dir: Path, num_batches: int) -> Iterator[int]:
    """Yield the batches that are not written yet."""
    for index in range(num_batches):
        if not trajectory_path(run_dir, index).is_file():
            yield index
