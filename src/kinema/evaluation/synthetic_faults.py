"""Simulator clips with one synthetic fault each, to measure the recall and false alarms of the detectors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from kinema.evaluation.corruptions import freeze_frames
from kinema.evaluation.palette import COLOURS
from kinema.evaluation.score_video import VideoScores
from kinema.frames import FrameArray
from kinema.simulator.annotate import annotate_clip, measure_tracks
from kinema.simulator.annotations import Event
from kinema.simulator.body_builder import build_body
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import ClipSpec
from kinema.simulator.entities import Entity
from kinema.simulator.render.tracer import render
from kinema.simulator.render_scene import LAB_ENVIRONMENT, build_render_scene
from kinema.simulator.scene_sampler import SampledScene, sample_scene

Fault = Literal[
    "pop", "vanish", "recolour", "resize", "early motion", "pass-through", "swapped sides", "reversed",
    "frozen", "drift",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = get_args(Fault)

_BASE_CLIPS: dict[Fault, tuple[tuple[Event, str], ...]] = {
    "pop": (("still", "pair"), ("roll", "stops"), ("collide", "pushed")),
    "vanish": (("still", "pair"), ("roll", "stops"), ("collide", "pushed")),
    "recolour": (("still", "pair"), ("roll", "stops"), ("collide", "misses")),
    "resize": (("still", "pair"), ("roll", "stops")),
    "early motion": (("collide", "pushed"),),
    "pass-through": (("collide", "pushed"),),
    "swapped sides": (("still", "pair"),),
    "reversed": (("roll", "keeps going"), ("roll", "stops"), ("drop", "no bounce")),
    "frozen": (("roll", "keeps going"), ("drop", "bounces high"), ("collide", "pushed")),
    "drift": (("still", "pair"), ("roll", "stops")),
}
"""Event and outcome of the clips that get each fault, in turns."""
_EARLY_SECONDS = (0.35, 0.6)
"""Range in seconds of the delay of the striking object, after which the struck one moves before the
contact."""
_DRIFT_STEPS = 11
"""Sizes that an object passes through during a drift."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FaultPair:
    """A clip with a fault, and the same clip without."""

    fault: Fault
    prompt: str
    fps: float
    clean: FrameArray
    faulty: FrameArray


def render_fault_pair(
    fault: Fault, index: int, *, size: int = 128, num_frames: int = 33, fps: float = 12.0
) -> FaultPair:
    """Render a clip with and without a fault. The same arguments give the same clip.

    Args:
        fault: the fault.
        index: of the clip.
        size: height and width in pixels.
        num_frames: of the clip.
        fps: frames per second.
    """
    base_clips = _BASE_CLIPS[fault]
    event, outcome = base_clips[index % len(base_clips)]
    spec = ClipSpec(
        seed=900_000 + index, lab=True, event=event, outcome=outcome, split="test",
        height=size, width=size, num_frames=num_frames, fps=fps,
    )  # fmt: skip
    scene = sample_scene(spec)
    rng = np.random.default_rng([index, FAULTS.index(fault)])
    rendering = render(
        build_render_scene(spec, scene, LAB_ENVIRONMENT), size, size, object_ids=True, threads=1
    )
    if rendering.object_ids is None:
        raise ValueError("the renderer returned no object ids")
    annotations = annotate_clip(spec, scene, measure_tracks(scene, rendering.object_ids), LAB_ENVIRONMENT)
    context = _FaultContext(spec=spec, scene=scene, clean=rendering.frames, rng=rng)
    return FaultPair(
        fault=fault,
        prompt=generate_captions(annotations)[0].text,
        fps=fps,
        clean=rendering.frames,
        faulty=_FAULT_RENDERERS[fault](context),
    )


def _render_frames(
    spec: ClipSpec, scene: SampledScene, start: int = 0, stop: int | None = None
) -> FrameArray:
    """Render the frames from `start` to `stop` of a scene."""
    full = build_render_scene(spec, scene, LAB_ENVIRONMENT)
    frames = slice(start, stop)
    objects = tuple(
        replace(o, position=o.position[frames], rotation=o.rotation[frames]) if len(o.position) > 1 else o
        for o in full.objects
    )
    part = replace(full, objects=objects, cameras=full.cameras[frames])
    return render(part, spec.height, spec.width, object_ids=False, threads=1).frames


def _with_path(
    scene: SampledScene, index: int, position: np.ndarray, rotation: np.ndarray | None = None
) -> SampledScene:
    """The scene with another path of one object."""
    trajectory = scene.trajectory
    positions, rotations = trajectory.position.copy(), trajectory.rotation.copy()
    positions[:, index] = position
    if rotation is not None:
        rotations[:, index] = rotation
    return replace(scene, trajectory=replace(trajectory, position=positions, rotation=rotations))


def _with_entity(scene: SampledScene, index: int, replacement: Entity) -> SampledScene:
    entities = tuple(replacement if k == index else e for k, e in enumerate(scene.entities))
    return replace(scene, entities=entities, bodies=tuple(build_body(entity) for entity in entities))


def _with_scaled_entity(scene: SampledScene, index: int, factor: float) -> SampledScene:
    """The scene with one object scaled, standing on the same floor."""
    entity = scene.entities[index]
    position = scene.trajectory.position[:, index].copy()
    position[:, 2] *= factor
    scaled = _with_entity(scene, index, replace(entity, extent=entity.extent * factor))
    return _with_path(scaled, index, position)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FaultContext:
    """A clip that gets a fault, and the random choices of the fault."""

    spec: ClipSpec
    scene: SampledScene
    clean: FrameArray
    rng: np.random.Generator

    def pick_entity(self) -> int:
        """Choose the object that gets the fault."""
        return int(self.rng.integers(len(self.scene.entities)))

    def pick_frame(self) -> int:
        """Choose the frame in the middle half at which the fault happens."""
        return int(self.rng.integers(self.spec.num_frames // 4, 3 * self.spec.num_frames // 4))

    def pick_factor(self, low: float, high: float) -> float:
        """Choose a scale factor in a range, or its inverse."""
        return float(self.rng.uniform(low, high)) ** (1 if self.rng.random() < 0.5 else -1)


def _render_absent(spec: ClipSpec, scene: SampledScene, index: int, frames: slice) -> FrameArray:
    position = scene.trajectory.position[:, index].copy()
    position[frames] = (0.0, 0.0, -50.0)
    return _render_frames(spec, _with_path(scene, index, position))


def _render_pop(context: _FaultContext) -> FrameArray:
    return _render_absent(context.spec, context.scene, context.pick_entity(), slice(0, context.pick_frame()))


def _render_vanish(context: _FaultContext) -> FrameArray:
    return _render_absent(
        context.spec, context.scene, context.pick_entity(), slice(context.pick_frame(), None)
    )


def _render_recolour(context: _FaultContext) -> FrameArray:
    index, frame = context.pick_entity(), context.pick_frame()
    used = {entity.colour for entity in context.scene.entities}
    unused = [colour for colour in COLOURS if colour not in used]
    colour = unused[int(context.rng.integers(len(unused)))]
    recoloured = _with_entity(context.scene, index, replace(context.scene.entities[index], colour=colour))
    return np.concatenate([context.clean[:frame], _render_frames(context.spec, recoloured, frame)])


def _render_resize(context: _FaultContext) -> FrameArray:
    index, frame = context.pick_entity(), context.pick_frame()
    factor = context.pick_factor(1.3, 1.5)
    resized = _with_scaled_entity(context.scene, index, factor)
    return np.concatenate([context.clean[:frame], _render_frames(context.spec, resized, frame)])


def _render_early_motion(context: _FaultContext) -> FrameArray:
    # The striking object is delayed and starts further away: the struck one keeps its motion within the clip.
    delay = round(context.spec.fps * float(context.rng.uniform(*_EARLY_SECONDS)))
    frames = np.arange(context.spec.num_frames) - delay
    position, rotation = context.scene.trajectory.position[:, 0], context.scene.trajectory.rotation[:, 0]
    before_start = np.minimum(frames, 0)[:, None] * (position[1] - position[0])
    frames = np.maximum(frames, 0)
    return _render_frames(
        context.spec, _with_path(context.scene, 0, position[frames] + before_start, rotation[frames])
    )


def _render_pass_through(context: _FaultContext) -> FrameArray:
    trajectory, num_frames = context.scene.trajectory, context.spec.num_frames
    frames = np.arange(num_frames)[:, None]
    velocity = trajectory.position[1, 0] - trajectory.position[0, 0]
    scene = _with_path(context.scene, 0, trajectory.position[0, 0] + frames * velocity)
    position = np.repeat(trajectory.position[:1, 1], num_frames, axis=0)
    rotation = np.repeat(trajectory.rotation[:1, 1], num_frames, axis=0)
    return _render_frames(context.spec, _with_path(scene, 1, position, rotation))


def _render_swapped_sides(context: _FaultContext) -> FrameArray:
    position = context.scene.trajectory.position
    first, second = position[:, 0].copy(), position[:, 1].copy()
    first[:, 0], second[:, 0] = second[:, 0].copy(), first[:, 0].copy()
    return _render_frames(context.spec, _with_path(_with_path(context.scene, 0, first), 1, second))


def _render_reversed(context: _FaultContext) -> FrameArray:
    return context.clean[::-1].copy()


def _render_frozen(context: _FaultContext) -> FrameArray:
    return freeze_frames(context.clean)


def _render_drift(context: _FaultContext) -> FrameArray:
    index, factor = context.pick_entity(), context.pick_factor(1.45, 1.7)
    cuts = np.linspace(0, context.spec.num_frames, _DRIFT_STEPS + 1).round().astype(int)
    parts = []
    for step, (start, stop) in enumerate(itertools.pairwise(cuts)):
        scaled = _with_scaled_entity(context.scene, index, factor ** (step / (_DRIFT_STEPS - 1)))
        parts.append(_render_frames(context.spec, scaled, int(start), int(stop)))
    return np.concatenate(parts)


_FAULT_RENDERERS: dict[Fault, Callable[[_FaultContext], FrameArray]] = {
    "pop": _render_pop,
    "vanish": _render_vanish,
    "recolour": _render_recolour,
    "resize": _render_resize,
    "early motion": _render_early_motion,
    "pass-through": _render_pass_through,
    "swapped sides": _render_swapped_sides,
    "reversed": _render_reversed,
    "frozen": _render_frozen,
    "drift": _render_drift,
}


def is_detected(fault: Fault, scores: VideoScores) -> bool:
    """Whether the scores of a video report a fault."""
    permanence, collision = scores.permanence, scores.collision
    match fault:
        case "pop":
            return bool(permanence.births)
        case "vanish":
            return bool(permanence.deaths)
        case "recolour":
            return bool(permanence.colour_changes or permanence.deaths)
        case "resize":
            return bool(permanence.size_changes)
        case "early motion":
            return collision is not None and collision.moved_before_contact
        case "pass-through":
            return collision is not None and (collision.passed_through or collision.missed_contact)
        case "swapped sides":
            return scores.left_right is False
        case "reversed":
            return scores.direction is False
        case "frozen":
            return scores.frozen is True
        case "drift":
            return not scores.identity_preserved
