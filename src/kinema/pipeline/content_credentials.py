"""Content credentials (C2PA) for generated videos: what `kinema.provenance` declares, from a request."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kinema.pipeline.reproduce import read_metadata
from kinema.pipeline.request import (
    DATA_URL,
    EditInput,
    ExtendInput,
    ImageInput,
    InterpolateInput,
    VideoRequest,
    decode_data_url,
    is_data_url,
)
from kinema.provenance.certificates import SigningIdentity
from kinema.provenance.manifest import Ingredient, Provenance, Role, check_signable, sign


def sign_video(
    path: str | os.PathLike[str],
    *,
    identity: SigningIdentity | None = None,
    inputs: Sequence[Path] = (),
) -> None:
    """Sign a video with the request in its file. Input images and videos become ingredients.

    Args:
        path: a finished file of `GeneratedVideo.save`.
        identity: the certificate and key. None: the self-signed certificate of this user.
        inputs: where input files are that are not below the folder of the video.

    Raises:
        UserError: the file carries no request, or an input file is gone or has changed; or as
            `kinema.provenance.manifest.sign`.
    """
    check_signable(path)
    sign(path, read_provenance(path, inputs=inputs), identity=identity)


def read_provenance(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[Path] = (),
) -> Provenance:
    """What to declare of a video that carries its request; arguments as of `sign_video`.

    Raises:
        UserError: it carries none, or an input file is gone or has changed.
    """
    metadata = read_metadata(path)
    # LoRAs are no ingredients.
    request = dataclasses.replace(metadata.request, loras=())
    metadata = dataclasses.replace(metadata, request=request)
    request = metadata.request_with_files(Path(path).parent, inputs=inputs)
    return build_provenance(request, model=metadata.model, is_seeded=not metadata.noise_sha256)


def build_provenance(request: VideoRequest, *, model: str, is_seeded: bool = True) -> Provenance:
    """What to declare of the video of a request.

    Args:
        request: with the paths of its input files as they are now.
        model: what generated the video.
        is_seeded: whether the noise came from the request's seed.
    """
    prompts = [prompt for prompt in (request.prompt, *(shot.prompt for shot in request.storyboard)) if prompt]
    return Provenance(
        prompt=" / ".join(prompts),
        model=model,
        seed=request.seed if is_seeded else None,
        ingredients=tuple(_build_ingredient(value, role) for value, role in _list_inputs(request)),
    )


def _list_inputs(request: VideoRequest) -> Iterator[tuple[ImageInput, Role]]:
    """Every input image and video, videos first."""
    match request.source:
        case ExtendInput(video=video):
            yield video, "extended"
        case InterpolateInput(first=first, last=last):
            yield first, "interpolated"
            yield last, "interpolated"
        case EditInput(video=video, mask=mask):
            yield video, "edited"
            if mask is not None:
                yield mask, "mask"
    if request.image is not None:
        yield request.image, "first frame"
    if request.last_image is not None:
        yield request.last_image, "last frame"
    for keyframe in request.keyframes:
        yield keyframe.image, "keyframe"
    for shot in request.storyboard:
        if shot.image is not None:
            yield shot.image, "keyframe"


def _build_ingredient(value: ImageInput, role: Role) -> Ingredient:
    if isinstance(value, str) and is_data_url(value):
        decode_data_url(value)  # It comes from the file: nothing but a PNG goes further.
        return Ingredient(source=base64.b64decode(value.removeprefix(DATA_URL)), role=role)
    if not isinstance(value, str | os.PathLike):
        raise TypeError("an array is in a request only before it is saved")
    return Ingredient(source=Path(value), role=role)
