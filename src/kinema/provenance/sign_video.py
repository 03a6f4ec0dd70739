"""Content credentials for films of ours: what made them stands in their files already."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

from kinema.pipeline.metadata import FileReference, RequestRecord
from kinema.pipeline.reproduce import read_metadata
from kinema.provenance.certificates import SigningIdentity
from kinema.provenance.manifest import Ingredient, Provenance, Role, check_signable, sign


def sign_video(path: str | os.PathLike[str], *, identity: SigningIdentity | None = None) -> None:
    """Sign a film with the request in its file; the films and pictures it was made from are ingredients.

    Args:
        path: a finished film of `Film.save`.
        identity: who signs. None: the self-made certificate of this user.

    Raises:
        UserError: the file carries no request, or something that the film was made from is gone or has
            changed; or as `kinema.provenance.manifest.sign`.
    """
    check_signable(path)
    sign(path, build_provenance(path), identity=identity)


def build_provenance(path: str | os.PathLike[str]) -> Provenance:
    """What to declare of a film that carries its request.

    Raises:
        UserError: it carries none, or something that it was made from is gone or has changed.
    """
    origin = read_metadata(path)
    told = origin.request
    shots = [shot.prompt for shot in told.storyboard]
    return Provenance(
        prompt=" / ".join([told.prompt, *shots] if told.prompt else shots),
        model=origin.model,
        seed=None if told.noise else told.seed,
        ingredients=tuple(_ingredient(given, role, Path(path).parent) for given, role in _input_files(told)),
    )


def _input_files(record: RequestRecord) -> Iterator[tuple[FileReference, Role]]:
    """All that was given, films first."""
    verbs: dict[str, Role] = {"extend": "extended", "connect": "connected", "edit": "edited"}
    for film in record.videos:
        yield film, verbs[record.source]
    if record.mask is not None:
        yield record.mask, "mask"
    if record.image is not None:
        yield record.image, "first frame"
    if record.last_image is not None:
        yield record.last_image, "last frame"
    for key in record.keyframes:
        yield key.image, "keyframe"
    for shot in record.storyboard:
        if shot.image is not None:
            yield shot.image, "keyframe"


def _ingredient(reference: FileReference, role: Role, base_dir: Path) -> Ingredient:
    if reference.png:
        return Ingredient(source=base64.b64decode(reference.png), role=role)
    return Ingredient(source=Path(str(reference.resolve(base_dir))), role=role)
