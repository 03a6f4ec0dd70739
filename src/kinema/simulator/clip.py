"""One simulated clip: sampled, rendered and annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from kinema.errors import UserError
from kinema.simulator.annotate import annotate_clip, claims_visible, measure_tracks
from kinema.simulator.annotations import PAIRED_EVENTS, ClipAnnotations, Environment, Tracks
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.render.scene import RenderResult, RenderScene
from kinema.simulator.render.tracer import render as trace
from kinema.simulator.render_scene import build_render_scene, sample_environment
from kinema.simulator.scene_sampler import SampledScene, sample_scene

__all__ = ["Clip", "ClipSpec", "make_clip", "render_larger"]

_MAX_RENDER_ATTEMPTS = 12
"""Scenes rendered before giving up. The first one is nearly always good."""
_SAMPLES_PER_PIXEL = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A rendered clip with its annotations."""

    annotations: ClipAnnotations
    frames: UInt8[np.ndarray, "f h w 3"] | None = None
    """None if the clip was not rendered."""
    object_ids: UInt8[np.ndarray, "f h w"] | None = None
    depth: Float[np.ndarray, "f h w"] | None = None


def _render_visible_scene(
    spec: ClipSpec, *, samples: int, depth: bool, threads: int, device: Literal["cpu", "cuda"]
) -> tuple[SampledScene, Environment, RenderResult, UInt8[np.ndarray, "f h w"], Tracks]:
    first_attempt = 0
    for _ in range(_MAX_RENDER_ATTEMPTS):
        scene = sample_scene(spec, first_attempt)
        environment = sample_environment(spec, scene)
        rendered = trace(
            build_render_scene(spec, scene, environment),
            spec.height,
            spec.width,
            samples=samples,
            object_ids=True,
            depth=depth,
            threads=threads,
            device=device,
        )
        if rendered.object_ids is None:
            raise ValueError("the tracer returned no id buffer")
        tracks = measure_tracks(scene, rendered.object_ids)
        # Both clips of a pair must use the same attempt, so paired events accept the first one.
        if scene.event in PAIRED_EVENTS or claims_visible(scene, tracks, spec.width / spec.height):
            return scene, environment, rendered, rendered.object_ids, tracks
        first_attempt = scene.attempt + 1
    raise UserError(
        f"seed {spec.seed} gives no scene that is clearly visible at {spec.width}x{spec.height}; "
        "use a larger size, another seed or another outcome"
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
    """Sample, render and annotate the clip of a spec.

    The result is the same in every process and for any number of threads.

    Args:
        spec: everything the clip depends on.
        render: False skips the frames and returns the same annotations in less time.
        object_ids: also return the object-id buffer.
        depth: also return distances along the rays, metres.
        threads: number of frames rendered in parallel.
        device: where to render; frames from a GPU differ from those of a CPU by rounding.

    Raises:
        UserError: the event or outcome does not exist, or does not happen within the given frames.
    """
    scene, environment, rendered, id_buffer, tracks = _render_visible_scene(
        spec, samples=_SAMPLES_PER_PIXEL if render else 1, depth=depth, threads=threads, device=device
    )
    return Clip(
        annotations=annotate_clip(spec, scene, tracks, environment),
        frames=rendered.frames if render else None,
        object_ids=id_buffer if object_ids else None,
        depth=rendered.depth,
    )


def render_larger(
    spec: ClipSpec, factors: Sequence[int], frames: Sequence[int]
) -> tuple[UInt8[np.ndarray, "f h w 3"], dict[int, UInt8[np.ndarray, "n h2 w2 3"]]]:
    """Render a clip, and some of its frames in larger sizes.

    `make_clip` with a larger size may choose another scene, because more is visible then; these are of one.

    Args:
        spec: of the clip.
        factors: of the larger sizes, for example 2 and 4.
        frames: which frames are rendered larger.

    Returns:
        All frames of the clip, and the chosen ones by factor.

    Raises:
        UserError: as in `make_clip`.
    """
    scene, environment, rendered, _, _ = _render_visible_scene(
        spec, samples=_SAMPLES_PER_PIXEL, depth=False, threads=1, device="cpu"
    )
    part = _select_frames(build_render_scene(spec, scene, environment), list(frames))
    larger = {
        factor: trace(part, factor * spec.height, factor * spec.width, samples=_SAMPLES_PER_PIXEL).frames
        for factor in factors
    }
    return rendered.frames, larger


def _select_frames(scene: RenderScene, frames: list[int]) -> RenderScene:
    """The scene at some of its frames. Static objects have one pose."""
    return replace(
        scene,
        cameras=scene.cameras[frames],
        objects=tuple(
            replace(item, position=item.position[frames], rotation=item.rotation[frames])
            if len(item.position) > 1
            else item
            for item in scene.objects
        ),
    )
