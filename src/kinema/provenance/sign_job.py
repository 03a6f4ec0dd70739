"""Films signed by the worker that made them, where the operator wants it (C2PA)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kinema.provenance.certificates import SigningIdentity, load_certificate, load_self_signed
from kinema.provenance.manifest import Ingredient, Provenance, Role, require_libraries, sign
from kinema.server.backends.base import require_file
from kinema.server.job_spec import JobSpec

_TASK_ROLES: dict[str, Role] = {"edit": "edited", "extend": "extended", "connect": "connected"}


def load_identity(certificate: str, key: str) -> SigningIdentity:
    """Who signs: the operator's certificate, or for an empty name this user's self-made one.

    Raises:
        UserError: it is not fit for signing, or the libraries are not installed.
    """
    require_libraries()
    return (
        load_certificate(Path(certificate), Path(key) if key else None) if certificate else load_self_signed()
    )


def sign_job_video(path: Path, spec: JobSpec, model: str, identity: SigningIdentity) -> None:
    """Sign a film that was just written; what it was made from still lies beside it.

    Raises:
        UserError: as `kinema.provenance.manifest.sign`.
    """
    made = Provenance(
        prompt=spec.prompt,
        model=model,
        seed=spec.seed,
        ingredients=tuple(_list_ingredients(spec, path.parent)),
    )
    sign(path, made, identity=identity)


def _list_ingredients(spec: JobSpec, job_dir: Path) -> Iterator[Ingredient]:
    role = _TASK_ROLES.get(spec.task, "edited")
    names: list[tuple[str | None, Role]] = [
        (spec.source_video, role),
        (spec.next_video, role),
        (spec.image, "first frame"),
        (spec.last_image, "last frame"),
        *((shot.image, "keyframe") for shot in spec.storyboard),
    ]
    for name, used in names:
        path = require_file(job_dir, name)
        if path is not None:
            yield Ingredient(source=path, role=used)
