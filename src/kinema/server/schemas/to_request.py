"""Request bodies of the OpenAI dialect, with Kinema's additional fields, as `VideoRequest`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kinema.pipeline.request import (
    ControlInput,
    EditInput,
    ExtendInput,
    InterpolateInput,
    Keyframe,
    Lora,
    Shot,
    VideoRequest,
)
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    GenerationOptions,
    InterpolateRequest,
    RemixRequest,
)

REMIX_STRENGTH = 0.75
"""A remix changes more than an edit: it keeps the course of events and changes what the prompt changes."""


def openai_to_request(
    body: GenerationOptions,
    files: Mapping[str, str],
    *,
    size: tuple[int, int],
    seconds: float | None = None,
    num_frames: int | None = None,
    defaults: VideoRequest,
) -> VideoRequest:
    """The request that a body stands for.

    Args:
        body: the body of a create, remix, edit, extend or interpolate request.
        files: a file name for each image and video of the body, by parameter name; a remix has its source
            as `video`.
        size: width and height to generate, before upscaling.
        seconds: the length of the video, or of the new part of an extension or interpolation.
        num_frames: the same in frames, in place of `seconds`.
        defaults: options that apply where the body leaves them out.
    """
    request = dataclasses.replace(
        apply_options(body, defaults), size=size, seconds=seconds, num_frames=num_frames
    )
    match body:
        case CreateVideoRequest():
            return dataclasses.replace(
                request,
                # The shots have prompts of their own.
                prompt="" if body.storyboard else body.prompt,
                image=files.get("input_reference"),
                last_image=files.get("last_image"),
                keyframes=tuple(
                    Keyframe(seconds=keyframe.seconds, image=files[f"keyframes.{number}.image"])
                    for number, keyframe in enumerate(body.keyframes)
                ),
                storyboard=tuple(
                    Shot(
                        prompt=shot.prompt,
                        seconds=shot.seconds,
                        image=files.get(f"storyboard.{number}.image"),
                        transition=shot.transition,
                    )
                    for number, shot in enumerate(body.storyboard)
                ),
                loop=body.loop,
                control=None
                if "control" not in files
                else ControlInput(video=files["control"], kind=body.control_kind, scale=body.control_scale),
                references=tuple(files[f"references.{number}"] for number in range(len(body.references))),
            )
        case EditRequest():
            left, top, right, bottom = body.expand or (0, 0, 0, 0)
            expand = None if body.expand is None else (left, top, right, bottom)
            source = EditInput(
                video=files["video"],
                # An expanded video is generated outside of its source, which stays as it is.
                strength=1.0 if expand is not None else body.strength or EditInput.strength,
                mask=files.get("mask"),
                expand=expand,
            )
        case RemixRequest():
            source = EditInput(video=files["video"], strength=body.strength or REMIX_STRENGTH)
        case ExtendRequest():
            source = ExtendInput(video=files["video"], backward=body.backward)
            request = dataclasses.replace(request, loop=body.loop)
        case InterpolateRequest():
            source = InterpolateInput(first=files["video"], last=files["next_video"])
        case _:
            raise TypeError(f"{type(body).__name__} is not a body of the OpenAI dialect")
    return dataclasses.replace(request, prompt=body.prompt, source=source)


def apply_options(body: GenerationOptions, request: VideoRequest) -> VideoRequest:
    """The request with the options that the body sets; both have the same names for them."""
    options = {
        name: value
        for name in GenerationOptions.model_fields
        if name not in _NOT_IN_REQUEST and (value := getattr(body, name)) is not None
    }
    if body.guidance_scale_2 is not None:
        options["guidance_scale"] = _two_guidance_scales(body, request)
    if body.loras is not None:
        options["loras"] = tuple(
            Lora(file=lora.name, strength=lora.strength, low_noise_strength=lora.low_noise_strength)
            for lora in body.loras
        )
    return dataclasses.replace(request, **options)


_NOT_IN_REQUEST = ("guidance_scale_2", "boundary_ratio", "loras")


def _two_guidance_scales(body: GenerationOptions, request: VideoRequest) -> tuple[float, ...]:
    """The scale of each expert: `guidance_scale` alone is that of both."""
    first = request.guidance_scale if body.guidance_scale is None else body.guidance_scale
    if isinstance(first, tuple):
        first = first[0]
    second = body.guidance_scale_2
    if first is None or second is None:
        raise TypeError("check_options refuses guidance_scale_2 without guidance_scale")
    return (first, second)


def inherited_options(request: VideoRequest) -> VideoRequest:
    """The options of a video's request that edits of the video have by default."""
    return VideoRequest(
        seed=request.seed,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        flow_shift=request.flow_shift,
        negative_prompt=request.negative_prompt,
        upscale=request.upscale,
        loras=request.loras,
        recipe=request.recipe,
        rewrite_prompt=request.rewrite_prompt,
    )
