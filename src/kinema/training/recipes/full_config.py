"""Settings of the full recipe. A preset is a function that returns all settings of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from kinema.errors import UserError
from kinema.models.transformer.dit_config import small
from kinema.models.vae.vae_config import VaeConfig
from kinema.simulator.annotations import Event
from kinema.training.dit_task import DitTrainConfig
from kinema.training.loop import LoopConfig
from kinema.training.optimizer import OptimizerConfig
from kinema.training.render_shards import RenderConfig
from kinema.training.resampled_latents import ResampleConfig
from kinema.training.vae_task import VaeTrainConfig
from kinema.training.validation_samples import SampleConfig

MOTION_EVENTS: tuple[tuple[Event, float], ...] = (
    ("collide", 0.34),
    ("roll", 0.26),
    ("occlude", 0.16),
    ("drop", 0.14),
    ("camera", 0.10),
)
"""Lab events of the clips that are cut into windows, for training extension and streaming. In longer clips
the same events happen more slowly."""


def require_one_source(init_from: str, init_blocks_from: str) -> None:
    """Raise `UserError` if the weights of a transformer would start from two models."""
    if init_from and init_blocks_from:
        raise UserError("init_from and init_blocks_from are both set; omit one of them")


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Settings of the full recipe.

    Attributes:
        budget: seconds for the whole run.
        render: clips of the first dataset.
        held_out: clips of the first dataset to validate on, from the test split.
        vae: autoencoder training.
        dit: transformer training.
        extra_datasets: clips of other shapes or domains; the transformer trains on all datasets in turn.
        init_from: a model to start from, `world-teacher` (shipped) or an exported folder. Its autoencoder
            is kept.
        init_blocks_from: a model whose transformer blocks initialise the new transformer, with a new
            autoencoder. Not together with `init_from`.
        samples: validation samples.
        decoder: decoder fine-tuning after the transformer training; None skips it.
        decoder_share: share of the budget for it.
        resample: of the latents for decoder fine-tuning.
        vae_num_videos: the autoencoder trains on this many clips while the others are rendered.
        vae_share: share of the budget, after the first clips are rendered, for the autoencoder.
        render_share: share of the budget for further rendering; then training continues with the clips that
            exist. None renders all clips.
    """

    budget: float
    render: RenderConfig
    held_out: RenderConfig
    vae: VaeTrainConfig = field(default_factory=VaeTrainConfig)
    dit: DitTrainConfig = field(default_factory=DitTrainConfig)
    extra_datasets: tuple[RenderConfig, ...] = ()
    init_from: str = ""
    init_blocks_from: str = ""
    samples: SampleConfig = field(default_factory=SampleConfig)
    decoder: VaeTrainConfig | None = None
    decoder_share: float = 0.1
    resample: ResampleConfig = field(default_factory=ResampleConfig)
    vae_num_videos: int = 1536
    vae_share: float = 0.38
    render_share: float | None = None

    def __post_init__(self) -> None:
        require_one_source(self.init_from, self.init_blocks_from)

    @property
    def datasets(self) -> tuple[RenderConfig, ...]:
        """All datasets to render."""
        return (self.render, *self.extra_datasets)

    def held_out_config(self, dataset_index: int) -> RenderConfig:
        """Return the held-out clips of a dataset."""
        if dataset_index == 0:
            return self.held_out
        dataset = self.extra_datasets[dataset_index - 1]
        return dataclasses.replace(
            dataset,
            num_clips=max(4, self.held_out.num_clips // 4),
            seed=dataset.seed + 1,
            split="test" if dataset.lab else "all",
        )

    def vae_render_config(self) -> RenderConfig:
        """Return the clips that the autoencoder trains on: whole shards, which rendering continues from."""
        num_shards = -(-min(self.vae_num_videos, self.render.num_clips) // self.render.shard_size)
        num_clips = min(num_shards * self.render.shard_size, self.render.num_clips)
        return dataclasses.replace(self.render, num_clips=num_clips)


def lab(*, budget: float, num_videos: int | None = None) -> RecipeConfig:
    """Return the preset for two CPU cores: the lab at 128 x 128, 17 frames at 8 fps.

    The autoencoder has one spatial downsampling more than `VaeConfig.small`: a plain object on an even
    floor needs no more latents at 128 pixels than at 64, and the transformer's cost stays the same. Its
    first and last layers are wide, because 48 channels blurred the four frames of a moving object that
    share a latent frame.

    Args:
        budget: seconds for the whole run.
        num_videos: clips of the first dataset; None: 8192, and fewer for budgets below an hour, which could
            neither render nor use them.
    """
    if num_videos is None:
        num_videos = max(256, round(min(1.0, budget / 3600) * 128) * 64)
    autoencoder = dataclasses.replace(
        VaeConfig.small(),
        base_dim=96,
        z_dim=24,
        dim_mult=(1, 1, 2),
        temporal_downsample=(False, False),
        latents_mean=(0.0,) * 24,
        latents_std=(1.0,) * 24,
    )
    return RecipeConfig(
        budget=budget,
        render=RenderConfig(num_clips=num_videos),
        held_out=RenderConfig(num_clips=192, split="test", seed=1),
        extra_datasets=(
            RenderConfig(
                num_clips=max(64, num_videos // 6),
                num_frames=41,
                seed=2,
                events=MOTION_EVENTS,
                window_frames=17,
            ),
            RenderConfig(
                num_clips=max(64, num_videos // 8),
                num_frames=25,
                seed=4,
                events=MOTION_EVENTS,
                window_frames=17,
            ),
        ),
        vae=VaeTrainConfig(batch_size=4, crop_size=64, compile_blocks=True, model=autoencoder),
        vae_share=0.36,
        samples=SampleConfig(num_samples=24),
        decoder=VaeTrainConfig(
            seed=1,
            batch_size=4,
            crop_size=64,
            compile_blocks=True,
            decoder_only=True,
            resampled_p=0.5,
            model=autoencoder,
            loop=LoopConfig(
                ema_decay=0.998,
                optimizer=OptimizerConfig(
                    learning_rate=1.5e-3,
                    muon_learning_rate=1.5e-3,
                    betas=(0.9, 0.99),
                    warmup_steps=30,
                    decay_share=0.8,
                ),
            ),
        ),
        dit=DitTrainConfig(
            batch_size=24,
            compile_blocks=True,
            plain_caption_p=0.6,
            model=small(width=192, layers=6, channels=24, grid=(4, 4)),
        ),
    )


def full_simulator(*, budget: float, num_videos: int = 20000) -> RecipeConfig:
    """Return the preset for one large GPU: the whole simulator at 128 x 128, 33 frames at 12 fps.

    Further datasets are landscape and portrait, shorter and larger videos, and the lab, which is evaluated.

    Args:
        budget: seconds for the whole run.
        num_videos: clips of the first dataset.
    """
    square = RenderConfig(
        num_clips=num_videos,
        height=128,
        width=128,
        num_frames=33,
        fps=12.0,
        lab=False,
        events=(),
        split="all",
    )

    def other(share: float, width: int, height: int, frames: int) -> RenderConfig:
        return dataclasses.replace(
            square,
            num_clips=max(square.shard_size, int(num_videos * share)),
            width=width,
            height=height,
            num_frames=frames,
        )

    lab_clips = dataclasses.replace(
        square, num_clips=num_videos // 4, lab=True, split="train", events=RenderConfig(num_clips=1).events
    )
    return RecipeConfig(
        budget=budget,
        render=square,
        held_out=dataclasses.replace(square, num_clips=256, seed=1),
        extra_datasets=(
            lab_clips,
            other(0.1, 160, 96, 33),
            other(0.1, 96, 160, 33),
            other(0.1, 128, 128, 17),
            other(0.05, 192, 192, 17),
        ),
        vae=VaeTrainConfig(batch_size=32, crop_size=64, cache_on_device=True),
        dit=DitTrainConfig(
            batch_size=256,
            image_p=0.05,
            rng_scope="step",
            compile_blocks=True,
            model=small(width=512, layers=12, grid=(8, 8)),
        ),
        vae_share=0.25,
        render_share=0.2,
    )


def tiny(*, budget: float) -> RecipeConfig:
    """Return the preset for tests, which ends in seconds with a useless model."""
    render = RenderConfig(
        num_clips=8, height=32, width=32, num_frames=9, shard_size=4, events=(("still", 0.7), ("roll", 0.3))
    )
    return RecipeConfig(
        budget=budget,
        render=render,
        held_out=dataclasses.replace(render, num_clips=4, split="test", seed=1),
        extra_datasets=(
            dataclasses.replace(render, num_clips=4, width=48),
            dataclasses.replace(render, num_clips=4, num_frames=13, seed=2, window_frames=9),
        ),
        samples=SampleConfig(num_samples=2, num_inference_steps=2, num_on_sheet=2),
        vae_num_videos=4,
        vae=VaeTrainConfig(batch_size=2, crop_size=16, model=VaeConfig.tiny(patchified=True)),
        decoder=VaeTrainConfig(
            batch_size=2,
            crop_size=16,
            decoder_only=True,
            resampled_p=0.5,
            model=VaeConfig.tiny(patchified=True),
        ),
        resample=ResampleConfig(num_videos=4, num_inference_steps=2, batch_size=2),
        dit=DitTrainConfig(
            batch_size=4, image_p=0.2, model=small(width=64, layers=1, channels=4, grid=(2, 2))
        ),
    )
