"""Train a model on PhyWorld's scenarios (`kinema.simulator.phyworld`): an autoencoder, then a transformer
that continues the first three frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from kinema.data.dataset import DatasetSplit, JoinedVideos, VideoDataset
from kinema.data.latent_cache import load_latent_datasets
from kinema.data.windows import WindowedVideos
from kinema.errors import UserError
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.simulator.phyworld import (
    NUM_CONDITION_FRAMES,
    AttributePair,
    MotionRanges,
    PhyWorldConfig,
    PhyWorldVideos,
)
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig
from kinema.training.optimizer import OptimizerConfig
from kinema.training.recipes.vae import load_autoencoder, read_autoencoder_config
from kinema.training.run_context import Progress, RunContext
from kinema.training.sigma_sampling import SigmaSamplingConfig
from kinema.training.stages import (
    encode_datasets,
    load_init_transformer,
    load_trained_autoencoder,
    load_trained_transformer,
    train_autoencoder,
    train_transformer,
)
from kinema.training.vae_task import VaeTask, VaeTrainConfig
from kinema.training.validation_samples import SampleConfig

LATENT_CHANNELS = 16
_WINDOWS_PER_CLIP = 4


AUTOENCODER_RANGES = MotionRanges(radii=((0.3, 2.0),), speeds=((0.0, 6.0),))
"""In and out of the distribution of the transformer's clips: the autoencoder is not what is tested."""


def _autoencoder_config() -> VaeConfig:
    """Return strides of 16 x 16 x 2: three condition frames are two latent frames."""
    return dataclasses.replace(
        VaeConfig.small(),
        base_dim=48,
        z_dim=LATENT_CHANNELS,
        dim_mult=(1, 1, 2),
        temporal_downsample=(False, False),
        temporal_patch_size=2,
        latents_mean=(0.0,) * LATENT_CHANNELS,
        latents_std=(1.0,) * LATENT_CHANNELS,
    )


def _vae_training() -> VaeTrainConfig:
    optimizer = OptimizerConfig(
        learning_rate=3e-3, muon_learning_rate=3e-3, betas=(0.9, 0.99), warmup_steps=50
    )
    return VaeTrainConfig(
        batch_size=8,
        crop_size=64,
        full_frame_every=16,
        # Positions are measured to a few hundredths of a pixel, so the squared error counts.
        mse_weight=20.0,
        compile_blocks=True,
        model=_autoencoder_config(),
        loop=LoopConfig(
            steps=1600, validate_every=400, save_every=200, keep_last=1, ema_decay=0.995, optimizer=optimizer
        ),
    )


def _dit_training() -> DitTrainConfig:
    optimizer = OptimizerConfig(learning_rate=1e-3, muon_learning_rate=2e-3, warmup_steps=50)
    return DitTrainConfig(
        batch_size=24,
        caption_dropout=0.0,
        causal_p=0.0,
        compile_blocks=True,
        # The condition frames, the first two latent frames, are clean. Nearly half of the sigmas are above
        # 0.9: below, the bodies are visible through the noise, and need not be predicted.
        sigma_sampling=SigmaSamplingConfig(
            logit_mean=2.5, low_logit_mean=0.5, diffusion_forcing_p=0.0, prefix_p=1.0, suffix_p=0.0,
            starts_midclip=True, max_prefix_frames=2,
        ),
        model=small(width=192, layers=6, channels=LATENT_CHANNELS),
        loop=LoopConfig(
            steps=900, validate_every=300, save_every=100, keep_last=1, ema_decay=0.995, optimizer=optimizer
        ),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PhyWorldRunConfig:
    """Settings of a run on PhyWorld's scenarios.

    Attributes:
        clips: what the transformer is trained on.
        num_clips: training clips.
        num_held_out: clips for validation.
        seed: of the clips.
        autoencoder: the folder of a trained model, for example of another run; empty trains an autoencoder,
            on bodies of all sizes, speeds, colours and shapes, so that it serves all experiments.
        init_from: the folder of a trained model whose transformer training starts from; empty: random
            weights.
        window_frames: the autoencoder trains on windows of this many frames.
        vae: settings of its training.
        dit: settings of the transformer's training.
    """

    clips: PhyWorldConfig = field(default_factory=PhyWorldConfig)
    num_clips: int = 3072
    num_held_out: int = 48
    seed: int = 0
    autoencoder: str = ""
    init_from: str = ""
    window_frames: int = 9
    vae: VaeTrainConfig = field(default_factory=_vae_training)
    dit: DitTrainConfig = field(default_factory=_dit_training)

    def __post_init__(self) -> None:
        stride = self.vae.model.stride.temporal
        if (NUM_CONDITION_FRAMES - 1) % stride or (self.window_frames - 1) % stride:
            raise UserError(
                f"the autoencoder has a temporal stride of {stride}; it must divide "
                f"{NUM_CONDITION_FRAMES - 1}, the condition frames less 1, and {self.window_frames - 1}, the "
                "frames of a window less 1"
            )


def lab() -> PhyWorldRunConfig:
    """Return the preset for two CPU cores, about an hour."""
    return PhyWorldRunConfig()


def experiment() -> PhyWorldRunConfig:
    """Return the preset for one kind of clips: a smaller transformer, nine minutes on a core."""
    preset = lab()
    dit = dataclasses.replace(
        preset.dit,
        model=small(width=128, layers=4, channels=LATENT_CHANNELS),
        loop=preset.dit.loop.with_steps(500),
    )
    return dataclasses.replace(preset, num_clips=1024, dit=dit)


def tiny() -> PhyWorldRunConfig:
    """Return the preset for tests, which ends in seconds with a useless model."""
    preset = lab()
    vae, dit = preset.vae, preset.dit
    return dataclasses.replace(
        preset,
        num_clips=6,
        num_held_out=3,
        vae=dataclasses.replace(
            vae,
            batch_size=2,
            crop_size=32,
            compile_blocks=False,
            model=dataclasses.replace(vae.model, base_dim=8),
            loop=vae.loop.with_steps(3),
        ),
        dit=dataclasses.replace(
            dit,
            batch_size=2,
            compile_blocks=False,
            model=small(width=32, layers=1, channels=LATENT_CHANNELS),
            loop=dit.loop.with_steps(3),
        ),
    )


def train_phyworld(config: PhyWorldRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train the models and yield the progress. Afterwards `load_trained_phyworld` returns them.

    Raises:
        UserError: the autoencoder has other strides than the settings, or other latent channels than the
            transformer.
    """
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    vae_config = read_autoencoder_config(config.autoencoder) if config.autoencoder else config.vae.model
    if vae_config.z_dim != config.dit.model.in_channels or vae_config.stride != config.vae.model.stride:
        raise UserError(
            f"an autoencoder with {vae_config.z_dim} channels and strides of {vae_config.stride} does not "
            "fit; train one with `kinema train phyworld`, or set dit.model.in_channels and out_channels"
        )
    if not config.autoencoder:
        windows, held_out_windows = _autoencoder_clips(config)
        task = VaeTask(config.vae, windows, held_out_windows, run_context.device)
        yield from train_autoencoder(run_context, task, config.vae)
        if run_context.stop_requested():
            return
    vae = load_phyworld_autoencoder(config, run_context)
    split = DatasetSplit(
        train=PhyWorldVideos(config=config.clips, num_clips=config.num_clips, seed=config.seed),
        held_out=PhyWorldVideos(config=config.clips, num_clips=config.num_held_out, seed=config.seed + 1),
    )
    yield from encode_datasets(run_context, vae, [split], precision=config.dit.precision)
    if run_context.stop_requested():
        return
    data = load_latent_datasets(run_context.run_dir)
    init_weights = None
    if config.init_from:
        init_weights = load_init_transformer(config.init_from, config.dit.model, run_context.device)
    dit_task = DitTask(config.dit, data.train, data.held_out, run_context.device, init_weights=init_weights)
    yield from train_transformer(run_context, dit_task, config.dit, vae, data, SampleConfig(num_samples=0))


def load_phyworld_autoencoder(config: PhyWorldRunConfig, run_context: RunContext) -> VideoVae:
    """Load the autoencoder that the settings name, or that of the run."""
    if config.autoencoder:
        return load_autoencoder(config.autoencoder, run_context)
    return load_trained_autoencoder(run_context, config.vae, _autoencoder_clips(config)[1])


def load_trained_phyworld(config: PhyWorldRunConfig, run_context: RunContext) -> tuple[VideoVae, Dit]:
    """Load the autoencoder and the averaged transformer of a finished run."""
    vae = load_phyworld_autoencoder(config, run_context)
    return vae, load_trained_transformer(run_context, config.dit.model)


def _autoencoder_clips(config: PhyWorldRunConfig) -> tuple[VideoDataset, VideoDataset]:
    """Return windows of clips to train on and to validate on."""
    num_held_out = max(3, config.num_held_out // _WINDOWS_PER_CLIP)
    return (
        _autoencoder_windows(config.num_clips, config.window_frames, config.seed + 2),
        _autoencoder_windows(num_held_out, config.window_frames, config.seed + 3),
    )


def _autoencoder_windows(num_clips: int, window_frames: int, seed: int) -> VideoDataset:
    num_scenario_clips = 2 * num_clips // 3
    scenarios = PhyWorldConfig(ranges=AUTOENCODER_RANGES)
    # The rest has both colours and shapes in any combination.
    bodies = PhyWorldConfig(pair=AttributePair(first="size", second="velocity"))
    clips = JoinedVideos.join(
        [
            PhyWorldVideos(config=scenarios, num_clips=num_scenario_clips, seed=seed),
            PhyWorldVideos(config=bodies, num_clips=num_clips - num_scenario_clips, seed=seed),
        ],
        [None, None],
    )
    return WindowedVideos(
        videos=clips, window_frames=window_frames, windows_per_video=_WINDOWS_PER_CLIP, seed=seed
    )
