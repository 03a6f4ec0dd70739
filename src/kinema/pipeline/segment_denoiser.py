"""A transformer under the prompts that speak in a stretch of a film."""

from __future__ import annotations

import torch
from torch import Tensor

from kinema import sampling
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.transformer.text_context import TextContext
from kinema.pipeline.denoiser import PromptEmbeddings


class SegmentDenoiser:
    """Velocities of parts of one film; the keys and values of a prompt are made when it begins to speak.

    Only the last stretch's are kept, so a storyboard of any length takes the memory of one part.
    """

    def __init__(self, dit: Dit, prompt_embeddings: PromptEmbeddings, *, guidance_scale: float) -> None:
        self._dit, self._prompt_embeddings, self._guidance_scale = dit, prompt_embeddings, guidance_scale
        self._cached_context: tuple[tuple[int, ...], TextContext] | None = None

    def context(self, frames: range) -> TextContext:
        """What is said in these latent frames, and with guidance the negative prompt behind it."""
        speaks = self._prompt_embeddings.prompt_index[frames.start : frames.stop]
        if len(set(speaks)) == 1:
            speaks = speaks[:1]
        if self._cached_context is None or self._cached_context[0] != speaks:
            with torch.no_grad():
                told = _select_prompts(self._prompt_embeddings, speaks).context(
                    self._dit, with_negative=self._guidance_scale != 1
                )
            self._cached_context = (speaks, told)
        return self._cached_context[1]

    def denoiser_for(self, frames: range, cache: KvCache | None = None) -> sampling.Denoiser:
        """Of these latent frames, behind what the cache remembers.

        Without a cache they see themselves alone, in their place in the film.
        """
        behind = KvCache(total_frames=frames.start) if cache is None else cache
        network = _CachedCfgDit(self._dit, self.context(frames), behind)
        return sampling.apply_cfg(network, sampling.CfgConfig(scale=self._guidance_scale))


class _CachedCfgDit:
    """A transformer under its prompts, behind its cache."""

    def __init__(self, dit: Dit, context: TextContext, cache: KvCache) -> None:
        self._dit, self._context, self._cache = dit, context, cache

    def __call__(self, latents: Tensor, sigma: Tensor, *, with_unconditional: bool) -> Tensor:  # noqa: ARG002 - as Prompted
        with torch.no_grad():
            return self._dit(latents, sigma, self._context, cache=self._cache)


def _select_prompts(prompt_embeddings: PromptEmbeddings, prompt_index: tuple[int, ...]) -> PromptEmbeddings:
    """The lines of `prompt_index` alone, with the negative prompt behind them."""
    used = sorted(set(prompt_index))
    rows = torch.tensor([*used, len(prompt_embeddings.text_embeddings.lengths) - 1])
    states = prompt_embeddings.text_embeddings.hidden_states
    return PromptEmbeddings(
        text_embeddings=TextEmbeddings(
            hidden_states=states[rows.to(states.device)],
            lengths=prompt_embeddings.text_embeddings.lengths[rows],
        ),
        image_embeddings=prompt_embeddings.image_embeddings,
        prompt_index=tuple(used.index(line) for line in prompt_index),
    )
