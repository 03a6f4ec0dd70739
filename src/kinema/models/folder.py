"""Our own models on disk: settings as strict JSON, weights as safetensors shards.

    kinema.json                 format, text encoder, recipe
    transformer/config.json     DitConfig          transformer/model*.safetensors
    vae/config.json             VaeConfig          vae/model*.safetensors

The text encoder is MiniLM from its own package, so the folder does not carry it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.models.config_json import from_json, to_json
from kinema.models.dit import Dit
from kinema.models.dit_config import FLOAT32_ISLANDS, DitConfig
from kinema.models.recipe import Recipe
from kinema.models.text_minilm import MiniLm
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from kinema.models.weights import StoredTensor, fill, read_json, save_tensors, stored_tensors, unfilled

INDEX = "kinema.json"
SHARD_BYTES = 15 * 2**20
"""Small enough for any host of files."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What `kinema.json` says.

    Attributes:
        recipe: how the model wants to be run.
        text: its text encoder.
        format: of the folder; readers refuse a newer one.
    """

    recipe: Recipe
    text: Literal["minilm"] = "minilm"
    format: int = 1


@dataclass(frozen=True, kw_only=True)
class KinemaFolder:
    """One of our own models on disk: what it is, and its parts on demand. The same face as `WanFolder`."""

    folder: Path
    name: str
    recipe: Recipe
    dit: DitConfig
    vae: VaeConfig

    @classmethod
    def open(cls, folder: Path, *, name: str) -> KinemaFolder:
        """Read the settings of every part, no weights.

        Raises:
            UserError: a file is missing or damaged, or was written by a newer Kinema.
        """
        values = read_json(folder / INDEX, part="the model")
        if values.get("format") != Card.format:
            raise UserError(
                f"{folder / INDEX} is of format {values.get('format')} and this Kinema reads {Card.format}; "
                "upgrade Kinema"
            )
        card = from_json(Card, json.dumps(values), what=str(folder / INDEX))
        settings = {
            part: json.dumps(read_json(folder / part / "config.json", part=part))
            for part in ("transformer", "vae")
        }
        return cls(
            folder=folder,
            name=name,
            recipe=card.recipe,
            dit=from_json(DitConfig, settings["transformer"], what=str(folder / "transformer/config.json")),
            vae=from_json(VaeConfig, settings["vae"], what=str(folder / "vae/config.json")),
        )

    @property
    def sees_pictures(self) -> bool:
        """Whether an image encoder belongs to the model: never."""
        return False

    def load_transformer(self, expert: int = 0, *, dtype: torch.dtype, device: torch.device) -> Dit:
        """The transformer; there is one.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        if expert:
            raise ValueError(f"there is no expert {expert}")
        with unfilled():
            module = Dit(self.dit)
        _fill(module, self.stored("transformer"), "transformer", dtype, device)
        return module.eval()

    def load_vae(self, *, device: torch.device) -> VideoVae:
        """The autoencoder, in float32.

        Raises:
            UserError: weights are missing, pickled, or of another model.
        """
        return open_vae(self.folder, device=device)

    def load_text(self, *, dtype: torch.dtype, device: torch.device) -> MiniLm:  # noqa: ARG002 - one face
        """The text encoder, in float32: it is small.

        Raises:
            UserError: its package is not installed.
        """
        return MiniLm.load().to(device)

    def stored(self, part: str) -> dict[str, StoredTensor]:
        """What a part's files hold, from their headers; empty if the model has no such part."""
        if part not in ("transformer", "vae"):
            return {}
        return stored_tensors(self.folder / part, part=part)


def save_folder(
    target: Path,
    *,
    recipe: Recipe,
    transformer: Dit,
    vae: VideoVae,
    dtype: torch.dtype = torch.bfloat16,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write one of our own models. The index comes last: a folder that has it is a whole model.

    Args:
        target: made if it does not exist; a model that is there already is replaced.
        recipe: how the model wants to be run.
        transformer: its parameters are stored as `dtype`, except those that stay in float32.
        vae: stored as `dtype` throughout, and run in float32.
        dtype: of the files.
        shard_bytes: the largest weights file.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / INDEX).unlink(missing_ok=True)
    for part, module in (("transformer", transformer), ("vae", vae)):
        tensors = {
            name: value.to(torch.float32 if _stays(name, part) else dtype)
            if value.is_floating_point()
            else value
            for name, value in module.state_dict().items()
        }
        save_tensors(tensors, target / part, shard_bytes=shard_bytes)
        write_text(target / part / "config.json", to_json(module.config))
    write_text(target / INDEX, to_json(Card(recipe=recipe)))


def save_vae(target: Path, vae: VideoVae) -> None:
    """Write an autoencoder on its own, as the part `vae` of a folder; in float32, since it is to go on."""
    save_tensors(vae.state_dict(), target / "vae", shard_bytes=SHARD_BYTES)
    write_text(target / "vae" / "config.json", to_json(vae.config))


def vae_config(folder: Path) -> VaeConfig:
    """What the autoencoder of a folder is.

    Raises:
        UserError: there is none, or its settings are not those of an autoencoder.
    """
    settings = json.dumps(read_json(folder / "vae" / "config.json", part="vae"))
    return from_json(VaeConfig, settings, what=str(folder / "vae/config.json"))


def open_vae(folder: Path, *, device: torch.device) -> VideoVae:
    """The autoencoder of a folder that `save_folder` or `save_vae` wrote.

    Raises:
        UserError: there is none, or its weights are missing or of another model.
    """
    config = vae_config(folder)
    with unfilled():
        module = VideoVae(config)
    module.latents_mean = torch.tensor(config.latents_mean).view(-1, 1, 1, 1).to(device)
    module.latents_std = torch.tensor(config.latents_std).view(-1, 1, 1, 1).to(device)
    _fill(module, stored_tensors(folder / "vae", part="vae"), "autoencoder", torch.float32, device)
    return module.eval()


def _stays(name: str, part: str) -> bool:
    return part == "transformer" and any(island in name for island in _islands())


def _islands() -> tuple[str, ...]:
    # The statistics of the text states divide them; rounding these would shift every prompt.
    return (*FLOAT32_ISLANDS, "text_mean", "text_std")


def _fill(
    module: nn.Module,
    stored: dict[str, StoredTensor],
    part: str,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    fill(module, stored, part=part, dtype=dtype, device=device, islands=_islands())
