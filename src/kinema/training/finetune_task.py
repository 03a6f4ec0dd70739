"""Fine-tuning of a published or shipped transformer on encoded clips: all weights, or a LoRA.

The loss is that of `kinema.training.dit_task`: the mean squared error of the velocity noise - x0, in float32.
What differs is the data: clips of many shapes are read one by one from the cache of a curated set, and
image-to-video models read the first frame of each clip as a condition.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.data import rng
from kinema.data.caption_choice import CaptionConfig
from kinema.data.encoded_set import EncodedSet
from kinema.data.sample_order import OrderedSet, SampleOrder
from kinema.errors import UserError
from kinema.models.flops import dit_forward_flops
from kinema.models.precision import Precision, autocast
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.attention import ShardTokens
from kinema.models.transformer.dit import Dit
from kinema.shapes import LatentShape
from kinema.training.loop import LoopConfig, Loss, StepCost
from kinema.training.optimizer import OptimizerConfig
from kinema.training.sigma_sampling import SigmaSamplingConfig, sample_sigmas

CONDITION, IMAGE_EMBEDDINGS = "condition", "image_embeddings"
"""Further tensors of an encoded clip: mask and image channels next to the latents, and CLIP states."""
PROMPT_LAYERS = tuple(
    f"attn2.{name}" for name in ("to_k", "to_v", "norm_k", "add_k_proj", "add_v_proj", "norm_added_k")
)
"""Layers of a block that `Dit.context` calls by themselves."""
_MEAN_TEXT_TOKENS = 48.0
"""Tokens of a usual caption, for the count of operations."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Settings of fine-tuning.

    Attributes:
        seed: of all random numbers.
        batch_size: clips in a step.
        causal_p: share of the steps with a block-causal mask of one latent frame per block, for models that
            stream.
        captions: prefix, trigger and dropout of the captions.
        precision: of matrix products and activations.
        activation_checkpointing: recompute activations in the backward pass to save memory.
        max_validation_clips: the validation loss is of the first so many held-out clips.
        sigma_sampling: distribution of the sigmas.
        loop: steps, validation and optimizers.
    """

    seed: int = 0
    batch_size: int = 1
    causal_p: float = 0.0
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    precision: Precision = "auto"
    activation_checkpointing: bool = False
    max_validation_clips: int = 32
    sigma_sampling: SigmaSamplingConfig = field(default_factory=lambda: SigmaSamplingConfig.shifted(3.0))
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            ema_decay=0.99,
            optimizer=OptimizerConfig(learning_rate=1e-4, muon_learning_rate=0.0, betas=(0.9, 0.99)),
        )
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedSet:
    """A set to train on, and the share of the samples that come from it, relative to the other sets."""

    clips: EncodedSet
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Clips of one shape on the device, their sigmas on the CPU."""

    clean: Float[Tensor, "b c f h w"]
    noise: Float[Tensor, "b c f h w"]
    sigmas: Float[Tensor, "b f"]
    text: TextEmbeddings
    condition: Float[Tensor, "b k f h w"] | None
    image_embeddings: Float[Tensor, "b m d"] | None


class FinetuneTask:
    """Fine-tuning as a `kinema.training.loop.Task`.

    Args:
        config: settings.
        dit: the transformer; its parameters that require a gradient are trained.
        sets: to train on.
        held_out: to validate on.
        device: of training.
        shard_tokens: divides the tokens of each video among processes.

    Raises:
        UserError: no parameter is to be trained, or there are no clips.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        dit: Dit,
        sets: Sequence[WeightedSet],
        held_out: Sequence[EncodedSet],
        device: torch.device,
        *,
        shard_tokens: ShardTokens | None = None,
    ) -> None:
        if not sets or not all(len(one.clips.samples) for one in sets):
            raise UserError("a set has no clips to train on; build it with `kinema data build`")
        self.config, self.dit, self.device = config, dit, device
        self.shard_tokens = shard_tokens
        self._sets = [one.clips for one in sets]
        self._held_out = [batch for clips in held_out for batch in _validation_batches(clips, config)]
        self._order = SampleOrder(
            sets=tuple(
                OrderedSet(
                    buckets=tuple(sample.bucket for sample in one.clips.samples),
                    repeats=tuple(sample.repeats for sample in one.clips.samples),
                    weight=one.weight,
                )
                for one in sets
            ),
            batch_size=config.batch_size,
            seed=config.seed,
        )
        self._trained = [name for name, parameter in dit.named_parameters() if parameter.requires_grad]
        if not self._trained:
            raise ValueError("no parameter of the transformer requires a gradient")
        self._all_trained = len(self._trained) == sum(1 for _ in dit.parameters())

    @property
    def module(self) -> nn.Module:
        """The transformer."""
        return self.dit

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is trained: all tensors of the transformer, or those of the LoRA."""
        state = self.dit.state_dict()
        return state if self._all_trained else {name: state[name] for name in self._trained}

    def muon_parameters(self) -> Iterable[Tensor]:
        """Yield the linear layers inside the blocks; Muon is off unless its learning rate is set."""
        for name, parameter in self.dit.named_parameters():
            if parameter.requires_grad and name.startswith("blocks.") and parameter.ndim == 2:
                yield parameter

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Yield the layers that read the prompts, which run before the blocks, and the blocks."""
        for block in self.dit.blocks:
            for name, layer in block.named_modules():
                if name in PROMPT_LAYERS:
                    yield layer
            yield block

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Return `context`, which runs the text through the blocks."""
        return ("context",)

    def step_cost(self, step: int) -> StepCost:
        """Return the cost of a step's batch and shape."""
        batch = self._order.at(step)
        latents = self._sets[batch.set_index].tensors(batch.indices[0])["latents"]
        shape = LatentShape(frames=latents.shape[1], height=latents.shape[2], width=latents.shape[3])
        flops = dit_forward_flops(self.dit.config, shape, _MEAN_TEXT_TOKENS)
        # A LoRA needs no gradients of the base weights: two thirds of a full backward pass.
        factor = 3 if self._all_trained else 2
        factor += 1 if self.config.activation_checkpointing else 0
        return StepCost(samples=len(batch.indices), flops=factor * len(batch.indices) * flops)

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the mean squared velocity error over the noisy latent frames of the step."""
        config, batch = self.config, self._order.at(step)
        positions = list(range(len(batch.indices)))[microbatch::num_microbatches]
        if not positions:
            raise UserError(
                f"a batch of {len(batch.indices)} clips can't be split into {num_microbatches} parts; "
                "raise training.batch_size or lower gradient_accumulation_steps"
            )
        clips = self._sets[batch.set_index]
        num_frames = clips.tensors(batch.indices[0])["latents"].shape[1]
        # Sigmas come first, and of all samples: every process needs the number of scored frames in the step.
        generators = [rng.generator(config.seed, "finetune", step, i) for i in range(len(batch.indices))]
        sigmas = torch.stack([sample_sigmas(config.sigma_sampling, num_frames, one) for one in generators])
        tensors = [clips.tensors(batch.indices[i]) for i in positions]
        noise = torch.stack(
            [
                torch.randn(one["latents"].shape, generator=generators[i])
                for i, one in zip(positions, tensors, strict=True)
            ]
        )
        captions = [
            config.captions.draw(clips.samples[batch.indices[i]].captions, config.seed, step, i)
            for i in positions
        ]
        block_frames: tuple[int, ...] = ()
        if rng.uniform(config.seed, "causal", step) < config.causal_p:
            block_frames = (1,) * num_frames
        error = self._velocity_error(
            self._to_batch(clips, tensors, sigmas[positions], noise, captions), block_frames
        )
        is_scored = (sigmas[positions] > 0).to(error)
        return Loss(value=(error * is_scored).sum() / float((sigmas > 0).sum()))

    def _to_batch(
        self,
        clips: EncodedSet,
        tensors: Sequence[Mapping[str, Tensor]],
        sigmas: Float[Tensor, "b f"],
        noise: Float[Tensor, "b c f h w"],
        captions: Sequence[str],
    ) -> _Batch:
        def stack(name: str) -> Tensor | None:
            if name not in tensors[0]:
                return None
            return torch.stack([one[name] for one in tensors]).to(self.device).float()

        clean = stack("latents")
        assert clean is not None
        text = TextEmbeddings.from_list([clips.text(caption).float() for caption in captions])
        return _Batch(
            clean=clean,
            noise=noise.to(self.device),
            sigmas=sigmas,
            text=text.to(self.device),
            condition=stack(CONDITION),
            image_embeddings=stack(IMAGE_EMBEDDINGS),
        )

    def _velocity_error(self, batch: _Batch, block_frames: tuple[int, ...] = ()) -> Float[Tensor, "b f"]:
        """Return the mean squared error of the velocity of each latent frame, in float32."""
        mix = batch.sigmas[:, None, :, None, None].to(self.device)
        noisy = (1 - mix) * batch.clean + mix * batch.noise
        if batch.condition is not None:
            noisy = torch.cat([noisy, batch.condition], dim=1)
        with autocast(self.config.precision, self.device):
            velocity = self.dit(
                noisy.to(self.dit.dtype),
                batch.sigmas,
                self.dit.context(batch.text, batch.image_embeddings),
                block_frames=block_frames,
                recompute=self.config.activation_checkpointing,
                shard_tokens=self.shard_tokens,
            )
        return (velocity.float() - (batch.noise - batch.clean)).square().mean(dim=(1, 3, 4))

    def validate(self) -> Mapping[str, float]:
        """Return the loss on held-out clips at eight fixed sigmas, with fixed noise and the first captions.

        `loss_0.0625`, ... at each sigma, and `loss`, their mean. Empty without held-out clips.
        """
        if not self._held_out:
            return {}
        scores = {}
        for sigma in self.config.sigma_sampling.validation_sigmas():
            total, count = 0.0, 0
            for clips, indices in self._held_out:
                tensors = [clips.tensors(index) for index in indices]
                samples = [clips.samples[index] for index in indices]
                shape = tuple(tensors[0]["latents"].shape)
                noise = [rng.normal(shape, 0, "held out", sample.clip_id) for sample in samples]
                batch = self._to_batch(
                    clips,
                    tensors,
                    torch.full((len(indices), shape[1]), sigma),
                    torch.stack(noise),
                    [self.config.captions.texts(sample.captions)[0] for sample in samples],
                )
                total += self._velocity_error(batch).mean(dim=1).sum().item()
                count += len(indices)
            scores[f"loss_{sigma:.4f}"] = total / count
        return scores | {"loss": sum(scores.values()) / len(scores)}

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Compare by the validation loss. Without held-out clips the last checkpoint is the best."""
        return best is None or "loss" not in scores or scores["loss"] < best["loss"]


def _validation_batches(
    clips: EncodedSet, config: FinetuneConfig
) -> Iterator[tuple[EncodedSet, tuple[int, ...]]]:
    """Batches of the first clips of a set, those of one bucket together."""
    by_bucket: dict[Hashable, list[int]] = {}
    for index, sample in enumerate(clips.samples[: config.max_validation_clips]):
        by_bucket.setdefault(sample.bucket, []).append(index)
    for indices in by_bucket.values():
        for first in range(0, len(indices), config.batch_size):
            yield clips, tuple(indices[first : first + config.batch_size])
