"""Tensor names of the original Wan repositories to those of diffusers, which are ours.

The originals (Wan-Video/Wan2.1 and Wan2.2: `wan/modules/model.py`, `vae.py`, `vae2_2.py`) are also in
single-file checkpoints, some with the prefix `model.diffusion_model.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RenameRules = tuple[tuple[str, str], ...]
_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "net.")

_EMBEDDER = "condition_embedder"
_OUTSIDE = (
    (f"{_EMBEDDER}.time_embedder.linear_1", "time_embedding.0"),
    (f"{_EMBEDDER}.time_embedder.linear_2", "time_embedding.2"),
    (f"{_EMBEDDER}.text_embedder.linear_1", "text_embedding.0"),
    (f"{_EMBEDDER}.text_embedder.linear_2", "text_embedding.2"),
    (f"{_EMBEDDER}.time_proj", "time_projection.1"),
    (f"{_EMBEDDER}.image_embedder.norm1", "img_emb.proj.0"),
    (f"{_EMBEDDER}.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
    (f"{_EMBEDDER}.image_embedder.ff.net.2", "img_emb.proj.3"),
    (f"{_EMBEDDER}.image_embedder.norm2", "img_emb.proj.4"),
    (f"{_EMBEDDER}.image_embedder.pos_embed", "img_emb.emb_pos"),
    ("scale_shift_table", "head.modulation"),
    ("proj_out", "head.head"),
    ("fps_projection.net.0.proj", "fps_projection.0"),
    ("fps_projection.net.2", "fps_projection.2"),
)
"""Our name of a module or tensor outside of the blocks, and the original one."""
_IN_BLOCKS = (
    ("scale_shift_table", "modulation"),
    ("ffn.net.0.proj", "ffn.0"),
    ("ffn.net.2", "ffn.2"),
    # The original calls norm1, norm3, norm2 in this order; diffusers numbers them in the order of the calls.
    ("norm2", "norm3"),
    ("norm3", "norm2"),
    ("proj_in", "before_proj"),
    ("proj_out", "after_proj"),
    ("attn1", "self_attn"),
    ("attn2", "cross_attn"),
    *(
        (f"{ours}.{own}", f"{original}.{other}")
        for ours, original in (("attn1", "self_attn"), ("attn2", "cross_attn"))
        for own, other in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"))
    ),
    ("attn2.add_k_proj", "cross_attn.k_img"),
    ("attn2.add_v_proj", "cross_attn.v_img"),
    ("attn2.norm_added_k", "cross_attn.norm_k_img"),
)
"""The same within a block of the transformer or of its control branch."""
_BLOCK = re.compile(r"((?:vace_)?blocks\.\d+)\.(.+)")
_FROM_ORIGINAL = tuple({original: ours for ours, original in pairs} for pairs in (_OUTSIDE, _IN_BLOCKS))
_TO_ORIGINAL = tuple(dict(pairs) for pairs in (_OUTSIDE, _IN_BLOCKS))

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
    return _translate(_strip_prefix(name), *_FROM_ORIGINAL)


def to_original_transformer_key(name: str) -> str:
    """The original name of one of our modules or tensors; the inverse of `convert_transformer_key`.

    Names that the original does not have are returned as they are.
    """
    return _translate(name, *_TO_ORIGINAL)


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


def _translate(name: str, outside: dict[str, str], in_blocks: dict[str, str]) -> str:
    """The name with its longest known beginning replaced."""
    block = _BLOCK.fullmatch(name)
    if block is not None:
        return f"{block[1]}.{_replace_beginning(block[2], in_blocks)}"
    return _replace_beginning(name, outside)


def _replace_beginning(name: str, table: dict[str, str]) -> str:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        found = table.get(".".join(parts[:count]))
        if found is not None:
            return ".".join([found, *parts[count:]])
    return name


def _apply_rules(name: str, rules: _RenameRules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
