"""Tensor names of the original Wan repositories to those of diffusers, which are ours.

The originals (Wan-Video/Wan2.1 and Wan2.2: `wan/modules/model.py`, `vae.py`, `vae2_2.py`) are also in
single-file checkpoints, some with the prefix `model.diffusion_model.`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_RenameRules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "net.")

_TRANSFORMER_RULES: _RenameRules = (
    (r"^time_embedding\.0\.", "condition_embedder.time_embedder.linear_1."),
    (r"^time_embedding\.2\.", "condition_embedder.time_embedder.linear_2."),
    (r"^text_embedding\.0\.", "condition_embedder.text_embedder.linear_1."),
    (r"^text_embedding\.2\.", "condition_embedder.text_embedder.linear_2."),
    (r"^time_projection\.1\.", "condition_embedder.time_proj."),
    (r"^img_emb\.proj\.0\.", "condition_embedder.image_embedder.norm1."),
    (r"^img_emb\.proj\.1\.", "condition_embedder.image_embedder.ff.net.0.proj."),
    (r"^img_emb\.proj\.3\.", "condition_embedder.image_embedder.ff.net.2."),
    (r"^img_emb\.proj\.4\.", "condition_embedder.image_embedder.norm2."),
    (r"^img_emb\.emb_pos$", "condition_embedder.image_embedder.pos_embed"),
    (r"^head\.modulation$", "scale_shift_table"),
    (r"^head\.head\.", "proj_out."),
    (r"^((?:vace_)?blocks\.\d+)\.modulation$", r"\1.scale_shift_table"),
    (r"^((?:vace_)?blocks\.\d+)\.ffn\.0\.", r"\1.ffn.net.0.proj."),
    (r"^((?:vace_)?blocks\.\d+)\.ffn\.2\.", r"\1.ffn.net.2."),
    # The original calls norm1, norm3, norm2 in this order; diffusers numbers them in the order of the calls.
    (r"^((?:vace_)?blocks\.\d+)\.norm([23])\.", lambda m: f"{m[1]}.norm{5 - int(m[2])}."),
    (r"^((?:vace_)?blocks\.\d+)\.(self|cross)_attn\.", lambda m: f"{m[1]}.attn{1 if m[2] == 'self' else 2}."),
    (r"^((?:vace_)?blocks\.\d+\.attn[12])\.([qkv])\.", r"\1.to_\2."),
    (r"^((?:vace_)?blocks\.\d+\.attn[12])\.o\.", r"\1.to_out.0."),
    (r"^((?:vace_)?blocks\.\d+\.attn2)\.([kv])_img\.", r"\1.add_\2_proj."),
    (r"^((?:vace_)?blocks\.\d+\.attn2)\.norm_k_img\.", r"\1.norm_added_k."),
    (r"^(vace_blocks\.\d+)\.before_proj\.", r"\1.proj_in."),
    (r"^(vace_blocks\.\d+)\.after_proj\.", r"\1.proj_out."),
    (r"^fps_projection\.0\.", "fps_projection.net.0.proj."),
    (r"^fps_projection\.2\.", "fps_projection.net.2."),
)

_TO_ORIGINAL_RULES: _RenameRules = (
    (r"^condition_embedder\.time_embedder\.linear_1\b", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2\b", "time_embedding.2"),
    (r"^condition_embedder\.text_embedder\.linear_1\b", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2\b", "text_embedding.2"),
    (r"^condition_embedder\.time_proj\b", "time_projection.1"),
    (r"^condition_embedder\.image_embedder\.norm1\b", "img_emb.proj.0"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj\b", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2\b", "img_emb.proj.3"),
    (r"^condition_embedder\.image_embedder\.norm2\b", "img_emb.proj.4"),
    (r"^condition_embedder\.image_embedder\.pos_embed\b", "img_emb.emb_pos"),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\b", "head.head"),
    (r"^((?:vace_)?blocks\.\d+)\.scale_shift_table$", r"\1.modulation"),
    (r"^((?:vace_)?blocks\.\d+)\.ffn\.net\.0\.proj\b", r"\1.ffn.0"),
    (r"^((?:vace_)?blocks\.\d+)\.ffn\.net\.2\b", r"\1.ffn.2"),
    (r"^((?:vace_)?blocks\.\d+)\.norm([23])\b", lambda m: f"{m[1]}.norm{5 - int(m[2])}"),
    (r"^(vace_blocks\.\d+)\.proj_in\b", r"\1.before_proj"),
    (r"^(vace_blocks\.\d+)\.proj_out\b", r"\1.after_proj"),
    (r"^((?:vace_)?blocks\.\d+\.attn[12])\.to_([qkv])\b", r"\1.\2"),
    (r"^((?:vace_)?blocks\.\d+\.attn[12])\.to_out\.0\b", r"\1.o"),
    (r"^((?:vace_)?blocks\.\d+\.attn2)\.add_([kv])_proj\b", r"\1.\2_img"),
    (r"^((?:vace_)?blocks\.\d+\.attn2)\.norm_added_k\b", r"\1.norm_k_img"),
    (
        r"^((?:vace_)?blocks\.\d+)\.attn([12])\b",
        lambda m: f"{m[1]}.{'self' if m[2] == '1' else 'cross'}_attn",
    ),
)

_RESIDUAL_RULES: _RenameRules = (
    (r"\.residual\.0\.gamma$", ".norm1.gamma"),
    (r"\.residual\.2\.(weight|bias)$", r".conv1.\1"),
    (r"\.residual\.3\.gamma$", ".norm2.gamma"),
    (r"\.residual\.6\.(weight|bias)$", r".conv2.\1"),
    (r"\.shortcut\.(weight|bias)$", r".conv_shortcut.\1"),
)

_VAE_RULES: _RenameRules = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"^(encoder|decoder)\.head\.0\.", r"\1.norm_out."),
    (r"^(encoder|decoder)\.head\.2\.", r"\1.conv_out."),
    (r"^(encoder|decoder)\.middle\.1\.", r"\1.mid_block.attentions.0."),
    (r"^(encoder|decoder)\.middle\.0\.", r"\1.mid_block.resnets.0."),
    (r"^(encoder|decoder)\.middle\.2\.", r"\1.mid_block.resnets.1."),
)


def has_original_transformer_keys(names: Iterable[str]) -> bool:
    """Whether the names are those of an original transformer."""
    return any(_strip_prefix(name).startswith(("text_embedding.", "head.head.")) for name in names)


def has_original_vae_keys(names: Iterable[str]) -> bool:
    """Whether the names are those of an original autoencoder."""
    return any(name.startswith(("decoder.middle.", "encoder.middle.")) for name in names)


def convert_transformer_key(name: str) -> str:
    """Our name of a tensor of an original transformer."""
    return _apply_rules(_strip_prefix(name), _TRANSFORMER_RULES)


def to_original_transformer_key(name: str) -> str:
    """The original name of one of our modules or tensors; the inverse of `convert_transformer_key`.

    Names that the original does not have are returned as they are.
    """
    return _apply_rules(name, _TO_ORIGINAL_RULES)


def convert_vae_key(name: str, *, residual_blocks: int) -> str:
    """Our name of a tensor of an original autoencoder.

    Args:
        name: the original name.
        residual_blocks: residual blocks in each encoder stage; a decoder stage has one more.
    """
    name = _apply_rules(_apply_rules(name, _RESIDUAL_RULES), _VAE_RULES)
    # Wan 2.2: each stage is a module.
    if stage := re.match(r"^encoder\.downsamples\.(\d+)\.downsamples\.(\d+)\.(.*)$", name):
        return _stage_key("encoder.down_blocks", "downsampler", stage, residual_blocks)
    if stage := re.match(r"^decoder\.upsamples\.(\d+)\.upsamples\.(\d+)\.(.*)$", name):
        return _stage_key("decoder.up_blocks", "upsampler", stage, residual_blocks + 1)
    # Wan 2.1: the encoder is a flat list in both layouts, the decoder only in the original.
    if flat := re.match(r"^encoder\.downsamples\.(\d+)\.(.*)$", name):
        return f"encoder.down_blocks.{flat[1]}.{flat[2]}"
    if flat := re.match(r"^decoder\.upsamples\.(\d+)\.(.*)$", name):
        stage_index, position = divmod(int(flat[1]), residual_blocks + 2)
        inner = "upsamplers.0" if position == residual_blocks + 1 else f"resnets.{position}"
        return f"decoder.up_blocks.{stage_index}.{inner}.{flat[2]}"
    return name


def _stage_key(stages: str, resampler: str, match: re.Match[str], blocks: int) -> str:
    position = int(match[2])
    inner = resampler if position == blocks else f"resnets.{position}"
    return f"{stages}.{match[1]}.{inner}.{match[3]}"


def _strip_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _apply_rules(name: str, rules: _RenameRules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
