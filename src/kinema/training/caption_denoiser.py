"""The transformer in training as a denoiser for the sampler, with captions from the text table as prompts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kinema import sampling
from kinema.data.latent_cache import TextEmbeddingTable
from kinema.models.transformer.dit import Dit


def caption_denoiser(
    dit: Dit, text_table: TextEmbeddingTable, caption_rows: Sequence[int], *, guidance_scale: float
) -> sampling.Denoiser:
    """Return the denoiser of a batch under classifier-free guidance.

    Args:
        dit: the transformer.
        text_table: embeddings of all captions; the empty prompt is the negative prompt.
        caption_rows: the caption of each sample of the batch.
        guidance_scale: 1 is off.
    """
    negative_rows = [text_table.empty_row] * len(caption_rows) if guidance_scale != 1 else []
    context = dit.context(text_table.batch([*caption_rows, *negative_rows]))

    def network(latents: Tensor, sigma: Tensor, *, with_unconditional: bool) -> Tensor:
        del with_unconditional  # The context has the negative prompt already.
        return dit(latents, sigma, context)

    return sampling.apply_cfg(network, sampling.CfgConfig(scale=guidance_scale))
