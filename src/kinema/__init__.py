"""Kinema: a text-to-video toolkit.

    import kinema
    pipe = kinema.load("world")
    video = pipe.generate("a red ball rolls to the left")
    video.save("video.mp4")

Importing the package is cheap: torch and everything above it load on first use. `__all__` is the public API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema._version import __version__

if TYPE_CHECKING:
    from kinema.errors import UserError
    from kinema.pipeline.pipeline import Pipeline, load
    from kinema.pipeline.progress import Finished, FrameChunk, SamplingStep, StageProgress
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
    from kinema.pipeline.video import GeneratedVideo

__all__ = [
    "ControlInput",
    "EditInput",
    "ExtendInput",
    "Finished",
    "FrameChunk",
    "GeneratedVideo",
    "InterpolateInput",
    "Keyframe",
    "Lora",
    "Pipeline",
    "SamplingStep",
    "Shot",
    "StageProgress",
    "UserError",
    "VideoRequest",
    "__version__",
    "load",
]
_MODULES = {
    "UserError": "kinema.errors",
    "Pipeline": "kinema.pipeline.pipeline",
    "load": "kinema.pipeline.pipeline",
    "Finished": "kinema.pipeline.progress",
    "FrameChunk": "kinema.pipeline.progress",
    "SamplingStep": "kinema.pipeline.progress",
    "StageProgress": "kinema.pipeline.progress",
    "ControlInput": "kinema.pipeline.request",
    "EditInput": "kinema.pipeline.request",
    "ExtendInput": "kinema.pipeline.request",
    "InterpolateInput": "kinema.pipeline.request",
    "Keyframe": "kinema.pipeline.request",
    "Lora": "kinema.pipeline.request",
    "Shot": "kinema.pipeline.request",
    "VideoRequest": "kinema.pipeline.request",
    "GeneratedVideo": "kinema.pipeline.video",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'kinema' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
