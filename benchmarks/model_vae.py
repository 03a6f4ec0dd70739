"""Autoencoder against diffusers, with equal random weights and inputs.

The settings are those of the released models. Random weights suffice, because time does not depend on values.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from benchmarks.harness import BenchRow, compare_and_time, run_subprocess
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig


def decode_21(rounds: int) -> BenchRow:
    """Decoding with the settings of Wan 2.1, 17 frames of 128x128."""
    return _decode_row(
        "VAE 2.1 decode, 17 frames 128x128", VaeConfig.wan21(), (1, 16, 5, 16, 16), rounds, 0.40
    )


def encode_21(rounds: int) -> BenchRow:
    """Encoding with the settings of Wan 2.1, 17 frames of 128x128."""
    ours, theirs = _build_pair(VaeConfig.wan21())
    video = torch.rand(1, 3, 17, 128, 128) * 2 - 1
    with torch.inference_mode():
        return compare_and_time(
            "VAE 2.1 encode, 17 frames 128x128",
            lambda: ours.encode_posterior(video).mean,
            lambda: theirs.encode(video).latent_dist.mode(),
            rounds=rounds,
            at_most=0.45,
        )


def decode_22(rounds: int) -> BenchRow:
    """Decoding with the settings of Wan 2.2, 5 frames of 128x128."""
    return _decode_row("VAE 2.2 decode, 5 frames 128x128", VaeConfig.wan22(), (1, 48, 2, 8, 8), rounds, 0.60)


def decode_22_base_64(rounds: int) -> BenchRow:
    """Decoding with the layout of Wan 2.2 at base width 64, 9 frames of 256x256."""
    config = dataclasses.replace(VaeConfig.wan22(), base_dim=64, decoder_base_dim=64)
    return _decode_row("VAE 2.2 decode, base 64, 9 frames 256x256", config, (1, 48, 3, 16, 16), rounds, 0.36)


def encode_image_condition(rounds: int) -> BenchRow:
    """Image-to-video condition: one frame and 80 of zeros, Wan 2.1 at base width 32, 128x128."""
    ours, theirs = _build_pair(dataclasses.replace(VaeConfig.wan21(), base_dim=32))
    first = torch.rand(1, 3, 1, 128, 128) * 2 - 1
    video = torch.cat([first, torch.zeros(1, 3, 80, 128, 128)], dim=2)
    with torch.inference_mode():
        return compare_and_time(
            "I2V condition encode, base 32, 81 frames 128x128",
            lambda: ours.denormalize(ours.encode_zero_padded(first, 81)),
            lambda: theirs.encode(video).latent_dist.mode(),
            rounds=rounds,
            at_most=0.33,
        )


def _decode_row(
    label: str, config: VaeConfig, shape: tuple[int, ...], rounds: int, at_most: float
) -> BenchRow:
    ours, theirs = _build_pair(config)
    latents = torch.randn(shape)
    with torch.inference_mode():
        return compare_and_time(
            label,
            lambda: ours.decode(latents),
            lambda: theirs.decode(ours.denormalize(latents)).sample,
            rounds=rounds,
            at_most=at_most,
        )


_STREAM_SCRIPT = """
import dataclasses, sys, torch
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
torch.set_grad_enabled(False)
torch.set_num_threads(1)
vae = VideoVae(dataclasses.replace(VaeConfig.wan21(), base_dim=32)).eval()
seconds = int(sys.argv[1])
latents = (torch.randn(1, 16, 1, 4, 4) for _ in range(4 * seconds + 1))
print(sum(frames.shape[2] for frames in vae.decode_stream(latents)))
"""


def streaming_memory(rounds: int) -> BenchRow:
    """Peak memory of streaming decode, 61 s against 5 s at 16 frames per second."""
    # Peaks of equal processes differ by some MiB; the smallest is the closest to what the work needs.
    long, short = (
        min((run_subprocess(_STREAM_SCRIPT, length) for _ in range(rounds)), key=lambda usage: usage.peak_mib)
        for length in ("61", "5")
    )
    return BenchRow(
        label="VAE streaming decode, 61 s against 5 s",
        ours=long.peak_mib,
        theirs=short.peak_mib,
        ratio=long.peak_mib / short.peak_mib,
        at_most=1.05,
        unit="MiB",
        note=f"{long.stdout.strip()} and {short.stdout.strip()} frames of 32x32, base width 32",
    )


def _build_pair(config: VaeConfig) -> tuple[VideoVae, Any]:
    """Our autoencoder and that of diffusers, with equal random weights."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    pixels = config.channels * config.patch_size**2
    theirs: Any = AutoencoderKLWan(
        base_dim=config.base_dim,
        decoder_base_dim=config.decoder_base_dim,
        z_dim=config.z_dim,
        latents_mean=list(config.latents_mean),
        latents_std=list(config.latents_std),
        is_residual=config.residual,
        in_channels=pixels,
        out_channels=pixels,
        patch_size=config.patch_size if config.patch_size > 1 else None,
        scale_factor_spatial=config.stride.spatial,
    )
    theirs.eval()
    ours = VideoVae(config).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs
