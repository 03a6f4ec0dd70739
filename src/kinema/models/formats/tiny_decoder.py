"""Reading a tiny decoder for previews from its file."""

from __future__ import annotations

from pathlib import Path

import torch

from kinema.errors import UserError
from kinema.models.formats.safetensors_io import load_into
from kinema.models.formats.weight_files import read_weights
from kinema.models.module_init import skip_init
from kinema.models.vae.tiny_decoder import TinyDecoder


def load_tiny_decoder(file: Path, *, latent_channels: int, device: torch.device) -> TinyDecoder:
    """The decoder half of a file in the layout of TAEHV.

    Raises:
        UserError: the file is damaged or of another layout, or decodes other latents.
    """
    component = "preview decoder"
    stored = read_weights(file, component=component).tensors
    stored = {name: tensor for name, tensor in stored.items() if name.startswith("decoder.")}
    with skip_init():
        module = TinyDecoder.for_shapes(
            {name: tensor.shape for name, tensor in stored.items()}, source=file.name
        )
    if module.latent_channels != latent_channels:
        version = "taew2_1" if latent_channels == 16 else "taew2_2"
        raise UserError(
            f"{file.name} decodes {module.latent_channels} latent channels and the model has "
            f"{latent_channels}; give {version}"
        )
    load_into(module, stored, component=component, dtype=torch.float32, device=device)
    return module.eval()
