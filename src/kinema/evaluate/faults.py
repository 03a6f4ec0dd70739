"""Planted faults: simulator clips in which one thing is wrong on purpose, rendered anew where it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from kinema.evaluate.judgement import Judgement
from kinema.evaluate.palette import COLOURS
from kinema.world.captions import captions
from kinema.world.clip import ClipSpec
from kinema.world.draw import Drawn, drawn
from kinema.world.dress import scene_of
from kinema.world.entities import Entity
from kinema.world.facts import Event
from kinema.world.look.lab import LAB_SETTING
from kinema.world.measure import facts_of, tracks_of
from kinema.world.render.tracer import render
from kinema.world.solids import solid_of

Fault = Literal[
    "pop", "vanish", "recolour", "resize", "early motion", "pass-through", "swapped sides", "reversed",
    "frozen", "drift",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = get_args(Fault)
Frames = UInt8[np.ndarray, "f h w 3"]

_GROUNDS: dict[Fault, tuple[tuple[Event, str], ...]] = {
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


_EARLY = (0.35, 0.6)
"""Seconds by which the striking thing comes later than what it strikes moves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """A clip with a fault, and the same without."""

    fault: Fault
    prompt: str
    fps: float
    clean: Frames
    faulty: Frames


def plant(fault: Fault, number: int, *, size: int = 128, frames: int = 33, fps: float = 12.0) -> Planted:
    """The `number`-th clip with this fault. Deterministic."""
    grounds = _GROUNDS[fault]
    event, outcome = grounds[number % len(grounds)]
    spec = ClipSpec(
        seed=900_000 + number, lab=True, event=event, outcome=outcome, split="test",
        height=size, width=size, frames=frames, fps=fps,
    )  # fmt: skip
    scene = drawn(spec)
    rng = np.random.default_rng([number, FAULTS.index(fault)])
    rendering = render(scene_of(spec, scene, LAB_SETTING), size, size, objects=True, threads=1)
    if rendering.identities is None:
        raise ValueError("the tracer gave no id buffer")
    facts = facts_of(spec, scene, tracks_of(scene, rendering.identities), LAB_SETTING)
    return Planted(
        fault=fault,
        prompt=captions(facts)[0].text,
        fps=fps,
        clean=rendering.frames,
        faulty=_PLANTERS[fault](_Ground(spec=spec, scene=scene, clean=rendering.frames, rng=rng)),
    )


def _filmed(spec: ClipSpec, scene: Drawn, start: int = 0, stop: int | None = None) -> Frames:
    """Some frames of a scene."""
    whole = scene_of(spec, scene, LAB_SETTING)
    part = slice(start, stop)
    placed = tuple(
        replace(p, position=p.position[part], rotation=p.rotation[part]) if len(p.position) > 1 else p
        for p in whole.placed
    )
    part_scene = replace(whole, placed=placed, cameras=whole.cameras[part])
    return render(part_scene, spec.height, spec.width, objects=False, threads=1).frames


def _moved(scene: Drawn, index: int, position: np.ndarray, rotation: np.ndarray | None = None) -> Drawn:
    """The scene with another path for one thing."""
    seen = scene.seen
    places, turns = seen.position.copy(), seen.rotation.copy()
    places[:, index] = position
    if rotation is not None:
        turns[:, index] = rotation
    return replace(scene, seen=replace(seen, position=places, rotation=turns))


def _changed(scene: Drawn, index: int, thing: Entity) -> Drawn:
    entities = tuple(thing if k == index else e for k, e in enumerate(scene.entities))
    return replace(scene, entities=entities, solids=tuple(solid_of(entity) for entity in entities))


def _grown(scene: Drawn, index: int, factor: float) -> Drawn:
    """One thing larger by a factor, standing on the same floor."""
    thing = scene.entities[index]
    place = scene.seen.position[:, index].copy()
    place[:, 2] *= factor
    return _moved(_changed(scene, index, replace(thing, extent=thing.extent * factor)), index, place)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ground:
    """A clip in which a fault is to be planted."""

    spec: ClipSpec
    scene: Drawn
    clean: Frames
    rng: np.random.Generator

    def who(self) -> int:
        """Draw the thing that is to go wrong."""
        return int(self.rng.integers(len(self.scene.entities)))

    def when(self) -> int:
        """Draw the frame from which it does."""
        return int(self.rng.integers(self.spec.frames // 4, 3 * self.spec.frames // 4))


def _absent(spec: ClipSpec, scene: Drawn, index: int, frames: slice) -> Frames:
    place = scene.seen.position[:, index].copy()
    place[frames] = (0.0, 0.0, -50.0)
    return _filmed(spec, _moved(scene, index, place))


def _pop(ground: _Ground) -> Frames:
    return _absent(ground.spec, ground.scene, ground.who(), slice(0, ground.when()))


def _vanish(ground: _Ground) -> Frames:
    return _absent(ground.spec, ground.scene, ground.who(), slice(ground.when(), None))


def _recolour(ground: _Ground) -> Frames:
    who, when = ground.who(), ground.when()
    taken = {entity.colour for entity in ground.scene.entities}
    free = [colour for colour in COLOURS if colour not in taken]
    other = replace(ground.scene.entities[who], colour=free[int(ground.rng.integers(len(free)))])
    return np.concatenate(
        [ground.clean[:when], _filmed(ground.spec, _changed(ground.scene, who, other), when)]
    )


def _resize(ground: _Ground) -> Frames:
    who, when = ground.who(), ground.when()
    factor = float(ground.rng.uniform(1.3, 1.5)) ** (1 if ground.rng.random() < 0.5 else -1)
    return np.concatenate(
        [ground.clean[:when], _filmed(ground.spec, _grown(ground.scene, who, factor), when)]
    )


def _early(ground: _Ground) -> Frames:
    # The striker comes late, from further away, rather than the struck thing moving before the film begins.
    late = round(ground.spec.fps * float(ground.rng.uniform(*_EARLY)))
    frames = np.arange(ground.spec.frames) - late
    place, turn = ground.scene.seen.position[:, 0], ground.scene.seen.rotation[:, 0]
    ahead = np.minimum(frames, 0)[:, None] * (place[1] - place[0])
    frames = np.maximum(frames, 0)
    return _filmed(ground.spec, _moved(ground.scene, 0, place[frames] + ahead, turn[frames]))


def _through(ground: _Ground) -> Frames:
    seen = ground.scene.seen
    steps = np.arange(ground.spec.frames)[:, None]
    straight = seen.position[0, 0] + steps * (seen.position[1, 0] - seen.position[0, 0])
    still = np.repeat(seen.position[:1, 1], ground.spec.frames, axis=0)
    ghost = _moved(ground.scene, 0, straight)
    return _filmed(
        ground.spec, _moved(ghost, 1, still, np.repeat(seen.rotation[:1, 1], ground.spec.frames, axis=0))
    )


def _swapped(ground: _Ground) -> Frames:
    first, second = ground.scene.seen.position[:, 0].copy(), ground.scene.seen.position[:, 1].copy()
    first[:, 0], second[:, 0] = second[:, 0].copy(), first[:, 0].copy()
    return _filmed(ground.spec, _moved(_moved(ground.scene, 0, first), 1, second))


def _reversed(ground: _Ground) -> Frames:
    return ground.clean[::-1].copy()


def _frozen(ground: _Ground) -> Frames:
    return np.repeat(ground.clean[:1], len(ground.clean), axis=0)


def _drift(ground: _Ground) -> Frames:
    who = ground.who()
    whole = float(ground.rng.uniform(1.45, 1.7)) ** (1 if ground.rng.random() < 0.5 else -1)
    steps = 11
    cuts = np.linspace(0, ground.spec.frames, steps + 1).round().astype(int)
    parts = [
        _filmed(
            ground.spec, _grown(ground.scene, who, whole ** (k / (steps - 1))), int(cuts[k]), int(cuts[k + 1])
        )
        for k in range(steps)
    ]
    return np.concatenate(parts)


_PLANTERS: dict[Fault, Callable[[_Ground], Frames]] = {
    "pop": _pop,
    "vanish": _vanish,
    "recolour": _recolour,
    "resize": _resize,
    "early motion": _early,
    "pass-through": _through,
    "swapped sides": _swapped,
    "reversed": _reversed,
    "frozen": _frozen,
    "drift": _drift,
}


def detected(fault: Fault, seen: Judgement) -> bool:
    """Whether the detector for a fault goes off."""
    lasting, met = seen.permanence, seen.meeting
    match fault:
        case "pop":
            return bool(lasting.births)
        case "vanish":
            return bool(lasting.deaths)
        case "recolour":
            return bool(lasting.recoloured or lasting.deaths)
        case "resize":
            return bool(lasting.resized)
        case "early motion":
            return met is not None and met.early
        case "pass-through":
            return met is not None and (met.passed or met.missed)
        case "swapped sides":
            return seen.left_right is False
        case "reversed":
            return seen.direction is False
        case "frozen":
            return seen.frozen is True
        case "drift":
            return not seen.same
