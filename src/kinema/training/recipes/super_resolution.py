"""Train the super-resolution network of a model: simulated clips in three sizes, the small one decoded by the
model's autoencoder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from kinema.data import rng
from kinema.errors import UserError
from kinema.frames import FrameArray, to_frames, to_model_range
from kinema.models.formats.native import save_super_resolution
from kinema.models.super_resolution import FACTORS, NUM_NEIGHBOURS, SuperResolution
from kinema.models.vae.autoencoder import VideoVae
from kinema.process_pool import run_jobs
from kinema.simulator.clip import render_larger
from kinema.training.loop import load_ema_weights
from kinema.training.recipes.vae import load_autoencoder
from kinema.training.render_shards import MIN_CLIPS_FOR_WORKERS, RenderConfig, first_that_fits
from kinema.training.run_context import Progress, RunContext
from kinema.training.stages import train_network
from kinema.training.super_resolution_task import (
    WINDOW,
    FramePairs,
    SuperResolutionTask,
    SuperResolutionTrainConfig,
)

NETWORK_FOLDER = "super-resolution"
_CLIPS_PER_FILE = 32


@dataclass(frozen=True, kw_only=True)
class SuperResolutionRunConfig:
    """Settings of a run that trains a super-resolution network.

    Attributes:
        model: whose autoencoder decodes the small videos: `world` (shipped), or an exported folder.
        render: the clips, in the size of the model.
        frames_per_clip: frames of each clip that are rendered larger.
        num_held_out: clips for validation. For the lab, they have held-out combinations.
        training: settings of the training.
    """

    model: str = "world"
    render: RenderConfig = field(default_factory=lambda: RenderConfig(num_clips=768, seed=21))
    frames_per_clip: int = 4
    num_held_out: int = 32
    training: SuperResolutionTrainConfig = field(default_factory=SuperResolutionTrainConfig)

    def __post_init__(self) -> None:
        if not 0 < self.frames_per_clip <= self.render.num_frames:
            raise UserError(
                f"frames_per_clip is {self.frames_per_clip}; clips have {self.render.num_frames} frames, so "
                f"give 1 to {self.render.num_frames}"
            )

    def held_out_config(self) -> RenderConfig:
        """The clips for validation."""
        return dataclasses.replace(
            self.render,
            num_clips=self.num_held_out,
            split="test" if self.render.lab else self.render.split,
            seed=self.render.seed + 1,
        )


def lab() -> SuperResolutionRunConfig:
    """Return the preset for two CPU cores, about half an hour."""
    training = SuperResolutionTrainConfig()
    return SuperResolutionRunConfig(
        training=dataclasses.replace(training, loop=training.loop.with_steps(2400))
    )


def tiny() -> SuperResolutionRunConfig:
    """Return the preset for tests, which ends in seconds with a useless network."""
    preset = lab()
    training = preset.training
    return dataclasses.replace(
        preset,
        # Few other events fit into five frames.
        render=dataclasses.replace(
            preset.render, num_clips=3, height=64, width=64, num_frames=5, events=(("still", 1.0),)
        ),
        frames_per_clip=2,
        num_held_out=2,
        training=dataclasses.replace(
            training,
            batch_size=2,
            crop_size=16,
            model=dataclasses.replace(training.model, channels=8, blocks=1, channels_2x=4, channels_4x=4),
            loop=training.loop.with_steps(10),
        ),
    )


def train_super_resolution(config: SuperResolutionRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train the network and yield the progress. Afterwards `load_trained_network` returns it."""
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    vae = load_autoencoder(config.model, run_context)
    sets = (("pairs", config.render), ("held-out-pairs", config.held_out_config()))
    with run_context.dist_context.main_process_first():
        for name, render in sets if run_context.dist_context.is_main else ():
            folder = run_context.run_dir / name
            done = _write_pairs(config, render, vae, run_context.device, folder)
            for count in run_context.until_stopped(done):
                yield Progress(stage=f"render {name}", done=count, total=render.num_clips)
    if run_context.stop_requested():
        return
    pairs, held_out = (FramePairs.load(_files(run_context.run_dir / name, render)) for name, render in sets)
    task = SuperResolutionTask(config.training, pairs, held_out, run_context.device)
    yield from train_network(
        run_context, task, config.training, folder=NETWORK_FOLDER, stage="super-resolution"
    )


def load_trained_network(config: SuperResolutionRunConfig, run_context: RunContext) -> SuperResolution:
    """Load the averaged weights of a finished run, the best by validation."""
    network = SuperResolution(config.training.model)
    network.load_state_dict(load_ema_weights(run_context.run_dir / NETWORK_FOLDER, use_best=True))
    return network.eval()


def export_super_resolution(config: SuperResolutionRunConfig, run_context: RunContext, folder: Path) -> None:
    """Write a finished run's network as a folder's `super_resolution`, which can be copied into a model's
    folder."""
    save_super_resolution(folder, load_trained_network(config, run_context))


def _files(folder: Path, render: RenderConfig) -> list[Path]:
    count = -(-render.num_clips // _CLIPS_PER_FILE)
    return [folder / f"{index:05d}.safetensors" for index in range(count)]


def _write_pairs(
    config: SuperResolutionRunConfig, render: RenderConfig, vae: VideoVae, device: torch.device, folder: Path
) -> Iterator[int]:
    """Render and decode the missing files of a set, and yield the number of clips that are done."""
    folder.mkdir(exist_ok=True)
    files = _files(folder, render)
    missing = [index for index, path in enumerate(files) if not path.is_file()]
    done = render.num_clips - sum(len(_clips(index, render)) for index in missing)
    yield done
    jobs = [
        _RenderJob(render=render, index=clip, frames=_choose_frames(config, render, clip))
        for index in missing
        for clip in _clips(index, render)
    ]
    workers = 1 if len(jobs) < MIN_CLIPS_FOR_WORKERS else os.cpu_count() or 1
    rendered = run_jobs(_render, jobs, workers)
    for index in missing:
        parts = []
        for clip in _clips(index, render):
            frames, larger = next(rendered)
            parts.append(_make_pairs(frames, larger, _choose_frames(config, render, clip), vae, device))
            done += 1
            yield done
        _join(parts).save(files[index])


def _clips(file_index: int, render: RenderConfig) -> range:
    first = file_index * _CLIPS_PER_FILE
    return range(first, min(first + _CLIPS_PER_FILE, render.num_clips))


def _choose_frames(config: SuperResolutionRunConfig, render: RenderConfig, clip: int) -> tuple[int, ...]:
    generator = np.random.default_rng(rng.derive_seed(render.seed, "super-resolution", clip))
    chosen = generator.choice(render.num_frames, config.frames_per_clip, replace=False)
    return tuple(sorted(int(frame) for frame in chosen))


@dataclass(frozen=True, kw_only=True)
class _RenderJob:
    render: RenderConfig
    index: int
    frames: tuple[int, ...]


def _render(job: _RenderJob) -> tuple[FrameArray, dict[int, UInt8[np.ndarray, "n _ _ 3"]]]:
    """Render a clip, with other seeds where an outcome does not fit into the video."""
    return first_that_fits(job.render, job.index, lambda spec: render_larger(spec, FACTORS, job.frames))


@torch.no_grad()
def _make_pairs(
    frames: FrameArray,
    larger: dict[int, UInt8[np.ndarray, "n _ _ 3"]],
    chosen: tuple[int, ...],
    vae: VideoVae,
    device: torch.device,
) -> FramePairs:
    decoded = to_frames(vae.decode(vae.encode(to_model_range(frames).to(device))))
    last = len(decoded) - 1
    windows = [
        [min(max(frame + offset - NUM_NEIGHBOURS, 0), last) for offset in range(WINDOW)] for frame in chosen
    ]
    return FramePairs(small=decoded[np.array(windows)], large=larger)


def _join(parts: Iterable[FramePairs]) -> FramePairs:
    parts = list(parts)
    return FramePairs(
        small=np.concatenate([part.small for part in parts]),
        large={factor: np.concatenate([part.large[factor] for part in parts]) for factor in FACTORS},
    )
