"""One clip of the film set: drawn, filmed and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from kinema.errors import UserError
from kinema.simulator.annotate import annotate_clip, claims_visible, measure_tracks
from kinema.simulator.annotations import PAIRED_EVENTS, ClipAnnotations, Environment, Tracks
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.render.scene import RenderResult
from kinema.simulator.render.tracer import render as trace
from kinema.simulator.render_scene import build_render_scene, sample_environment
from kinema.simulator.scene_sampler import SampledScene, sample_scene

__all__ = ["Clip", "ClipSpec", "make_clip"]

_MAX_RENDER_ATTEMPTS = 12
"""Scenes rendered before a wish is given up; nearly always the first one is good."""
_SAMPLES_PER_PIXEL = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A film and everything that is true of it."""

    annotations: ClipAnnotations
    frames: UInt8[np.ndarray, "f h w 3"] | None = None
    """None where the clip was not rendered."""
    object_ids: UInt8[np.ndarray, "f h w"] | None = None
    depth: Float[np.ndarray, "f h w"] | None = None


def _render_visible_scene(
    spec: ClipSpec, *, samples: int, depth: bool, threads: int, device: Literal["cpu", "cuda"]
) -> tuple[SampledScene, Environment, RenderResult, UInt8[np.ndarray, "f h w"], Tracks]:
    first = 0
    for _ in range(_MAX_RENDER_ATTEMPTS):
        scene = sample_scene(spec, first)
        setting = sample_environment(spec, scene)
        film = trace(
            build_render_scene(spec, scene, setting),
            spec.height,
            spec.width,
            samples=samples,
            object_ids=True,
            depth=depth,
            threads=threads,
            device=device,
        )
        if film.object_ids is None:
            raise ValueError("the tracer gave no id buffer")
        tracks = measure_tracks(scene, film.object_ids)
        # The clips of a pair must not be redrawn one without the other; they claim nothing of sight.
        if scene.event in PAIRED_EVENTS or claims_visible(scene, tracks, spec.width / spec.height):
            return scene, setting, film, film.object_ids, tracks
        first = scene.attempt + 1
    raise UserError(
        f"nothing that seed {spec.seed} draws can be seen well at {spec.width}x{spec.height}; "
        "make the picture larger, or take another seed or outcome"
    )


def make_clip(
    spec: ClipSpec,
    *,
    render: bool = True,
    object_ids: bool = False,
    depth: bool = False,
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Clip:
    """Make the clip of a spec: the same bytes in any process, in any order, with any number of threads.

    Args:
        spec: everything the clip depends on.
        render: False for the facts alone; they are the same, and cost less.
        object_ids: also keep the id buffer.
        depth: also keep distances.
        threads: frames rendered at once.
        device: what renders; a GPU's pictures differ from a processor's by rounding.

    Raises:
        UserError: the event or the outcome does not exist or can't be had with these frames.
    """
    scene, setting, film, identities, tracks = _render_visible_scene(
        spec, samples=_SAMPLES_PER_PIXEL if render else 1, depth=depth, threads=threads, device=device
    )
    return Clip(
        annotations=annotate_clip(spec, scene, tracks, setting),
        frames=film.frames if render else None,
        object_ids=identities if object_ids else None,
        depth=film.depth,
    )
