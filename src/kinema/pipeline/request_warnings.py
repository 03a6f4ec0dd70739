"""Warnings about a request that can be generated but may not give what the person expects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.native import KinemaCheckpoint
from kinema.pipeline.images import load_image
from kinema.pipeline.prompt_vocabulary import model_vocabulary
from kinema.pipeline.request import ImageInput, VideoRequest
from kinema.pipeline.unknown_words import find_unknown_words

MAX_CROP = 0.05
"""Share of an image that may be cropped away without a warning."""
_MIN_CHROMA = 28
"""Difference of the largest and smallest channel, 0 to 255, above which a pixel is coloured."""
_MAX_COLOURED_SHARE = 0.5
"""Share of coloured pixels up to which an image can be one of the lab: some objects on a gray floor."""


def request_warnings(
    model: ModelCheckpoint,
    request: VideoRequest,
    size: tuple[int, int],
    *,
    lora_words: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Return the warnings, one line each. Files that can't be read give none: they are errors elsewhere.

    Args:
        model: the checkpoint.
        request: what to generate.
        size: width and height of the video.
        lora_words: that the request's LoRAs were trained on.
    """
    prompts = [request.prompt, *(shot.prompt for shot in request.storyboard)]
    vocabulary = model_vocabulary(model)
    # An open model has no list, and knows every word.
    known = vocabulary | lora_words if vocabulary else vocabulary
    has_rewriter = isinstance(model, KinemaCheckpoint) and model.has_prompt_rewriter
    is_rewritten = has_rewriter and request.allows_rewriting
    words = find_unknown_words(prompts, known, synonyms_are_known=is_rewritten).message(model.name)
    images = [
        message for name, image in _images(request) for message in _image_warnings(model, size, name, image)
    ]
    return tuple(dict.fromkeys([*([words] if words else []), *images, *_guidance_warnings(model, request)]))


def _guidance_warnings(model: ModelCheckpoint, request: VideoRequest) -> Iterator[str]:
    scale = request.guidance_scale
    if scale is None:
        scale = model.sampling_defaults.guidance_scale
    scales = scale if isinstance(scale, tuple) else (scale,)
    if request.negative_prompt and all(one == 1 for one in scales):
        yield "the negative prompt changes nothing without guidance; give a guidance scale above 1"


def _images(request: VideoRequest) -> Iterator[tuple[str, ImageInput]]:
    named = [("image", request.image), ("last_image", request.last_image)]
    named += [("keyframe", keyframe.image) for keyframe in request.keyframes]
    named += [("image of a shot", shot.image) for shot in request.storyboard]
    for name, image in named:
        if image is not None:
            yield name, image


def _image_warnings(
    model: ModelCheckpoint, size: tuple[int, int], name: str, image: ImageInput
) -> Iterator[str]:
    try:
        pixels = load_image(image)
    except UserError:
        return
    width, height = size
    own_height, own_width = pixels.shape[:2]
    kept = min(own_width / own_height, width / height) / max(own_width / own_height, width / height)
    if 1 - kept > MAX_CROP:
        yield (
            f"the {name} has {own_width}x{own_height} pixels and is cropped to the shape of "
            f"{width}x{height}: {1 - kept:.0%} of it is left out; give a size of its shape to keep all of it"
        )
    if (
        isinstance(model, KinemaCheckpoint)
        and not model.vocabulary
        and _coloured_share(pixels) > _MAX_COLOURED_SHARE
    ):
        yield (
            f"the {name} is unlike the simulated scenes that {model.name} was trained on (a few coloured "
            "objects on a gray floor); the video will not keep it. Open models continue any image"
        )


def _coloured_share(pixels: UInt8[np.ndarray, "h w 3"]) -> float:
    channels = pixels[..., :3].astype(np.int16)
    return float((channels.max(axis=-1) - channels.min(axis=-1) > _MIN_CHROMA).mean())
