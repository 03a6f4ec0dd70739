"""The autoencoder: streams, chunks and tiles against complete videos; CPU kernels; errors."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.models.formats.serialization import from_json, to_json
from kinema.models.vae import autoencoder as vae_module
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.layers import add_duplicate_up
from kinema.models.vae.tiling import Tiling, decode_tiled_chunk, encode_tiled
from kinema.models.vae.vae_config import VaeConfig
from kinema.shapes import LatentShape, VideoShape

CONFIGS = {
    "2.1": VaeConfig.tiny(),
    "2.2": VaeConfig.tiny(residual=True),
    "patchified": VaeConfig.tiny(patchified=True),
}


@functools.cache
def build_vae(name: str) -> VideoVae:
    """A shared model for the examples of a property; tests must not change it."""
    return model(name)


def model(name: str) -> VideoVae:
    torch.manual_seed(1)
    vae = VideoVae(CONFIGS[name]).eval().requires_grad_(False)
    for key, parameter in vae.named_parameters():
        if key.endswith(("gamma", "bias")):
            torch.nn.init.normal_(parameter, mean=1.0 if key.endswith("gamma") else 0.0, std=0.2)
        elif not parameter.any():  # patchified blocks start as the identity
            torch.nn.init.normal_(parameter, std=0.1)
    return vae


def random_video(vae: VideoVae, frames: int, rows: int = 2, columns: int = 3, batch: int = 1) -> torch.Tensor:
    torch.manual_seed(2)
    side = vae.stride.spatial
    return torch.rand(batch, 3, frames, rows * side, columns * side) * 2 - 1


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=6, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=12),
)
def test_streams_equal_complete_videos(name: str, cuts: list[int], chunks: list[int]) -> None:
    vae = build_vae(name)
    count = 1 + (sum(cuts) - 1) * 4
    x = random_video(vae, count, rows=1, columns=2, batch=2)
    with torch.no_grad():
        whole = vae.encode(x)
        pieces, start = [], 0
        for size in [*chunks, count]:
            pieces.append(x[:, :, start : start + size])
            start += size
        streamed = torch.cat(list(vae.encode_stream(p for p in pieces if p.shape[2])), dim=2)
        decoded = vae.decode(whole)
        again = torch.cat(list(vae.decode_stream(whole.split(cuts, dim=2))), dim=2)
    assert (streamed - whole).abs().max() <= 5e-6
    assert (again - decoded).abs().max() <= 1e-5
    assert decoded.shape == x.shape
    assert decoded.abs().max() <= 1


@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_equal_one_piece(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = model(name)
    x = random_video(vae, 17)
    with torch.no_grad():
        latents, frames = vae.encode(x), vae.decode(vae.encode(x))
        monkeypatch.setattr(vae_module, "_CHUNK_BYTES", 1)
        assert (vae.encode(x) - latents).abs().max() <= 5e-6
        assert (vae.decode(latents) - frames).abs().max() <= 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_vae_is_causal(name: str) -> None:
    vae = model(name)
    x = random_video(vae, 13)
    other = x.clone()
    other[:, :, 9:] = 0.3
    with torch.no_grad():
        a, b = vae.encode(x), vae.encode(other)
        assert torch.equal(a[:, :, :3], b[:, :, :3])
        assert not torch.equal(a[:, :, 3], b[:, :, 3])
        assert (vae.decode(a)[:, :, :9] - vae.decode(b)[:, :, :9]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8, deadline=None)
@given(groups=st.integers(0, 22), prefix_frames=st.integers(1, 3), small=st.booleans())
def test_encode_zero_padded_is_encode(name: str, groups: int, prefix_frames: int, small: bool) -> None:
    vae = build_vae(name)
    frames = 1 + 4 * groups
    k = min(frames, prefix_frames)
    x = random_video(vae, frames, rows=1, columns=1)
    x[:, :, k:] = 0
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        expected = vae.encode(x)
        if small:
            patch.setattr(vae_module, "_CHUNK_BYTES", 1)
        assert (vae.encode_zero_padded(x[:, :, :k], frames) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_results_follow_the_parameters(name: str) -> None:
    vae = model(name)
    x = random_video(vae, 5)
    with torch.no_grad():
        before = vae.decode(vae.encode(x))
    optimizer = torch.optim.SGD(vae.requires_grad_(True).parameters(), lr=0.05)
    out = vae(x, torch.zeros_like(vae.encode(x)))
    (out.frames - x).square().mean().backward()
    optimizer.step()
    slow = vae.decode(vae.encode(x)).detach()
    with torch.no_grad():
        fast = vae.decode(vae.encode(x))
    assert (fast - slow).abs().max() <= 2e-5
    assert (fast - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", CONFIGS)
def test_training_reaches_every_parameter(name: str) -> None:
    vae = model(name).requires_grad_(True).train()
    x = random_video(vae, 9)
    noise = torch.randn(vae.encode(x).shape)
    out = vae(x, noise)
    assert out.frames.shape == x.shape
    loss = out.frames.square().mean() + out.posterior.mean.mean() + out.posterior.log_variance.mean()
    loss.backward()
    missing = [key for key, p in vae.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


def test_dropout_is_for_training_only() -> None:
    vae = VideoVae(dataclasses.replace(CONFIGS["2.1"], dropout=0.5))
    x = random_video(vae, 1)
    with torch.no_grad():
        assert not torch.equal(vae.train().encode(x), vae.encode(x))
        assert torch.equal(vae.eval().encode(x), vae.encode(x))


def test_half_precision_runs_near_single() -> None:
    for name in CONFIGS:
        vae = model(name)
        x = random_video(vae, 5)
        with torch.no_grad():
            exact = vae.decode(vae.encode(x))
            half = vae.bfloat16()
            rough = half.decode(half.encode(x.bfloat16()))
        assert rough.dtype == torch.bfloat16
        assert (rough.float() - exact).abs().mean() < 0.05


def test_normalisation_can_be_replaced() -> None:
    vae = model("patchified")
    x = random_video(vae, 5)
    with torch.no_grad():
        raw = vae.encode_posterior(x).mean
        other = vae.with_latent_statistics([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
        mean, std = torch.arange(4.0).view(-1, 1, 1, 1), torch.arange(1.0, 5.0).view(-1, 1, 1, 1)
        assert torch.allclose(other.encode(x), (raw - mean) / std, atol=1e-6)
        assert torch.allclose(other.decode(other.encode(x)), vae.decode(vae.encode(x)), atol=1e-5)
    assert next(other.parameters()) is next(vae.parameters())


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("temporal", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (8, 4), (4, 2), (16, 12), (4, 8)])
def test_duplicating_shortcut_equals_its_definition(
    inputs: int, outputs: int, temporal: int, start: bool
) -> None:
    torch.manual_seed(0)
    b, f, h, w = 2, 3, 2, 3
    x = torch.randn(b, f, h, w, inputs)
    repeated = x.repeat_interleave(outputs * temporal * 4 // inputs, dim=-1)
    cells = repeated.view(b, f, h, w, outputs, temporal, 2, 2).permute(0, 1, 5, 2, 6, 3, 7, 4)
    expected = cells.reshape(b, f * temporal, 2 * h, 2 * w, outputs)[:, temporal - 1 if start else 0 :]
    y = torch.randn(expected.shape)
    added = add_duplicate_up(y.clone(), x, temporal=temporal, start=start)
    assert torch.equal(added, y + expected)


# ---- tiling


def decode_tiled(vae: VideoVae, latents: torch.Tensor, tiling: Tiling) -> torch.Tensor:
    """The complete video, decoded in tiles one latent frame at a time."""
    chunks, cache = [], None
    for latent in latents.split(1, dim=2):
        frames, cache = decode_tiled_chunk(vae, latent, cache, tiling)
        chunks.append(frames)
    return torch.cat(chunks, dim=2)


@pytest.mark.parametrize("name", CONFIGS)
def test_one_tile_equals_no_tiles(name: str) -> None:
    vae = model(name)
    x = random_video(vae, 5)
    tiling = Tiling(tile=vae.stride.spatial * 4, overlap=0)
    with torch.no_grad():
        latents = vae.encode(x)
        assert (encode_tiled(vae, x, tiling) - latents).abs().max() <= 5e-6
        assert (decode_tiled(vae, latents, tiling) - vae.decode(latents)).abs().max() <= 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_wider_overlaps_have_smaller_errors(name: str) -> None:
    vae = model(name)
    side = vae.stride.spatial
    x = torch.nn.functional.interpolate(
        random_video(vae, 5, rows=1, columns=1)[0], size=(8 * side, 11 * side), mode="bilinear"
    )[None]
    with torch.no_grad():
        latents = vae.encode(x)
        whole = vae.decode(latents)
        errors = [
            (decode_tiled(vae, latents, Tiling(tile=6 * side, overlap=o * side)) - whole).abs().mean()
            for o in (0, 3)
        ]
        near = encode_tiled(vae, x, Tiling(tile=6 * side, overlap=3 * side))
    assert errors[1] < errors[0]
    assert errors[1] < 0.03
    assert near.shape == latents.shape
    assert (near - latents).abs().mean() < 0.05


# ---- sizes and settings


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(CONFIGS)), f=st.integers(0, 7), h=st.integers(0, 40), w=st.integers(0, 40))
def test_any_size_encodes_or_is_a_user_error(name: str, f: int, h: int, w: int) -> None:
    vae = build_vae(name)
    x = torch.zeros(1, 3, f, h, w)
    try:
        latent = LatentShape.of(VideoShape(frames=f, height=h, width=w), vae.stride)
    except UserError:
        with pytest.raises(UserError) as caught:
            vae.encode(x)
        assert "\n" not in str(caught.value)
        return
    with torch.no_grad():
        z = vae.encode(x)
    assert z.shape == (1, 4, latent.frames, latent.height, latent.width)


def test_wrong_input_is_named() -> None:
    vae = model("2.1")
    with pytest.raises(UserError, match="floating-point videos"):
        vae.encode(torch.zeros(1, 4, 1, 16, 16))
    with pytest.raises(UserError, match="latents of batch x 4"):
        vae.decode(torch.zeros(1, 3, 1, 2, 2))
    with pytest.raises(UserError, match="none of them 0"):
        vae.decode(torch.zeros(1, 4, 0, 2, 2))
    with pytest.raises(UserError, match="multiple of 4 frames plus 1"):
        list(vae.encode_stream([torch.zeros(1, 3, 3, 16, 16)]))
    _, cache = vae.encode_chunk(torch.zeros(1, 3, 1, 16, 16), None)
    with pytest.raises(UserError):
        vae.encode_chunk(torch.zeros(1, 3, 3, 16, 16), cache)
    with pytest.raises(UserError, match="empty"):
        vae.encode_chunk(torch.zeros(1, 3, 0, 16, 16), cache)
    with pytest.raises(UserError, match="give 1 to 5"):
        vae.encode_zero_padded(torch.zeros(1, 3, 9, 16, 16), 5)
    with pytest.raises(UserError, match="overlap"):
        Tiling(tile=64, overlap=48)
    with pytest.raises(UserError, match="multiples of 8"):
        decode_tiled(vae, torch.zeros(1, 4, 1, 2, 2), Tiling(tile=60, overlap=8))


@pytest.mark.parametrize(
    "config", [VaeConfig.wan21(), VaeConfig.wan22(), VaeConfig.small(), *CONFIGS.values()]
)
def test_config_survives_json(config: VaeConfig) -> None:
    assert from_json(VaeConfig, to_json(config), source="vae") == config
    assert (config.stride.temporal, config.stride.spatial) == (4, 16 if config.residual else 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"base_dimm": 3}', "did you mean 'base_dim'"),
        ('{"base_dim": "x"}', "base_dim is 'x' and must be of type int"),
        ('{"dim_mult": [1, 2]}', "give one for each"),
        ('{"z_dim": 3}', "3 latent channels"),
        ('{"temporal_patch_size": 4}', "patchified layout"),
    ],
)
def test_bad_settings_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(VaeConfig, text, source="vae")


def test_small_model_has_few_operations() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    vae = VideoVae(VaeConfig.small())
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        vae(torch.zeros(1, 3, 17, 64, 64), torch.zeros(1, 16, 5, 8, 8))
    assert counter.get_total_flops() < 10e9
