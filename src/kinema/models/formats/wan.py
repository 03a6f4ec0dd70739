"""Models of the Wan family, read from every published form; written in diffusers' folder layout.

Read are folders of diffusers (`model_index.json`), folders of the original repositories, and transformers in
single files (`weight_files.py`), whose autoencoder and text encoder are found around the file or given.
Transformers and autoencoders may use the tensor names of the original repositories instead of diffusers'.
Components are loaded on demand.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.models.clip_image_encoder import ClipImageEncoder
from kinema.models.formats import wan_keys
from kinema.models.formats.safetensors_io import (
    TensorInfo,
    load_into,
    read_json,
    read_metadata,
    save_tensors,
)
from kinema.models.formats.wan_config import (
    build_sampling_defaults,
    parse_dit_config,
    parse_vae_config,
    published_scheduler,
    to_diffusers_dit_config,
    to_diffusers_vae_config,
    variant_name,
)
from kinema.models.formats.wan_encoders import load_clip, load_tokenizer, load_umt5
from kinema.models.formats.wan_parts import (
    WanParts,
    diffusers_parts,
    find_text_encoder,
    find_vae,
    original_parts,
    single_file_parts,
)
from kinema.models.formats.wan_shapes import infer_dit_config, infer_vae_config
from kinema.models.formats.weight_files import StoredWeights, read_weights
from kinema.models.module_init import skip_init
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.sampling_recipes import apply_recipe, find_recipe, recognize_recipe
from kinema.models.text_encoders.umt5 import Umt5
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import FLOAT32_PARAMETERS, DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WEIGHTS_STEM = "diffusion_pytorch_model"
_DF_PIPELINE = "SkyReelsV2DiffusionForcingPipeline"
_PIPELINE_CLASSES = ("WanPipeline", "WanImageToVideoPipeline", "WanVACEPipeline", _DF_PIPELINE)
_WHERE = {
    "VAE": "--vae: Wan2.1_VAE.pth (Wan2.2_VAE.pth for the 5B model) of Wan-AI on the hub, or the folder vae "
    "of a diffusers model",
    "text encoder": "--text-encoder: the folder of a diffusers model (text_encoder and tokenizer), for "
    "example Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    "tokenizer": "a folder tokenizer beside the text encoder: google/umt5-xxl on the hub, or the folder "
    "tokenizer of a diffusers model",
    "image encoder": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth or clip_vision_h.safetensors "
    "beside the model",
}


@dataclass(frozen=True, kw_only=True)
class WanCheckpoint:
    """A model of the Wan family, a `ModelCheckpoint`: its settings, and its components on demand.

    Attributes:
        folder: its folder, or the file of its transformer.
        name: the name it was opened by.
        sampling_defaults: the settings to sample with by default.
        dit: the config of each transformer.
        vae: the config of the autoencoder.
        parts: where its components are.
        description: what it is and what it is stored in, in one line.
    """

    folder: Path
    name: str
    sampling_defaults: SamplingDefaults
    dit: DitConfig
    vae: VaeConfig
    parts: WanParts
    description: str

    @classmethod
    def open(
        cls, path: Path, *, name: str, vae: Path | None = None, text_encoder: Path | None = None
    ) -> WanCheckpoint:
        """Read the settings of every component, no weights.

        Args:
            path: a folder of diffusers or of the original repositories, or a file with a transformer.
            name: what it is called.
            vae: another autoencoder: a file, its folder, or the folder of a model.
            text_encoder: another text encoder, in the same forms.

        Raises:
            UserError: a file is missing or damaged, a part was not found, or this is not a Wan model.
        """
        is_diffusers = (path / "model_index.json").is_file()
        index: dict[str, Any] = {}
        boundary: object = None
        scheduler: dict[str, Any] | None = None
        if is_diffusers:
            index = read_json(path / "model_index.json", component="the model")
            class_name, boundary = index.get("_class_name"), index.get("boundary_ratio")
            if class_name not in _PIPELINE_CLASSES:
                raise UserError(
                    f"{path} is a {class_name}, which can't be read; "
                    f"give a folder of Wan 2.1 or 2.2, a {' or '.join(_PIPELINE_CLASSES)}"
                )
            parts = diffusers_parts(path, experts=1 if boundary is None else 2)
            configs = [
                parse_dit_config(read_json(folder / "config.json", component=folder.name))
                for folder in parts.transformers
            ]
            scheduler = read_json(path / "scheduler" / "scheduler_config.json", component="the scheduler")
            stored = "diffusers folder"
        else:
            parts = (original_parts(path) if path.is_dir() else None) or single_file_parts(path)
            weights = [read_weights(part, component="transformer") for part in parts.transformers]
            configs = [_infer_dit(part, own) for part, own in zip(parts.transformers, weights, strict=True)]
            stored = f"{'original folder' if path.is_dir() else 'single file'}, {weights[0].description}"
        if vae is not None:
            parts = dataclasses.replace(parts, vae=find_vae(vae))
        if text_encoder is not None:
            parts = find_text_encoder(parts, text_encoder)
        dit = configs[0]
        if any(other != dit for other in configs):
            raise UserError(
                f"the two transformers of {path} differ in shape; they must be experts of one model"
            )
        _require_parts(parts, dit, name)
        vae_config = _read_vae_config(parts)
        experts, file_name = len(configs), parts.transformers[0].name if path.is_file() else path.name
        if vae_config.z_dim != dit.out_channels:
            raise UserError(
                f"{parts.vae} has {vae_config.z_dim} latent channels and {name} has {dit.out_channels}; give "
                f"the autoencoder of Wan 2.{1 if dit.out_channels == 16 else 2}"
            )
        is_forcing = index.get("_class_name") == _DF_PIPELINE or (
            not is_diffusers and bool(re.search(r"skyreels.*df", file_name, re.IGNORECASE))
        )
        if experts == 2 and boundary is None:
            boundary = 0.875 if dit.in_channels == dit.out_channels else 0.9
        defaults = build_sampling_defaults(
            dit,
            vae_config,
            scheduler or published_scheduler(dit, experts=experts),
            boundary,
            bool(index.get("expand_timesteps")) or (not is_diffusers and dit.out_channels == 48),
            diffusion_forcing=is_forcing,
        )
        metadata = {} if path.is_dir() else read_metadata(parts.transformers[0])
        defaults = _distilled_defaults(defaults, file_name, metadata)
        variant = variant_name(dit, experts=experts, diffusion_forcing=is_forcing)
        distilled = f", {defaults.recipe}" if defaults.recipe is not None else ""
        return cls(
            folder=path,
            name=name,
            sampling_defaults=defaults,
            dit=dit,
            vae=vae_config,
            parts=parts,
            description=f"{variant}{distilled} ({stored})",
        )

    def part(self, name: str) -> Path:
        """The path of a file or folder in the model's folder."""
        return self.folder / name

    @property
    def has_image_encoder(self) -> bool:
        """Whether a CLIP image encoder belongs to the model."""
        return self.dit.image_width is not None

    def load_transformer(
        self, expert: int = 0, *, dtype: torch.dtype, device: torch.device, keep_packed: bool = False
    ) -> Dit:
        """A transformer; of two experts, 0 is the one for high noise and 1 the one for low noise.

        With `keep_packed` the linear layers of quantised files keep their weights as they are stored.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        component = "transformer" if expert == 0 else "transformer_2"
        stored = read_weights(self.parts.transformers[expert], component=component).tensors
        with skip_init():
            module = Dit(self.dit)
        load_into(
            module,
            _used_tensors(stored),
            component=component,
            dtype=dtype,
            device=device,
            keep_in_float32=FLOAT32_PARAMETERS,
            rename=_transformer_rename(stored),
            keep_packed=keep_packed,
        )
        return module.eval()

    def load_vae(self, *, device: torch.device) -> VideoVae:
        """The autoencoder, in float32 as Wan runs it.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        component = "autoencoder"
        assert self.parts.vae is not None
        stored = read_weights(self.parts.vae, component=component).tensors
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
        assert self.parts.text_encoder is not None
        return load_umt5(
            self.parts.text_encoder,
            self._tokenizer,
            max_tokens=self.dit.text_length,
            dtype=dtype,
            device=device,
        )

    @functools.cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        """Kept while the encoder itself may be dropped between requests: it takes seconds to load."""
        assert self.parts.text_encoder is not None
        return load_tokenizer(self.parts.tokenizer or self.parts.text_encoder.parent / "tokenizer")

    def load_image_encoder(self, *, dtype: torch.dtype, device: torch.device) -> ClipImageEncoder:
        """The image encoder of the 2.1 image-to-video models.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        image_encoder = self.parts.image_encoder or self.folder / "image_encoder"
        return load_clip(image_encoder, self.parts.image_processor, dtype=dtype, device=device)

    def list_tensors(self, component: str) -> dict[str, TensorInfo]:
        """The tensors of a component, from the headers of its files; empty if there is no such component.

        `component` is transformer, transformer_2, vae, text_encoder or image_encoder.
        """
        part = self.parts.component(component)
        return {} if part is None or not part.exists() else read_weights(part, component=component).tensors

    def save(self, target: Path, *, transformers: Sequence[Dit], vae: VideoVae, shard_bytes: int) -> None:
        """Write the model with these transformers and this autoencoder, in a folder that diffusers loads.

        The encoders and the scheduler are copied.

        Args:
            target: a folder that does not exist or is empty.
            transformers: one for each expert.
            vae: in float32.
            shard_bytes: size of the largest weights file.

        Raises:
            UserError: the folder is not empty, or the model was not read from a folder of diffusers.
        """
        if not (self.folder / "model_index.json").is_file():
            raise UserError(
                f"{self.name} is not in diffusers' layout, so its encoders can't be copied; open a diffusers "
                "folder to save a model"
            )
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


def _used_tensors(stored: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Without the norm that weights of 2.1 image-to-video contain and the network does not use."""
    return {name: tensor for name, tensor in stored.items() if "norm_added_q" not in name}


def _transformer_rename(stored: Mapping[str, TensorInfo]) -> Callable[[str], str] | None:
    return wan_keys.convert_transformer_key if wan_keys.has_original_transformer_keys(stored) else None


def _infer_dit(path: Path, weights: StoredWeights) -> DitConfig:
    """The config of a transformer from its tensors, and from the original settings where it has some."""
    rename = _transformer_rename(weights.tensors) or (lambda name: name)
    shapes = {rename(name): tensor.shape for name, tensor in weights.tensors.items()}
    heads = None
    if path.is_dir() and (path / "config.json").is_file():
        heads = read_json(path / "config.json", component="transformer").get("num_heads")
        if not isinstance(heads, int) or not 0 < heads <= 1024:
            raise UserError(f"{path / 'config.json'} has num_heads = {heads!r}; download the folder again")
    elif "patch_embedding.weight" not in shapes:
        raise UserError(
            f"{path.name} has no transformer of Wan (no tensor patch_embedding.weight); a LoRA is given with "
            "--lora, an autoencoder with --vae, a text encoder with --text-encoder"
        )
    if "ref_conv.weight" in shapes:
        raise UserError(
            f"{path.name} is a Fun-Control model with a convolution for references (version 1.1 and later), "
            "which is not supported; use Fun-Control 1.0, or Wan VACE"
        )
    return infer_dit_config(shapes, source=path.name, heads=heads)


def _require_parts(parts: WanParts, dit: DitConfig, name: str) -> None:
    """Name every part that was not found, and where it is published."""
    needed = {"VAE": parts.vae, "text encoder": parts.text_encoder}
    if dit.image_width is not None:
        needed["image encoder"] = parts.image_encoder
    missing = [part for part, path in needed.items() if path is None or not path.exists()]
    if parts.text_encoder is not None and parts.tokenizer is None:
        missing.append("tokenizer")
    if missing:
        where = "; ".join(f"{part}: {_WHERE[part]}" for part in missing)
        raise UserError(f"{name} comes without its {' and '.join(missing)}; give them ({where})")


def _read_vae_config(parts: WanParts) -> VaeConfig:
    assert parts.vae is not None
    if (parts.vae / "config.json").is_file():
        return parse_vae_config(read_json(parts.vae / "config.json", component="the autoencoder"))
    tensors = read_weights(parts.vae, component="autoencoder").tensors
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return infer_vae_config(shapes, source=parts.vae.name)


_AUTOREGRESSIVE = r"self.?forcing|causal.?forcing|krea.*realtime|longlive|rolling.?forcing|autoregressive"
"""Names of published models that generate block by block."""


def _distilled_defaults(
    defaults: SamplingDefaults, file_name: str, metadata: Mapping[str, str]
) -> SamplingDefaults:
    """The defaults of step-distilled and of autoregressive weights, by the name of their file or folder."""
    recipe = recognize_recipe(file_name, metadata)
    is_causal = re.search(_AUTOREGRESSIVE, file_name, re.IGNORECASE) is not None
    if is_causal and recipe is not None and recipe.name == "causvid-9":
        recipe = find_recipe("causvid-3")
    if recipe is not None:
        defaults = apply_recipe(defaults, recipe)
    if is_causal and defaults.num_experts == 1:
        # Blocks of 3 latent frames; 21 are attended to at most, the 3 of the block among them.
        defaults = dataclasses.replace(
            defaults,
            streaming_mode="cache",
            block_frames=3,
            context_frames=15,
            sink_frames=3,
            context_sigma=0.0,
        )
    return defaults
