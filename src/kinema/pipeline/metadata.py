"""Reproducibility metadata: the resolved request and what generated the video, as JSON in the video's file.

A file's metadata comes from whoever wrote the file and is not trusted: images in it are decoded as PNG only,
paths in it are opened only below the folder of the file or where the person names them, and a model in it is
loaded only if Kinema contains it or the person names it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from kinema._version import __version__
from kinema.atomic_io import file_sha256
from kinema.errors import UserError
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.serialization import from_json
from kinema.pipeline.loras import find_moved
from kinema.pipeline.memory_policy import MemoryPolicy
from kinema.pipeline.request import ImageInput, Lora, VideoRequest, is_data_url
from kinema.pipeline.resolved_request import ResolvedRequest


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """An input file of a request and its SHA-256."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerationMetadata:
    """What generated a video.

    Attributes:
        model: what the model was loaded from.
        fingerprint: of the model, see `kinema.models.formats.fingerprint`.
        request: the request with every setting decided.
        files: digests of the input files and LoRAs.
        noise_sha256: of noise that came with the request; the file does not carry that noise.
        device: its type.
        dtype: of the weights.
        int8: whether the transformers' large weights were int8.
        kinema: the version; `torch` likewise.
        frames_sha256: of the frames before a codec changed them; empty where they were written as a stream.
        fp8: whether the transformers' large weights were float8.
        rewritten_prompts: prompts of the request, each with the one that was encoded in its place.
    """

    model: str
    fingerprint: str
    request: VideoRequest
    files: tuple[FileDigest, ...] = ()
    noise_sha256: str = ""
    device: str
    dtype: str
    int8: bool
    kinema: str
    torch: str
    frames_sha256: str = ""
    fp8: bool = False
    rewritten_prompts: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        files = [{"path": file.path, "sha256": file.sha256} for file in self.files]
        return values | {"request": self.request.to_dict(), "files": files}

    def to_json(self) -> str:
        """As it is kept in the video's file."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def relative_to(self, folder: Path) -> GenerationMetadata:
        """The same with paths inside `folder` relative to it: a file should not tell where it was made."""

        def shorten(path: str) -> str:
            return os.path.relpath(path, folder) if Path(path).is_relative_to(folder) else path

        def shorten_input(value: ImageInput) -> ImageInput:
            if isinstance(value, np.ndarray) or is_data_url(value):
                return value
            return shorten(os.fspath(value))

        files = tuple(dataclasses.replace(file, path=shorten(file.path)) for file in self.files)
        loras = tuple(
            dataclasses.replace(lora, file=shorten(os.fspath(lora.file))) for lora in self.request.loras
        )
        request = dataclasses.replace(self.request.map_files(shorten_input), loras=loras)
        return dataclasses.replace(self, request=request, files=files)

    def request_with_files(
        self, base_dir: Path, *, inputs: Sequence[Path] = (), loras: Sequence[Path] = ()
    ) -> VideoRequest:
        """The request with its input files found and checked.

        Whoever wrote the file chose the paths in it. Only files below the video's folder are opened because
        of them; files elsewhere, and folders, are opened where the caller names them.

        Args:
            base_dir: the folder of the video's file.
            inputs: where input files and folders are; they are recognised by their digests.
            loras: where LoRAs are, likewise.

        Raises:
            UserError: a file is not found or has changed.
        """
        digests = {file.path: file.sha256 for file in self.files}

        def find(value: ImageInput) -> ImageInput:
            if isinstance(value, np.ndarray) or is_data_url(value):
                return value
            path = os.fspath(value)
            existing = [*_files_below(base_dir, path), *inputs]
            for place in existing:
                if place.exists() and path_sha256(place) == digests.get(path):
                    return place
            problem = "has changed since" if _files_below(base_dir, path) else f"is not in {base_dir}"
            raise UserError(
                f"the video was made from {path}, which {problem}; name the file as it was: --input FILE"
            )

        def find_lora(lora: Lora) -> Lora:
            path = os.fspath(lora.file)
            found = find_moved(lora, digests.get(path, ""), [*loras, *_files_below(base_dir, path)])
            if found is None:
                raise UserError(
                    f"the video was made with the LoRA {path}, and no file in {base_dir} is the same; "
                    "give that file with --lora"
                )
            return found

        request = self.request.map_files(find)
        return dataclasses.replace(request, loras=tuple(find_lora(lora) for lora in request.loras))


def _files_below(folder: Path, path: str) -> list[Path]:
    """Regular files that a path in a video's metadata may mean: below the video's folder, by path or name."""
    root = folder.resolve()
    found = []
    for name in dict.fromkeys((path, os.path.basename(path))):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            place = (root / name).resolve()
            if place.is_relative_to(root) and place.is_file():
                found.append(folder / place.relative_to(root))
    return found


def parse_metadata(text: str, *, what: str) -> GenerationMetadata:
    """What `GenerationMetadata.to_json` wrote.

    Args:
        text: the JSON.
        what: where it comes from, for messages.

    Raises:
        UserError: the text is something else.
    """
    return from_json(GenerationMetadata, text, source=what)


def build_metadata(
    resolved: ResolvedRequest,
    model: ModelCheckpoint,
    policy: MemoryPolicy,
    device: torch.device,
    frames: UInt8[np.ndarray, "f h w 3"] | None = None,
) -> GenerationMetadata:
    """The metadata of a request's video; input files are read for their digests.

    Args:
        resolved: the request.
        model: the checkpoint.
        policy: how its weights are held.
        device: where it runs.
        frames: all frames of the finished video, if they are at hand.
    """
    noise = resolved.noise
    return GenerationMetadata(
        model=model.name,
        fingerprint=fingerprint(model.folder),
        request=resolved.request,
        files=(
            *(FileDigest(path=path, sha256=path_sha256(Path(path))) for path in resolved.request.files()),
            *(FileDigest(path=os.fspath(one.lora.file), sha256=one.sha256) for one in resolved.loras),
        ),
        noise_sha256="" if noise is None else array_sha256(noise.cpu().numpy()),
        device=device.type,
        dtype=str(policy.dtype).removeprefix("torch."),
        int8=policy.int8,
        fp8=policy.fp8,
        kinema=__version__,
        torch=torch.__version__,
        frames_sha256="" if frames is None else array_sha256(frames),
        rewritten_prompts=tuple(resolved.rewritten_prompts.items()),
    )


def array_sha256(values: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def path_sha256(path: Path) -> str:
    """SHA-256 of a file, or of the files of a folder in order."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()
