"""Films made again from the request in their files, and films that were stopped, from their saved state."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.errors import UserError
from kinema.files import write_bytes
from kinema.generate.origin import Origin, digest, origin_from, origin_of
from kinema.generate.pipeline import Pipeline, load
from kinema.generate.progress import Saved
from kinema.generate.request import Request, decide
from kinema.models.fingerprint import fingerprint


def request_of(path: str | os.PathLike[str]) -> Origin:
    """What a film was made from, as its file says.

    Raises:
        UserError: the file can't be read, or carries no request.
    """
    from kinema.media.probe import probe

    comment = probe(path).comment
    if not comment.lstrip().startswith("{"):
        raise UserError(f"{path} carries no request: it was not made by Kinema, or was written anew since")
    return origin_from(comment, what=f"the request in {path}")


def reopened(
    origin: Origin, beside: Path, *, model: str | None = None, device: str = "auto", memory: str = "auto"
) -> tuple[Pipeline, Request]:
    """The model that made a film, in the same type, and the film decided again.

    Args:
        origin: of the film.
        beside: the folder of the film's file, where what was given is looked for too.
        model: where the model is now; None: where it was.
        device: as in `kinema.generate.pipeline.load`.
        memory: likewise.

    Raises:
        UserError: the model, or something that was given, is gone or has changed.
    """
    dtype = "int8" if origin.int8 else origin.dtype
    pipe = load(model or origin.model, device=device, dtype=dtype, memory=memory)
    if fingerprint(pipe.model.folder) != origin.fingerprint:
        raise UserError(
            f"{pipe.model.name} is not the model that made the film (its weights are others); "
            "give the one that did with --model"
        )
    return pipe, decide(pipe.model, origin.request.wish(beside))


def differs(origin: Origin, frames: np.ndarray) -> bool:
    """Whether a film that was made again has other frames; False where the file says nothing of them."""
    return bool(origin.frames) and digest(frames) != origin.frames


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """A film that was stopped.

    Attributes:
        origin: what it is made from; its `frames` are not known yet.
        saved: how far it is.
        out: where the film was to go.
    """

    origin: Origin
    saved: Saved
    out: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it.

        Raises:
            UserError: the folder can't be written.
        """
        from safetensors.torch import save

        metadata = {"kinema": json.dumps({"index": self.saved.index, "out": self.out, "format": 1})}
        metadata["origin"] = self.origin.to_json()
        write_bytes(path, save({"latents": self.saved.latents.contiguous()}, metadata=metadata))


def state_of(pipe: Pipeline, request: Request, saved: Saved, out: str | os.PathLike[str]) -> State:
    """The state of a film that is being made."""
    origin = origin_of(request, pipe.model, pipe.choice, pipe.device)
    return State(origin=origin, saved=saved, out=os.fspath(out))


def load_state(path: str | os.PathLike[str]) -> State:
    """Read a state.

    Raises:
        UserError: it is not there, or it is no state.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            told, latents = file.metadata() or {}, file.get_tensor("latents")
        values = json.loads(told["kinema"])
        saved = Saved(index=int(values["index"]), latents=latents)
        out = str(values["out"])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give the state that a stopped film left") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        raise UserError(f"{path} is no state of a stopped film; it ends in .state") from None
    return State(origin=origin_from(told.get("origin", ""), what=str(path)), saved=saved, out=out)
