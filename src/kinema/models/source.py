"""From what a person calls a model to a folder on disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from kinema.errors import UserError
from kinema.models.dit import Dit
from kinema.models.dit_config import DitConfig
from kinema.models.folder import INDEX, KinemaFolder
from kinema.models.recipe import Recipe
from kinema.models.text import TextEncoder
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from kinema.models.wan import WanFolder
from kinema.models.weights import StoredTensor

SHIPPED = ("world",)
_PATTERNS = ["model_index.json", INDEX, "*/*.json", "*/*.safetensors", "*/spiece.model"]


@runtime_checkable
class ModelFolder(Protocol):
    """A model on disk, of whatever layout: what it is, and its parts on demand."""

    @property
    def name(self) -> str:
        """What the person called it."""
        ...

    @property
    def folder(self) -> Path:
        """Where it is."""
        ...

    @property
    def recipe(self) -> Recipe:
        """How it wants to be run."""
        ...

    @property
    def dit(self) -> DitConfig:
        """Of each transformer."""
        ...

    @property
    def vae(self) -> VaeConfig:
        """Of the autoencoder."""
        ...

    @property
    def sees_pictures(self) -> bool:
        """Whether an image encoder belongs to it."""
        ...

    def load_transformer(self, expert: int = 0, *, dtype: torch.dtype, device: torch.device) -> Dit:
        """One of the transformers."""
        ...

    def load_vae(self, *, device: torch.device) -> VideoVae:
        """The autoencoder."""
        ...

    def load_text(self, *, dtype: torch.dtype, device: torch.device) -> TextEncoder:
        """The text encoder."""
        ...

    def stored(self, part: str) -> dict[str, StoredTensor]:
        """What a part's files hold."""
        ...


def open_model(name: str) -> WanFolder | KinemaFolder:
    """The model of that name: `world` (shipped), a folder, or `owner/name` on the Hugging Face hub.

    Only settings are read; a hub model is fetched whole, its safetensors alone.

    Raises:
        UserError: there is no such model, it can't be fetched, or it is of a kind that is not known.
    """
    folder = _folder_of(name)
    if (folder / INDEX).is_file():
        return KinemaFolder.open(folder, name=name)
    if (folder / "model_index.json").is_file():
        return WanFolder.open(folder, name=name)
    raise UserError(
        f"{folder} is no model: it has neither {INDEX} nor model_index.json; "
        "give a folder in the diffusers layout of Wan 2.1 or 2.2, or one that Kinema wrote"
    )


def _folder_of(name: str) -> Path:
    if name in SHIPPED:
        folder = Path(__file__).parents[1] / "weights" / name
        if not (folder / INDEX).is_file():
            raise UserError(
                f"this copy of Kinema carries no model {name!r}; train one (kinema train release), "
                "or give --model a folder or hub id of Wan weights"
            )
        return folder
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise UserError(f"{name} is a file; give the folder of the model (the one with model_index.json)")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"there is no model {name!r}; give 'world', a folder, or owner/name of a hub model")
    return _fetched(name)


def _fetched(name: str) -> Path:
    """The folder of a hub model, from the cache or the network."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_PATTERNS))
    except errors.GatedRepoError:
        raise UserError(
            f"the hub asks you to accept the terms of {name} first; do so on its page and run: hf auth login"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise UserError(
            f"there is no folder {name} here, and no such model on the hub (or it is private); check the name"
        ) from None
    except Exception as error:
        # Failures of the network come as they are from whatever HTTP client this release of the hub uses.
        raise UserError(
            f"there is no folder {name} here, and the hub can't be reached ({type(error).__name__}); "
            "connect to the network, or copy the model's folder here and give its path"
        ) from None
