"""Where the parts of a Wan model are: transformers, autoencoder, text encoder, tokenizer, image encoder.

Three layouts have all parts in one folder: that of diffusers, and those of the original repositories of Wan
2.1 and 2.2. A single file holds a transformer alone. Its other parts are given, or found in the folders
around it: beside it, or in `vae` and `text_encoders` where ComfyUI keeps them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.models.formats.weight_files import WEIGHT_SUFFIXES

_T5_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
_VAE_FILES = ("Wan2.1_VAE.pth", "Wan2.2_VAE.pth")
_TOKENIZER_FOLDERS = ("tokenizer", "google/umt5-xxl", "umt5-xxl")
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer_config.json")
_HIGH_AND_LOW = (("high_noise", "low_noise"), ("HIGH", "LOW"), ("High", "Low"), ("high", "low"))
_MAX_PARENTS = 4


@dataclass(frozen=True, kw_only=True)
class WanParts:
    """The folder or file of each part; None where the model has none, or it was not found.

    Attributes:
        transformers: one, or two experts, high noise first.
        vae: the autoencoder.
        text_encoder: UMT5.
        tokenizer: a folder.
        image_encoder: CLIP (2.1 image-to-video).
        image_processor: a folder with its settings; None: those that Wan was trained with.
    """

    transformers: tuple[Path, ...]
    vae: Path | None = None
    text_encoder: Path | None = None
    tokenizer: Path | None = None
    image_encoder: Path | None = None
    image_processor: Path | None = None

    def component(self, name: str) -> Path | None:
        """The folder or file of a component by its name in diffusers' layout; None: there is none."""
        if name in ("transformer", "transformer_2"):
            index = int(name == "transformer_2")
            return self.transformers[index] if index < len(self.transformers) else None
        return {"vae": self.vae, "text_encoder": self.text_encoder, "image_encoder": self.image_encoder}.get(
            name
        )


def diffusers_parts(folder: Path, *, experts: int) -> WanParts:
    """The parts of a folder in diffusers' layout."""
    names = ("transformer", "transformer_2")[:experts]
    image_encoder = folder / "image_encoder"
    return WanParts(
        transformers=tuple(folder / name for name in names),
        vae=folder / "vae",
        text_encoder=folder / "text_encoder",
        tokenizer=folder / "tokenizer",
        image_encoder=image_encoder if image_encoder.is_dir() else None,
        image_processor=folder / "image_processor",
    )


def original_parts(folder: Path) -> WanParts | None:
    """The parts of a folder of the original repositories; None: it is no such folder."""
    experts = (folder / "high_noise_model", folder / "low_noise_model")
    if all((expert / "config.json").is_file() for expert in experts):
        transformers: tuple[Path, ...] = experts
    elif (folder / "config.json").is_file() and any(folder.glob("diffusion_pytorch_model*.safetensors")):
        transformers = (folder,)
    else:
        return None
    clip = sorted(folder.glob("models_clip_*.pth"))
    return _with_text_encoder(
        WanParts(
            transformers=transformers,
            vae=_first_file([folder / name for name in _VAE_FILES]),
            image_encoder=clip[0] if clip else None,
        ),
        folder / _T5_FILE if (folder / _T5_FILE).is_file() else None,
    )


def single_file_parts(path: Path) -> WanParts:
    """The parts that are found around a transformer in a single file, or around two experts in a folder.

    Raises:
        UserError: the file is one of two experts, and the other is not there.
    """
    transformers = _expert_files(path)
    parts = WanParts(transformers=transformers)
    for folder in _folders_around(transformers[0]):
        files = [
            file
            for inner in (
                folder,
                *(folder / name for name in ("vae", "text_encoders", "clip", "clip_vision")),
            )
            if inner.is_dir()
            for file in sorted(inner.iterdir())
            if file.suffix in WEIGHT_SUFFIXES and file not in transformers
        ]
        vae = parts.vae or _first_match(files, r"wan.?2.?[12].*vae|^vae.*wan")
        text = _first_match(files, r"umt5.*xxl")
        clip = parts.image_encoder or _first_match(files, r"clip_vision_h|models_clip")
        parts = dataclasses.replace(parts, vae=vae, image_encoder=clip)
        if parts.text_encoder is None and text is not None:
            parts = _with_text_encoder(parts, text)
        if parts.vae is not None and parts.text_encoder is not None:
            break
    return parts


def find_vae(path: Path) -> Path:
    """The autoencoder in what was given as one: a file, its folder, or the folder of a whole model."""
    if (path / "vae").is_dir():
        return path / "vae"
    return _first_file([path / name for name in _VAE_FILES]) or path


def find_text_encoder(parts: WanParts, path: Path) -> WanParts:
    """The parts with the text encoder in what was given as one: a file, its folder, or that of a model."""
    if (path / "text_encoder").is_dir():
        return dataclasses.replace(parts, text_encoder=path / "text_encoder", tokenizer=path / "tokenizer")
    if (path / _T5_FILE).is_file():
        return _with_text_encoder(parts, path / _T5_FILE)
    if path.is_dir() and any((path / name).is_file() for name in _TOKENIZER_FILES):
        return dataclasses.replace(parts, text_encoder=path, tokenizer=path)
    return _with_text_encoder(parts, path)


def _with_text_encoder(parts: WanParts, path: Path | None) -> WanParts:
    if path is None:
        return parts
    around = [path.parent, *list(path.parents)[1:_MAX_PARENTS]]
    tokenizer = next(
        (
            folder / name
            for folder in around
            for name in _TOKENIZER_FOLDERS
            if any((folder / name / file).is_file() for file in _TOKENIZER_FILES)
        ),
        None,
    )
    return dataclasses.replace(parts, text_encoder=path, tokenizer=tokenizer)


def _expert_files(path: Path) -> tuple[Path, ...]:
    """A file alone, or with the other one of two experts."""
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix in WEIGHT_SUFFIXES]
        files = [file for file in files if not re.search(r"vae|umt5|clip", file.name, re.IGNORECASE)]
        if not files:
            raise UserError(
                f"{path} is not a model: it has neither kinema.json nor model_index.json nor a transformer "
                "in a single file; give a folder of Wan, a single file, or a folder that Kinema wrote"
            )
        is_pair = len(files) == 2 and any(_partner(files[0], side) == files[1] for side in (0, 1))
        if len(files) > 1 and not is_pair:
            raise UserError(
                f"{path} has {len(files)} files that may be transformers ({files[0].name}, {files[1].name}); "
                "give the path of one"
            )
        path = files[0]
    for side in (0, 1):
        partner = _partner(path, side)
        if partner is not None:
            if not partner.is_file():
                kind, other = ("high", "low")[side], ("low", "high")[side]
                raise UserError(
                    f"{path.name} is the expert for {kind} noise, and the one for {other} noise is missing; "
                    f"put {partner.name} beside it"
                )
            return (path, partner) if side == 0 else (partner, path)
    return (path,)


def _partner(path: Path, side: int) -> Path | None:
    """The other expert's file, if the name says that this is one for high (0) or low (1) noise."""
    for pair in _HIGH_AND_LOW:
        own, other = pair[side], pair[1 - side]
        if re.search(rf"(?<![a-zA-Z]){own}(?![a-z])", path.stem):
            return path.with_name(re.sub(rf"(?<![a-zA-Z]){own}(?![a-z])", other, path.stem) + path.suffix)
    return None


def _folders_around(file: Path) -> Iterator[Path]:
    """The folder of a file and those above it, as far as ComfyUI's layout reaches."""
    yield file.parent
    for parent in list(file.parents)[1:_MAX_PARENTS]:
        if any((parent / name).is_dir() for name in ("vae", "text_encoders", "clip")):
            yield parent


def _first_match(files: list[Path], pattern: str) -> Path | None:
    return next((file for file in files if re.search(pattern, file.name, re.IGNORECASE)), None)


def _first_file(files: list[Path]) -> Path | None:
    return next((file for file in files if file.is_file()), None)
