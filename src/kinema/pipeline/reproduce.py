"""Films made again from the request in their files, and films that were stopped, from their saved state."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.models.formats.fingerprint import fingerprint
from kinema.pipeline.metadata import GenerationMetadata, array_sha256, build_metadata, parse_metadata
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.progress import SamplerState
from kinema.pipeline.resolve import ResolvedRequest, resolve_request


def read_metadata(path: str | os.PathLike[str]) -> GenerationMetadata:
    """What a film was made from, as its file says.

    Raises:
        UserError: the file can't be read, or carries no request.
    """
    from kinema.media.probe import probe

    comment = probe(path).comment
    if not comment.lstrip().startswith("{"):
        raise UserError(f"{path} carries no request: it was not made by Kinema, or was written anew since")
    return parse_metadata(comment, what=f"the request in {path}")


def restore_pipeline(
    metadata: GenerationMetadata,
    base_dir: Path,
    *,
    model: str | None = None,
    device: str = "auto",
    memory: str = "auto",
) -> tuple[Pipeline, ResolvedRequest]:
    """The model that made a film, in the same type, and the film decided again.

    Args:
        metadata: of the film.
        base_dir: the folder of the film's file, where what was given is looked for too.
        model: where the model is now; None: where it was.
        device: as in `kinema.pipeline.pipeline.load`.
        memory: likewise.

    Raises:
        UserError: the model, or something that was given, is gone or has changed.
    """
    dtype = "int8" if metadata.int8 else metadata.dtype
    pipe = load(model or metadata.model, device=device, dtype=dtype, memory=memory)
    if fingerprint(pipe.model.folder) != metadata.fingerprint:
        raise UserError(
            f"{pipe.model.name} is not the model that made the film (its weights are others); "
            "give the one that did with --model"
        )
    return pipe, resolve_request(pipe.model, metadata.request.to_request(base_dir))


def frames_differ(metadata: GenerationMetadata, frames: np.ndarray) -> bool:
    """Whether a film that was made again has other frames; False where the file says nothing of them."""
    return bool(metadata.frames_sha256) and array_sha256(frames) != metadata.frames_sha256


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedGeneration:
    """A film that was stopped.

    Attributes:
        metadata: what it is made from; its `frames` are not known yet.
        sampler_state: how far it is.
        output_path: where the film was to go.
    """

    metadata: GenerationMetadata
    sampler_state: SamplerState
    output_path: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it.

        Raises:
            UserError: the folder can't be written.
        """
        from safetensors.torch import save

        metadata = {
            "kinema": json.dumps({"index": self.sampler_state.index, "out": self.output_path, "format": 1})
        }
        metadata["origin"] = self.metadata.to_json()
        write_bytes(path, save({"latents": self.sampler_state.latents.contiguous()}, metadata=metadata))


def snapshot(
    pipeline: Pipeline,
    resolved: ResolvedRequest,
    sampler_state: SamplerState,
    output_path: str | os.PathLike[str],
) -> SavedGeneration:
    """The state of a film that is being made."""
    origin = build_metadata(resolved, pipeline.model, pipeline.policy, pipeline.device)
    return SavedGeneration(metadata=origin, sampler_state=sampler_state, output_path=os.fspath(output_path))


def load_state(path: str | os.PathLike[str]) -> SavedGeneration:
    """Read a state.

    Raises:
        UserError: it is not there, or it is no state.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            told, latents = file.metadata() or {}, file.get_tensor("latents")
        values = json.loads(told["kinema"])
        saved = SamplerState(index=int(values["index"]), latents=latents)
        out = str(values["out"])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give the state that a stopped film left") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        raise UserError(f"{path} is no state of a stopped film; it ends in .state") from None
    return SavedGeneration(
        metadata=parse_metadata(told.get("origin", ""), what=str(path)), sampler_state=saved, output_path=out
    )
