"""Training the transformer by flow matching, every latent frame at a noise level of its own.

x_t = (1 − t)·x₀ + t·noise and the network predicts noise − x₀ (Lipman et al., 2023; Liu et al., 2023). One t
per latent frame is diffusion forcing (Chen et al., 2024): with some frames clean, the same model continues,
connects and animates pictures. Films of several shapes, and pictures, are trained on in turn (Brooks et al.,
"Video generation models as world simulators", 2024: 'native' size).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.data import rng
from kinema.data.buckets import BucketBatch, BucketSpec, build_buckets
from kinema.data.latent_cache import LatentDataset, TextEmbeddingTable
from kinema.errors import UserError
from kinema.models.precision import Precision, autocast, compile_modules
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig, small
from kinema.shapes import LatentShape
from kinema.training.flops import dit_forward_flops
from kinema.training.loop import LoopConfig, Loss, StepCost
from kinema.training.optimizer import OptimizerConfig
from kinema.training.sigma_sampling import (
    VALIDATION_SIGMAS,
    SigmaSamplingConfig,
    min_prefix_frames,
    sample_sigmas,
    sample_sigmas_batched,
)

FACTS_SCORE = "facts_right"
"""The score of tracked facts, which decides between checkpoints where it is known."""
MIN_FACTS_DIFFERENCE = 0.1
"""By how much two shares of some seventy facts may differ for no reason (two standard deviations)."""


@dataclass(frozen=True, kw_only=True)
class DitTrainConfig:
    """How a transformer is trained."""

    seed: int = 0
    batch_size: int = 32
    """Films in a step; of shapes with fewer tokens there are more."""
    image_p: float = 0.0
    """Share of steps on single pictures, the first frames of films."""
    caption_dropout: float = 0.1
    causal_p: float = 0.1
    """Share of steps under a block-causal mask, one latent frame a block, for films made as a stream."""
    plain_caption_p: float = 0.5
    """Share of samples that use a clip's first caption, the plain one; the rest draw among all."""
    rng_scope: Literal["sample", "step"] = "sample"
    """Whether noise, levels and captions come from (seed, step, sample), made on the CPU and the same on any
    machine, or from (seed, step), in one batch and the noise on the GPU: a thousand times as fast there."""
    precision: Precision = "auto"
    compile_blocks: bool = False
    """Compile the blocks: slower for a minute, then faster."""
    activation_checkpointing: bool = False
    """Forget activations and compute them again for the gradient, where memory is short."""
    sigma_sampling: SigmaSamplingConfig = field(default_factory=SigmaSamplingConfig)
    model: DitConfig = field(default_factory=small)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=2e-3)
        )
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _StepSamples:
    """Everything random of a step, for some of its samples."""

    sigmas: Float[Tensor, "b f"]
    noise: Float[Tensor, "b c f h w"]
    caption_rows: list[int]
    num_scored_frames: float
    """Latent frames that are scored in the whole step."""


class DitTask:
    """The transformer as a `kinema.training.loop.Task`.

    Args:
        config: how to train.
        films: a group for each shape; their states are the same.
        held_out: groups to validate on, the first of them in full.
        device: where.
        start: weights to go on from.
        fsdp_units: weights of a model over another autoencoder: all but what reads and writes latents begins
            with them. Which word means what, and what follows from it, need not be learned again.
    """

    def __init__(
        self,
        config: DitTrainConfig,
        datasets: Sequence[LatentDataset],
        held_out: Sequence[LatentDataset],
        device: torch.device,
        *,
        init_weights: Mapping[str, Tensor] | None = None,
        block_weights: Mapping[str, Tensor] | None = None,
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
        # A GPU has room for all latents; a processor has them already.
        self.latents = [group.latents.to(device) for group in datasets]
        self.captions = [group.captions for group in datasets]
        self.sigma_configs = [
            config.sigma_sampling.for_windows() if group.starts_midclip else config.sigma_sampling
            for group in datasets
        ]
        self.held_out = held_out
        self.device = device
        self.buckets = build_buckets(
            [self._bucket_spec(latents) for latents in self.latents],
            batch_size=config.batch_size,
            image_p=config.image_p,
            seed=config.seed,
        )

    def _bucket_spec(self, latents: Tensor) -> BucketSpec:
        shape = _latent_shape(latents)
        one = LatentShape(frames=1, height=shape.height, width=shape.width)
        return BucketSpec(
            num_videos=len(latents),
            latent_frames=shape.frames,
            tokens_per_frame=one.tokens(self.config.model.patch_size),
        )

    def latent_shape(self, group: int) -> LatentShape:
        """Of the films of a group."""
        return _latent_shape(self.latents[group])

    @property
    def module(self) -> nn.Module:
        """The transformer."""
        return self.dit

    def muon_parameters(self) -> Iterable[Tensor]:
        """The linear maps inside the blocks."""
        for name, parameter in self.dit.named_parameters():
            if name.startswith("blocks.") and parameter.ndim == 2:
                yield parameter

    def fsdp_units(self) -> Iterable[nn.Module]:
        """The transformer's."""
        return self.dit.blocks

    def fsdp_forward_methods(self) -> Iterable[str]:
        """The text runs through the blocks before the film does."""
        return ("context",)

    def step_cost(self, step: int) -> StepCost:
        """Of the step's shape and batch."""
        bucket = self.buckets.at(step).bucket
        shape = _latent_shape(self.latents[bucket.group][:, :, : bucket.latent_frames])
        text = float(self.text_table.lengths.float().mean())
        each = dit_forward_flops(self.config.model, shape, text)
        return StepCost(samples=bucket.batch_size, flops=3 * bucket.batch_size * each)

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Mean squared velocity error over the latent frames that are not given."""
        config = self.config
        drawn = self.buckets.at(step)
        latents = self.latents[drawn.bucket.group]
        chosen = list(drawn.indices)[microbatch::num_microbatches]
        if not chosen:
            raise UserError(
                f"a step of {len(drawn.indices)} films can't be split among {num_microbatches}; "
                "raise batch or accumulate less"
            )
        clean = latents[torch.tensor(chosen, device=latents.device), :, : drawn.bucket.latent_frames].float()
        random = self._sample_step(step, drawn, microbatch, num_microbatches, latents.shape[1])
        blocks: tuple[int, ...] = ()
        if rng.uniform(config.seed, "causal", step) < config.causal_p:
            blocks = (1,) * clean.shape[2]
        # A program is compiled for each shape: lengths in steps keep them few.
        text = self.text_table.batch(random.caption_rows, pad_to_multiple=16 if config.compile_blocks else 1)
        error = self._velocity_error(clean, random.sigmas, random.noise, text, blocks)
        scored = (random.sigmas > 0).to(error)
        return Loss(value=(error * scored).sum() / random.num_scored_frames)

    def _sample_step(
        self, step: int, bucket_batch: BucketBatch, microbatch: int, num_microbatches: int, channels: int
    ) -> _StepSamples:
        config, films = self.config, bucket_batch.indices
        latents = self.latent_shape(bucket_batch.bucket.group)
        shape = (channels, bucket_batch.bucket.latent_frames, latents.height, latents.width)
        captions, levels = (
            self.captions[bucket_batch.bucket.group],
            self.sigma_configs[bucket_batch.bucket.group],
        )
        if config.rng_scope == "sample":
            places = [rng.generator(config.seed, "dit", step, index) for index in films]
            # Levels come first, so that every process knows how many frames are scored in the whole step.
            times = torch.stack([sample_sigmas(levels, shape[1], place) for place in places])
            places = places[microbatch::num_microbatches]
            noise = torch.stack([torch.randn(shape, generator=place) for place in places]).to(self.device)
            picks = torch.stack([torch.rand(3, generator=place) for place in places])
        else:
            place = rng.generator(config.seed, "dit", step)
            times = sample_sigmas_batched(levels, len(films), shape[1], place)
            picks = torch.rand(len(films), 3, generator=place)[microbatch::num_microbatches]
            there = torch.Generator(self.device).manual_seed(rng.derive_seed(config.seed, "noise", step))
            noise = torch.randn(len(films), *shape, generator=there, device=self.device)[
                microbatch::num_microbatches
            ]
        rows = [
            self._pick_caption(captions[index], *pick)
            for index, pick in zip(films[microbatch::num_microbatches], picks.tolist(), strict=True)
        ]
        return _StepSamples(
            sigmas=times[microbatch::num_microbatches],
            noise=noise,
            caption_rows=rows,
            num_scored_frames=float((times > 0).sum()),
        )

    def _pick_caption(self, rows: tuple[int, ...], drop: float, plain: float, pick: float) -> int:
        if drop < self.config.caption_dropout:
            return self.text_table.empty_row
        return rows[0] if plain < self.config.plain_caption_p else rows[int(pick * len(rows))]

    def _velocity_error(
        self,
        clean: Float[Tensor, "b c f h w"],
        sigmas: Float[Tensor, "b f"],
        noise: Float[Tensor, "b c f h w"],
        text: TextEmbeddings,
        blocks: tuple[int, ...] = (),
    ) -> Float[Tensor, "b f"]:
        """Mean squared error of the velocity of each latent frame, in float32."""
        mix = sigmas[:, None, :, None, None].to(self.device)
        noisy = (1 - mix) * clean + mix * noise
        with autocast(self.config.precision, self.device):
            context = self.dit.context(text)
            velocity = self.dit(noisy, sigmas, context, block_frames=blocks, recompute=self.config.recompute)
        return (velocity.float() - (noise - clean)).square().mean(dim=(1, 3, 4))

    def validate(self) -> Mapping[str, float]:
        """Loss on held-out films with fixed noise at 8 levels: with right, wrong and no captions.

        Of groups after the first, the mean with right captions, over those of one shape.
        """
        films, count = self.held_out[0], len(self.held_out[0])
        right = [rows[0] for rows in films.captions]
        wrong = right[count // 2 :] + right[: count // 2]
        losses = {
            "right": self._loss_per_sigma(films, right),
            "wrong": self._loss_per_sigma(films, wrong),
            "empty": self._loss_per_sigma(films, [self.text_table.empty_row] * count),
        }
        scores = {
            f"loss_{level:.4f}": value
            for level, value in zip(VALIDATION_SIGMAS, losses["right"], strict=True)
        }
        scores |= {f"loss_{name}": sum(values) / len(values) for name, values in losses.items()}
        # At high noise only the words say what the film shows: that is where text that is ignored shows.
        scores["right_over_wrong"] = losses["right"][-1] / losses["wrong"][-1]
        others: dict[str, list[float]] = {}
        for group in self.held_out[1:]:
            shape = _latent_shape(group.latents)
            name = f"loss_{shape.frames}x{shape.height}x{shape.width}" + "_midway" * group.starts_midclip
            others.setdefault(name, []).extend(
                self._loss_per_sigma(group, [rows[0] for rows in group.captions])
            )
        return scores | {name: sum(each) / len(each) for name, each in others.items()}

    def _loss_per_sigma(self, dataset: LatentDataset, caption_rows: Sequence[int]) -> list[float]:
        """The mean loss under these captions, at each level, of all latent frames that are not given."""
        losses, count = [], len(dataset)
        frames = dataset.latents.shape[2]
        given = min_prefix_frames(frames) if dataset.starts_midclip else 0
        for level in VALIDATION_SIGMAS:
            total = 0.0
            for first in range(0, count, 64):
                picked = range(first, min(first + 64, count))
                clean = dataset.latents[picked.start : picked.stop].float().to(self.device)
                times = torch.full((len(picked), frames), level)
                times[:, :given] = 0
                noise = torch.stack([rng.normal(tuple(clean.shape[1:]), 0, "held out", i) for i in picked])
                text = self.text_table.batch([caption_rows[i] for i in picked])
                error = self._velocity_error(clean, times, noise.to(self.device), text)
                total += error[:, given:].sum().item()
            losses.append(total / (count * (frames - given)))
        return losses

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Whether clearly more of what the prompts ask for is in the films; where that is unknown or within
        chance, whether the words are heeded more.

        The mean loss prefers models that bind worse; the ratio of right to wrong captions does not.
        """
        if best is None:
            return True
        if (
            FACTS_SCORE in scores
            and FACTS_SCORE in best
            and abs(scores[FACTS_SCORE] - best[FACTS_SCORE]) > MIN_FACTS_DIFFERENCE
        ):
            return scores[FACTS_SCORE] > best[FACTS_SCORE]
        return scores["right_over_wrong"] < best["right_over_wrong"]


def _latent_shape(latents: Float[Tensor, "n c f h w"]) -> LatentShape:
    return LatentShape(frames=latents.shape[2], height=latents.shape[3], width=latents.shape[4])


LATENT_LAYERS = ("patch_embedding.", "proj_out.")
"""What reads and writes latents: it means nothing over another autoencoder."""


def _transplant_blocks(dit: Dit, source_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of another transformer, but for the layers next to the latents."""
    own = dit.state_dict()
    inner = {name for name in own if not name.startswith(LATENT_LAYERS)}
    unlike = sorted(n for n in inner if n not in source_weights or source_weights[n].shape != own[n].shape)
    unlike += sorted(n for n in source_weights if n not in own)
    if unlike:
        raise UserError(
            f"the model to take blocks from differs in {unlike[0]} and {len(unlike) - 1} other weights; "
            "train a transformer of the same width and depth, or begin without blocks_from"
        )
    return own | {name: source_weights[name] for name in inner}
