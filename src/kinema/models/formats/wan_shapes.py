"""Configs of Wan's components from the shapes of their tensors, for files that come without settings."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from kinema.errors import UserError
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.vae_config import VaeConfig

Shapes = Mapping[str, tuple[int, ...]]
_HEAD_WIDTH = 128
"""Channels of an attention head in every published Wan transformer."""
_MAX_LAYERS = 1000


def infer_dit_config(shapes: Shapes, *, source: str, heads: int | None = None) -> DitConfig:
    """The config of a transformer with these tensors.

    Args:
        shapes: by our tensor names.
        source: what the file is called in error messages.
        heads: attention heads, where settings are at hand; None: heads of 128 channels. Shapes do not say.

    Raises:
        UserError: tensors are missing, or these are not Wan's.
    """
    width, in_channels, _, patch, _ = _shape(shapes, "patch_embedding.weight", 5, source)
    layers = _count(shapes, "blocks")
    control_layers = _count(shapes, "vace_blocks")
    if heads is None and width % _HEAD_WIDTH:
        raise UserError(
            f"{source} has tokens of {width} channels, and those of Wan's transformers are multiples of "
            f"{_HEAD_WIDTH}; give a folder with a config.json"
        )
    has_image = "condition_embedder.image_embedder.norm1.weight" in shapes
    positions = "condition_embedder.image_embedder.pos_embed"
    if control_layers and layers % control_layers:
        raise UserError(
            f"{source} has {control_layers} control blocks for {layers} blocks, whose positions are not "
            "known; give a folder with a config.json"
        )
    try:
        config = DitConfig(
            in_channels=in_channels,
            out_channels=_shape(shapes, "proj_out.weight", 2, source)[0] // patch**2,
            width=width,
            heads=width // _HEAD_WIDTH if heads is None else heads,
            layers=layers,
            mlp_width=_shape(shapes, "blocks.0.ffn.net.0.proj.weight", 2, source)[0],
            patch_size=patch,
            text_width=_shape(shapes, "condition_embedder.text_embedder.linear_1.weight", 2, source)[1],
            image_width=_shape(shapes, "condition_embedder.image_embedder.norm1.weight", 1, source)[0]
            if has_image
            else None,
            image_positions=_shape(shapes, positions, 3, source)[1] if positions in shapes else None,
            time_channels=_shape(shapes, "condition_embedder.time_embedder.linear_1.weight", 2, source)[1],
        )
        if control_layers:
            config = dataclasses.replace(
                config,
                control_layers=tuple(range(0, layers, layers // control_layers)),
                control_channels=_shape(shapes, "vace_patch_embedding.weight", 5, source)[1],
            )
        if "fps_embedding.weight" in shapes:
            config = dataclasses.replace(config, fps_embedding=True)
        return config
    except ValueError as error:
        raise UserError(f"{source} is no transformer of Wan: {error}") from None


def infer_vae_config(shapes: Shapes, *, source: str) -> VaeConfig:
    """The config of an autoencoder with these tensors, in our names or those of the original repositories.

    Raises:
        UserError: tensors are missing, or the latent statistics of this autoencoder are not published.
    """
    original = any(name.startswith("decoder.middle.") for name in shapes)
    conv_in, quant = ("encoder.conv1", "conv1") if original else ("encoder.conv_in", "quant_conv")
    decoder_in = "decoder.conv1" if original else "decoder.conv_in"
    z_dim = _shape(shapes, f"{quant}.weight", 5, source)[0] // 2
    known = {config.z_dim: config for config in (VaeConfig.wan21(), VaeConfig.wan22())}
    if z_dim not in known:
        raise UserError(
            f"{source} has {z_dim} latent channels; the autoencoders of Wan have 16 (2.1) or 48 (2.2)"
        )
    config = known[z_dim]
    widest = _shape(shapes, f"{decoder_in}.weight", 5, source)[0]
    decoder = widest // config.dim_mult[-1]
    base = _shape(shapes, f"{conv_in}.weight", 5, source)[0]
    first_stage = r"^encoder\.(down_blocks|downsamples)\.0\.(resnets|downsamples)\.(\d+)\."
    blocks = {int(match[3]) for name in shapes if (match := re.match(first_stage, name))}
    # In the original the layer that halves the sides follows the residual blocks in the same list.
    count = len(blocks) - (1 if original else 0) if config.residual else config.num_res_blocks
    return dataclasses.replace(
        config,
        base_dim=base,
        decoder_base_dim=None if decoder == base else decoder,
        num_res_blocks=max(1, count),
    )


def infer_umt5_config(shapes: Shapes, *, source: str) -> dict[str, Any]:
    """The settings of a UMT5 encoder with these tensors, in the names of transformers.

    Raises:
        UserError: tensors are missing.
    """
    first = "encoder.block.0.layer"
    vocabulary, width = _shape(shapes, "shared.weight", 2, source)
    buckets, heads = _shape(shapes, f"{first}.0.SelfAttention.relative_attention_bias.weight", 2, source)
    inner = _shape(shapes, f"{first}.0.SelfAttention.q.weight", 2, source)[0]
    return {
        "model_type": "umt5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": _shape(shapes, f"{first}.1.DenseReluDense.wi_0.weight", 2, source)[0],
        "num_layers": _count(shapes, "encoder.block"),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
    }


_CLIP_HEAD_WIDTH = 80
"""Channels of an attention head of ViT-H/14, which all Wan models use."""


def infer_clip_config(shapes: Shapes, *, source: str) -> dict[str, Any]:
    """The settings of a CLIP image encoder with these tensors, in the names of transformers.

    Raises:
        UserError: tensors are missing.
    """
    width, channels, patch, _ = _shape(shapes, "embeddings.patch_embedding.weight", 4, source)
    position_shape = shapes.get("embeddings.position_embedding.weight")
    if position_shape is None or width % _CLIP_HEAD_WIDTH:
        raise UserError(f"{source} is not the image encoder of Wan (CLIP ViT-H/14)")
    side = math.isqrt(position_shape[-2] - 1) * patch
    return {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": _shape(shapes, "encoder.layers.0.mlp.fc1.weight", 2, source)[0],
        "num_hidden_layers": _count(shapes, "encoder.layers"),
        "num_attention_heads": width // _CLIP_HEAD_WIDTH,
        "num_channels": channels,
        "image_size": side,
        "patch_size": patch,
        "hidden_act": "gelu",
    }


def _shape(shapes: Shapes, name: str, dims: int, source: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise UserError(f"{source} lacks the tensor {name!r}, so it is not a file of this kind")
    if len(shape) != dims or min(shape) < 1:
        raise UserError(f"{source}: tensor {name!r} has the shape {shape}, and should have {dims} axes")
    return shape


def _count(shapes: Shapes, stem: str) -> int:
    """How many numbered modules there are: one more than the highest number, which is limited."""
    pattern = re.compile(rf"^{re.escape(stem)}\.(\d{{1,4}})\.")
    numbers = [int(match[1]) for name in shapes if (match := pattern.match(name))]
    return min(max(numbers, default=-1) + 1, _MAX_LAYERS)
