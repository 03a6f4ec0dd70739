"""Tail latents: the latents of a video's last frames, kept in its MP4 for extensions."""

from __future__ import annotations

import json
import os

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.media.mp4_uuid_box import read_box


def pack_latents(latents: Float[Tensor, "1 c g h w"], *, model_fingerprint: str) -> bytes:
    """Latents as safetensors bytes in float16, which is far finer than what a codec keeps of the pixels.

    Args:
        latents: of the last groups of frames, normalised.
        model_fingerprint: of the model whose latents they are.
    """
    from safetensors.torch import save

    return save({"end": latents.to(torch.float16).contiguous().cpu()}, metadata={"model": model_fingerprint})


def read_tail_latents(
    path: str | os.PathLike[str], *, model_fingerprint: str
) -> Float[Tensor, "1 c g h w"] | None:
    """The tail latents in a file; None if there are none, they are damaged, or another model's."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_box(path)
    if data is None:
        return None
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        latents = load(data)["end"]
    except (ValueError, KeyError, AttributeError, SafetensorError):
        return None
    return latents.float() if latents.ndim == 5 and header.get("model") == model_fingerprint else None
