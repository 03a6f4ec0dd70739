"""The size of a run's folder before it starts, from the settings alone, and whether the disk has room."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.module_init import skip_init
from kinema.models.scene_classifier import SceneClassifier, SceneClassifierConfig
from kinema.models.slot_classifier import SlotClassifier, SlotClassifierConfig
from kinema.models.super_resolution import FACTORS, SuperResolution, SuperResolutionConfig
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.simulator.phyworld import IMAGE_SIZE, NUM_FRAMES
from kinema.training.loop import LoopConfig
from kinema.training.recipes.datasets import DataConfig
from kinema.training.recipes.dit import DitRunConfig
from kinema.training.recipes.finetune import FinetuneRunConfig
from kinema.training.recipes.full_config import RecipeConfig
from kinema.training.recipes.phyworld import PhyWorldRunConfig
from kinema.training.recipes.prompt_rewriter import PromptRewriterRunConfig
from kinema.training.recipes.scene_classifier import SceneClassifierRunConfig
from kinema.training.recipes.super_resolution import SuperResolutionRunConfig
from kinema.training.recipes.vae import VaeRunConfig
from kinema.training.render_shards import RenderConfig
from kinema.training.super_resolution_task import WINDOW

_FLOAT_BYTES = 4
_STATES_PER_PARAMETER = 4
"""A checkpoint has weights, averaged weights and two moments of AdamW, all float32."""
_OTHER_BYTES = 256 * 2**20
"""Logs, contact sheets, samples and text states."""


@dataclass(frozen=True, kw_only=True)
class RunSize:
    """Largest size of a run's folder, in bytes.

    Attributes:
        videos: rendered clips, uint8.
        latents: encoded clips.
        checkpoints: of all trainings, while a new one is written.
        weights: exported models.
    """

    videos: int = 0
    latents: int = 0
    checkpoints: int = 0
    weights: int = 0

    @property
    def total(self) -> int:
        """All parts, and what is small."""
        return self.videos + self.latents + self.checkpoints + self.weights + _OTHER_BYTES

    def line(self) -> str:
        """One line for people."""
        parts = [
            f"{name} {_format_bytes(getattr(self, name))}"
            for name in ("videos", "latents", "checkpoints", "weights")
            if getattr(self, name)
        ]
        return f"the run's folder takes up to {_format_bytes(self.total)} ({', '.join(parts)})"


def estimate_run_size(
    config: RecipeConfig
    | VaeRunConfig
    | DitRunConfig
    | FinetuneRunConfig
    | PromptRewriterRunConfig
    | SuperResolutionRunConfig
    | PhyWorldRunConfig
    | SceneClassifierRunConfig,
) -> RunSize:
    """The largest size of a run's folder.

    Raises:
        UserError: the settings name a model that does not exist.
    """
    match config:
        case FinetuneRunConfig():
            return _finetune_size(config)
        case PromptRewriterRunConfig():
            count = _count(SlotClassifier, config.training.model)
            return RunSize(
                checkpoints=_checkpoint_bytes(count, config.training.loop), weights=_FLOAT_BYTES * count
            )
        case SuperResolutionRunConfig():
            count = _count(SuperResolution, config.training.model)
            pixels = config.render.height * config.render.width * (WINDOW + sum(f**2 for f in FACTORS))
            clips = config.render.num_clips + config.num_held_out
            return RunSize(
                videos=3 * pixels * config.frames_per_clip * clips,
                checkpoints=_checkpoint_bytes(count, config.training.loop),
                weights=_FLOAT_BYTES * count,
            )
        case PhyWorldRunConfig():
            vae, dit = _count(VideoVae, config.vae.model), _count(Dit, config.dit.model)
            return RunSize(
                latents=(config.num_clips + config.num_held_out)
                * _latent_clip_bytes(NUM_FRAMES, IMAGE_SIZE, IMAGE_SIZE, config.vae.model),
                checkpoints=_checkpoint_bytes(vae, config.vae.loop) + _checkpoint_bytes(dit, config.dit.loop),
                weights=_FLOAT_BYTES * (vae + dit),
            )
        case SceneClassifierRunConfig():
            count = _count(SceneClassifier, config.training.model)
            return RunSize(
                videos=sum(_video_bytes(one) for one in (*config.datasets, config.held_out)),
                checkpoints=_checkpoint_bytes(count, config.training.loop),
                weights=2 * count,
            )
        case RecipeConfig():
            datasets = config.datasets
            held_out = tuple(config.held_out_config(i) for i in range(len(datasets)))
            vae, dit = config.vae.model, config.dit.model
            trainings = [(_count(VideoVae, vae), config.vae.loop), (_count(Dit, dit), config.dit.loop)]
            if config.decoder is not None:
                trainings.append((_count(VideoVae, vae), config.decoder.loop))
            return RunSize(
                videos=sum(_video_bytes(one) for one in (*datasets, *held_out)),
                latents=sum(_latent_bytes(one, vae) for one in (*datasets, *held_out)),
                checkpoints=sum(_checkpoint_bytes(count, loop) for count, loop in trainings),
                weights=2 * (trainings[0][0] + trainings[1][0]),
            )
        case VaeRunConfig():
            count = _count(VideoVae, config.training.model)
            return RunSize(
                videos=_rendered_bytes(config.data),
                checkpoints=_checkpoint_bytes(count, config.training.loop),
                weights=_FLOAT_BYTES * count,
            )
        case DitRunConfig():
            count = _count(Dit, config.training.model)
            return RunSize(
                videos=_rendered_bytes(config.data),
                checkpoints=_checkpoint_bytes(count, config.training.loop),
                weights=_FLOAT_BYTES * count,
            )


def check_disk(size: RunSize, run_dir: Path) -> None:
    """Refuse a run whose folder does not fit on its disk. What the folder has already counts as free.

    Raises:
        UserError: it does not fit.
    """
    existing = next(path for path in (run_dir, *run_dir.resolve().parents) if path.exists())
    own = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file()) if run_dir.exists() else 0
    free = shutil.disk_usage(existing).free + own
    if size.total > free:
        raise UserError(
            f"{size.line()}, and {_format_bytes(free)} are free; use another disk, fewer clips or fewer "
            "checkpoints (loop.keep_last)"
        )


def _finetune_size(config: FinetuneRunConfig) -> RunSize:
    model = open_model(config.model)
    if config.lora is None:
        count = _count(Dit, model.dit)
        weights = 2 * count * model.sampling_defaults.num_experts
    else:
        count = count_lora(model.dit, config.lora.rank)
        weights = _FLOAT_BYTES * count * len(config.experts)
    return RunSize(
        checkpoints=_checkpoint_bytes(count, config.training.loop) * len(config.experts), weights=weights
    )


def count_lora(dit: DitConfig, rank: int) -> int:
    """Parameters of a LoRA on all linear layers of the blocks."""
    projections = 4 if dit.text_conditioning == "joint" else 8 + 2 * (dit.image_width is not None)
    return dit.layers * rank * (2 * projections * dit.width + 2 * (dit.width + dit.mlp_width))


def _count(
    kind: type[Dit] | type[VideoVae] | type[SlotClassifier] | type[SuperResolution] | type[SceneClassifier],
    config: DitConfig | VaeConfig | SlotClassifierConfig | SuperResolutionConfig | SceneClassifierConfig,
) -> int:
    with skip_init():
        module = kind(config)  # pyrefly: ignore[bad-argument-type]  # each kind with its own settings
    return sum(parameter.numel() for parameter in module.parameters())


def _checkpoint_bytes(count: int, loop: LoopConfig) -> int:
    # The newest ones, the best one, and one that is being written.
    return (loop.keep_last + 2) * _STATES_PER_PARAMETER * _FLOAT_BYTES * count


def _rendered_bytes(data: DataConfig) -> int:
    if data.folders or data.sets:
        return 0
    return sum(
        _video_bytes(one) + _video_bytes(data.held_out_config(one))
        for one in (data.render, *data.extra_datasets)
    )


def _video_bytes(config: RenderConfig) -> int:
    return config.num_clips * config.num_frames * config.height * config.width * 3


def _latent_bytes(config: RenderConfig, vae: VaeConfig) -> int:
    windows = config.windows_per_clip if config.window_frames is not None else 1
    num_frames = config.window_frames or config.num_frames
    return config.num_clips * windows * _latent_clip_bytes(num_frames, config.height, config.width, vae)


def _latent_clip_bytes(num_frames: int, height: int, width: int, vae: VaeConfig) -> int:
    pixels = (height // vae.stride.spatial) * (width // vae.stride.spatial)
    return (1 + vae.stride.groups(num_frames)) * pixels * vae.z_dim * _FLOAT_BYTES


def _format_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
