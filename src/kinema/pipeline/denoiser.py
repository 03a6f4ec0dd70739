"""A model's transformers, with their prompts and guidance, as one velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import sampling
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.wan import WanCheckpoint
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.text_context import TextContext, concat_contexts, per_frame_context
from kinema.pipeline.conditioning import ImageCondition
from kinema.pipeline.lazy_module import LazyModule, empty_cache


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptEmbeddings:
    """What the transformers are told.

    Attributes:
        text_embeddings: of the lines of the condition in order, the negative prompt last.
        image_embeddings: of an image encoder.
        prompt_index: for each latent frame the line that speaks.
    """

    text_embeddings: TextEmbeddings
    image_embeddings: Float[Tensor, "1 m c"] | None
    prompt_index: tuple[int, ...]

    def context(self, dit: Dit, *, with_negative: bool) -> TextContext:
        """Keys and values for a transformer: the lines', and with `with_negative` the negative prompt's behind."""
        return batch_context([self], dit, with_negative=with_negative)

    def positive_context(self, dit: Dit) -> TextContext:
        """The lines'."""
        contexts = [
            self._prompt_context(dit, index) for index in range(len(self.text_embeddings.lengths) - 1)
        ]
        return contexts[0] if len(contexts) == 1 else per_frame_context(contexts, self.prompt_index)

    def negative_context(self, dit: Dit) -> TextContext:
        """The negative prompt's."""
        return self._prompt_context(dit, -1)

    def _prompt_context(self, dit: Dit, index: int) -> TextContext:
        length = int(self.text_embeddings.lengths[index])
        states = TextEmbeddings(
            hidden_states=self.text_embeddings.hidden_states[index][None, :length],
            lengths=self.text_embeddings.lengths[index].view(1),
        )
        return dit.context(states, self.image_embeddings)


def batch_context(
    prompt_embeddings: Sequence[PromptEmbeddings], dit: Dit, *, with_negative: bool
) -> TextContext:
    """Of several films as one batch: what each is told, and with `with_negative` all negative prompts behind."""
    contexts = [film.positive_context(dit) for film in prompt_embeddings]
    return concat_contexts(
        [*contexts, *(film.negative_context(dit) for film in prompt_embeddings)]
        if with_negative
        else contexts
    )


def encode_image_condition(
    model: ModelCheckpoint, images: Sequence[ImageCondition], *, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "1 m c"] | None:
    """What a CLIP sees of the pictures as they were before they were fitted; None where there is none."""
    if not isinstance(model, WanCheckpoint) or not model.has_image_encoder:
        return None
    shown = [picture.image if picture.original is None else picture.original for picture in images]
    part = LazyModule(lambda: model.load_image_encoder(dtype=dtype, device=device), keep_loaded=False)
    with part.use() as clip:
        return clip.encode(shown).flatten(0, 1)[None]


class _CfgDit:
    """One transformer under its prompts."""

    def __init__(
        self,
        dit: Dit,
        prompt_embeddings: Sequence[PromptEmbeddings],
        *,
        with_negative: bool,
        concat_channels: Float[Tensor, "1 k f h w"] | None,
    ) -> None:
        self.dit, self.concat_channels = dit, concat_channels
        self.cond_context = batch_context(prompt_embeddings, dit, with_negative=False)
        self.cfg_context = (
            batch_context(prompt_embeddings, dit, with_negative=True) if with_negative else None
        )

    def __call__(self, latents: Tensor, sigma: Tensor, *, with_unconditional: bool) -> Tensor:
        if self.concat_channels is not None:
            latents = torch.cat([latents, self.concat_channels], dim=1)
        told = self.cfg_context if with_unconditional else self.cond_context
        assert told is not None
        return self.dit(latents, sigma, told)


class ExpertDenoiser:
    """The velocity of a model of one transformer, or of two that share the noise levels.

    An expert is loaded when its levels are reached. Where memory is short the other is dropped first.
    Films of one shape can be made in one batch: what is said in each stands in `prompt_embeddings`.
    """

    def __init__(
        self,
        dits: Sequence[LazyModule[Dit]],
        prompt_embeddings: Sequence[PromptEmbeddings],
        *,
        guidance_scale: tuple[float, ...],
        boundary: float | None,
        concat_channels: Float[Tensor, "1 k f h w"] | None,
        keep_loaded: bool,
    ) -> None:
        self._dits, self._prompt_embeddings, self._concat_channels = dits, prompt_embeddings, concat_channels
        self._guidance_scale, self._boundary, self._keep_loaded = guidance_scale, boundary, keep_loaded
        self._denoisers: dict[int, sampling.Denoiser] = {}

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b c f h w"]:
        """noise − data."""
        clean = self._boundary is not None and sigma.max().item() < self._boundary
        with torch.no_grad():
            return self._expert_denoiser(int(clean))(latents, sigma)

    def _expert_denoiser(self, expert: int) -> sampling.Denoiser:
        if expert not in self._denoisers:
            if not self._keep_loaded and self._denoisers:
                self._denoisers.clear()
                empty_cache()
            scale = self._guidance_scale[expert]
            network = _CfgDit(
                self._dits[expert].get(),
                self._prompt_embeddings,
                with_negative=scale != 1,
                concat_channels=self._concat_channels,
            )
            self._denoisers[expert] = sampling.apply_cfg(network, sampling.CfgConfig(scale=scale))
        return self._denoisers[expert]
