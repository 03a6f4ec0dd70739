"""Peak memory of every stage of a request, counted from the model's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.vae.vae_config import VaeConfig
from kinema.pipeline.decoder import CHUNK_PIXELS
from kinema.pipeline.device import free_memory
from kinema.pipeline.memory_policy import MemoryPolicy, is_text_encoder_mapped
from kinema.shapes import LatentShape, VideoShape

StageName = Literal["text", "images", "sample", "decode", "upscale"]
_DECODER_PEAK_FACTOR = 12.5
"""Peak of the decoder in units of one full-size activation of a chunk; measured at several sizes."""
_INTERPRETER_BYTES = 400 * 2**20
"""The interpreter and its libraries."""


def peak_memory(
    model: ModelCheckpoint,
    video_shape: VideoShape,
    *,
    weights: Mapping[str, int],
    device: torch.device,
    policy: MemoryPolicy,
    use_cfg: bool,
    num_images: int,
) -> dict[StageName, int]:
    """Peak bytes of each stage, in order."""
    shape = LatentShape.of(video_shape, model.vae.stride)
    numbers = video_shape.frames * video_shape.height * video_shape.width * 3
    latents = 16 * model.vae.z_dim * shape.frames * shape.height * shape.width
    tokens = (2 if use_cfg else 1) * shape.tokens(model.dit.patch_size)
    inside = tokens * (9 * model.dit.width + 2 * model.dit.mlp_width) * policy.dtype.itemsize
    encoding = 8 * numbers + int(
        _DECODER_PEAK_FACTOR * _chunk_activation_bytes(model.vae, video_shape, model.vae.base_dim)
    )
    decoding = 5 * numbers + int(
        _DECODER_PEAK_FACTOR * _chunk_activation_bytes(model.vae, video_shape, model.vae.decoder_dim)
    )
    stages: list[tuple[StageName, int, tuple[str, ...]]] = [("text", 0, ("text_encoder",))]
    if num_images:
        stages.append(("images", encoding, ("vae", "image_encoder")))
    stages.append(("sample", inside, ("transformer",)))
    stages.append(("decode", decoding, ("vae",)))
    base = latents + (_INTERPRETER_BYTES if device.type == "cpu" else 0)
    drops_text_encoder = is_text_encoder_mapped(model, policy, device)

    def loaded(parts: tuple[str, ...]) -> int:
        kept = weights if policy.keep_loaded else parts
        if drops_text_encoder and "text_encoder" not in parts:
            kept = [part for part in kept if part != "text_encoder"]
        return sum(weights.get(part, 0) for part in kept)

    return {name: base + scratch + loaded(parts) for name, scratch, parts in stages}


def available_memory(device: torch.device, resident_bytes: int, budget: int | None) -> int:
    """Bytes that this process may use in all, as `peak_memory` counts them."""
    interpreter = _INTERPRETER_BYTES if device.type == "cpu" else 0
    free = free_memory(device) + resident_bytes
    return (free if budget is None else min(free, budget)) + interpreter


def _chunk_activation_bytes(config: VaeConfig, video_shape: VideoShape, width: int) -> int:
    """Bytes of one full-resolution activation of the frames that are coded at once."""
    pixels = video_shape.height * video_shape.width
    group = max(1, CHUNK_PIXELS // (pixels * config.stride.temporal)) * config.stride.temporal
    cells = pixels // config.patch_size**2
    frames = min(group, video_shape.frames) // config.temporal_patch_size or 1
    return 4 * width * cells * frames
