"""Wan's text and image encoder from their folders or single files.

Both are modules of transformers. It is imported inside the functions, because importing it takes longer than
everything else before the first sampling step.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.models.clip_image_encoder import ClipImageEncoder
from kinema.models.formats.safetensors_io import TensorInfo, damaged_files, load_into, read_json, read_tensor
from kinema.models.formats.wan_shapes import infer_clip_config, infer_umt5_config
from kinema.models.formats.weight_files import read_weights
from kinema.models.module_init import skip_init
from kinema.models.text_encoders.umt5 import Umt5

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHARED_EMBEDDING, _TIED_EMBEDDING = "shared.weight", "encoder.embed_tokens.weight"
_VISION_PREFIX = "vision_model."


def load_umt5(
    model: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Umt5:
    """The text encoder with its tokenizer.

    Args:
        model: a folder in the layout of transformers, or a file of ComfyUI, of the original repositories or
            of llama.cpp (GGUF).
        tokenizer: see `load_tokenizer`.
        max_tokens: longer prompts are cut.
        dtype: type of the weights.
        device: where they are.

    Raises:
        UserError: the folder is missing, or its weights are pickled or belong to another model.
    """
    component = "text encoder"
    stored = read_weights(model, component=component).tensors
    if model.is_dir():
        values = read_json(model / "config.json", component=component)
    else:
        stored = {_umt5_name(name): tensor for name, tensor in stored.items() if name not in _EXTRA_TENSORS}
        if _TIED_EMBEDDING in stored:
            stored.setdefault(_SHARED_EMBEDDING, stored[_TIED_EMBEDDING])
        shapes = {name: tensor.shape for name, tensor in stored.items()}
        values = infer_umt5_config(shapes, source=model.name)
    if values.get("model_type") != "umt5":
        raise UserError(f"{model} is a {values.get('model_type')}; Wan's text encoder is a umt5")
    from transformers import UMT5Config, UMT5EncoderModel

    _check_sizes(values, model)
    with damaged_files(model), skip_init():
        module = UMT5EncoderModel(UMT5Config.from_dict(values))
    # One embedding table under two names; a file has either or both.
    table = stored.pop(_TIED_EMBEDDING, None) or stored.get(_SHARED_EMBEDDING)
    stored = {name: tensor for name, tensor in stored.items() if name != _SHARED_EMBEDDING}
    if table is not None:
        stored[_SHARED_EMBEDDING] = table
    load_into(
        module,
        stored,
        component=component,
        dtype=dtype,
        device=device,
        tied_weights={_TIED_EMBEDDING: _SHARED_EMBEDDING},
    )
    return Umt5(module.eval(), tokenizer, max_tokens=max_tokens)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a text encoder, from a folder in the layout of transformers.

    Raises:
        UserError: the folder is missing, or has no tokenizer.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: the model has no tokenizer; download the whole folder")
    from transformers import AutoTokenizer

    with damaged_files(folder):
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if loaded is None:
        raise UserError(f"{folder} has no tokenizer; download the whole folder")
    return loaded


_MAX_LAYERS, _MAX_SIDE = 1000, 10**6
"""Far above every encoder: a damaged config must not build a billion layers."""


def _check_sizes(values: Mapping[str, object], source: Path) -> None:
    """Refuse absurd numbers before a module is built.

    Raises:
        UserError: a number is too large.
    """
    for name, value in values.items():
        largest = _MAX_LAYERS if "layers" in name else _MAX_SIDE
        if isinstance(value, int | float) and abs(value) > largest:
            raise UserError(f"{source} has {name} = {value}; at most {largest} is possible")


_EXTRA_TENSORS = ("spiece_model", "logit_scale")
"""What ComfyUI's files contain beside the encoder."""
_UMT5_RULES = (
    # The original repositories.
    (r"^token_embedding\.", "shared."),
    (r"^norm\.weight$", "encoder.final_layer_norm.weight"),
    (r"^blocks\.(\d+)\.norm1\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^blocks\.(\d+)\.norm2\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^blocks\.(\d+)\.attn\.([qkvo])\.", r"encoder.block.\1.layer.0.SelfAttention.\2."),
    (
        r"^blocks\.(\d+)\.pos_embedding\.embedding\.",
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.",
    ),
    (r"^blocks\.(\d+)\.ffn\.gate\.0\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^blocks\.(\d+)\.ffn\.fc1\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^blocks\.(\d+)\.ffn\.fc2\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
    # llama.cpp.
    (r"^token_embd\.", "shared."),
    (r"^enc\.output_norm\.", "encoder.final_layer_norm."),
    (r"^enc\.blk\.(\d+)\.attn_norm\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^enc\.blk\.(\d+)\.ffn_norm\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^enc\.blk\.(\d+)\.attn_([qkvo])\.", r"encoder.block.\1.layer.0.SelfAttention.\2."),
    (
        r"^enc\.blk\.(\d+)\.attn_rel_b\.",
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.",
    ),
    (r"^enc\.blk\.(\d+)\.ffn_gate\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^enc\.blk\.(\d+)\.ffn_up\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^enc\.blk\.(\d+)\.ffn_down\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
)


def _umt5_name(name: str) -> str:
    for pattern, replacement in _UMT5_RULES:
        name = re.sub(pattern, replacement, name)
    return name


def load_clip(
    model: Path, processor: Path | None, *, dtype: torch.dtype, device: torch.device
) -> ClipImageEncoder:
    """The image encoder and its image processor.

    Args:
        model: a folder in the layout of transformers, or a file of ComfyUI or of the original repositories.
        processor: a folder with `preprocessor_config.json`; None: the settings of CLIP for its image size.
        dtype: type of the weights.
        device: where they are.

    Raises:
        UserError: a folder is missing, or its weights are pickled or belong to another model.
    """
    component = "image encoder"
    stored = read_weights(model, component=component).tensors
    if model.is_dir():
        values = read_json(model / "config.json", component=component)
    else:
        stored = _clip_tensors(stored)
        shapes = {name: tensor.shape for name, tensor in stored.items()}
        values = infer_clip_config(shapes, source=model.name)
    if processor is not None:
        read_json(processor / "preprocessor_config.json", component="image processor")
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    _check_sizes(values, model)
    with damaged_files(model), skip_init():
        module = CLIPVisionModel(CLIPVisionConfig.from_dict(values))
    # Some releases of transformers, and the files they wrote, have a prefix in the names.
    prefix = _VISION_PREFIX if any(name.startswith(_VISION_PREFIX) for name in module.state_dict()) else ""
    stored = {
        name: tensor
        for name, tensor in stored.items()
        # Position numbers that old files contain, and the projection that Wan does not use.
        if not name.endswith("position_ids") and name != "visual_projection.weight"
    }
    buffers = [name for name, buffer in module.named_buffers() if name.endswith("position_ids")]
    for name in buffers:
        owner = module.get_submodule(name.rpartition(".")[0])
        count = module.get_buffer(name).shape[-1]
        owner.register_buffer("position_ids", torch.arange(count, device=device)[None], persistent=False)
    load_into(
        module,
        stored,
        component=component,
        dtype=dtype,
        device=device,
        rename=lambda name: prefix + name.removeprefix(_VISION_PREFIX),
    )
    if processor is not None:
        with damaged_files(processor):
            loaded = CLIPImageProcessorPil.from_pretrained(
                processor, local_files_only=True, trust_remote_code=False
            )
    else:
        side = int(str(values["image_size"]))
        loaded = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
    return ClipImageEncoder(module.eval(), loaded)


_CLIP_RULES = (
    (r"^cls_embedding$", "embeddings.class_embedding"),
    (r"^pos_embedding$", "embeddings.position_embedding.weight"),
    (r"^patch_embedding\.", "embeddings.patch_embedding."),
    (r"^pre_norm\.", "pre_layrnorm."),
    (r"^post_norm\.", "post_layernorm."),
    (r"^transformer\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^transformer\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.out_proj."),
    (r"^transformer\.(\d+)\.mlp\.0\.", r"encoder.layers.\1.mlp.fc1."),
    (r"^transformer\.(\d+)\.mlp\.2\.", r"encoder.layers.\1.mlp.fc2."),
)


def _clip_tensors(stored: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors of the image encoder in the names of transformers, from those of any single file.

    The original file also holds a text encoder, and has queries, keys and values in one layer.
    """
    if not any(name.startswith("visual.transformer.") for name in stored):
        return {name.removeprefix(_VISION_PREFIX): tensor for name, tensor in stored.items()}
    found: dict[str, TensorInfo] = {}
    for full_name, tensor in stored.items():
        name = full_name.removeprefix("visual.")
        if name == full_name or name == "head":
            continue
        if fused := re.match(r"^transformer\.(\d+)\.attn\.to_qkv\.(weight|bias)$", name):
            for index, letter in enumerate("qkv"):
                found[f"encoder.layers.{fused[1]}.self_attn.{letter}_proj.{fused[2]}"] = _third(tensor, index)
            continue
        for pattern, replacement in _CLIP_RULES:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    return found


def _third(tensor: TensorInfo, index: int) -> TensorInfo:
    """A third of the rows of a tensor."""
    rows = tensor.shape[0] // 3

    def decode() -> Tensor:
        return read_tensor(tensor)[index * rows : (index + 1) * rows].clone()

    return dataclasses.replace(tensor, shape=(rows, *tensor.shape[1:]), decode=decode)
