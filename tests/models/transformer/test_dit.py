"""The transformer: joint text, caches, masks and shapes, for which there is no other implementation."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer import dit_block
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig, medium, small, tiny
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.transformer.text_context import (
    TextContext,
    concat_contexts,
    padding_bias,
    per_frame_context,
)


def random_dit(config: DitConfig, seed: int = 0) -> Dit:
    """A transformer with random output layers: a freshly initialised one predicts zero."""
    torch.manual_seed(seed)
    dit = Dit(config).eval()
    with torch.no_grad():
        for name, parameter in dit.named_parameters():
            if parameter.ndim > 1 and parameter.abs().max() == 0:
                parameter.normal_(std=0.05)
            elif "scale_shift_table" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return dit


CONFIGS = {"joint": tiny(text_conditioning="joint"), "cross": tiny()}


def text_embeddings(config: DitConfig, *lengths: int, seed: int = 1) -> TextEmbeddings:
    generator = torch.Generator().manual_seed(seed)
    return TextEmbeddings.from_list([torch.randn(n, config.text_width, generator=generator) for n in lengths])


def random_latents(config: DitConfig, batch: int = 1, frames: int = 6, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.in_channels, frames, 4, 6, generator=generator)


def sigma_tensor(sigmas: list[float], batch: int = 1) -> torch.Tensor:
    return torch.tensor([sigmas] * batch, dtype=torch.float64)


def test_a_fresh_model_predicts_nothing() -> None:
    config = tiny(text_conditioning="joint")
    dit = Dit(config)
    out = dit(random_latents(config), sigma_tensor([0.5] * 6), dit.context(text_embeddings(config, 3)))
    assert out.eq(0).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_block_causal_with_cache_equals_the_mask(name: str) -> None:
    config = CONFIGS[name]
    dit = random_dit(config)
    latents, blocks = random_latents(config, batch=2), (1, 2, 3)
    sigma = torch.rand(2, 6, dtype=torch.float64)
    with torch.no_grad():
        context = dit.context(text_embeddings(config, 3, 5))
        whole = dit(latents, sigma, context, block_frames=blocks)
        cache, chunks, start = KvCache(), [], 0
        for frames in blocks:
            chunk, chunk_sigma = latents[:, :, start : start + frames], sigma[:, start : start + frames]
            chunks.append(dit(chunk, chunk_sigma, context, cache=cache))
            cache = dit.update_cache(chunk, chunk_sigma, context, cache)
            start += frames
    assert (torch.cat(chunks, dim=2) - whole).abs().max() <= 1e-5
    assert cache.total_frames == cache.num_frames == 6
    with torch.no_grad():
        assert (dit(latents, sigma, context) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_block_causal_mask_hides_the_future(name: str) -> None:
    config = CONFIGS[name]
    dit = random_dit(config)
    latents = random_latents(config)
    changed = latents.clone()
    changed[:, :, 3:] += 1
    with torch.no_grad():
        context = dit.context(text_embeddings(config, 4))
        a, b = (dit(x, sigma_tensor([0.6] * 6), context, block_frames=(3, 3)) for x in (latents, changed))
    assert torch.equal(a[:, :, :3], b[:, :, :3])
    assert not torch.allclose(a[:, :, 3:], b[:, :, 3:])


def test_a_window_drops_all_but_the_sink() -> None:
    config = CONFIGS["cross"]
    dit = random_dit(config)
    cache = KvCache(sink_frames=1, window_frames=2)
    with torch.no_grad():
        context = dit.context(text_embeddings(config, 4))
        for index in range(5):
            cache = dit.update_cache(
                random_latents(config, frames=1, seed=index), sigma_tensor([0.0]), context, cache
            )
        assert (cache.num_frames, cache.total_frames) == (3, 5)
        out = dit(random_latents(config, frames=2), sigma_tensor([0.5] * 2), context, cache=cache)
        expected = KvCache()
        for index in (0, 3, 4):
            # The keys of the first block of a cross-attention model do not depend on other frames.
            expected = dit.update_cache(
                random_latents(config, frames=1, seed=index), sigma_tensor([0.0]), context, expected
            )
    first = cache.blocks[0].keys, expected.blocks[0].keys
    assert torch.allclose(*first, atol=1e-6)
    assert out.shape[2] == 2
    with pytest.raises(ValueError, match="window"):
        KvCache(window_frames=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_guidance_in_one_batch_equals_two_passes(name: str) -> None:
    config = CONFIGS[name]
    dit = random_dit(config)
    latents = random_latents(config, batch=2)
    sigma = torch.rand(2, 6, dtype=torch.float64)
    with torch.no_grad():
        contexts = [
            dit.context(text_embeddings(config, 3, 5)),
            dit.context(text_embeddings(config, 2, 2, seed=7)),
        ]
        both = dit(latents, sigma, concat_contexts(contexts))
        each = torch.cat([dit(latents, sigma, context) for context in contexts])
        cache = dit.update_cache(latents, sigma, concat_contexts(contexts), KvCache())
        streamed = dit(latents, sigma, concat_contexts(contexts), cache=cache)
        alone = [
            dit(latents, sigma, context, cache=dit.update_cache(latents, sigma, context, KvCache()))
            for context in contexts
        ]
    assert (both - each).abs().max() <= 1e-5
    assert (streamed - torch.cat(alone)).abs().max() <= 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_predicted_data_become_the_velocity_that_leads_to_them(name: str) -> None:
    """A step of the whole sigma along the velocity ends at the data that the last layer predicts."""
    dit = random_dit(CONFIGS[name])
    sample_dit = Dit(dataclasses.replace(CONFIGS[name], prediction="sample")).eval()
    sample_dit.load_state_dict(dit.state_dict())
    latents = random_latents(CONFIGS[name], batch=2)
    sigma = torch.tensor([[1.0, 0.9, 0.5, 0.2, 0.06, 0.05], [0.3] * 6], dtype=torch.float64)
    context = concat_contexts(
        [dit.context(text_embeddings(CONFIGS[name], 3, 5)), dit.context(text_embeddings(CONFIGS[name], 2, 2))]
    )
    with torch.no_grad():
        data, velocity = dit(latents, sigma, context), sample_dit(latents, sigma, context)
        clean = sample_dit(latents, torch.zeros_like(sigma), context)
    assert velocity.dtype == latents.dtype
    steps = sigma.repeat(2, 1)[:, None, :, None, None].float()
    assert torch.allclose(latents.repeat(2, 1, 1, 1, 1) - steps * velocity, data, atol=1e-5)
    assert clean.isfinite().all()


def test_predicted_data_need_equal_channels() -> None:
    with pytest.raises(ValueError, match="as many input as output"):
        dataclasses.replace(tiny(), in_channels=6, prediction="sample")


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_does_not_matter(name: str) -> None:
    config = CONFIGS[name]
    dit = random_dit(config)
    states = text_embeddings(config, 3, 9)
    latents = random_latents(config, batch=2)
    with torch.no_grad():
        together = dit(latents, sigma_tensor([0.5] * 6, 2), dit.context(states))
        alone = dit(
            latents[:1],
            sigma_tensor([0.5] * 6),
            dit.context(TextEmbeddings.from_list([states.hidden_states[0, :3]])),
        )
    assert (together[:1] - alone).abs().max() <= 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_per_frame_context_gives_each_frame_its_prompt(name: str) -> None:
    """With blocks of one frame, the first frame attends only to itself and its own prompt."""
    config = CONFIGS[name]
    dit = random_dit(config)
    latents = random_latents(config, frames=3)
    with torch.no_grad():
        first, second = (
            dit.context(text_embeddings(config, 3)),
            dit.context(text_embeddings(config, 5, seed=5)),
        )
        per_frame = per_frame_context([first, second], [0, 1, 1])
        mixed = dit(latents, sigma_tensor([0.5] * 3), per_frame, block_frames=(1, 1, 1))
        one = dit(latents, sigma_tensor([0.5] * 3), first, block_frames=(1, 1, 1))
        assert (mixed[:, :, :1] - one[:, :, :1]).abs().max() <= 1e-5
        assert (mixed[:, :, 1:] - one[:, :, 1:]).abs().max() > 1e-3
        same = per_frame_context([first, second], [1, 1, 1])
        assert (
            dit(latents, sigma_tensor([0.5] * 3), same) - dit(latents, sigma_tensor([0.5] * 3), second)
        ).abs().max() <= 1e-5
        guided = dit(latents, sigma_tensor([0.5] * 3), concat_contexts([per_frame, first]))
        assert (guided[:1] - dit(latents, sigma_tensor([0.5] * 3), per_frame)).abs().max() <= 1e-5
        with pytest.raises(ValueError, match="has prompts for 3"):
            dit(random_latents(config, frames=2), sigma_tensor([0.5] * 2), per_frame)


def test_deduplicated_sigma_changes_nothing() -> None:
    config = CONFIGS["joint"]
    dit = random_dit(config)
    latents = random_latents(config, batch=2)
    with torch.no_grad():
        context = dit.context(text_embeddings(config, 3, 4))
        short = dit(latents, sigma_tensor([0.5] * 6, 2), context)
        almost = sigma_tensor([0.5] * 6, 2)
        almost[0, 0] += 1e-12
        assert (dit(latents, almost, context) - short).abs().max() <= 1e-5


def test_inference_equals_training() -> None:
    """The fused kernels read the current parameters, also after a training step."""
    for config in CONFIGS.values():
        dit = random_dit(config)
        states, latents = text_embeddings(config, 3), random_latents(config)
        optimizer = torch.optim.SGD(dit.parameters(), lr=0.1)
        for _ in range(2):
            trained = dit(latents, sigma_tensor([0.5] * 6), dit.context(states))
            with torch.no_grad():
                fast = dit(latents, sigma_tensor([0.5] * 6), dit.context(states))
            assert (trained - fast).abs().max() <= 1e-5
            trained.square().mean().backward()
            optimizer.step()


@pytest.mark.parametrize("chunk_tokens", [1, 7, 10_000])
def test_chunked_feed_forward_equals_unchunked(monkeypatch: pytest.MonkeyPatch, chunk_tokens: int) -> None:
    """Also with chunks of two lengths."""
    layers = random_dit(CONFIGS["cross"])._blocks()[0].ffn
    x = torch.randn(2, 11, layers.net["0"].proj.in_features)
    whole = layers(x)
    monkeypatch.setattr(dit_block, "_MLP_CHUNK_TOKENS", chunk_tokens)
    with torch.no_grad():
        chunked = layers(x)
    assert chunked.shape == whole.shape
    assert (chunked - whole).abs().max() <= 1e-5


def check_compiled(config: DitConfig) -> None:
    """Output and gradients of the compiled transformer equal those in eager mode, without a graph break."""
    dit = random_dit(config)
    states, latents = text_embeddings(config, 3, 5), random_latents(config, batch=2)
    sigma = torch.rand(2, 6, dtype=torch.float64)

    def run(latents: torch.Tensor, sigma: torch.Tensor, states: TextEmbeddings) -> torch.Tensor:
        return dit(latents, sigma, dit.context(states), block_frames=(2, 2, 2))

    expected = run(latents, sigma, states)
    expected.square().mean().backward()
    gradients = {name: p.grad for name, p in dit.named_parameters()}
    dit.zero_grad()
    found = torch.compile(run, backend="aot_eager", fullgraph=True)(latents, sigma, states)
    found.square().mean().backward()
    assert (found - expected).abs().max() <= 1e-5
    for name, parameter in dit.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], atol=1e-6), name


@pytest.mark.slow
def test_it_compiles_in_one_graph() -> None:
    """In a subprocess, because the run-time type checks of the tests would break the graph."""
    code = (
        "from tests.models.transformer.test_dit import CONFIGS, check_compiled\n"
        "for config in CONFIGS.values(): check_compiled(config)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_rounded_padding_bias_still_counts_padding() -> None:
    for length in (1, 60, 126, 300, 510, 511, 512):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            bias = padding_bias(torch.tensor([length]), 528, 512, dtype)
            assert bias is not None
            weights = bias.to(dtype).double().exp()[0, 0]
            assert weights[:length].eq(1).all()
            assert weights[length:].sum().item() == pytest.approx(512 - length, rel=1e-3)


def test_every_parameter_has_a_gradient() -> None:
    for config in CONFIGS.values():
        dit = random_dit(config)
        out = dit(
            random_latents(config),
            sigma_tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
            dit.context(text_embeddings(config, 3)),
            recompute=True,
        )
        out.square().mean().backward()
        unchanged = [name for name, p in dit.named_parameters() if p.grad is None or not p.grad.any()]
        assert not unchanged


def test_rope_grid_places_tokens_by_fractions() -> None:
    """With twice the tokens over the same frame, positions are fractions, so a constant input looks alike."""
    config = dataclasses.replace(CONFIGS["joint"], learned_frames=0)
    dit = random_dit(config)
    coarse = torch.ones(1, config.in_channels, 2, 4, 4)
    fine = torch.ones(1, config.in_channels, 2, 8, 8)
    with torch.no_grad():
        context = dit.context(text_embeddings(config, 3))
        a, b = dit(coarse, sigma_tensor([0.5] * 2), context), dit(fine, sigma_tensor([0.5] * 2), context)
    a, b = torch.nn.functional.avg_pool2d(a[0], 2), torch.nn.functional.avg_pool2d(b[0], 4)
    assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.98


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(1, 5),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    batch=st.integers(1, 3),
    prompts=st.integers(1, 3),
)
def test_any_shape_is_preserved(frames: int, rows: int, columns: int, batch: int, prompts: int) -> None:
    config = CONFIGS["joint"]
    dit = random_dit(config)
    latents = torch.randn(batch, config.in_channels, frames, 2 * rows, 2 * columns)
    with torch.no_grad():
        context = dit.context(text_embeddings(config, *range(1, batch * prompts + 1)))
        out = dit(latents, torch.rand(batch, frames), context)
    assert out.shape == (batch * prompts, config.out_channels, *latents.shape[2:])
    assert out.isfinite().all()


def test_mismatched_shapes_are_refused() -> None:
    config = CONFIGS["joint"]
    dit = random_dit(config)
    context: TextContext = dit.context(text_embeddings(config, 3))
    with pytest.raises(ValueError, match="patches of 2"):
        dit(torch.randn(1, config.in_channels, 2, 5, 4), sigma_tensor([0.5] * 2), context)
    with pytest.raises(ValueError, match="prompts"):
        dit(random_latents(config, batch=2), sigma_tensor([0.5] * 6, 2), context)
    with pytest.raises(ValueError, match="add up to 6"):
        dit(random_latents(config), sigma_tensor([0.5] * 6), context, block_frames=(3, 2))
    with pytest.raises(ValueError, match="takes no image"):
        dit.context(text_embeddings(config, 3), torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="heads"):
        DitConfig(width=50, heads=4, layers=1, mlp_width=8)


def test_presets_have_the_published_sizes() -> None:
    from kinema.models.transformer import dit_config as presets

    sizes = {
        presets.wan21_t2v_1_3b: 1.42,
        presets.wan21_t2v_14b: 14.29,
        presets.wan21_i2v_14b: 16.39,
        presets.wan21_flf2v_14b: 16.39,
        presets.wan22_i2v_a14b: 14.29,
        presets.wan22_ti2v_5b: 5.00,
    }
    for preset, billions in sizes.items():
        with torch.device("meta"):
            dit = Dit(preset())
        assert sum(p.numel() for p in dit.parameters()) / 1e9 == pytest.approx(billions, abs=0.01)
    with torch.device("meta"):
        assert sum(p.numel() for p in Dit(small()).parameters()) < 8e6
        assert 35e6 < sum(p.numel() for p in Dit(medium()).parameters()) < 45e6
