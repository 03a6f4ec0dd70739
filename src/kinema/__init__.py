"""Kinema makes films from words.

    import kinema
    pipe = kinema.load("world")
    film = pipe.generate("a red ball rolls to the left")
    film.save("film.mp4")

Importing the package is cheap: torch and everything above it load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.pipeline.pipeline import GeneratedVideo, Pipeline, load

__version__ = "0.2.0"
__all__ = ["GeneratedVideo", "Pipeline", "__version__", "load"]


def __getattr__(name: str) -> object:
    if name in ("GeneratedVideo", "Pipeline", "load"):
        from kinema.pipeline import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'kinema' has no attribute {name!r}")
