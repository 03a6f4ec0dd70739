"""One thing rolls at another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Material, Shape, Size
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict
from kinema.world.vocabulary import MATERIALS

_TALL: tuple[Shape, ...] = ("cone", "cylinder", "snowman", "hexagonal block")
_LOW: tuple[Shape, ...] = (
    "cube", "disc", "ring", "pyramid", "prism", "hexagonal block", "gem", "ball", "capsule",
)  # fmt: skip
_STABLE: tuple[Shape, ...] = ("cube", "pyramid", "prism", "hexagonal block", "cylinder")
_LIGHT: tuple[Material, ...] = ("plastic", "wood", "rubber")
_HEAVY: tuple[Material, ...] = ("metal", "marble", "clay")


@dataclass(frozen=True, kw_only=True)
class _Prior:
    """What makes an outcome likely."""

    rollers: tuple[Shape, ...] = ("ball",)
    sizes: tuple[Size, ...] = ("small", "medium")
    materials: tuple[Material, ...] = MATERIALS
    targets: tuple[Shape, ...] = _LOW + _TALL
    target_sizes: tuple[Size, ...] = ("medium", "large")
    target_materials: tuple[Material, ...] = MATERIALS
    target_density: float | None = None
    """In the lab, where the look does not tell weights apart, it is set instead."""
    target_friction: float | None = None


_PRIORS = {
    "misses": _Prior(rollers=("ball", "ball", "car")),
    "short of": _Prior(),
    "stays": _Prior(
        sizes=("small",), materials=_LIGHT, targets=_STABLE, target_sizes=("large",), target_materials=_HEAVY,
        target_density=6000.0, target_friction=0.95,
    ),
    "pushed": _Prior(
        rollers=("ball", "ball", "car"), sizes=("medium", "large"), materials=(*_HEAVY, "rubber", "glass"),
        targets=_LOW, target_sizes=("small", "medium"), target_materials=(*_LIGHT, "glass"),
        target_density=350.0, target_friction=0.35,
    ),
    "tips over": _Prior(
        sizes=("large",), materials=(*_HEAVY, "rubber"), targets=_TALL, target_sizes=("small", "medium"),
        target_materials=_LIGHT, target_density=800.0, target_friction=2.5,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Collide:
    """It misses, stops short, or hits; what is hit stays, is pushed, or tips over."""

    name: Event = "collide"
    outcomes: tuple[str, ...] = ("misses", "short of", "stays", "pushed", "tips over")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Light rollers and heavy targets for 'stays', heavy and fast ones for the rest."""
        prior = _PRIORS[wanted]
        side = stage.side()
        y = stage.between(0.0, 0.4) if stage.lab else stage.between(-0.3, 0.3)
        target, start = side * stage.between(0.2, 0.5), -side * stage.between(1.3, 1.5)
        beside = stage.between(-0.06, 0.06)
        if wanted == "misses":
            beside = stage.pick((-1, 1)) * stage.between(1.0, 1.1 if stage.lab else 1.25)
        ball = stage.put(
            stage.pick(stage.shapes(prior.rollers)),
            start,
            y,
            sizes=prior.sizes,
            materials=prior.materials,
            facing=0.0 if side > 0 else math.pi,
        )
        shapes = stage.shapes(prior.targets)
        other = stage.put(
            stage.pick(shapes),
            target,
            y + beside,
            sizes=prior.target_sizes,
            materials=prior.target_materials,
            role="partner",
        )
        thing = stage.entities[other]
        if stage.lab:
            thing = replace(thing, density=prior.target_density, friction=prior.target_friction)
        elif wanted == "tips over":
            thing = replace(thing, friction=0.9)
        stage.change(other, thing)
        speed, stop = abs(target - start) / (stage.between(0.3, 0.5) * stage.seconds), None
        if wanted == "short of":
            gap = abs(target - start) - stage.reach(ball) - stage.reach(other)
            stop = stage.between(0.5, 0.75) * stage.seconds
            speed = 2 * max(0.4 if stage.lab else 0.7, gap * stage.between(0.55, 0.9)) / stop
        elif wanted == "tips over":
            speed = max(speed, stage.between(3.2, 4.4) if stage.lab else stage.between(2.6, 3.8))
        elif wanted == "pushed":
            speed = max(speed, stage.between(1.6, 2.8))
        elif wanted == "stays":
            speed = min(speed, stage.between(0.9, 1.4))
        stage.send(ball, (side * speed, 0.0, 0.0), stop)
        stage.backdrop()
        return stage.proposal(relation=wanted)

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From the contact, and from what it did to the other thing."""
        direction = judging.heading(judging.travel(seen, 0, 0, seen.frames // 3))
        if direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        contact = seen.touch(0, 1)
        until = seen.frames - 1 if contact is None else contact.first
        moves = (
            Claim(kind="moves", subject=0, value=direction),
            *judging.speed_claim(seen, 0, until),
        )
        if contact is None:
            return self._untouched(seen, side, moves)
        if contact.first > 0.8 * seen.frames:
            return None
        hit = (*moves, Claim(kind="hits", subject=0, object=1))
        after = judging.aftermath(seen, 0, np.array([side, 0.0, 0.0]), contact.first)
        stayed = judging.stayed(seen, 1)
        if stayed is None:
            return None
        if stayed:
            claims = (*hit, Claim(kind="stays", subject=1), *after)
            return Verdict(outcome="stays", claims=claims, frame=contact.first)
        rolls = proposal.entities[1].shape in ("ball", "egg", "gem", "capsule", "octahedron")
        fallen = False if rolls else judging.fell_over(seen, 1)
        if fallen is None:
            return None
        if fallen:
            claims = (*hit, Claim(kind="tips over", subject=1), *after)
            return Verdict(outcome="tips over", claims=claims, frame=contact.first)
        claims = (*hit, judging.pushed_claim(seen, 1, contact.first), *after)
        return Verdict(outcome="pushed", claims=claims, frame=contact.first)

    def _untouched(self, seen: Trajectory, side: float, moves: tuple[Claim, ...]) -> Verdict | None:
        ahead = (seen.position[:, 0, 0] - seen.position[:, 1, 0]) * side
        if judging.stayed(seen, 1) is not True:
            return None
        if ahead[-1] > 0.5:
            passing = int(np.argmax(ahead > 0))
            claims = (*moves, Claim(kind="misses", subject=0, object=1))
            return Verdict(outcome="misses", claims=claims, frame=passing)
        if ahead[-1] < -0.5 and judging.final_speed(seen, 0) < judging.RESTING:
            claims = (*moves, Claim(kind="short of", subject=0, object=1))
            return Verdict(outcome="short of", claims=claims, frame=seen.frames - 1)
        return None
