"""The Wan autoencoders against diffusers' AutoencoderKLWan on the same random weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock

from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig

BOUND = 2e-5

CONFIGS = {
    "2.1": VaeConfig.tiny(),
    "2.1 attention": dataclasses.replace(VaeConfig.tiny(), attn_scales=(1.0, 0.25), num_res_blocks=2),
    "2.1 wider decoder": dataclasses.replace(VaeConfig.tiny(), base_dim=4, decoder_base_dim=6),
    "2.1 two stages": dataclasses.replace(
        VaeConfig.tiny(), dim_mult=(1, 2), temporal_downsample=(True,), base_dim=8
    ),
    "2.2": VaeConfig.tiny(residual=True),
    "2.2 two blocks": dataclasses.replace(VaeConfig.tiny(residual=True), num_res_blocks=2, base_dim=8),
    "2.2 early time": dataclasses.replace(
        VaeConfig.tiny(residual=True), temporal_downsample=(True, True, False)
    ),
}


def build_diffusers_vae(config: VaeConfig, seed: int = 0) -> AutoencoderKLWan:
    """diffusers' model with the same settings, with random gains and biases."""
    torch.manual_seed(seed)
    model = AutoencoderKLWan(
        base_dim=config.base_dim,
        decoder_base_dim=config.decoder_base_dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
        attn_scales=list(config.attn_scales),
        temperal_downsample=list(config.temporal_downsample),
        latents_mean=list(config.latents_mean),
        latents_std=list(config.latents_std),
        is_residual=config.residual,
        in_channels=3 * config.patch_size**2,
        out_channels=3 * config.patch_size**2,
        patch_size=config.patch_size if config.patch_size > 1 else None,
        scale_factor_spatial=config.stride.spatial,
    ).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("gamma", "bias")):
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("gamma") else 0.0, std=0.2)
    for module in model.modules():
        if isinstance(module, WanAttentionBlock):
            # diffusers hands the cache to attention in the encoder's stages, which doesn't take one.
            module.forward = lambda x, forward=module.forward, **cache: forward(x)
    return model.requires_grad_(False)


def ours(config: VaeConfig, theirs: AutoencoderKLWan) -> VideoVae:
    model = VideoVae(config).eval().requires_grad_(False)
    model.load_state_dict(theirs.state_dict())
    return model


def random_video(config: VaeConfig, frames: int, rows: int, columns: int, batch: int = 1) -> torch.Tensor:
    side = config.stride.spatial
    return torch.rand(batch, 3, frames, rows * side, columns * side) * 2 - 1


@pytest.mark.parametrize("config", [VaeConfig.wan21(), VaeConfig.wan22()], ids=["2.1", "2.2"])
def test_published_configs_have_the_published_tensors(config: VaeConfig) -> None:
    with torch.device("meta"):
        mine = {name: value.shape for name, value in VideoVae(config).state_dict().items()}
        theirs = {name: value.shape for name, value in build_diffusers_vae(config).state_dict().items()}
    assert mine == theirs


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "autograd"])
@pytest.mark.parametrize(("frames", "rows", "columns"), [(1, 3, 2), (5, 2, 3), (13, 1, 2)])
def test_encode_and_decode_equal(name: str, grad: bool, frames: int, rows: int, columns: int) -> None:
    config = CONFIGS[name]
    theirs = build_diffusers_vae(config)
    mine = ours(config, theirs)
    x = random_video(config, frames, rows, columns, batch=2)
    with torch.no_grad():
        moments = theirs.encode(x).latent_dist
        latents = torch.randn_like(moments.mean) * 2
        decoded = theirs.decode(mine.denormalize(latents)).sample
    with torch.set_grad_enabled(grad):
        posterior = mine.encode_posterior(x)
        video_again = mine.decode(latents)
        encoded = mine.encode(x)
    assert (posterior.mean - moments.mean).abs().max() <= BOUND
    assert (posterior.log_variance - moments.logvar).abs().max() <= BOUND
    assert (video_again - decoded).abs().max() <= BOUND
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))
    assert (encoded - (moments.mean - mean) / std).abs().max() <= BOUND


@pytest.mark.parametrize("name", ["2.1", "2.2"])
def test_gradients_equal(name: str) -> None:
    config = CONFIGS[name]
    theirs = build_diffusers_vae(config).requires_grad_(True)
    mine = ours(config, theirs).requires_grad_(True)
    x = random_video(config, 5, 2, 2)
    weight = torch.rand_like(x)

    moments = theirs.encode(x).latent_dist
    (theirs.decode(moments.mean, return_dict=False)[0] * weight).sum().backward()
    (mine.decode(mine.normalize(mine.encode_posterior(x).mean)) * weight).sum().backward()
    compared = 0
    for key, a in mine.named_parameters():
        b = theirs.get_parameter(key)
        if b.grad is None or a.grad is None:
            assert b.grad is None or not b.grad.any(), key
            continue
        scale = b.grad.abs().max().clamp_min(1e-3)
        assert ((a.grad - b.grad).abs().max() / scale) <= 2e-3, key
        compared += 1
    assert compared > 50
