"""Generate a video again from its metadata; save and load the state of an interrupted generation."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.models.formats.fingerprint import fingerprint
from kinema.pipeline.metadata import GenerationMetadata, array_sha256, parse_metadata
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.progress import SamplerState
from kinema.pipeline.resolve import ResolvedRequest


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
    device: str = "auto",
    memory: str = "auto",
    loras: Sequence[Path] = (),
) -> tuple[Pipeline, ResolvedRequest]:
    """The model that generated a video, in the same type, and the video's request, resolved again.

    Args:
        metadata: of the video.
        base_dir: the folder of the video's file, where input files are looked for as well.
        model: where the model is now; None: where it was.
        device: as in `kinema.pipeline.pipeline.load`.
        memory: likewise.
        loras: where LoRAs are now, if they have moved.

    Raises:
        UserError: the model or an input file is gone or has changed.
    """
    dtype = "int8" if metadata.int8 else metadata.dtype
    pipe = load(model or metadata.model, device=device, dtype=dtype, memory=memory)
    if fingerprint(pipe.model.folder) != metadata.fingerprint:
        raise UserError(
            f"{pipe.model.name} is not the model that generated the video (its weights differ); "
            "give that model with --model"
        )
    return pipe, pipe.resolve(metadata.request_with_files(base_dir, loras=loras))


def frames_differ(metadata: GenerationMetadata, frames: np.ndarray) -> bool:
    """Whether a reproduced video has other frames; False where the metadata has no digest of them."""
    return bool(metadata.frames_sha256) and array_sha256(frames) != metadata.frames_sha256


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedGeneration:
    """An interrupted generation.

    Attributes:
        metadata: of the video; the frames are not known yet.
        sampler_state: after the last step.
        output_path: the file that the video was meant for.
    """

    metadata: GenerationMetadata
    sampler_state: SamplerState
    output_path: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.state` file (safetensors).

        Raises:
            UserError: the folder can't be written.
        """
        from safetensors.torch import save

        metadata = {
            "kinema": json.dumps(
                {"index": self.sampler_state.index, "output_path": self.output_path, "format": 2}
            )
        }
        metadata["metadata"] = self.metadata.to_json()
        write_bytes(path, save({"latents": self.sampler_state.latents.contiguous()}, metadata=metadata))


def snapshot(
    pipeline: Pipeline,
    resolved: ResolvedRequest,
    sampler_state: SamplerState,
    output_path: str | os.PathLike[str],
) -> SavedGeneration:
    """The state of a running generation."""
    return SavedGeneration(
        metadata=pipeline.metadata(resolved), sampler_state=sampler_state, output_path=os.fspath(output_path)
    )


def load_state(path: str | os.PathLike[str]) -> SavedGeneration:
    """Read a `.state` file.

    Raises:
        UserError: it is not there, or it is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header, latents = file.metadata() or {}, file.get_tensor("latents")
        values = json.loads(header["kinema"])
        state = SamplerState(index=int(values["index"]), latents=latents)
        output_path = str(values["output_path"])
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; give the .state file that an interrupted generation left"
        ) from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        raise UserError(
            f"{path} is no state of an interrupted generation; such files end in .state"
        ) from None
    return SavedGeneration(
        metadata=parse_metadata(header.get("metadata", ""), what=str(path)),
        sampler_state=state,
        output_path=output_path,
    )
