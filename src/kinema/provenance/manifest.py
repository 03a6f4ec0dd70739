"""Saying in the file itself how a video was made, so that later changes show (C2PA content credentials).

sign("video.mp4", Provenance(prompt="a red ball", model="world", seed=3))
print(provenance_read.credentials("video.mp4").state)     # valid, tampered or unsigned

`sign` works on finished files: it writes the signed video beside the old one and renames it. Nothing here
uses the network. Reference: the C2PA specification 2.x; the format work is c2pa-python's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Generator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kinema.atomic_io import atomic_write, file_sha256, require_readable
from kinema.errors import UserError
from kinema.provenance.certificates import SigningIdentity, load_self_signed, require_libraries

if TYPE_CHECKING:
    import c2pa  # Loaded where it is used: it is optional, and brings a library of 50 MB.

ASSERTION_LABEL = "org.kinema.generation"
"""Of our assertion."""
AI_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""What IPTC calls media made by a trained model."""
SIGNABLE_MIME_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".avi": "video/avi",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".zip": "application/x-zip",
}
"""What C2PA can put credentials in, of what Kinema writes or reads."""

Role = Literal["first frame", "last frame", "keyframe", "extended", "interpolated", "edited", "mask"]
"""What a video or image was to the new video."""


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A video or image that a video was made from.

    Attributes:
        source: a file, or the bytes of one.
        role: what it was used as.
        title: its name for readers. None: the file's name.
    """

    source: Path | bytes
    role: Role
    title: str | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a video was made.

    Attributes:
        prompt: what it was asked for.
        model: which model made it.
        seed: of the noise; None where the noise was given.
        ingredients: videos and images that it was made from.
    """

    prompt: str = ""
    model: str = ""
    seed: int | None = None
    ingredients: tuple[Ingredient, ...] = ()


def c2pa_settings() -> c2pa.Settings:
    """Of the C2PA library: it stays off the network, and makes no thumbnails that nobody asked for."""
    import c2pa

    return c2pa.Settings.from_dict(
        {
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
            "builder": {"thumbnail": {"enabled": False}},
        }
    )


def check_signable(path: str | os.PathLike[str]) -> str:
    """The MIME type under which C2PA signs this file; told by its name, so before the work.

    Raises:
        UserError: a kind of file that can't carry credentials; or the libraries are not installed.
    """
    require_libraries()
    suffix = Path(path).suffix.lower()
    if suffix not in SIGNABLE_MIME_TYPES:
        kind = f"a {suffix} file" if suffix else "a folder of images"
        raise UserError(
            f"{Path(path).name} can't be signed: C2PA has no place for credentials in {kind}; "
            "write .mp4, .gif, .webp or .zip, or don't sign"
        )
    return SIGNABLE_MIME_TYPES[suffix]


def sign(
    path: str | os.PathLike[str], provenance: Provenance, *, identity: SigningIdentity | None = None
) -> None:
    """Sign a finished video in place, atomically. Images and metadata stay as they are.

    Credentials that the file already has are replaced.

    Args:
        path: a finished file.
        provenance: what to declare. Ingredients that carry credentials bring them along.
        identity: who signs. None: the self-made certificate of this user.

    Raises:
        UserError: the file or an ingredient does not exist, can't carry credentials, is damaged or can't be
            written, or the certificate is not fit for signing; or the libraries are not installed. The file
            is then what it was.
    """
    kind = check_signable(path)
    import c2pa

    target = require_readable(path)
    identity = identity or load_self_signed()
    sources = [_ingredient_sha256(ingredient) for ingredient in provenance.ingredients]
    try:
        with (
            c2pa.Context(c2pa_settings()) as context,
            c2pa.Builder(_build_manifest(target, kind, provenance, sources), context) as builder,
        ):
            for number, ingredient in enumerate(provenance.ingredients):
                _add_ingredient(builder, ingredient, number)
            who = c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)
            with (
                c2pa.Signer.from_info(who) as signer,
                atomic_write(target) as beside,
                target.open("rb") as video,
                beside.open("wb+") as signed,
            ):
                builder.sign(signer, kind, video, signed)
    except c2pa.C2paError as error:
        raise UserError(
            f"{target} can't be signed ({first_line(error)}); check that the video plays, that the disk has "
            "room, and that the certificate is one for signing"
        ) from None
    except OSError as error:
        raise UserError(f"{target} can't be signed: {error.strerror}; check the disk") from None


def _build_manifest(
    target: Path, mime_type: str, provenance: Provenance, source_hashes: list[str]
) -> dict[str, object]:
    """What the library builds the credentials from."""
    program = {"name": "Kinema", "version": version("kinema")}
    created: dict[str, object] = {
        "action": "c2pa.created",
        "digitalSourceType": AI_GENERATED,
        "softwareAgent": program,
        "description": f"made by the model {provenance.model}"
        if provenance.model
        else "made by a trained model",
    }
    if provenance.ingredients:
        created["parameters"] = {
            "ingredientIds": [_ingredient_label(number) for number in range(len(source_hashes))]
        }
    told: dict[str, object] = {
        "prompt": provenance.prompt,
        "model": provenance.model,
        "sources": [
            {"title": _ingredient_title(ingredient), "role": ingredient.role, "sha256": digest}
            for ingredient, digest in zip(provenance.ingredients, source_hashes, strict=True)
        ],
    }
    if provenance.seed is not None:
        # As text: numbers above 2^53 do not survive every reader of JSON.
        told["seed"] = str(provenance.seed)
    return {
        "claim_generator_info": [program],
        "title": target.name,
        "format": mime_type,
        # Those that C2PA can't look into are named at least; the others are attached as files.
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": ASSERTION_LABEL, "data": told},
        ],
    }


def _add_ingredient(builder: c2pa.Builder, ingredient: Ingredient, number: int) -> None:
    """Add one ingredient, with the credentials that it brings."""
    described = {
        "title": _ingredient_title(ingredient),
        "relationship": "inputTo",
        "label": _ingredient_label(number),
    }
    with _open_ingredient(ingredient) as file:
        builder.add_ingredient(described, sniff_mime(file), file)


def _ingredient_label(number: int) -> str:
    return f"ingredient-{number + 1}"


def _ingredient_title(ingredient: Ingredient) -> str:
    if ingredient.title is not None:
        return ingredient.title
    return ingredient.source.name if isinstance(ingredient.source, Path) else ingredient.role


@contextlib.contextmanager
def _open_ingredient(ingredient: Ingredient) -> Generator[io.BytesIO | io.BufferedReader]:
    if isinstance(ingredient.source, bytes):
        yield io.BytesIO(ingredient.source)
        return
    with require_readable(ingredient.source).open("rb") as file:
        yield file


def _ingredient_sha256(ingredient: Ingredient) -> str:
    if isinstance(ingredient.source, bytes):
        return hashlib.sha256(ingredient.source).hexdigest()
    return file_sha256(require_readable(ingredient.source))


UNKNOWN_MIME = "application/octet-stream"
_MAGIC_BYTES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8": "image/jpeg",
    b"GIF8": "image/gif",
    b"PK": "application/x-zip",
}


def sniff_mime(file: io.BytesIO | io.BufferedReader) -> str:
    """MIME type by content, because uploads are called anything; the file is left at its start."""
    head = file.read(32)
    file.seek(0)
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:4] == b"RIFF":
        return "image/webp" if head[8:12] == b"WEBP" else "video/avi"
    # The library takes any other type as something that it can't look into.
    return next((kind for start, kind in _MAGIC_BYTES.items() if head.startswith(start)), UNKNOWN_MIME)


def first_line(error: Exception) -> str:
    """Of what the C2PA library says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
