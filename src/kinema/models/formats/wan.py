"""Wan 2.1 and 2.2 in the diffusers folder layout, read and written.

A folder has `model_index.json` and a folder for each component: `transformer`, `transformer_2` (the second
expert of the A14B models), `vae`, `text_encoder`, `tokenizer`, `image_encoder` and `image_processor` (2.1
image-to-video) and `scheduler`. Transformers and autoencoders may use the tensor names of the
original repositories instead of diffusers'. Components are loaded on demand.
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
from kinema.models.clip_image_encoder import ClipImageEncoder
from kinema.models.formats import wan_keys
from kinema.models.formats.safetensors_io import (
    TensorInfo,
    list_tensors,
    load_into,
    read_json,
    save_tensors,
)
from kinema.models.formats.wan_config import (
    build_sampling_defaults,
    parse_dit_config,
    parse_vae_config,
    to_diffusers_dit_config,
    to_diffusers_vae_config,
)
from kinema.models.formats.wan_encoders import load_clip, load_umt5
from kinema.models.module_init import skip_init
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.text_encoders.umt5 import Umt5
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import FLOAT32_PARAMETERS, DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig

_WEIGHTS_STEM = "diffusion_pytorch_model"
_PIPELINE_CLASSES = ("WanPipeline", "WanImageToVideoPipeline")


@dataclass(frozen=True, kw_only=True)
class WanCheckpoint:
    """A Wan model folder, a `ModelCheckpoint`: its settings, and its components on demand.

    Attributes:
        folder: a folder in the diffusers layout.
        name: the name it was opened by.
        sampling_defaults: the settings to sample with by default.
        dit: the config of each transformer.
        vae: the config of the autoencoder.
    """

    folder: Path
    name: str
    sampling_defaults: SamplingDefaults
    dit: DitConfig
    vae: VaeConfig

    @classmethod
    def open(cls, folder: Path, *, name: str) -> WanCheckpoint:
        """Read the settings of every component, no weights.

        Raises:
            UserError: a file is missing or damaged, or this is not a Wan model.
        """
        index = read_json(folder / "model_index.json", component="the model")
        class_name = index.get("_class_name")
        if class_name not in _PIPELINE_CLASSES:
            raise UserError(
                f"{folder} is a {class_name}, which can't be read; "
                f"give a folder of Wan 2.1 or 2.2, a {' or '.join(_PIPELINE_CLASSES)}"
            )
        dit = parse_dit_config(read_json(folder / "transformer" / "config.json", component="the transformer"))
        boundary = index.get("boundary_ratio")
        if boundary is not None:
            second = parse_dit_config(
                read_json(folder / "transformer_2" / "config.json", component="the second expert")
            )
            if second != dit:
                raise UserError(
                    f"the two transformers of {folder} differ in shape; they must be experts of one model"
                )
        vae = parse_vae_config(read_json(folder / "vae" / "config.json", component="the autoencoder"))
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json", component="the scheduler")
        defaults = build_sampling_defaults(dit, vae, scheduler, boundary, bool(index.get("expand_timesteps")))
        return cls(folder=folder, name=name, sampling_defaults=defaults, dit=dit, vae=vae)

    @property
    def has_image_encoder(self) -> bool:
        """Whether a CLIP image encoder belongs to the model."""
        return self.dit.image_width is not None

    def load_transformer(self, expert: int = 0, *, dtype: torch.dtype, device: torch.device) -> Dit:
        """A transformer; of two experts, 0 is the one for high noise and 1 the one for low noise.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        component = "transformer" if expert == 0 else "transformer_2"
        stored = list_tensors(self.folder / component, component=component)
        with skip_init():
            module = Dit(self.dit)
        original = wan_keys.has_original_transformer_keys(stored)
        # Weights of 2.1 image-to-video contain a norm that the network does not use.
        stored = {name: tensor for name, tensor in stored.items() if "norm_added_q" not in name}
        load_into(
            module,
            stored,
            component=component,
            dtype=dtype,
            device=device,
            keep_in_float32=FLOAT32_PARAMETERS,
            rename=wan_keys.convert_transformer_key if original else None,
        )
        return module.eval()

    def load_vae(self, *, device: torch.device) -> VideoVae:
        """The autoencoder, in float32 as Wan runs it.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        component = "autoencoder"
        stored = list_tensors(self.folder / "vae", component=component)
        with skip_init():
            module = VideoVae(self.vae)

        def rename(name: str) -> str:
            return wan_keys.convert_vae_key(name, residual_blocks=self.vae.num_res_blocks)

        module.reset_latent_statistics(device)
        load_into(
            module,
            stored,
            component=component,
            dtype=torch.float32,
            device=device,
            rename=rename if wan_keys.has_original_vae_keys(stored) else None,
        )
        return module.eval()

    def load_text_encoder(self, *, dtype: torch.dtype, device: torch.device) -> Umt5:
        """The text encoder and its tokenizer.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        return load_umt5(
            self.folder / "text_encoder",
            self.folder / "tokenizer",
            max_tokens=self.dit.text_length,
            dtype=dtype,
            device=device,
        )

    def load_image_encoder(self, *, dtype: torch.dtype, device: torch.device) -> ClipImageEncoder:
        """The image encoder of the 2.1 image-to-video models.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        return load_clip(
            self.folder / "image_encoder", self.folder / "image_processor", dtype=dtype, device=device
        )

    def list_tensors(self, component: str) -> dict[str, TensorInfo]:
        """The tensors of a component, from the headers of its files; empty if there is no such component.

        `component` is transformer, transformer_2, vae, text_encoder or image_encoder.
        """
        return (
            list_tensors(self.folder / component, component=component)
            if (self.folder / component).is_dir()
            else {}
        )

    def save(self, target: Path, *, transformers: Sequence[Dit], vae: VideoVae, shard_bytes: int) -> None:
        """Write the model with these transformers and this autoencoder, in a folder that diffusers loads.

        The encoders and the scheduler are copied.

        Args:
            target: a folder that does not exist or is empty.
            transformers: one for each expert.
            vae: in float32.
            shard_bytes: size of the largest weights file.

        Raises:
            UserError: the folder is not empty.
        """
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise UserError(f"{target} is not empty; name a new folder to save the model in")
        for component in ("text_encoder", "tokenizer", "image_encoder", "image_processor", "scheduler"):
            if (self.folder / component).is_dir():
                shutil.copytree(self.folder / component, target / component)
        for expert, module in enumerate(transformers):
            folder = target / ("transformer" if expert == 0 else "transformer_2")
            save_tensors(module.state_dict(), folder, stem=_WEIGHTS_STEM, shard_bytes=shard_bytes)
            write_text(
                folder / "config.json", json.dumps(to_diffusers_dit_config(module.config), indent=2) + "\n"
            )
        save_tensors(vae.state_dict(), target / "vae", stem=_WEIGHTS_STEM, shard_bytes=shard_bytes)
        write_text(
            target / "vae" / "config.json", json.dumps(to_diffusers_vae_config(vae.config), indent=2) + "\n"
        )
        # Last, so that a folder with an index is complete.
        write_text(target / "model_index.json", (self.folder / "model_index.json").read_text())
