"""Transformer, text encoder and solver against diffusers, with equal random weights and inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import BenchRow, compare_and_time
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.text_encoders.umt5 import encode_token_ids
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.transformer.text_context import concat_contexts
from kinema.sampling import sample, wan_schedule

PROMPT_TOKENS, NEGATIVE_PROMPT_TOKENS = 60, 126
"""Tokens of the prompt and of the negative prompt; the default negative prompt of Wan has 126."""


def guidance_1280(rounds: int) -> BenchRow:
    """A guidance step on 5 latent frames."""
    return guidance_step(num_latent_frames=5, at_most=0.75, rounds=rounds)


def guidance_4096(rounds: int) -> BenchRow:
    """A guidance step on 16 latent frames."""
    return guidance_step(num_latent_frames=16, at_most=0.88, rounds=rounds)


def guidance_step(*, num_latent_frames: int, at_most: float, rounds: int) -> BenchRow:
    """One guidance step at width 384, 12 layers, 16 x 16 tokens in each latent frame.

    Head width and text width are those of Wan, 128 and 4096. Both sides start from encoded prompts. The
    diffusers model runs once per prompt, as in its pipeline. Ours runs once for both prompts, with text keys
    and values computed before.
    """
    from diffusers import WanTransformer3DModel

    config = DitConfig(width=384, heads=3, layers=12, mlp_width=1536)
    generator = torch.Generator().manual_seed(0)
    wan_dit: Any = WanTransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        text_dim=config.text_width,
        ffn_dim=config.mlp_width,
        num_layers=config.layers,
    )
    wan_dit.eval()
    dit = Dit(config).eval()
    dit.load_state_dict(wan_dit.state_dict())
    latents = torch.randn(1, 16, num_latent_frames, 32, 32, generator=generator)
    states = [
        torch.randn(n, config.text_width, generator=generator)
        for n in (PROMPT_TOKENS, NEGATIVE_PROMPT_TOKENS)
    ]
    padded = [torch.nn.functional.pad(s, (0, 0, 0, 512 - len(s)))[None] for s in states]
    timestep = torch.tensor([937])
    sigma = torch.full((1, num_latent_frames), 0.937, dtype=torch.float64)
    with torch.no_grad():
        context = concat_contexts([dit.context(TextEmbeddings.from_list([s])) for s in states])

        def ours() -> Tensor:
            conditional, unconditional = dit(latents, sigma, context).chunk(2)
            return unconditional + 5.0 * (conditional - unconditional)

        def theirs() -> Tensor:
            conditional, unconditional = (wan_dit(latents, timestep, s, return_dict=False)[0] for s in padded)
            return unconditional + 5.0 * (conditional - unconditional)

        label = f"guidance step, width 384, 12 layers, {num_latent_frames * 256} tokens"
        return compare_and_time(label, ours, theirs, at_most=at_most, rounds=rounds)


def text_encoder(rounds: int) -> BenchRow:
    """UMT5 with 8 layers and width 1024: a prompt of 60 tokens, padded to 512 in diffusers."""
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
        return compare_and_time(
            f"UMT5, 8 layers, width 1024, {PROMPT_TOKENS} tokens",
            lambda: encode_token_ids(model, ids[0].tolist()),
            lambda: model(input_ids=padded, attention_mask=mask).last_hidden_state[0, :PROMPT_TOKENS],
            at_most=0.16,
            rounds=rounds,
        )


def solver(rounds: int, *, num_steps: int = 50) -> BenchRow:
    """UniPC alone, 50 steps on the latents of 81 frames at 480 x 832, with a network that costs nothing."""
    from diffusers import UniPCMultistepScheduler

    noise = torch.randn(1, 16, 21, 60, 104, generator=torch.Generator().manual_seed(0))
    scheduler: Any = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )

    def ours() -> Tensor:
        *_, last = sample(_toy_velocity, noise, wan_schedule(num_steps, 3.0))
        return last.latents

    def theirs() -> Tensor:
        scheduler.set_timesteps(num_steps)
        scheduler.set_begin_index(0)
        latents = noise
        for timestep in scheduler.timesteps:
            velocity = _toy_velocity(latents, timestep)
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents

    return compare_and_time("UniPC, 50 steps, 16 x 21 x 60 x 104", ours, theirs, at_most=None, rounds=rounds)


def causal_cache(rounds: int) -> BenchRow:
    """Block-causal attention: frame by frame with a KV cache, against one pass with the mask."""
    del rounds
    config = DitConfig(width=384, heads=3, layers=4, mlp_width=1536)
    torch.manual_seed(0)
    dit = Dit(config).eval()
    for parameter in dit.parameters():
        # Zero-initialised layers make a new transformer the identity, which would test nothing.
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    latents = torch.randn(1, 16, 4, 16, 16)
    sigma = torch.tensor([[0.0, 0.0, 0.0, 0.7]], dtype=torch.float64)
    with torch.no_grad():
        context = dit.context(TextEmbeddings.from_list([torch.randn(PROMPT_TOKENS, config.text_width)]))
        masked = dit(latents, sigma, context, block_frames=(1, 1, 1, 1))[:, :, 3:]
        cache = KvCache()
        for frame in range(3):
            cache = dit.update_cache(
                latents[:, :, frame : frame + 1], sigma[:, frame : frame + 1], context, cache
            )
        cached = dit(latents[:, :, 3:], sigma[:, 3:], context, cache=cache)
    return BenchRow(
        label="block-causal attention with cache against mask",
        ours=(masked - cached).abs().max().item(),
        at_most=1e-5,
        unit="",
        note=f"largest difference; the largest output is {masked.abs().max().item():.2g}",
    )


def _toy_velocity(latents: Tensor, sigma: Tensor) -> Tensor:
    del sigma
    return -latents
