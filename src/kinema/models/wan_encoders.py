"""Wan's text and image encoder from their folders, strictly and without a copy of the weights.

Both are transformers' modules. transformers is imported here, when they are first needed, because that
takes longer than everything else at the start of a film.
"""

from __future__ import annotations

from pathlib import Path

import torch

from kinema.errors import UserError
from kinema.models.text_image import ClipImage
from kinema.models.text_umt5 import Umt5
from kinema.models.weights import fill, read_json, stored_tensors, unfilled

_SHARED, _TIED = "shared.weight", "encoder.embed_tokens.weight"
_TOWER = "vision_model."


def load_umt5(model: Path, tokenizer: Path, *, tokens: int, dtype: torch.dtype, device: torch.device) -> Umt5:
    """The text encoder from the folders `text_encoder` and `tokenizer`.

    Raises:
        UserError: a folder is missing, its weights are pickled, or they are of another model.
    """
    part = "text encoder"
    stored = stored_tensors(model, part=part)
    values = read_json(model / "config.json", part=part)
    if values.get("model_type") != "umt5":
        raise UserError(f"{model} is a {values.get('model_type')}; Wan's text encoder is a umt5")
    if not tokenizer.is_dir():
        raise UserError(f"{tokenizer} is missing: the model has no tokenizer; fetch the whole folder")
    from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

    with unfilled():
        module = UMT5EncoderModel(UMT5Config.from_dict(values))
    # One table of words under two names, of which a file has either or both.
    table = stored.pop(_TIED, None) or stored.get(_SHARED)
    stored = {name: tensor for name, tensor in stored.items() if name != _SHARED}
    if table is not None:
        stored[_SHARED] = table
    fill(module, stored, part=part, dtype=dtype, device=device, tied={_TIED: _SHARED})
    try:
        words = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{tokenizer} holds no tokenizer that can be read ({error}); fetch it again"
        ) from None
    if words is None:
        raise UserError(f"{tokenizer} holds no tokenizer; fetch the whole folder")
    if words is None:
        raise UserError(f"{tokenizer} holds no tokenizer; fetch the whole folder")
    return Umt5(module.eval(), words, tokens=tokens)


def load_clip(model: Path, processor: Path, *, dtype: torch.dtype, device: torch.device) -> ClipImage:
    """The image encoder from the folders `image_encoder` and `image_processor`.

    Raises:
        UserError: a folder is missing, its weights are pickled, or they are of another model.
    """
    part = "image encoder"
    stored = stored_tensors(model, part=part)
    values = read_json(model / "config.json", part=part)
    read_json(processor / "preprocessor_config.json", part="image processor")
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    with unfilled():
        module = CLIPVisionModel(CLIPVisionConfig.from_dict(values))
    # Some releases of transformers, and the files they wrote, have one more level in the names.
    level = _TOWER if any(name.startswith(_TOWER) for name in module.state_dict()) else ""
    stored = {
        name: tensor
        for name, tensor in stored.items()
        # Numbers from 0 up that old files carry, and the projection that Wan does not use.
        if not name.endswith("position_ids") and name != "visual_projection.weight"
    }
    places = [name for name, buffer in module.named_buffers() if name.endswith("position_ids")]
    for name in places:
        owner = module.get_submodule(name.rpartition(".")[0])
        count = module.get_buffer(name).shape[-1]
        owner.register_buffer("position_ids", torch.arange(count, device=device)[None], persistent=False)
    fill(
        module,
        stored,
        part=part,
        dtype=dtype,
        device=device,
        rename=lambda name: level + name.removeprefix(_TOWER),
    )
    return ClipImage(module.eval(), CLIPImageProcessorPil.from_pretrained(processor, local_files_only=True))
