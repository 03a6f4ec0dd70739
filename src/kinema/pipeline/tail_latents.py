"""The latents of a film's end, in its file: what an extension goes on from."""

from __future__ import annotations

import json
import os

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.media.mp4_uuid_box import read_box


def pack_latents(latents: Float[Tensor, "1 c g h w"], *, model_fingerprint: str) -> bytes:
    """Latents for a film's file: in half precision, far finer than what a codec keeps of the pixels.

    `model_fingerprint` is the fingerprint of the model whose latents they are.
    """
    from safetensors.torch import save

    return save({"end": latents.to(torch.float16).contiguous().cpu()}, metadata={"model": model_fingerprint})


def read_tail_latents(
    path: str | os.PathLike[str], *, model_fingerprint: str
) -> Float[Tensor, "1 c g h w"] | None:
    """The latents in a film's file, or None: there are none, they are damaged, or another model's."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_box(path)
    if data is None:
        return None
    try:
        length = int.from_bytes(data[:8], "little")
        told = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        end = load(data)["end"]
    except (ValueError, KeyError, AttributeError, SafetensorError):
        return None
    return end.float() if end.ndim == 5 and told.get("model") == model_fingerprint else None
