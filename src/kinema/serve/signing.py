"""Films signed by the worker that made them, where the operator wants it (C2PA)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kinema.media.provenance import Ingredient, Provenance, Role, require, sign
from kinema.media.provenance_identity import Identity, own, self_made
from kinema.serve.maker import needed
from kinema.serve.wanted import Wanted

_ROLES: dict[str, Role] = {"edit": "edited", "extend": "extended", "connect": "connected"}


def identity_of(certificate: str, key: str) -> Identity:
    """Who signs: the operator's certificate, or for an empty name this user's self-made one.

    Raises:
        UserError: it is not fit for signing, or the libraries are not installed.
    """
    require()
    return own(Path(certificate), Path(key) if key else None) if certificate else self_made()


def sign_video(film: Path, wanted: Wanted, model: str, identity: Identity) -> None:
    """Sign a film that was just written; what it was made from still lies beside it.

    Raises:
        UserError: as `kinema.media.provenance.sign`.
    """
    made = Provenance(
        prompt=wanted.prompt, model=model, seed=wanted.seed, ingredients=tuple(_given(wanted, film.parent))
    )
    sign(film, made, identity=identity)


def _given(wanted: Wanted, folder: Path) -> Iterator[Ingredient]:
    role = _ROLES.get(wanted.verb, "edited")
    names: list[tuple[str | None, Role]] = [
        (wanted.source, role),
        (wanted.second, role),
        (wanted.image, "first frame"),
        (wanted.last_image, "last frame"),
        *((shot.image, "keyframe") for shot in wanted.storyboard),
    ]
    for name, used in names:
        path = needed(folder, name)
        if path is not None:
            yield Ingredient(source=path, role=used)
