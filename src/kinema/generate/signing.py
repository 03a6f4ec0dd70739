"""Content credentials for films of ours: what made them stands in their files already."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

from kinema.generate.origin import Given, Told
from kinema.generate.replay import request_of
from kinema.media.provenance import Ingredient, Provenance, Role, check_signable, sign
from kinema.media.provenance_identity import Identity


def sign_film(path: str | os.PathLike[str], *, identity: Identity | None = None) -> None:
    """Sign a film with the request in its file; the films and pictures it was made from are ingredients.

    Args:
        path: a finished film of `Film.save`.
        identity: who signs. None: the self-made certificate of this user.

    Raises:
        UserError: the file carries no request, or something that the film was made from is gone or has
            changed; or as `kinema.media.provenance.sign`.
    """
    check_signable(path)
    sign(path, provenance_of(path), identity=identity)


def provenance_of(path: str | os.PathLike[str]) -> Provenance:
    """What to declare of a film that carries its request.

    Raises:
        UserError: it carries none, or something that it was made from is gone or has changed.
    """
    origin = request_of(path)
    told = origin.request
    shots = [shot.prompt for shot in told.storyboard]
    return Provenance(
        prompt=" / ".join([told.prompt, *shots] if told.prompt else shots),
        model=origin.model,
        seed=None if told.noise else told.seed,
        ingredients=tuple(_ingredient(given, role, Path(path).parent) for given, role in _given(told)),
    )


def _given(told: Told) -> Iterator[tuple[Given, Role]]:
    """All that was given, films first."""
    verbs: dict[str, Role] = {"extend": "extended", "connect": "connected", "edit": "edited"}
    for film in told.films:
        yield film, verbs[told.source]
    if told.mask is not None:
        yield told.mask, "mask"
    if told.image is not None:
        yield told.image, "first frame"
    if told.last_image is not None:
        yield told.last_image, "last frame"
    for key in told.keyframes:
        yield key.image, "keyframe"
    for shot in told.storyboard:
        if shot.image is not None:
            yield shot.image, "keyframe"


def _ingredient(given: Given, role: Role, beside: Path) -> Ingredient:
    if given.png:
        return Ingredient(source=base64.b64decode(given.png), role=role)
    return Ingredient(source=Path(str(given.source(beside))), role=role)
