"""Flow-matching training of the transformer, with a sigma of its own for every latent frame.

x_sigma = (1 - sigma) * x0 + sigma * noise, and the network predicts noise - x0 (Lipman et al., 2023; Liu et
al., 2023). A sigma per latent frame is diffusion forcing (Chen et al., 2024): because some frames are clean
in training, the model can extend, interpolate and animate images. Videos of several shapes, and images,
take turns (Brooks et al., "Video generation models as world simulators", 2024: native size).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.data import rng
from kinema.data.buckets import BucketBatch, BucketSpec, build_buckets
from kinema.data.latent_cache import LatentDataset, TextEmbeddingTable
from kinema.errors import UserError
from kinema.models.flops import dit_forward_flops
from kinema.models.precision import Precision, autocast, compile_modules
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.attention import ShardTokens
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig, small
from kinema.shapes import LatentShape
from kinema.training.loop import LoopConfig, Loss, StepCost
from kinema.training.optimizer import OptimizerConfig
from kinema.training.sigma_sampling import (
    VALIDATION_SIGMAS,
    SigmaSamplingConfig,
    min_prefix_frames,
    sample_sigmas,
    sample_sigmas_batched,
)

LAB_SCORE = "lab_accuracy"
"""Score of the evaluator on generated lab videos; it selects checkpoints where it is known."""
WHOLE_SCORE = "whole_accuracy"
"""The same for videos of the whole simulator."""
MIN_LAB_SCORE_DIFFERENCE = 0.1
"""Smaller differences are within chance: two standard deviations of a share of some seventy claims."""
CAPTION_LOSS_RATIO = "caption_loss_ratio"
"""Loss at the highest validation sigma with the right captions over that with wrong ones; below 1 the model
uses its text."""


@dataclass(frozen=True, kw_only=True)
class DitTrainConfig:
    """Settings of transformer training.

    Attributes:
        seed: of the initial weights and of all random numbers.
        batch_size: videos of the first dataset in a step; shapes with fewer tokens have larger batches.
        image_p: share of the steps on images, which are the first latent frames of videos.
        caption_dropout: share of the samples with the empty prompt.
        causal_p: share of the steps with a block-causal mask of one latent frame per block, for streaming.
        plain_caption_p: share of the samples with a clip's first, plain caption; the rest draw among all of
            them.
        detailed_caption_p: share of the samples with a clip's longest caption, in tokens. A longer caption
            leaves less of a video unexplained, so that the model learns faster what words mean (DALL-E 3,
            section 3: 95% long captions). With `plain_caption_p` at most 1.
        rng_scope: `sample` draws noise, sigmas and captions from (seed, step, sample) on the CPU, the same on
            every machine. `step` draws them from (seed, step) in one batch, the noise on the device, which is
            faster by orders of magnitude on a GPU.
        precision: of matrix products and activations.
        compile_blocks: compile the transformer blocks; the first steps take a minute longer.
        activation_checkpointing: recompute activations in the backward pass to save memory.
        sigma_sampling: distribution of the sigmas.
        max_sample_weight: upper bound of the loss weight of the predicted sample's squared error. In the
            velocity loss this weight is 1 / sigma^2, so a few frames of low sigma dominate a step.
            The bound follows Min-SNR weighting (arXiv 2303.09556). None: no bound.
        model: the transformer.
        loop: steps, validation and optimizers.
    """

    seed: int = 0
    batch_size: int = 32
    image_p: float = 0.0
    caption_dropout: float = 0.1
    causal_p: float = 0.1
    plain_caption_p: float = 0.5
    detailed_caption_p: float = 0.0
    rng_scope: Literal["sample", "step"] = "sample"
    precision: Precision = "auto"
    compile_blocks: bool = False
    activation_checkpointing: bool = False
    sigma_sampling: SigmaSamplingConfig = field(default_factory=SigmaSamplingConfig)
    max_sample_weight: float | None = None
    model: DitConfig = field(default_factory=small)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=2e-3)
        )
    )

    def __post_init__(self) -> None:
        if self.max_sample_weight is not None and self.max_sample_weight <= 0:
            raise UserError(f"max_sample_weight is {self.max_sample_weight:g} and must be above 0, or null")
        shares = self.plain_caption_p, self.detailed_caption_p
        if min(shares) < 0 or sum(shares) > 1:
            raise UserError(
                f"plain_caption_p and detailed_caption_p are {shares[0]:g} and {shares[1]:g}; "
                "they are shares of the samples, 0 or more and together at most 1"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _StepSamples:
    """The random numbers of a microbatch.

    Attributes:
        sigmas: of each latent frame; 0 where it is clean.
        noise: standard normal.
        caption_rows: in the text table.
        num_scored_frames: noisy latent frames in the whole step.
    """

    sigmas: Float[Tensor, "b f"]
    noise: Float[Tensor, "b c f h w"]
    caption_rows: list[int]
    num_scored_frames: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Microbatch:
    """One part of a step's batch.

    Attributes:
        clean: the latents.
        samples: their random numbers.
        indices: of the videos in their dataset.
        step_size: videos in the whole step.
        block_frames: the blocks of a block-causal mask; empty: no mask.
    """

    clean: Float[Tensor, "b c f h w"]
    samples: _StepSamples
    indices: tuple[int, ...]
    step_size: int
    block_frames: tuple[int, ...]


class DitTask:
    """The transformer as a `kinema.training.loop.Task`.

    Args:
        config: settings.
        datasets: one for each shape, all with the same text embeddings.
        held_out: datasets to validate on; the first one is scored in more detail.
        device: of training.
        init_weights: all weights to start from.
        shard_tokens: divides the tokens of each video among processes.
        block_weights: weights of a model over another autoencoder. All layers start from them except those
            that read and write latents, so that the model keeps what it learned about text.

    Raises:
        UserError: `block_weights` are of a transformer of another shape.
    """

    selection_score: ClassVar[str] = CAPTION_LOSS_RATIO
    """Score of the better of two checkpoints where the lab score is unknown; lower is better. The mean loss
    prefers models that bind attributes worse."""

    def __init__(
        self,
        config: DitTrainConfig,
        datasets: Sequence[LatentDataset],
        held_out: Sequence[LatentDataset],
        device: torch.device,
        *,
        init_weights: Mapping[str, Tensor] | None = None,
        block_weights: Mapping[str, Tensor] | None = None,
        shard_tokens: ShardTokens | None = None,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.dit = Dit(config.model).to(device)
        self.text_table = TextEmbeddingTable(datasets[0].text_embeddings, device)
        if init_weights is not None:
            self.dit.load_state_dict(dict(init_weights))
        elif block_weights is not None:
            self.dit.load_state_dict(_transplant_blocks(self.dit, block_weights))
        else:
            self.dit.set_text_statistics(*self.text_table.statistics())
        if config.compile_blocks:
            compile_modules(self.dit.blocks, device, dynamic_shapes=device.type != "cpu")
        self.config = config
        # A GPU has memory for all latents; on a CPU they are there already.
        self.latents = [dataset.latents.to(device) for dataset in datasets]
        self.captions = [dataset.captions for dataset in datasets]
        self.sigma_configs = [
            config.sigma_sampling.for_windows() if dataset.starts_midclip else config.sigma_sampling
            for dataset in datasets
        ]
        self.held_out = held_out
        self.device = device
        self.shard_tokens = shard_tokens
        self.buckets = build_buckets(
            [self._bucket_spec(dataset) for dataset in datasets],
            batch_size=config.batch_size,
            image_p=config.image_p,
            seed=config.seed,
        )

    def _bucket_spec(self, dataset: LatentDataset) -> BucketSpec:
        shape = _latent_shape(dataset.latents)
        one_frame = LatentShape(frames=1, height=shape.height, width=shape.width)
        return BucketSpec(
            num_videos=len(dataset),
            latent_frames=shape.frames,
            tokens_per_frame=one_frame.tokens(self.config.model.patch_size),
            weight=dataset.weight,
        )

    def latent_shape(self, dataset_index: int) -> LatentShape:
        """Return the latent shape of a dataset's videos."""
        return _latent_shape(self.latents[dataset_index])

    @property
    def module(self) -> nn.Module:
        """The transformer."""
        return self.dit

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors of the module."""
        return self.dit.state_dict()

    def muon_parameters(self) -> Iterable[Tensor]:
        """Yield the linear layers inside the blocks."""
        for name, parameter in self.dit.named_parameters():
            if name.startswith("blocks.") and parameter.ndim == 2:
                yield parameter

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Return the transformer blocks."""
        return self.dit.blocks

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Return `context`, which runs the text through the blocks."""
        return ("context",)

    def step_cost(self, step: int) -> StepCost:
        """Return the cost of a step's batch and shape."""
        bucket = self.buckets.at(step).bucket
        shape = _latent_shape(self.latents[bucket.dataset_index][:, :, : bucket.latent_frames])
        mean_text_tokens = float(self.text_table.lengths.float().mean())
        flops = dit_forward_flops(self.config.model, shape, mean_text_tokens)
        return StepCost(samples=bucket.batch_size, flops=3 * bucket.batch_size * flops)

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the mean squared velocity error over the noisy latent frames of the step."""
        part = self._load_microbatch(step, microbatch, num_microbatches)
        samples = part.samples
        text = self._embed(samples.caption_rows)
        error = self._velocity_error(part.clean, samples.sigmas, samples.noise, text, part.block_frames)
        weight = (samples.sigmas > 0).to(error)
        if self.config.max_sample_weight is not None:
            weight = weight * (self.config.max_sample_weight * samples.sigmas.to(error).square()).clamp(max=1)
        return Loss(value=(error * weight).sum() / samples.num_scored_frames)

    @property
    def _text_multiple(self) -> int:
        # Each shape is compiled separately, so text lengths are rounded up to a few values.
        return 16 if self.config.compile_blocks else 1

    def _embed(self, caption_rows: Sequence[int]) -> TextEmbeddings:
        return self.text_table.batch(caption_rows, pad_to_multiple=self._text_multiple)

    def _load_microbatch(self, step: int, microbatch: int, num_microbatches: int) -> _Microbatch:
        config = self.config
        batch = self.buckets.at(step)
        latents = self.latents[batch.bucket.dataset_index]
        indices = list(batch.indices)[microbatch::num_microbatches]
        require_part(len(indices), len(batch.indices), num_microbatches)
        clean = latents[torch.tensor(indices, device=latents.device), :, : batch.bucket.latent_frames].float()
        block_frames: tuple[int, ...] = ()
        if rng.uniform(config.seed, "causal", step) < config.causal_p:
            block_frames = (1,) * clean.shape[2]
        return _Microbatch(
            clean=clean,
            samples=self._sample_step(step, batch, microbatch, num_microbatches, latents.shape[1]),
            indices=tuple(indices),
            step_size=len(batch.indices),
            block_frames=block_frames,
        )

    def _sample_step(
        self, step: int, batch: BucketBatch, microbatch: int, num_microbatches: int, channels: int
    ) -> _StepSamples:
        config, dataset_index, indices = self.config, batch.bucket.dataset_index, batch.indices
        latents = self.latent_shape(dataset_index)
        shape = (channels, batch.bucket.latent_frames, latents.height, latents.width)
        captions, sigma_config = self.captions[dataset_index], self.sigma_configs[dataset_index]
        own = slice(microbatch, None, num_microbatches)
        if config.rng_scope == "sample":
            generators = [rng.generator(config.seed, "dit", step, index) for index in indices]
            # Sigmas come first, and of all samples: every process needs the number of scored frames in the
            # step.
            sigmas = torch.stack([sample_sigmas(sigma_config, shape[1], one) for one in generators])
            generators = generators[own]
            noise = torch.stack([torch.randn(shape, generator=one) for one in generators]).to(self.device)
            uniforms = torch.stack([torch.rand(3, generator=one) for one in generators])
        else:
            generator = rng.generator(config.seed, "dit", step)
            sigmas = sample_sigmas_batched(sigma_config, len(indices), shape[1], generator)
            uniforms = torch.rand(len(indices), 3, generator=generator)[own]
            device_generator = torch.Generator(self.device)
            device_generator.manual_seed(rng.derive_seed(config.seed, "noise", step))
            noise = torch.randn(len(indices), *shape, generator=device_generator, device=self.device)[own]
        rows = [
            self._pick_caption(captions[index], *row)
            for index, row in zip(indices[own], uniforms.tolist(), strict=True)
        ]
        return _StepSamples(
            sigmas=sigmas[own],
            noise=noise,
            caption_rows=rows,
            num_scored_frames=float((sigmas > 0).sum()),
        )

    def _pick_caption(self, rows: tuple[int, ...], drop: float, plain: float, pick: float) -> int:
        if drop < self.config.caption_dropout:
            return self.text_table.empty_row
        if plain < self.config.plain_caption_p:
            return rows[0]
        if plain < self.config.plain_caption_p + self.config.detailed_caption_p:
            return rows[int(self.text_table.lengths[list(rows)].argmax())]
        return rows[int(pick * len(rows))]

    def _velocity_error(
        self,
        clean: Float[Tensor, "b c f h w"],
        sigmas: Float[Tensor, "b f"],
        noise: Float[Tensor, "b c f h w"],
        text: TextEmbeddings,
        block_frames: tuple[int, ...] = (),
    ) -> Float[Tensor, "b f"]:
        """Return the mean squared error of the velocity of each latent frame, in float32."""
        noisy = noise_frames(clean, noise, sigmas)
        velocity = self._predict_velocity(noisy, sigmas, text, block_frames)
        return (velocity - (noise - clean)).square().mean(dim=(1, 3, 4))

    def _predict_velocity(
        self,
        noisy: Float[Tensor, "b c f h w"],
        sigmas: Float[Tensor, "b f"],
        text: TextEmbeddings,
        block_frames: tuple[int, ...],
    ) -> Float[Tensor, "b c f h w"]:
        """Return the transformer's velocity in float32."""
        with autocast(self.config.precision, self.device):
            velocity = self.dit(
                noisy,
                sigmas,
                self.dit.context(text),
                block_frames=block_frames,
                recompute=self.config.activation_checkpointing,
                shard_tokens=self.shard_tokens,
            )
        return velocity.float()

    def validate(self) -> Mapping[str, float]:
        """Return the loss on held-out videos with fixed noise at `VALIDATION_SIGMAS`.

        Of the first dataset: the loss at each sigma (`loss_0.0625`, ...) with the right captions, and the
            means
        with right, wrong and no captions (`loss_right`, `loss_wrong`, `loss_empty`). Of the others: the
        mean with right captions for each shape (`loss_5x8x8`; windows have the suffix `_midclip`).
        """
        first, count = self.held_out[0], len(self.held_out[0])
        right = [rows[0] for rows in first.captions]
        wrong = right[count // 2 :] + right[: count // 2]
        losses = {
            "right": self._loss_per_sigma(first, right),
            "wrong": self._loss_per_sigma(first, wrong),
            "empty": self._loss_per_sigma(first, [self.text_table.empty_row] * count),
        }
        scores = {
            f"loss_{sigma:.4f}": value
            for sigma, value in zip(VALIDATION_SIGMAS, losses["right"], strict=True)
        }
        scores |= {f"loss_{name}": sum(values) / len(values) for name, values in losses.items()}
        # At high noise only the text determines the video, so a model that ignores it has a ratio near 1.
        scores[CAPTION_LOSS_RATIO] = losses["right"][-1] / losses["wrong"][-1]
        losses_by_shape: dict[str, list[float]] = {}
        for dataset in self.held_out[1:]:
            shape = _latent_shape(dataset.latents)
            suffix = "_midclip" if dataset.starts_midclip else ""
            losses_by_shape.setdefault(
                f"loss_{shape.frames}x{shape.height}x{shape.width}{suffix}", []
            ).extend(self._loss_per_sigma(dataset, [rows[0] for rows in dataset.captions]))
        return scores | {name: sum(values) / len(values) for name, values in losses_by_shape.items()}

    def _loss_per_sigma(self, dataset: LatentDataset, caption_rows: Sequence[int]) -> list[float]:
        """Return the mean loss of all noisy latent frames at each sigma of `VALIDATION_SIGMAS`."""
        losses, count = [], len(dataset)
        frames = dataset.latents.shape[2]
        prefix = min_prefix_frames(frames) if dataset.starts_midclip else 0
        for sigma in VALIDATION_SIGMAS:
            total = 0.0
            for first in range(0, count, 64):
                picked = range(first, min(first + 64, count))
                clean = dataset.latents[picked.start : picked.stop].float().to(self.device)
                sigmas = torch.full((len(picked), frames), sigma)
                sigmas[:, :prefix] = 0
                noise = torch.stack([rng.normal(tuple(clean.shape[1:]), 0, "held out", i) for i in picked])
                text = self.text_table.batch([caption_rows[i] for i in picked])
                error = self._velocity_error(clean, sigmas, noise.to(self.device), text)
                total += error[:, prefix:].sum().item()
            losses.append(total / (count * (frames - prefix)))
        return losses

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Compare by the evaluator's score; where it is unknown or within chance, by `selection_score`."""
        if best is None:
            return True
        for name in (LAB_SCORE, WHOLE_SCORE):
            if name in scores and name in best:
                difference = scores[name] - best[name]
                if abs(difference) > MIN_LAB_SCORE_DIFFERENCE:
                    return difference > 0
        return scores[self.selection_score] < best[self.selection_score]


def require_part(count: int, batch_size: int, num_microbatches: int) -> None:
    """Raise a `UserError` where a microbatch has none of the videos of its batch."""
    if not count:
        raise UserError(
            f"a batch of {batch_size} videos can't be split into {num_microbatches} parts; "
            "raise batch_size or lower gradient_accumulation_steps"
        )


def noise_frames(
    clean: Float[Tensor, "b c f h w"], noise: Float[Tensor, "b c f h w"], sigmas: Float[Tensor, "b f"]
) -> Float[Tensor, "b c f h w"]:
    """Return (1 - sigma) * clean + sigma * noise, with a sigma for every latent frame."""
    mix = sigmas[:, None, :, None, None].to(clean.device)
    # Not `sampling.add_noise`, whose lerp rounds differently: runs must stay reproducible bit for bit.
    return (1 - mix) * clean + mix * noise


def _latent_shape(latents: Float[Tensor, "n c f h w"]) -> LatentShape:
    return LatentShape(frames=latents.shape[2], height=latents.shape[3], width=latents.shape[4])


LATENT_LAYERS = ("patch_embedding.", "proj_out.")
"""Layers that read and write latents: their weights are useless with another autoencoder."""


def _transplant_blocks(dit: Dit, source_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the weights of another transformer, except those of `LATENT_LAYERS`."""
    own = dit.state_dict()
    inner = {name for name in own if not name.startswith(LATENT_LAYERS)}
    different = sorted(n for n in inner if n not in source_weights or source_weights[n].shape != own[n].shape)
    different += sorted(n for n in source_weights if n not in own)
    if different:
        raise UserError(
            f"the model of init_blocks_from differs in {different[0]} and {len(different) - 1} more weights; "
            "train a transformer of the same width and depth, or omit init_blocks_from"
        )
    return own | {name: source_weights[name] for name in inner}
