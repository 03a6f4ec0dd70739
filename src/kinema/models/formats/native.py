"""Our own model folders: settings as JSON, weights as safetensors shards.

    kinema.json                 CheckpointIndex: format version, text encoder, sampling defaults
    transformer/config.json     DitConfig          transformer/model*.safetensors
    vae/config.json             VaeConfig          vae/model*.safetensors
    prompt_rewriter/config.json SlotClassifierConfig, with weights; for models that have one
    super_resolution/config.json SuperResolutionConfig, with weights; for models that have one
    vocabulary.txt              every word of its captions

A folder may lack all but its index and its transformer and name a `base` folder beside it that has the rest.
The text encoder is MiniLM from its own package, so the folder does not contain it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.models.formats.safetensors_io import (
    TensorInfo,
    list_tensors,
    load_into,
    read_json,
    save_tensors,
)
from kinema.models.formats.serialization import from_json, to_json
from kinema.models.module_init import skip_init
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.slot_classifier import SlotClassifier, SlotClassifierConfig
from kinema.models.super_resolution import SuperResolution, SuperResolutionConfig
from kinema.models.text_encoders.minilm import MiniLm
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import FLOAT32_PARAMETERS, DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig

Config = TypeVar("Config")
INDEX_FILE, VOCABULARY_FILE = "kinema.json", "vocabulary.txt"
PROMPT_REWRITER = "prompt_rewriter"
"""Folder of the prompt rewriter's classifier."""
SUPER_RESOLUTION = "super_resolution"
"""Folder of the super-resolution network."""
MAX_VOCABULARY_CHARS = 2**20
SHARD_BYTES = 15 * 2**20
"""Largest weights file. Some hosts refuse files above 25 MiB."""


@dataclass(frozen=True, kw_only=True)
class CheckpointIndex:
    """The contents of `kinema.json`.

    Attributes:
        sampling_defaults: the settings to sample with by default.
        text_encoder: which text encoder the transformer was trained with.
        vocabulary: words of the captions that it was fine-tuned on, in lower case; those of the simulator are
            not listed.
        base: name of a folder beside this one, whose autoencoder, prompt rewriter and vocabulary are used
            where this one has none; empty for none.
        format_version: version of the folder layout; readers refuse another one.
    """

    sampling_defaults: SamplingDefaults
    text_encoder: Literal["minilm"] = "minilm"
    vocabulary: tuple[str, ...] = ()
    base: str = ""
    format_version: int = 2


@dataclass(frozen=True, kw_only=True)
class KinemaCheckpoint:
    """A folder of our own layout, a `ModelCheckpoint`: its settings, and its components on demand."""

    folder: Path
    name: str
    sampling_defaults: SamplingDefaults
    dit: DitConfig
    vae: VaeConfig
    vocabulary: tuple[str, ...] = ()
    """Words of the captions that it was fine-tuned on."""
    base_folder: Path | None = None
    """The folder of the components that `folder` lacks."""

    def part(self, name: str) -> Path:
        """The path of a file or folder of the model, in its own folder or in that of its base."""
        own = self.folder / name
        return own if self.base_folder is None or own.exists() else self.base_folder / name

    def base_vocabulary(self) -> frozenset[str] | None:
        """Every word of its captions before any fine-tuning, in lower case; None where it is not recorded.

        They are in `vocabulary.txt`, one on a line.
        """
        return _read_vocabulary(self.part(VOCABULARY_FILE))

    def rewriter_vocabulary(self) -> frozenset[str]:
        """The words that its prompt rewriter was trained on, in lower case; empty without a rewriter."""
        return _read_vocabulary(self.part(PROMPT_REWRITER) / VOCABULARY_FILE) or frozenset()

    @classmethod
    def open(cls, folder: Path, *, name: str) -> KinemaCheckpoint:
        """Read the settings of every component, no weights.

        Raises:
            UserError: a file is missing or damaged, or was written by another version of Kinema.
        """
        values = read_json(folder / INDEX_FILE, component="the model")
        if values.get("format_version") != CheckpointIndex.format_version:
            raise UserError(
                f"{folder / INDEX_FILE} has format {values.get('format_version')} and this Kinema reads "
                f"{CheckpointIndex.format_version}; use the version of Kinema that wrote it"
            )
        index = from_json(CheckpointIndex, json.dumps(values), source=str(folder / INDEX_FILE))
        base_folder = _base_folder(folder, index.base)
        settings = json.dumps(read_json(folder / "transformer/config.json", component="transformer"))
        vae_folder = folder if base_folder is None or (folder / "vae").exists() else base_folder
        return cls(
            folder=folder,
            name=name,
            sampling_defaults=index.sampling_defaults,
            dit=from_json(DitConfig, settings, source=str(folder / "transformer/config.json")),
            vae=read_vae_config(vae_folder),
            vocabulary=index.vocabulary,
            base_folder=base_folder,
        )

    @property
    def description(self) -> str:
        """What it is, in one line."""
        return f"{self.name} (folder of Kinema)"

    @property
    def has_image_encoder(self) -> bool:
        """Always false: our own models have no image encoder."""
        return False

    def load_transformer(
        self, expert: int = 0, *, dtype: torch.dtype, device: torch.device, keep_packed: bool = False
    ) -> Dit:
        """The transformer; there is only one, and it is not quantised.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        del keep_packed
        if expert:
            raise ValueError(f"there is no expert {expert}")
        with skip_init():
            module = Dit(self.dit)
        _load_into(module, self.list_tensors("transformer"), "transformer", dtype, device)
        return module.eval()

    def load_vae(self, *, device: torch.device) -> VideoVae:
        """The autoencoder, in float32.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        return load_vae(self.part("vae").parent, device=device)

    def load_text_encoder(self, *, dtype: torch.dtype, device: torch.device) -> MiniLm:  # noqa: ARG002 - one face
        """The text encoder, always in float32: it is small.

        Raises:
            UserError: its package is not installed.
        """
        return MiniLm.load().to(device)

    @property
    def has_prompt_rewriter(self) -> bool:
        """Whether prompts in other words are rewritten into the wording of the captions."""
        return (self.part(PROMPT_REWRITER) / "config.json").is_file()

    def load_slot_classifier(self, *, device: torch.device) -> SlotClassifier:
        """The classifier of the prompt rewriter, in float32.

        Raises:
            UserError: there is none, or its weights are missing or of another model.
        """
        config = self._read_part_config(PROMPT_REWRITER, SlotClassifierConfig)
        with skip_init():
            module = SlotClassifier(config)
        infos = list_tensors(self.part(PROMPT_REWRITER), component=PROMPT_REWRITER)
        _load_into(module, infos, "prompt rewriter", torch.float32, device)
        return module.eval()

    @property
    def has_super_resolution(self) -> bool:
        """Whether a super-resolution network upscales its videos."""
        return (self.part(SUPER_RESOLUTION) / "config.json").is_file()

    def load_super_resolution(self, *, device: torch.device) -> SuperResolution:
        """The super-resolution network, in float32.

        Raises:
            UserError: there is none, or its weights are missing or of another model.
        """
        config = self._read_part_config(SUPER_RESOLUTION, SuperResolutionConfig)
        with skip_init():
            module = SuperResolution(config)
        infos = list_tensors(self.part(SUPER_RESOLUTION), component=SUPER_RESOLUTION)
        _load_into(module, infos, "super-resolution network", torch.float32, device)
        return module.eval()

    def _read_part_config(self, component: str, config_type: type[Config]) -> Config:
        path = self.part(component) / "config.json"
        return from_json(config_type, json.dumps(read_json(path, component=component)), source=str(path))

    def copy_small_parts(self, target: Path) -> None:
        """Copy prompt rewriter, super-resolution network and vocabulary, where there are any, into the folder
        of another model with the same autoencoder."""
        for name in (PROMPT_REWRITER, SUPER_RESOLUTION):
            if self.part(name).is_dir():
                shutil.copytree(self.part(name), target / name, dirs_exist_ok=True)
        if self.part(VOCABULARY_FILE).is_file():
            shutil.copyfile(self.part(VOCABULARY_FILE), target / VOCABULARY_FILE)

    def list_tensors(self, component: str) -> dict[str, TensorInfo]:
        """The tensors of a component, from the headers of its files; empty if there is no such component."""
        if component not in ("transformer", "vae"):
            return {}
        return list_tensors(self.part(component), component=component)


def save_checkpoint(
    target: Path,
    *,
    sampling_defaults: SamplingDefaults,
    transformer: Dit,
    vae: VideoVae,
    dtype: torch.dtype = torch.bfloat16,
    shard_bytes: int = SHARD_BYTES,
    vocabulary: tuple[str, ...] = (),
) -> None:
    """Write a model folder. The index is written last: a folder that has it is complete.

    Args:
        target: created if it does not exist; a model that is there already is replaced.
        sampling_defaults: the settings to sample with by default.
        transformer: its parameters are stored as `dtype`, except those in `FLOAT32_PARAMETERS`.
        vae: stored as `dtype`, and run in float32.
        dtype: type of the stored tensors.
        shard_bytes: size of the largest weights file.
        vocabulary: see `CheckpointIndex`.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / INDEX_FILE).unlink(missing_ok=True)
    for component, module in (("transformer", transformer), ("vae", vae)):
        tensors = {
            name: value.to(torch.float32 if _keeps_float32(name, component) else dtype)
            if value.is_floating_point()
            else value
            for name, value in module.state_dict().items()
        }
        save_tensors(tensors, target / component, shard_bytes=shard_bytes)
        write_text(target / component / "config.json", to_json(module.config))
    index = CheckpointIndex(sampling_defaults=sampling_defaults, vocabulary=vocabulary)
    write_text(target / INDEX_FILE, to_json(index))


def save_slot_classifier(target: Path, classifier: SlotClassifier, *, vocabulary: Iterable[str]) -> None:
    """Write the classifier of a prompt rewriter into a model's folder, in bfloat16; it is run in float32.

    Args:
        target: the model's folder.
        classifier: of the rewriter.
        vocabulary: words that it was trained on and that the model can show, in lower case.
    """
    tensors = {name: value.to(torch.bfloat16) for name, value in classifier.state_dict().items()}
    save_tensors(tensors, target / PROMPT_REWRITER, shard_bytes=SHARD_BYTES)
    write_text(
        target / PROMPT_REWRITER / VOCABULARY_FILE, "".join(f"{word}\n" for word in sorted(vocabulary))
    )
    write_text(target / PROMPT_REWRITER / "config.json", to_json(classifier.config))


def save_super_resolution(target: Path, network: SuperResolution) -> None:
    """Write a super-resolution network into a model's folder, in float32: it is small."""
    save_tensors(network.state_dict(), target / SUPER_RESOLUTION, shard_bytes=SHARD_BYTES)
    write_text(target / SUPER_RESOLUTION / "config.json", to_json(network.config))


def save_vae(target: Path, vae: VideoVae) -> None:
    """Write an autoencoder alone, into the folder `vae` of `target`, in float32 for further training."""
    save_tensors(vae.state_dict(), target / "vae", shard_bytes=SHARD_BYTES)
    write_text(target / "vae" / "config.json", to_json(vae.config))


def read_vae_config(folder: Path) -> VaeConfig:
    """The config of the autoencoder in a folder.

    Raises:
        UserError: there is none, or its settings are invalid.
    """
    settings = json.dumps(read_json(folder / "vae" / "config.json", component="vae"))
    return from_json(VaeConfig, settings, source=str(folder / "vae/config.json"))


def load_vae(folder: Path, *, device: torch.device) -> VideoVae:
    """The autoencoder in a folder that `save_checkpoint` or `save_vae` wrote.

    Raises:
        UserError: there is none, or its weights are missing or of another model.
    """
    config = read_vae_config(folder)
    with skip_init():
        module = VideoVae(config)
    module.reset_latent_statistics(device)
    _load_into(module, list_tensors(folder / "vae", component="vae"), "autoencoder", torch.float32, device)
    return module.eval()


def _base_folder(folder: Path, base: str) -> Path | None:
    """The folder of a model's base; None without one.

    Raises:
        UserError: the name is not that of a folder beside this one, or there is no such model.
    """
    if not base:
        return None
    if not re.fullmatch(r"\w[\w.-]*", base):
        raise UserError(f"{folder / INDEX_FILE} names the base {base!r}; it must be the name of a folder")
    path = folder.resolve().parent / base
    if not (path / INDEX_FILE).is_file():
        raise UserError(f"{folder} has only a transformer and needs the model {base} beside it, in {path}")
    return path


def _read_vocabulary(path: Path) -> frozenset[str] | None:
    try:
        with path.open(encoding="utf-8") as file:
            return frozenset(file.read(MAX_VOCABULARY_CHARS).split())
    except (OSError, UnicodeDecodeError):
        return None


def _keeps_float32(name: str, component: str) -> bool:
    return component == "transformer" and any(pattern in name for pattern in _float32_patterns())


def _float32_patterns() -> tuple[str, ...]:
    # The text states are divided by these statistics; rounding them would shift every prompt.
    return (*FLOAT32_PARAMETERS, "text_mean", "text_std")


def _load_into(
    module: nn.Module,
    tensor_infos: dict[str, TensorInfo],
    component: str,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    load_into(
        module,
        tensor_infos,
        component=component,
        dtype=dtype,
        device=device,
        keep_in_float32=_float32_patterns(),
    )
