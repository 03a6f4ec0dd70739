"""The stages of a run: render, train the autoencoder, encode, train the transformer, resample latents.

A stage leaves its result in the run's folder and is skipped where the result exists, so an interrupted run
resumes where it stopped. With several processes the main one writes the files and the others read them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from kinema.atomic_io import atomic_write, write_text
from kinema.data.dataset import DatasetSplit, VideoDataset
from kinema.data.latent_cache import LatentDataset, LatentDatasets, write_latent_datasets
from kinema.data.video_shards import open_shards
from kinema.data.windows import WindowedVideos
from kinema.models.formats.loader import open_model
from kinema.models.precision import Precision
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.training import checkpoint
from kinema.training.distill_task import DistillTask
from kinema.training.dit_task import LAB_SCORE, WHOLE_SCORE, DitTask, DitTrainConfig
from kinema.training.loop import StepReport, Task, load_ema_weights, train
from kinema.training.net2net import net2net_expand
from kinema.training.overrides import to_plain
from kinema.training.render_shards import RenderConfig, render_missing
from kinema.training.resampled_latents import ResampleConfig, resample_latents
from kinema.training.run_context import Progress, RunContext
from kinema.training.scene_task import SceneTrainConfig
from kinema.training.slot_task import SlotTrainConfig
from kinema.training.super_resolution_task import SuperResolutionTrainConfig
from kinema.training.teacher_trajectories import (
    load_all_trajectories,
    missing_batches,
    save_trajectories,
    trajectory_path,
)
from kinema.training.vae_task import DISCRIMINATOR, VaeTask, VaeTrainConfig, latent_statistics
from kinema.training.validation_samples import (
    SampleConfig,
    reconstruction_callback,
    sample_callback,
    sheet_path,
)

NetworkTrainConfig = SceneTrainConfig | SlotTrainConfig | SuperResolutionTrainConfig
"""Settings of the networks that `train_network` trains."""
LATENT_STATS_FILE = "latent_stats.json"
"""Mean and standard deviation of each latent channel."""
RESAMPLED_LATENTS_FILE = "resampled_latents.safetensors"

VaePart = Literal["vae", "decoder"]
"""Folder of an autoencoder training within a run: all of it, or its decoder alone."""


def split_dirs(dataset_index: int) -> tuple[str, str]:
    """Return the names of the folders of a dataset's training and held-out videos."""
    suffix = f"-{dataset_index}" if dataset_index else ""
    return f"videos{suffix}", f"held-out{suffix}"


def render_split(
    run_context: RunContext, render_config: RenderConfig, name: str, *, max_seconds: float = math.inf
) -> Iterator[Progress]:
    """Render the missing clips of a dataset.

    Args:
        run_context: of the run.
        render_config: the dataset.
        name: of its folder in the run's folder.
        max_seconds: no further shards are started after this time.
    """
    start = time.perf_counter()
    with run_context.dist_context.main_process_first():
        if not run_context.dist_context.is_main:
            return
        for done in run_context.until_stopped(
            render_missing(render_config, run_context.run_dir / name, render_device=run_context.render_device)
        ):
            yield Progress(stage=f"render {name}", done=done, total=render_config.num_clips)
            if time.perf_counter() - start > max_seconds:
                return


def open_split(
    run_context: RunContext,
    render_config: RenderConfig,
    held_out_config: RenderConfig,
    dataset_index: int = 0,
) -> DatasetSplit:
    """Open a rendered dataset and its held-out videos, cut into windows where the configuration says so."""
    train_dir, held_out_dir = split_dirs(dataset_index)
    return DatasetSplit(
        train=_open_videos(render_config, run_context.run_dir / train_dir),
        held_out=_open_videos(held_out_config, run_context.run_dir / held_out_dir),
        starts_midclip=render_config.window_frames is not None,
    )


def _open_videos(render_config: RenderConfig, folder: Path) -> VideoDataset:
    videos = open_shards(folder, max_clips=render_config.num_clips)
    if render_config.window_frames is None:
        return videos
    return WindowedVideos(
        videos=videos,
        window_frames=render_config.window_frames,
        windows_per_video=render_config.windows_per_clip,
        seed=render_config.seed,
    )


def train_network(
    run_context: RunContext, task: Task, config: NetworkTrainConfig, *, folder: str, stage: str
) -> Iterator[Progress]:
    """Train a small network, which has no samples to look at, in a folder of the run."""
    for report in train(
        task,
        config.loop,
        run_context.run_dir / folder,
        settings=to_plain(config),
        should_stop=run_context.should_stop,
        interruptible=run_context.interruptible,
        dist_context=run_context.dist_context,
    ):
        yield Progress(stage=stage, done=report.step, total=report.num_steps, report=report)


def train_autoencoder(
    run_context: RunContext, task: VaeTask, config: VaeTrainConfig, *, part: VaePart = "vae"
) -> Iterator[Progress]:
    """Train an autoencoder in the folder `part` of the run."""
    sheets = run_context.run_dir / "sheets" / part
    for report in train(
        task,
        config.loop,
        run_context.run_dir / part,
        settings=to_plain(config),
        should_stop=run_context.should_stop,
        interruptible=run_context.interruptible,
        validation_callback=reconstruction_callback(
            task.vae, task.held_out, sheets, dist_context=run_context.dist_context
        ),
        dist_context=run_context.dist_context,
    ):
        yield _make_progress("autoencoder" if part == "vae" else "decoder", report, sheets)


def load_autoencoder_weights(run_context: RunContext, part: VaePart) -> dict[str, Tensor]:
    """Load the averaged weights from the folder `part` of the run, without the discriminator."""
    weights = load_ema_weights(run_context.run_dir / part)
    return {name: value for name, value in weights.items() if not name.startswith(f"{DISCRIMINATOR}.")}


def load_trained_autoencoder(
    run_context: RunContext, config: VaeTrainConfig, held_out: VideoDataset, *, part: VaePart = "vae"
) -> VideoVae:
    """Load the run's averaged autoencoder.

    Its latents are normalised by statistics of the held-out videos. They are measured once, so that a
    fine-tuned decoder reads the same latents.
    """
    vae = VideoVae(config.model).to(run_context.device)
    vae.load_state_dict(load_autoencoder_weights(run_context, part))
    vae.eval()
    path = run_context.run_dir / LATENT_STATS_FILE
    with run_context.dist_context.main_process_first():
        if not path.is_file():
            _write_latent_stats(path, *latent_statistics(vae, held_out, run_context.device))
    statistics = json.loads(path.read_text())
    return vae.with_latent_statistics(statistics["mean"], statistics["std"])


def load_trained_transformer(run_context: RunContext, config: DitConfig) -> Dit:
    """Load the run's averaged transformer: the best by the evaluator's score, where known, else the last."""
    dit = Dit(config).to(run_context.device)
    run_dir = run_context.run_dir / "dit"
    scores = checkpoint.load(run_dir).state["best_scores"] or {}
    is_scored = LAB_SCORE in scores or WHOLE_SCORE in scores
    dit.load_state_dict(load_ema_weights(run_dir, use_best=is_scored))
    return dit.eval()


def copy_latent_stats(run_context: RunContext, vae: VideoVae) -> None:
    """Normalise the latents of the run as `vae` does, which the run starts from."""
    with run_context.dist_context.main_process_first():
        path = run_context.run_dir / LATENT_STATS_FILE
        if not path.is_file():
            _write_latent_stats(path, vae.config.latents_mean, vae.config.latents_std)


def _write_latent_stats(path: Path, mean: Sequence[float], std: Sequence[float]) -> None:
    write_text(path, json.dumps({"mean": mean, "std": std}) + "\n")


def encode_datasets(
    run_context: RunContext, vae: VideoVae, splits: Sequence[DatasetSplit], *, precision: Precision = "auto"
) -> Iterator[Progress]:
    """Encode all videos and captions into the run's folder (`kinema.data.latent_cache`)."""
    with run_context.dist_context.main_process_first():
        for progress in run_context.until_stopped(
            write_latent_datasets(
                run_context.run_dir,
                vae,
                splits,
                run_context.load_text_encoder,
                run_context.device,
                precision=precision,
            )
        ):
            stage = "encode" if progress.stage == "latents" else "encode captions"
            yield Progress(stage=stage, done=progress.done, total=progress.total)


def train_transformer(
    run_context: RunContext,
    task: DitTask,
    config: DitTrainConfig,
    vae: VideoVae,
    data: LatentDatasets,
    samples: SampleConfig,
    *,
    prompt_dataset: int = 0,
) -> Iterator[Progress]:
    """Train a transformer in the folder `dit` of the run.

    Args:
        run_context: of the run.
        task: the transformer and its data.
        config: settings.
        vae: decodes the validation samples.
        data: captions of the held-out videos are the prompts of the validation samples.
        samples: settings of the validation samples.
        prompt_dataset: index of the dataset whose captions and shape the validation samples have.
    """
    sheets, validation_callback = run_context.run_dir / "sheets" / "dit", None
    if samples.num_samples:
        validation_callback = sample_callback(
            task.dit,
            vae,
            task.text_table,
            data.prompts(prompt_dataset, samples.num_samples),
            task.latent_shape(prompt_dataset),
            samples,
            sheets,
            scorer=run_context.scorer,
            precision=config.precision,
            dist_context=run_context.dist_context,
        )
    for report in train(
        task,
        config.loop,
        run_context.run_dir / "dit",
        settings=to_plain(config),
        should_stop=run_context.should_stop,
        interruptible=run_context.interruptible,
        validation_callback=validation_callback,
        dist_context=run_context.dist_context,
    ):
        yield _make_progress("transformer", report, sheets)


def write_trajectories(run_context: RunContext, task: DistillTask) -> Iterator[Progress]:
    """Sample the missing teacher trajectories; afterwards the task has all of them.

    The processes share the batches.
    """
    run_dir, num_batches = run_context.run_dir, task.distill.num_batches
    rank, world_size = run_context.dist_context.rank, run_context.dist_context.world_size
    own = [index for index in missing_batches(run_dir, num_batches) if index % world_size == rank]
    done = num_batches - len(own) * world_size
    for index, trajectories in zip(
        own, run_context.until_stopped(map(task.sample_trajectories, own)), strict=False
    ):
        save_trajectories(trajectory_path(run_dir, index), trajectories)
        done += world_size
        yield Progress(stage="teacher trajectories", done=min(done, num_batches), total=num_batches)
    if run_context.stop_requested():  # It waits for the other processes.
        return
    task.trajectories = load_all_trajectories(run_dir, num_batches)


def write_resampled_latents(
    run_context: RunContext,
    dit: Dit,
    dataset: LatentDataset,
    config: ResampleConfig,
    *,
    precision: Precision = "auto",
) -> Iterator[Progress]:
    """Resample the latents of the first videos into `RESAMPLED_LATENTS_FILE` of the run."""
    with run_context.dist_context.main_process_first():
        path = run_context.run_dir / RESAMPLED_LATENTS_FILE
        if path.is_file():
            return
        batches = []
        resampled = resample_latents(dit, dataset, config, run_context.device, precision=precision)
        for progress, batch in run_context.until_stopped(resampled):
            batches.append(batch)
            yield Progress(stage="resample latents", done=progress.done, total=progress.total)
        if run_context.should_stop():
            return
        with atomic_write(path) as temporary:
            safetensors.torch.save_file({"latents": torch.cat(batches).contiguous()}, temporary)


def load_resampled_latents(run_context: RunContext) -> Float[Tensor, "n c f h w"]:
    """Load what `write_resampled_latents` wrote."""
    return safetensors.torch.load_file(run_context.run_dir / RESAMPLED_LATENTS_FILE)["latents"]


def load_init_transformer(name: str, config: DitConfig | None, device: torch.device) -> dict[str, Tensor]:
    """Load the weights of a model's transformer to start from.

    Args:
        name: of the model, or its folder.
        config: the weights are expanded where it is wider or deeper; None leaves them as they are.
        device: of the weights.

    Raises:
        UserError: there is no such model, or its transformer can't be expanded to `config`.
    """
    dit = open_model(name).load_transformer(dtype=torch.float32, device=device)
    weights = dit.state_dict()
    if config is None or config == dit.config:
        return weights
    return net2net_expand(weights, dit.config, config)


def load_init_weights(
    init_from: str, init_blocks_from: str, config: DitConfig, device: torch.device
) -> tuple[dict[str, Tensor] | None, dict[str, Tensor] | None]:
    """Load the `init_weights` and `block_weights` of a `DitTask`; None where a model's name is empty.

    Raises:
        UserError: there is no such model, or its transformer can't be expanded to `config`.
    """
    return (
        load_init_transformer(init_from, config, device) if init_from else None,
        load_init_transformer(init_blocks_from, None, device) if init_blocks_from else None,
    )


def _make_progress(stage: str, report: StepReport, sheets: Path) -> Progress:
    sheet = None
    if report.scores is not None:
        path = sheet_path(sheets, report.step)
        sheet = path if path.is_file() else None
    return Progress(stage=stage, done=report.step, total=report.num_steps, report=report, sheet=sheet)
