"""Signing videos with the request that generated them (C2PA), where the request is at hand."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kinema.pipeline.request import (
    DATA_URL,
    EditInput,
    ExtendInput,
    ImageInput,
    InterpolateInput,
    VideoRequest,
    is_data_url,
)
from kinema.provenance.certificates import SigningIdentity
from kinema.provenance.manifest import Ingredient, Provenance, Role, sign


def sign_job_video(
    path: Path, request: VideoRequest, *, prompt: str, model: str, identity: SigningIdentity
) -> None:
    """Sign a video with the request that generated it.

    Args:
        path: the finished video.
        request: its inputs are existing files.
        prompt: what the manifest declares; a storyboard's request has an empty prompt of its own.
        model: name of the model.
        identity: who signs.

    Raises:
        UserError: as `kinema.provenance.manifest.sign`.
    """
    provenance = Provenance(
        prompt=prompt, model=model, seed=request.seed, ingredients=tuple(list_ingredients(request))
    )
    sign(path, provenance, identity=identity)


def list_ingredients(request: VideoRequest) -> Iterator[Ingredient]:
    """The videos and images of a request, videos first, each with its role."""
    match request.source:
        case EditInput(video=video, mask=mask):
            yield _ingredient(video, "edited")
            if mask is not None:
                yield _ingredient(mask, "mask")
        case ExtendInput(video=video):
            yield _ingredient(video, "extended")
        case InterpolateInput(first=first, last=last):
            yield _ingredient(first, "interpolated")
            yield _ingredient(last, "interpolated")
    if request.image is not None:
        yield _ingredient(request.image, "first frame")
    if request.last_image is not None:
        yield _ingredient(request.last_image, "last frame")
    for keyframe in request.keyframes:
        yield _ingredient(keyframe.image, "keyframe")
    for shot in request.storyboard:
        if shot.image is not None:
            yield _ingredient(shot.image, "keyframe")


def _ingredient(value: ImageInput, role: Role) -> Ingredient:
    if isinstance(value, np.ndarray):
        raise TypeError("an array has no file to declare; requests in files and jobs carry data URLs")
    if is_data_url(value):
        return Ingredient(source=base64.b64decode(os.fspath(value).removeprefix(DATA_URL)), role=role)
    return Ingredient(source=Path(value), role=role)
