"""Wan 2.1 and 2.2 in the diffusers folder layout, in and out.

A folder has `model_index.json` and a folder for each part: `transformer`, `transformer_2` (the second
expert of the A14B models), `vae`, `text_encoder`, `tokenizer`, `image_encoder` and `image_processor` (2.1
image-to-video) and `scheduler`. Transformers and autoencoders may carry the names of the original
repositories instead of diffusers'. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.models import wan_names
from kinema.models.dit import Dit
from kinema.models.dit_config import FLOAT32_ISLANDS, DitConfig
from kinema.models.recipe import Recipe
from kinema.models.text_image import ClipImage
from kinema.models.text_umt5 import Umt5
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from kinema.models.wan_config import dit_config, dit_values, recipe_of, vae_config, vae_values
from kinema.models.wan_encoders import load_clip, load_umt5
from kinema.models.weights import StoredTensor, fill, read_json, save_tensors, stored_tensors, unfilled

_STEM = "diffusion_pytorch_model"
_PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")


@dataclass(frozen=True, kw_only=True)
class WanFolder:
    """A Wan model on disk: what it is, and its parts on demand.

    Attributes:
        folder: in the diffusers layout.
        name: what the person called it.
        recipe: how it wants to be run.
        dit: of each transformer.
        vae: of the autoencoder.
    """

    folder: Path
    name: str
    recipe: Recipe
    dit: DitConfig
    vae: VaeConfig

    @classmethod
    def open(cls, folder: Path, *, name: str) -> WanFolder:
        """Read the settings of every part, no weights.

        Raises:
            UserError: a file is missing or damaged, or this is no Wan model.
        """
        index = read_json(folder / "model_index.json", part="the model")
        kind = index.get("_class_name")
        if kind not in _PIPELINES:
            raise UserError(
                f"{folder} is a {kind} and can't be read; "
                f"Wan 2.1 and 2.2 folders of {' or '.join(_PIPELINES)} can"
            )
        dit = dit_config(read_json(folder / "transformer" / "config.json", part="the transformer"))
        boundary = index.get("boundary_ratio")
        if boundary is not None:
            second = dit_config(read_json(folder / "transformer_2" / "config.json", part="the second expert"))
            if second != dit:
                raise UserError(
                    f"the two transformers of {folder} differ in shape; they must be experts of one model"
                )
        vae = vae_config(read_json(folder / "vae" / "config.json", part="the autoencoder"))
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json", part="the scheduler")
        recipe = recipe_of(dit, vae, scheduler, boundary, bool(index.get("expand_timesteps")))
        return cls(folder=folder, name=name, recipe=recipe, dit=dit, vae=vae)

    @property
    def sees_pictures(self) -> bool:
        """Whether a CLIP image encoder belongs to the model."""
        return self.dit.image_width is not None

    def load_transformer(self, expert: int = 0, *, dtype: torch.dtype, device: torch.device) -> Dit:
        """A transformer: the one, or of two experts the noisy (0) or the clean one (1).

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        part = "transformer" if expert == 0 else "transformer_2"
        stored = stored_tensors(self.folder / part, part=part)
        with unfilled():
            module = Dit(self.dit)
        original = wan_names.is_original_transformer(stored)
        # Weights of 2.1 image-to-video hold a norm that their network never used.
        stored = {name: tensor for name, tensor in stored.items() if "norm_added_q" not in name}
        fill(
            module,
            stored,
            part=part,
            dtype=dtype,
            device=device,
            islands=FLOAT32_ISLANDS,
            rename=wan_names.transformer_name if original else None,
        )
        return module.eval()

    def load_vae(self, *, device: torch.device) -> VideoVae:
        """The autoencoder, in float32 as Wan runs it.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        part = "autoencoder"
        stored = stored_tensors(self.folder / "vae", part=part)
        with unfilled():
            module = VideoVae(self.vae)

        def rename(name: str) -> str:
            return wan_names.vae_name(name, residual_blocks=self.vae.num_res_blocks)

        module.latents_mean = torch.tensor(self.vae.latents_mean).view(-1, 1, 1, 1).to(device)
        module.latents_std = torch.tensor(self.vae.latents_std).view(-1, 1, 1, 1).to(device)
        fill(
            module,
            stored,
            part=part,
            dtype=torch.float32,
            device=device,
            rename=rename if wan_names.is_original_vae(stored) else None,
        )
        return module.eval()

    def load_text(self, *, dtype: torch.dtype, device: torch.device) -> Umt5:
        """The text encoder and its tokenizer.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        return load_umt5(
            self.folder / "text_encoder",
            self.folder / "tokenizer",
            tokens=self.dit.text_length,
            dtype=dtype,
            device=device,
        )

    def load_image(self, *, dtype: torch.dtype, device: torch.device) -> ClipImage:
        """The image encoder of the 2.1 image-to-video models.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        return load_clip(
            self.folder / "image_encoder", self.folder / "image_processor", dtype=dtype, device=device
        )

    def stored(self, part: str) -> dict[str, StoredTensor]:
        """What a part's files hold, from their headers; empty if the model has no such part.

        `part` is transformer, transformer_2, vae, text_encoder or image_encoder.
        """
        return stored_tensors(self.folder / part, part=part) if (self.folder / part).is_dir() else {}

    def save(self, target: Path, *, transformers: Sequence[Dit], vae: VideoVae, shard_bytes: int) -> None:
        """Write the model with these transformers and this autoencoder; diffusers loads the folder.

        The encoders and the scheduler are copied as they are.

        Args:
            target: a folder that does not exist or is empty.
            transformers: one for each expert.
            vae: in float32.
            shard_bytes: the largest weights file.

        Raises:
            UserError: the folder has something in it.
        """
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise UserError(f"{target} is not empty; name a new folder to save the model in")
        for part in ("text_encoder", "tokenizer", "image_encoder", "image_processor", "scheduler"):
            if (self.folder / part).is_dir():
                shutil.copytree(self.folder / part, target / part)
        for expert, module in enumerate(transformers):
            folder = target / ("transformer" if expert == 0 else "transformer_2")
            save_tensors(module.state_dict(), folder, stem=_STEM, shard_bytes=shard_bytes)
            write_text(folder / "config.json", json.dumps(dit_values(module.config), indent=2) + "\n")
        save_tensors(vae.state_dict(), target / "vae", stem=_STEM, shard_bytes=shard_bytes)
        write_text(target / "vae" / "config.json", json.dumps(vae_values(vae.config), indent=2) + "\n")
        # Last, so that a folder with an index is a whole model.
        write_text(target / "model_index.json", (self.folder / "model_index.json").read_text())
