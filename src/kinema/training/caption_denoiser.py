"""The transformer in training as a denoiser for the sampler, with captions from the text table as prompts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kinema import sampling
from kinema.data.latent_cache import TextEmbeddingTable
from kinema.models.transformer.attention import ShardTokens
from kinema.models.transformer.dit import Dit


def caption_denoiser(
    dit: Dit,
    text_table: TextEmbeddingTable,
    caption_rows: Sequence[int],
    *,
    guidance_scale: float,
    pad_to_multiple: int = 1,
    block_frames: tuple[int, ...] = (),
    shard_tokens: ShardTokens | None = None,
) -> sampling.Denoiser:
    """Return the denoiser of a batch under classifier-free guidance.

    Args:
        dit: the transformer.
        text_table: embeddings of all captions; the empty prompt is the negative prompt.
        caption_rows: the caption of each sample of the batch.
        guidance_scale: 1 is off.
        pad_to_multiple: see `TextEmbeddingTable.batch`.
        block_frames: the blocks of a block-causal mask; empty: no mask.
        shard_tokens: divides the tokens of each video among processes.
    """
    negative_rows = [text_table.empty_row] * len(caption_rows) if guidance_scale != 1 else []
    context = dit.context(text_table.batch([*caption_rows, *negative_rows], pad_to_multiple=pad_to_multiple))

    def network(latents: Tensor, sigma: Tensor, *, with_unconditional: bool) -> Tensor:
        del with_unconditional  # The context has the negative prompt already.
        return dit(latents, sigma, context, block_frames=block_frames, shard_tokens=shard_tokens)

    return sampling.apply_cfg(network, sampling.CfgConfig(scale=guidance_scale))
