"""One clip of the film set: drawn, filmed and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from kinema.errors import UserError
from kinema.world.draw import Drawn, drawn
from kinema.world.dress import scene_of, setting_of
from kinema.world.facts import PAIRED, ClipFacts, Setting, Tracks
from kinema.world.measure import facts_of, holds, tracks_of
from kinema.world.render.scene import Rendering
from kinema.world.render.tracer import render as trace
from kinema.world.spec import ClipSpec

__all__ = ["Clip", "ClipSpec", "make_clip"]

_SCENES = 12
"""Scenes rendered before a wish is given up; nearly always the first one is good."""
_SAMPLES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A film and everything that is true of it."""

    facts: ClipFacts
    frames: UInt8[np.ndarray, "f h w 3"] | None = None
    """None where the clip was not rendered."""
    identities: UInt8[np.ndarray, "f h w"] | None = None
    depth: Float[np.ndarray, "f h w"] | None = None


def _filmed(
    spec: ClipSpec, *, samples: int, depth: bool, threads: int, device: Literal["cpu", "cuda"]
) -> tuple[Drawn, Setting, Rendering, UInt8[np.ndarray, "f h w"], Tracks]:
    first = 0
    for _ in range(_SCENES):
        scene = drawn(spec, first)
        setting = setting_of(spec, scene)
        film = trace(
            scene_of(spec, scene, setting),
            spec.height,
            spec.width,
            samples=samples,
            objects=True,
            depth=depth,
            threads=threads,
            device=device,
        )
        if film.identities is None:
            raise ValueError("the tracer gave no id buffer")
        tracks = tracks_of(scene, film.identities)
        # The clips of a pair must not be redrawn one without the other; they claim nothing of sight.
        if scene.event in PAIRED or holds(scene, tracks, spec.width / spec.height):
            return scene, setting, film, film.identities, tracks
        first = scene.attempt + 1
    raise UserError(
        f"nothing that seed {spec.seed} draws can be seen well at {spec.width}x{spec.height}; "
        "make the picture larger, or take another seed or outcome"
    )


def make_clip(
    spec: ClipSpec,
    *,
    render: bool = True,
    objects: bool = False,
    depth: bool = False,
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Clip:
    """Make the clip of a spec: the same bytes in any process, in any order, with any number of threads.

    Args:
        spec: everything the clip depends on.
        render: False for the facts alone; they are the same, and cost less.
        objects: also keep the id buffer.
        depth: also keep distances.
        threads: frames rendered at once.
        device: what renders; a GPU's pictures differ from a processor's by rounding.

    Raises:
        UserError: the event or the outcome does not exist or can't be had with these frames.
    """
    scene, setting, film, identities, tracks = _filmed(
        spec, samples=_SAMPLES if render else 1, depth=depth, threads=threads, device=device
    )
    return Clip(
        facts=facts_of(spec, scene, tracks, setting),
        frames=film.frames if render else None,
        identities=identities if objects else None,
        depth=film.depth,
    )
