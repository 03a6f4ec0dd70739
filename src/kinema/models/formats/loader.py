"""Opening a model by its name: shipped, a folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from kinema.errors import UserError
from kinema.models.formats.native import INDEX_FILE, KinemaCheckpoint
from kinema.models.formats.safetensors_io import TensorInfo, damaged_files
from kinema.models.formats.wan import WanCheckpoint
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.text_encoders.base import TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig

TEACHER = "world-teacher"
"""The model that `world` was distilled from; training starts from it."""
SHIPPED = ("world", TEACHER)
_DOWNLOAD_PATTERNS = ["model_index.json", INDEX_FILE, "*/*.json", "*/*.safetensors", "*/spiece.model"]


@runtime_checkable
class ModelCheckpoint(Protocol):
    """A model folder of either layout: its settings, and its components on demand."""

    @property
    def name(self) -> str:
        """The name it was opened by."""
        ...

    @property
    def folder(self) -> Path:
        """The folder on disk."""
        ...

    def part(self, name: str) -> Path:
        """The path of a file or folder of the model."""
        ...

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """The settings to sample with by default."""
        ...

    @property
    def dit(self) -> DitConfig:
        """The config of each transformer."""
        ...

    @property
    def vae(self) -> VaeConfig:
        """The config of the autoencoder."""
        ...

    @property
    def description(self) -> str:
        """What it is and what it is stored in, in one line."""
        ...

    @property
    def has_image_encoder(self) -> bool:
        """Whether it has an image encoder."""
        ...

    def load_transformer(
        self, expert: int = 0, *, dtype: torch.dtype, device: torch.device, keep_packed: bool = False
    ) -> Dit:
        """One of the transformers; with `keep_packed` quantised weights stay as their file stores them."""
        ...

    def load_vae(self, *, device: torch.device) -> VideoVae:
        """The autoencoder."""
        ...

    def load_text_encoder(self, *, dtype: torch.dtype, device: torch.device) -> TextEncoder:
        """The text encoder."""
        ...

    def list_tensors(self, component: str) -> dict[str, TensorInfo]:
        """The tensors of a component, from the headers of its files."""
        ...


def refuse_distilled(model: ModelCheckpoint) -> None:
    """Refuse to train a model of few steps on data.

    Raises:
        UserError: it is distilled; the message says what to train.
    """
    steps = model.sampling_defaults.distilled_steps
    if steps is not None:
        teacher = TEACHER if model.name in SHIPPED else "the model that it was distilled from"
        raise UserError(
            f"{model.name} was distilled to {steps} steps, and training on data would undo that; "
            f"train {teacher} and distil the result (kinema train distill)"
        )


def open_model(
    name: str, *, vae: str | None = None, text_encoder: str | None = None
) -> WanCheckpoint | KinemaCheckpoint:
    """The model of that name: `world`, `world-teacher`, a folder, a file, or `owner/name` on the hub.

    Only settings are read. A hub model is downloaded: its settings and safetensors files.

    Args:
        name: the model.
        vae: an autoencoder in place of the model's, for models of the Wan family: a file, a folder, or
            `owner/name` on the hub.
        text_encoder: a text encoder, in the same forms.

    Raises:
        UserError: there is no such model, it can't be downloaded, or its format is unknown.
    """
    path = _resolve_path(name, _DOWNLOAD_PATTERNS)
    with damaged_files(path):
        return _open(path, name, vae, text_encoder)


def _open(
    path: Path, name: str, vae: str | None, text_encoder: str | None
) -> WanCheckpoint | KinemaCheckpoint:
    if (path / INDEX_FILE).is_file():
        if vae is not None or text_encoder is not None:
            raise UserError(
                f"{name} has an autoencoder and a text encoder of its own; leave out the other one"
            )
        return KinemaCheckpoint.open(path, name=name)
    return WanCheckpoint.open(
        path,
        name=name,
        vae=None if vae is None else _resolve_path(vae, ["vae/*", "Wan2.?_VAE.pth"]),
        text_encoder=None
        if text_encoder is None
        else _resolve_path(text_encoder, ["text_encoder/*", "tokenizer/*"]),
    )


def _resolve_path(name: str, patterns: list[str]) -> Path:
    """A folder or file by its name; `patterns` are the files of a hub model to download."""
    if name in SHIPPED:
        folder = Path(__file__).parents[2] / "weights" / name
        if not (folder / INDEX_FILE).is_file():
            raise UserError(
                f"this copy of Kinema does not contain the model {name!r}; train one (kinema train full), "
                "or give --model a folder or hub name of Wan weights"
            )
        return folder
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(
            f"there is no model {name!r}; give {', '.join(map(repr, SHIPPED))}, a folder, a file, or "
            "owner/name of a hub model"
        )
    return _download_from_hub(name, patterns)


def _download_from_hub(name: str, patterns: list[str]) -> Path:
    """The folder of a hub model in the local cache, downloaded if it is missing."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except errors.GatedRepoError:
        raise UserError(
            f"{name} is gated; accept its terms on its page on the hub, then run: hf auth login"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise UserError(
            f"there is no folder {name} here, and no such model on the hub (or it is private); check the name"
        ) from None
    except Exception as error:
        # Network errors have the types of the HTTP client, which differs between releases of huggingface_hub.
        raise UserError(
            f"there is no folder {name} here, and the hub can't be reached ({type(error).__name__}); "
            "connect to the network, or give the path of a local copy"
        ) from None
