"""The oracle model itself, on which the other tests rely."""

from __future__ import annotations

import numpy as np
import torch

from kinema.models.transformer.kv_cache import KvCache
from tests.fixtures import oracle


def videos():
    return {"a red ball": oracle.simulated_video(1), "a blue cube": oracle.simulated_video(2)}


def test_the_autoencoder_loses_nothing() -> None:
    vae, video = oracle.exact_vae(), oracle.to_float(oracle.simulated_video(1))
    with torch.no_grad():
        latents = vae.encode(video)
        assert torch.equal(vae.decode(latents), video)
        parts = list(vae.decode_stream(latents.split(2, dim=2)))
        assert torch.equal(torch.cat(parts, dim=2), video)
    assert latents.shape[1:] == (192, 5, 8, 8)


def test_each_prompt_generates_its_video() -> None:
    pipe = oracle.oracle_pipeline(videos())
    for prompt, video in videos().items():
        assert np.array_equal(pipe.generate(prompt).frames, video)


def test_position_follows_from_cache_and_clean_frames() -> None:
    model = oracle.oracle_model(videos())
    dit, encoder = model.oracle, model.load_text_encoder(dtype=torch.float32, device=torch.device("cpu"))
    context = dit.context(encoder.encode(["a blue cube", ""]))
    clean = dit.latents[1][None]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = 0.4 * clean + 0.6 * noise
    true = noise - clean

    def sigmas(*values: float) -> torch.Tensor:
        return torch.tensor([values], dtype=torch.float64)

    whole = dit(noisy, sigmas(*[0.6] * 5), context)
    assert torch.allclose(whole, true.expand(2, -1, -1, -1, -1), atol=1e-5)
    cache = dit.update_cache(clean[:, :, :2], sigmas(0, 0), context, KvCache(sink_frames=1, window_frames=1))
    later = dit(noisy[:, :, 2:4], sigmas(0.6, 0.6), context, cache=cache)
    assert torch.allclose(later, true[:, :, 2:4].expand(2, -1, -1, -1, -1), atol=1e-5)
    part = torch.cat([clean[:, :, 2:3], noisy[:, :, 3:]], dim=2)
    placed = dit(part, sigmas(0, 0.6, 0.6), context)
    assert torch.allclose(placed[:, :, 1:], true[:, :, 3:].expand(2, -1, -1, -1, -1), atol=1e-5)
    assert not torch.allclose(dit(noisy[:, :, 3:], sigmas(0.6, 0.6), context)[:1], true[:, :, 3:], atol=0.1)
