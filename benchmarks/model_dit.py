"""The transformer, text encoder and solver against diffusers, on the same random weights and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import BenchRow, time_paired
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.text_encoders.umt5 import encode_token_ids
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.transformer.text_context import concat_contexts
from kinema.sampling import sample, wan_schedule

PROMPT_TOKENS, NEGATIVE_PROMPT_TOKENS = 60, 126
"""Tokens of the prompt and of the negative prompt; 126 is the length of Wan's own."""


def guidance_1280(rounds: int) -> BenchRow:
    """A guidance step over 5 latent frames."""
    return guidance_step(num_latent_frames=5, at_most=0.75, rounds=rounds)


def guidance_4096(rounds: int) -> BenchRow:
    """A guidance step over 16 latent frames."""
    return guidance_step(num_latent_frames=16, at_most=0.88, rounds=rounds)


def guidance_step(*, num_latent_frames: int, at_most: float, rounds: int) -> BenchRow:
    """One step under guidance at width 384, 12 layers, 16 x 16 tokens in each latent frame.

    Head and text widths are Wan's, 128 and 4096. Both sides start from encoded prompts. Theirs runs twice,
    as its pipeline does; ours once for both prompts, with the keys and values of the text made before.
    """
    from diffusers import WanTransformer3DModel

    config = DitConfig(width=384, heads=3, layers=12, mlp_width=1536)
    generator = torch.Generator().manual_seed(0)
    theirs: Any = WanTransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        text_dim=config.text_width,
        ffn_dim=config.mlp_width,
        num_layers=config.layers,
    )
    theirs.eval()
    dit = Dit(config).eval()
    dit.load_state_dict(theirs.state_dict())
    latents = torch.randn(1, 16, num_latent_frames, 32, 32, generator=generator)
    states = [
        torch.randn(n, config.text_width, generator=generator)
        for n in (PROMPT_TOKENS, NEGATIVE_PROMPT_TOKENS)
    ]
    padded = [torch.nn.functional.pad(s, (0, 0, 0, 512 - len(s)))[None] for s in states]
    step = torch.tensor([937])
    time = torch.full((1, num_latent_frames), 0.937, dtype=torch.float64)
    with torch.no_grad():
        context = concat_contexts([dit.context(TextEmbeddings.from_list([s])) for s in states])

        def ours() -> Tensor:
            conditional, unconditional = dit(latents, time, context).chunk(2)
            return unconditional + 5.0 * (conditional - unconditional)

        def peer() -> Tensor:
            conditional, unconditional = (theirs(latents, step, s, return_dict=False)[0] for s in padded)
            return unconditional + 5.0 * (conditional - unconditional)

        name = f"guidance step, width 384, 12 layers, {num_latent_frames * 256} tokens"
        return _paired_row(name, ours, peer, at_most=at_most, rounds=rounds)


def text_encoder(rounds: int) -> BenchRow:
    """UMT5 of 8 layers and width 1024: a prompt of 60 tokens, padded to 512 on their side."""
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    model = UMT5EncoderModel(
        UMT5Config(
            vocab_size=1000,
            d_model=1024,
            d_kv=64,
            d_ff=2560,
            num_layers=8,
            num_heads=16,
            feed_forward_proj="gated-gelu",
        )
    ).eval()
    ids = torch.randint(2, 1000, (1, PROMPT_TOKENS))
    padded = torch.nn.functional.pad(ids, (0, 512 - PROMPT_TOKENS))
    mask = torch.nn.functional.pad(torch.ones_like(ids), (0, 512 - PROMPT_TOKENS))
    with torch.no_grad():
        return _paired_row(
            f"UMT5, 8 layers, width 1024, {PROMPT_TOKENS} tokens",
            lambda: encode_token_ids(model, ids[0].tolist()),
            lambda: model(input_ids=padded, attention_mask=mask).last_hidden_state[0, :PROMPT_TOKENS],
            at_most=0.16,
            rounds=rounds,
        )


def solver(rounds: int, *, steps: int = 50) -> BenchRow:
    """UniPC alone, 50 steps on the latents of 81 frames at 480 x 832, with a network that is free."""
    from diffusers import UniPCMultistepScheduler

    start = torch.randn(1, 16, 21, 60, 104, generator=torch.Generator().manual_seed(0))
    scheduler: Any = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )

    def ours() -> Tensor:
        *_, last = sample(_toy_velocity, start, wan_schedule(steps, 3.0))
        return last.latents

    def peer() -> Tensor:
        scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)
        latents = start
        for time in scheduler.timesteps:
            latents = scheduler.step(_toy_velocity(latents, time), time, latents, return_dict=False)[0]
        return latents

    return _paired_row("UniPC, 50 steps, 16 x 21 x 60 x 104", ours, peer, at_most=None, rounds=rounds)


def causal_cache(rounds: int) -> BenchRow:
    """Block-causal attention: frames one after the other with a cache, against one pass under the mask."""
    del rounds
    config = DitConfig(width=384, heads=3, layers=4, mlp_width=1536)
    torch.manual_seed(0)
    dit = Dit(config).eval()
    for parameter in dit.parameters():
        # Layers of zeros make a fresh transformer the identity; it has to compute something here.
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    latents = torch.randn(1, 16, 4, 16, 16)
    time = torch.tensor([[0.0, 0.0, 0.0, 0.7]], dtype=torch.float64)
    with torch.no_grad():
        context = dit.context(TextEmbeddings.from_list([torch.randn(PROMPT_TOKENS, config.text_width)]))
        masked = dit(latents, time, context, block_frames=(1, 1, 1, 1))[:, :, 3:]
        cache = KvCache()
        for frame in range(3):
            cache = dit.update_cache(
                latents[:, :, frame : frame + 1], time[:, frame : frame + 1], context, cache
            )
        cached = dit(latents[:, :, 3:], time[:, 3:], context, cache=cache)
    return BenchRow(
        label="block-causal with cache against the same mask without",
        ours=(masked - cached).abs().max().item(),
        at_most=1e-5,
        unit="",
        note=f"largest difference; the answer's largest value is {masked.abs().max().item():.2g}",
    )


def _toy_velocity(latents: Tensor, sigma: Tensor) -> Tensor:
    del sigma
    return -latents


def _paired_row(
    name: str,
    ours: Callable[[], Tensor],
    peer: Callable[[], Tensor],
    *,
    at_most: float | None,
    rounds: int,
) -> BenchRow:
    error = (ours() - peer()).abs().max().item()
    # Both have run once by now.
    return time_paired(ours, peer, rounds=rounds, warmup=0).to_row(
        name, at_most=at_most, note=f"largest difference {error:.1e}"
    )
