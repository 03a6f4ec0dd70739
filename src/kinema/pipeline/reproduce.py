"""Generate a video again from its metadata; save and load the state of an interrupted generation."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import SHIPPED
from kinema.pipeline.metadata import GenerationMetadata, array_sha256, parse_metadata
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.progress import SamplerState
from kinema.pipeline.resolved_request import ResolvedRequest

STATE_FORMAT = "3"
"""Version of the files of `SavedGeneration.save`."""


def read_metadata(path: str | os.PathLike[str]) -> GenerationMetadata:
    """The metadata in a video's file.

    Raises:
        UserError: the file can't be read, or carries no request.
    """
    from kinema.media.probe import probe

    comment = probe(path).comment
    if not comment.lstrip().startswith("{"):
        raise UserError(
            f"{path} carries no request: Kinema did not make it, or another program has rewritten it"
        )
    return parse_metadata(comment, what=f"the request in {path}")


def restore_pipeline(
    metadata: GenerationMetadata,
    base_dir: Path,
    *,
    model: str | None = None,
    vae: str | None = None,
    text_encoder: str | None = None,
    device: str = "auto",
    memory: str = "auto",
    inputs: Sequence[Path] = (),
    loras: Sequence[Path] = (),
) -> tuple[Pipeline, ResolvedRequest]:
    """The model that generated a video, in the same type, and the video's request, resolved again.

    Args:
        metadata: of the video.
        base_dir: the folder of the video's file, where input files are looked for as well.
        model: the model; None: the one that the metadata names, if Kinema contains it. A folder or a name on
            the hub in a file's metadata is neither opened nor downloaded.
        vae: as in `kinema.pipeline.pipeline.load`, for a model in a single file.
        text_encoder: likewise.
        device: as in `kinema.pipeline.pipeline.load`.
        memory: likewise.
        inputs: where input files and folders are that are not below the folder of the video.
        loras: where LoRAs are that are not below the folder of the video.

    Raises:
        UserError: the model or an input file has to be named, is gone or has changed, or the video came from
            noise that its file lacks.
    """
    if metadata.noise_sha256:
        raise UserError("the video came from noise that was passed in; its file does not carry that")
    if model is None and metadata.model not in SHIPPED:
        raise UserError(
            f"the video was made with the model {metadata.model!r}; if you trust that model, name it: --model"
        )
    dtype = "int8" if metadata.int8 else "fp8" if metadata.fp8 else metadata.dtype
    pipe = load(
        model or metadata.model,
        device=device,
        dtype=dtype,
        memory=memory,
        vae=vae,
        text_encoder=text_encoder,
    )
    if fingerprint(pipe.model.folder) != metadata.fingerprint:
        raise UserError(
            f"{pipe.model.name} is not the model that generated the video (its weights differ); "
            "give that model with --model"
        )
    request = metadata.request_with_files(base_dir, inputs=inputs, loras=loras)
    resolved = pipe.resolve(
        # Videos of earlier versions were made from the prompts as they are.
        request if metadata.rewritten_prompts else dataclasses.replace(request, rewrite_prompt=False)
    )
    if tuple(resolved.rewritten_prompts.items()) != metadata.rewritten_prompts:
        raise UserError(
            f"{pipe.model.name} rewrites the prompt of this video differently than when it was made; "
            f"generate {metadata.rewritten_prompts[0][1]!r} instead"
        )
    return pipe, resolved


def frames_differ(metadata: GenerationMetadata, frames: np.ndarray) -> bool:
    """Whether a reproduced video has other frames; False where the metadata has no digest of them."""
    return bool(metadata.frames_sha256) and array_sha256(frames) != metadata.frames_sha256


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedGeneration:
    """An interrupted generation.

    Attributes:
        metadata: of the video; the frames are not known yet.
        sampler_state: after the last step.
    """

    metadata: GenerationMetadata
    sampler_state: SamplerState

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.state` file (safetensors).

        Raises:
            UserError: the folder can't be written.
        """
        from safetensors.torch import save

        latents = self.sampler_state.latents.contiguous()
        index, metadata = str(self.sampler_state.index), self.metadata.to_json()
        header = {
            "format": STATE_FORMAT,
            "index": index,
            "metadata": metadata,
            "sha256": _state_sha256(latents, index, metadata),
        }
        write_bytes(path, save({"latents": latents}, metadata=header))


def snapshot(pipeline: Pipeline, resolved: ResolvedRequest, sampler_state: SamplerState) -> SavedGeneration:
    """The state of a running generation."""
    return SavedGeneration(metadata=pipeline.metadata(resolved), sampler_state=sampler_state)


def load_state(path: str | os.PathLike[str]) -> SavedGeneration:
    """Read a `.state` file.

    Raises:
        UserError: it is not there, it is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header, latents = file.metadata() or {}, file.get_tensor("latents")
        if header.get("format") != STATE_FORMAT:
            raise KeyError("format")
        is_intact = header["sha256"] == _state_sha256(latents, header["index"], header["metadata"])
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; give the .state file that an interrupted generation left"
        ) from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError):
        raise UserError(
            f"{path} is no state of an interrupted generation of this version; such files end in .state"
        ) from None
    if not is_intact or not header["index"].isdecimal() or len(header["index"]) > 9:
        raise UserError(f"{path} is damaged: its checksum does not fit; generate the video again")
    if not latents.is_floating_point() or not torch.isfinite(latents).all():
        raise UserError(f"{path} has latents that are not numbers; generate the video again")
    return SavedGeneration(
        metadata=parse_metadata(header["metadata"], what=str(path)),
        sampler_state=SamplerState(index=int(header["index"]), latents=latents),
    )


def _state_sha256(latents: Tensor, index: str, metadata: str) -> str:
    """Digest of all that a state holds; the parts are separated by their lengths."""
    data = latents.contiguous().view(torch.uint8).numpy().tobytes()
    digest = hashlib.sha256()
    for part in (
        str(latents.dtype).encode(),
        str(tuple(latents.shape)).encode(),
        index.encode(),
        metadata.encode(),
        data,
    ):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
