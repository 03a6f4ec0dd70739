"""Planted faults: simulator clips in which one thing is wrong on purpose, rendered anew where it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from kinema.evaluation.palette import COLOURS
from kinema.evaluation.score_video import VideoScores
from kinema.simulator.annotate import annotate_clip, measure_tracks
from kinema.simulator.annotations import Event
from kinema.simulator.appearance.lab import LAB_ENVIRONMENT
from kinema.simulator.body_builder import build_body
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import ClipSpec
from kinema.simulator.entities import Entity
from kinema.simulator.render.tracer import render
from kinema.simulator.render_scene import build_render_scene
from kinema.simulator.scene_sampler import SampledScene, sample_scene

Fault = Literal[
    "pop", "vanish", "recolour", "resize", "early motion", "pass-through", "swapped sides", "reversed",
    "frozen", "drift",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = get_args(Fault)
FrameArray = UInt8[np.ndarray, "f h w 3"]

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
"""Clips in which each fault is planted, in turns."""


_EARLY_SECONDS = (0.35, 0.6)
"""Seconds by which the striking thing comes later than what it strikes moves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FaultPair:
    """A clip with a fault, and the same without."""

    fault: Fault
    prompt: str
    fps: float
    clean: FrameArray
    faulty: FrameArray


def render_fault_pair(
    fault: Fault, index: int, *, size: int = 128, num_frames: int = 33, fps: float = 12.0
) -> FaultPair:
    """The `index`-th clip with this fault. Deterministic."""
    grounds = _BASE_CLIPS[fault]
    event, outcome = grounds[index % len(grounds)]
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
        raise ValueError("the tracer gave no id buffer")
    facts = annotate_clip(spec, scene, measure_tracks(scene, rendering.object_ids), LAB_ENVIRONMENT)
    return FaultPair(
        fault=fault,
        prompt=generate_captions(facts)[0].text,
        fps=fps,
        clean=rendering.frames,
        faulty=_FAULT_RENDERERS[fault](
            _FaultContext(spec=spec, scene=scene, clean=rendering.frames, rng=rng)
        ),
    )


def _render_frames(
    spec: ClipSpec, scene: SampledScene, start: int = 0, stop: int | None = None
) -> FrameArray:
    """Some frames of a scene."""
    whole = build_render_scene(spec, scene, LAB_ENVIRONMENT)
    part = slice(start, stop)
    placed = tuple(
        replace(p, position=p.position[part], rotation=p.rotation[part]) if len(p.position) > 1 else p
        for p in whole.objects
    )
    part_scene = replace(whole, objects=placed, cameras=whole.cameras[part])
    return render(part_scene, spec.height, spec.width, object_ids=False, threads=1).frames


def _with_path(
    scene: SampledScene, index: int, position: np.ndarray, rotation: np.ndarray | None = None
) -> SampledScene:
    """The scene with another path for one thing."""
    seen = scene.trajectory
    places, turns = seen.position.copy(), seen.rotation.copy()
    places[:, index] = position
    if rotation is not None:
        turns[:, index] = rotation
    return replace(scene, trajectory=replace(seen, position=places, rotation=turns))


def _with_entity(scene: SampledScene, index: int, replacement: Entity) -> SampledScene:
    entities = tuple(replacement if k == index else e for k, e in enumerate(scene.entities))
    return replace(scene, entities=entities, bodies=tuple(build_body(entity) for entity in entities))


def _with_scaled_entity(scene: SampledScene, index: int, factor: float) -> SampledScene:
    """One thing larger by a factor, standing on the same floor."""
    thing = scene.entities[index]
    place = scene.trajectory.position[:, index].copy()
    place[:, 2] *= factor
    return _with_path(_with_entity(scene, index, replace(thing, extent=thing.extent * factor)), index, place)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FaultContext:
    """A clip in which a fault is to be planted."""

    spec: ClipSpec
    scene: SampledScene
    clean: FrameArray
    rng: np.random.Generator

    def pick_entity(self) -> int:
        """Draw the thing that is to go wrong."""
        return int(self.rng.integers(len(self.scene.entities)))

    def pick_frame(self) -> int:
        """Draw the frame from which it does."""
        return int(self.rng.integers(self.spec.num_frames // 4, 3 * self.spec.num_frames // 4))


def _render_absent(spec: ClipSpec, scene: SampledScene, index: int, frames: slice) -> FrameArray:
    place = scene.trajectory.position[:, index].copy()
    place[frames] = (0.0, 0.0, -50.0)
    return _render_frames(spec, _with_path(scene, index, place))


def _render_pop(context: _FaultContext) -> FrameArray:
    return _render_absent(context.spec, context.scene, context.pick_entity(), slice(0, context.pick_frame()))


def _render_vanish(context: _FaultContext) -> FrameArray:
    return _render_absent(
        context.spec, context.scene, context.pick_entity(), slice(context.pick_frame(), None)
    )


def _render_recolour(context: _FaultContext) -> FrameArray:
    who, when = context.pick_entity(), context.pick_frame()
    taken = {entity.colour for entity in context.scene.entities}
    free = [colour for colour in COLOURS if colour not in taken]
    other = replace(context.scene.entities[who], colour=free[int(context.rng.integers(len(free)))])
    return np.concatenate(
        [context.clean[:when], _render_frames(context.spec, _with_entity(context.scene, who, other), when)]
    )


def _render_resize(context: _FaultContext) -> FrameArray:
    who, when = context.pick_entity(), context.pick_frame()
    factor = float(context.rng.uniform(1.3, 1.5)) ** (1 if context.rng.random() < 0.5 else -1)
    return np.concatenate(
        [
            context.clean[:when],
            _render_frames(context.spec, _with_scaled_entity(context.scene, who, factor), when),
        ]
    )


def _render_early_motion(context: _FaultContext) -> FrameArray:
    # The striker comes late, from further away, rather than the struck thing moving before the film begins.
    late = round(context.spec.fps * float(context.rng.uniform(*_EARLY_SECONDS)))
    frames = np.arange(context.spec.num_frames) - late
    place, turn = context.scene.trajectory.position[:, 0], context.scene.trajectory.rotation[:, 0]
    ahead = np.minimum(frames, 0)[:, None] * (place[1] - place[0])
    frames = np.maximum(frames, 0)
    return _render_frames(context.spec, _with_path(context.scene, 0, place[frames] + ahead, turn[frames]))


def _render_pass_through(context: _FaultContext) -> FrameArray:
    seen = context.scene.trajectory
    steps = np.arange(context.spec.num_frames)[:, None]
    straight = seen.position[0, 0] + steps * (seen.position[1, 0] - seen.position[0, 0])
    still = np.repeat(seen.position[:1, 1], context.spec.num_frames, axis=0)
    ghost = _with_path(context.scene, 0, straight)
    return _render_frames(
        context.spec,
        _with_path(ghost, 1, still, np.repeat(seen.rotation[:1, 1], context.spec.num_frames, axis=0)),
    )


def _render_swapped_sides(context: _FaultContext) -> FrameArray:
    first, second = (
        context.scene.trajectory.position[:, 0].copy(),
        context.scene.trajectory.position[:, 1].copy(),
    )
    first[:, 0], second[:, 0] = second[:, 0].copy(), first[:, 0].copy()
    return _render_frames(context.spec, _with_path(_with_path(context.scene, 0, first), 1, second))


def _render_reversed(context: _FaultContext) -> FrameArray:
    return context.clean[::-1].copy()


def _render_frozen(context: _FaultContext) -> FrameArray:
    return np.repeat(context.clean[:1], len(context.clean), axis=0)


def _render_drift(context: _FaultContext) -> FrameArray:
    who = context.pick_entity()
    whole = float(context.rng.uniform(1.45, 1.7)) ** (1 if context.rng.random() < 0.5 else -1)
    steps = 11
    cuts = np.linspace(0, context.spec.num_frames, steps + 1).round().astype(int)
    parts = [
        _render_frames(
            context.spec,
            _with_scaled_entity(context.scene, who, whole ** (k / (steps - 1))),
            int(cuts[k]),
            int(cuts[k + 1]),
        )
        for k in range(steps)
    ]
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
    """Whether the detector for a fault goes off."""
    lasting, met = scores.permanence, scores.collision
    match fault:
        case "pop":
            return bool(lasting.births)
        case "vanish":
            return bool(lasting.deaths)
        case "recolour":
            return bool(lasting.colour_changes or lasting.deaths)
        case "resize":
            return bool(lasting.size_changes)
        case "early motion":
            return met is not None and met.moved_before_contact
        case "pass-through":
            return met is not None and (met.passed_through or met.missed_contact)
        case "swapped sides":
            return scores.left_right is False
        case "reversed":
            return scores.direction is False
        case "frozen":
            return scores.frozen is True
        case "drift":
            return not scores.identity_preserved
