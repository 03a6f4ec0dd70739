"""Prompts to the embeddings that the transformers attend to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinema.models.formats.wan import WanCheckpoint
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.text_context import TextContext, concat_contexts, per_frame_context
from kinema.pipeline.components import ModelComponents
from kinema.pipeline.conditioning import Conditioning, ImageCondition
from kinema.pipeline.lazy_module import LazyModule
from kinema.pipeline.text_cache import encode_cached, encoder_fingerprint
from kinema.shapes import LatentShape


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptEmbeddings:
    """What the transformers attend to in one segment.

    Attributes:
        text_embeddings: of the segment's prompts in order, the negative prompt last.
        image_embeddings: of the CLIP image encoder, for models that have one.
        prompt_index: for each latent frame the index of its prompt.
        fps: frames per second, for models with an embedding of it.
    """

    text_embeddings: TextEmbeddings
    image_embeddings: Float[Tensor, "1 m c"] | None
    prompt_index: tuple[int, ...]
    fps: float | None = None

    def positive_context(self, dit: Dit) -> TextContext:
        """Keys and values of the prompts; with several prompts each latent frame attends to its own."""
        count = len(self.text_embeddings.lengths) - 1
        contexts = [self._prompt_context(dit, index) for index in range(count)]
        return contexts[0] if len(contexts) == 1 else per_frame_context(contexts, self.prompt_index)

    def negative_context(self, dit: Dit) -> TextContext:
        """Keys and values of the negative prompt."""
        return self._prompt_context(dit, -1)

    def _prompt_context(self, dit: Dit, index: int) -> TextContext:
        length = int(self.text_embeddings.lengths[index])
        one = TextEmbeddings(
            hidden_states=self.text_embeddings.hidden_states[index][None, :length],
            lengths=self.text_embeddings.lengths[index].view(1),
        )
        return dit.context(one, self.image_embeddings, fps=self.fps)

    def with_references(self, count: int) -> PromptEmbeddings:
        """The same with `count` latent frames of reference images in front, under the first prompt."""
        return dataclasses.replace(self, prompt_index=(*self.prompt_index[:1] * count, *self.prompt_index))

    def select(self, prompt_index: tuple[int, ...]) -> PromptEmbeddings:
        """The prompts of `prompt_index` alone, and the negative prompt."""
        used = sorted(set(prompt_index))
        rows = [*used, len(self.text_embeddings.lengths) - 1]
        return PromptEmbeddings(
            text_embeddings=_select_rows(self.text_embeddings, rows),
            image_embeddings=self.image_embeddings,
            prompt_index=tuple(used.index(index) for index in prompt_index),
            fps=self.fps,
        )


def batch_context(samples: Sequence[PromptEmbeddings], dit: Dit, *, with_negative: bool) -> TextContext:
    """Contexts of a batch of samples; with `with_negative` all negative prompts follow as a second half."""
    contexts = [sample.positive_context(dit) for sample in samples]
    negative = [sample.negative_context(dit) for sample in samples] if with_negative else []
    return concat_contexts([*contexts, *negative])


def negative_batch_context(samples: Sequence[PromptEmbeddings], dit: Dit) -> TextContext:
    """Contexts of the negative prompts of a batch."""
    return concat_contexts([sample.negative_context(dit) for sample in samples])


def encode_prompts(
    components: ModelComponents,
    conditionings: Sequence[Conditioning],
    shapes: Sequence[LatentShape],
    *,
    fps: float | None = None,
) -> tuple[PromptEmbeddings, ...]:
    """Encode the prompts of several segments with one call of the text encoder, or none if all are known.

    Args:
        components: the text encoder is loaded for this call alone where memory is short.
        conditionings: one for each segment.
        shapes: latent shapes of the segments.
        fps: frames per second, for models with an embedding of it.
    """
    texts = [
        [*(prompt.prompt for prompt in conditioning.prompts), conditioning.negative_prompt]
        for conditioning in conditionings
    ]
    unique = list(dict.fromkeys(text for own in texts for text in own))
    embeddings = _encode_texts(components, unique)
    stride = components.model.vae.stride
    return tuple(
        PromptEmbeddings(
            text_embeddings=_select_rows(embeddings, [unique.index(text) for text in own]),
            image_embeddings=_encode_clip_images(components, conditioning.images),
            prompt_index=conditioning.prompt_index_per_frame(shape, stride),
            fps=fps,
        )
        for own, conditioning, shape in zip(texts, conditionings, shapes, strict=True)
    )


def _encode_texts(components: ModelComponents, texts: list[str]) -> TextEmbeddings:
    def encode(missing: list[str]) -> TextEmbeddings:
        with components.text_encoder.use() as encoder:
            states = encoder.encode(missing)
        del encoder
        components.drop_mapped_text_encoder()
        return states

    model = components.model
    if not components.text_cache or not isinstance(model, WanCheckpoint):
        return encode(texts)
    return encode_cached(
        texts, encoder_fingerprint(model, components.policy.dtype, components.text_device), encode
    )


def _select_rows(embeddings: TextEmbeddings, rows: Sequence[int]) -> TextEmbeddings:
    index = torch.tensor(rows)
    states = embeddings.hidden_states
    return TextEmbeddings(hidden_states=states[index.to(states.device)], lengths=embeddings.lengths[index])


def _encode_clip_images(
    components: ModelComponents, images: Sequence[ImageCondition]
) -> Float[Tensor, "1 m c"] | None:
    """CLIP embeddings of the images before they were cropped; None for models without an image encoder."""
    model, policy = components.model, components.policy
    if not isinstance(model, WanCheckpoint) or not model.has_image_encoder:
        return None
    reads_control = model.sampling_defaults.image_conditioning == "control_channels"
    originals = [image.image if image.original is None else image.original for image in images]
    module = LazyModule(
        lambda: model.load_image_encoder(dtype=policy.dtype, device=components.device), keep_loaded=False
    )
    with module.use() as clip:
        if not originals and reads_control:
            # As these models were trained: zeros in place of an image.
            return torch.zeros_like(clip.encode([np.zeros((64, 64, 3), np.uint8)]))
        return clip.encode(originals).flatten(0, 1)[None]
