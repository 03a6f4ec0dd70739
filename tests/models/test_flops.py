"""Counted operations against PyTorch's counter and the sizes of the layers."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.models.flops import dit_forward_flops, dit_step_flops, vae_flops
from kinema.models.transformer import dit_config
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.shapes import LatentShape


@pytest.mark.parametrize(
    "config", [VaeConfig.tiny(), VaeConfig.tiny(residual=True), VaeConfig.tiny(patchified=True)]
)
@pytest.mark.parametrize("encoder", [False, True])
def test_vae_flops_match_the_flop_counter(config, encoder):
    shape = LatentShape(frames=3, height=8, width=6)
    video = shape.video(config.stride)
    with torch.device("meta"):
        vae = VideoVae(config)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            if encoder:
                vae.encode_posterior(torch.empty(1, 3, video.frames, video.height, video.width))
            else:
                vae.decode_raw(torch.empty(1, config.z_dim, 3, 8, 6))
    counted = vae_flops(config, shape, encoder=encoder, all_frames=True)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_dit_step_flops_match_the_layers():
    """A linear layer takes two operations for each weight and token."""
    config = dit_config.wan21_t2v_1_3b()
    shape = LatentShape(frames=21, height=60, width=104)
    tokens = shape.tokens(2)
    linear, attention = dit_step_flops(config, shape, 64.0)
    weights = config.layers * (6 * config.width**2 + 2 * config.width * config.mlp_width)
    assert linear == 2 * tokens * weights
    assert attention > 4 * tokens**2 * config.width * config.layers
    double = dit_step_flops(config, dataclasses.replace(shape, frames=42), 64.0)
    assert double[0] == 2 * linear
    assert 3.5 * attention < double[1] < 4 * attention


def test_dit_step_flops_count_the_control_branch():
    config, shape = dit_config.wan21_vace_1_3b(), LatentShape(frames=3, height=8, width=8)
    linear, _ = dit_step_flops(config, shape, 64.0)
    block = 6 * config.width**2 + 2 * config.width * config.mlp_width
    # 15 control blocks, each with a projection out of the branch, the first with one into it.
    weights = (30 + 15) * block + (15 + 1) * config.width**2
    assert linear == 2 * shape.tokens(2) * weights


def test_dit_forward_flops_add_the_text_and_the_patch_layers():
    config = dit_config.small(width=64, layers=2, channels=4, grid=(4, 4))
    shape = LatentShape(frames=3, height=16, width=16)
    tokens, text = shape.tokens(2), 40
    weights = config.layers * (4 * config.width**2 + 2 * config.width * config.mlp_width)
    pairs = tokens * (tokens + text) + text**2
    patch_weights = config.width * (config.in_channels + config.out_channels) * 2**2
    expected = 2 * (tokens + text) * weights + 4 * config.layers * config.width * pairs
    assert dit_forward_flops(config, shape, float(text)) == expected + 2 * tokens * patch_weights
