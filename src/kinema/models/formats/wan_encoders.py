"""Wan's text and image encoder from their folders, memory-mapped.

Both are modules of transformers. It is imported inside the functions, because importing it takes longer than
everything else before the first sampling step.
"""

from __future__ import annotations

from pathlib import Path

import torch

from kinema.errors import UserError
from kinema.models.clip_image_encoder import ClipImageEncoder
from kinema.models.formats.safetensors_io import list_tensors, load_into, read_json
from kinema.models.module_init import skip_init
from kinema.models.text_encoders.umt5 import Umt5

_SHARED_EMBEDDING, _TIED_EMBEDDING = "shared.weight", "encoder.embed_tokens.weight"
_VISION_PREFIX = "vision_model."


def load_umt5(
    model: Path, tokenizer: Path, *, max_tokens: int, dtype: torch.dtype, device: torch.device
) -> Umt5:
    """The text encoder from the folders `text_encoder` and `tokenizer`.

    Raises:
        UserError: a folder is missing, or its weights are pickled or belong to another model.
    """
    component = "text encoder"
    stored = list_tensors(model, component=component)
    values = read_json(model / "config.json", component=component)
    if values.get("model_type") != "umt5":
        raise UserError(f"{model} is a {values.get('model_type')}; Wan's text encoder is a umt5")
    if not tokenizer.is_dir():
        raise UserError(f"{tokenizer} is missing: the model has no tokenizer; download the whole folder")
    from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

    with skip_init():
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
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{tokenizer} has no tokenizer that can be read ({error}); download it again"
        ) from None
    if loaded is None:
        raise UserError(f"{tokenizer} has no tokenizer; download the whole folder")
    return Umt5(module.eval(), loaded, max_tokens=max_tokens)


def load_clip(model: Path, processor: Path, *, dtype: torch.dtype, device: torch.device) -> ClipImageEncoder:
    """The image encoder from the folders `image_encoder` and `image_processor`.

    Raises:
        UserError: a folder is missing, or its weights are pickled or belong to another model.
    """
    component = "image encoder"
    stored = list_tensors(model, component=component)
    values = read_json(model / "config.json", component=component)
    read_json(processor / "preprocessor_config.json", component="image processor")
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    with skip_init():
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
    return ClipImageEncoder(
        module.eval(), CLIPImageProcessorPil.from_pretrained(processor, local_files_only=True)
    )
