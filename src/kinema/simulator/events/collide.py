"""One object rolls towards another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Material, Shape, Size
from kinema.simulator.attributes import MATERIALS
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_TALL_SHAPES: tuple[Shape, ...] = ("cone", "cylinder", "snowman", "hexagonal block")
_LOW_SHAPES: tuple[Shape, ...] = (
    "cube", "disc", "ring", "pyramid", "prism", "hexagonal block", "gem", "ball", "capsule",
)  # fmt: skip
_STABLE_SHAPES: tuple[Shape, ...] = ("cube", "pyramid", "prism", "hexagonal block", "cylinder")
_LIGHT_MATERIALS: tuple[Material, ...] = ("plastic", "wood", "rubber")
_HEAVY_MATERIALS: tuple[Material, ...] = ("metal", "marble", "clay")


_CONE_DENSITY, _CONE_FRICTION = 150.0, 1.2
"""A lab cone that a ball can knock over. With more friction the ball holds it down, with less it slides."""


@dataclass(frozen=True, kw_only=True)
class _Prior:
    """Object properties that make an outcome likely."""

    roller_shapes: tuple[Shape, ...] = ("ball",)
    sizes: tuple[Size, ...] = ("small", "medium")
    materials: tuple[Material, ...] = MATERIALS
    target_shapes: tuple[Shape, ...] = _LOW_SHAPES + _TALL_SHAPES
    target_sizes: tuple[Size, ...] = ("medium", "large")
    target_materials: tuple[Material, ...] = MATERIALS
    target_density: float | None = None
    """Used in the lab, where the materials do not differ enough in weight."""
    target_friction: float | None = None


_PRIORS = {
    "misses": _Prior(roller_shapes=("ball", "ball", "car")),
    "short of": _Prior(),
    "stays": _Prior(
        sizes=("small",), materials=_LIGHT_MATERIALS, target_shapes=_STABLE_SHAPES, target_sizes=("large",),
        target_materials=_HEAVY_MATERIALS, target_density=6000.0, target_friction=0.95,
    ),
    "pushed": _Prior(
        roller_shapes=("ball", "ball", "car"), sizes=("medium", "large"),
        materials=(*_HEAVY_MATERIALS, "rubber", "glass"), target_shapes=_LOW_SHAPES,
        target_sizes=("small", "medium"), target_materials=(*_LIGHT_MATERIALS, "glass"), target_density=350.0,
        target_friction=0.35,
    ),
    "tips over": _Prior(
        sizes=("large",), materials=(*_HEAVY_MATERIALS, "rubber"), target_shapes=_TALL_SHAPES,
        target_sizes=("small", "medium"), target_materials=_LIGHT_MATERIALS, target_density=800.0,
        target_friction=2.5,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Collide:
    """It misses, stops short, or hits; the target then stays, is pushed, or tips over."""

    name: Event = "collide"
    outcomes: tuple[str, ...] = ("misses", "short of", "stays", "pushed", "tips over")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A light mover and a heavy target for 'stays'; a heavy, fast mover for the other hits."""
        prior = _PRIORS[outcome]
        side = builder.random_side()
        y = builder.uniform(0.0, 0.4) if builder.lab else builder.uniform(-0.3, 0.3)
        target, start = side * builder.uniform(0.2, 0.5), -side * builder.uniform(1.3, 1.5)
        lateral_offset = builder.uniform(-0.06, 0.06)
        if outcome == "misses":
            lateral_offset = builder.pick((-1, 1)) * builder.uniform(1.0, 1.1 if builder.lab else 1.25)
        ball = builder.place(
            builder.pick(builder.allowed_shapes(prior.roller_shapes)),
            start,
            y,
            sizes=prior.sizes,
            materials=prior.materials,
            facing=0.0 if side > 0 else math.pi,
        )
        shapes = builder.allowed_shapes(prior.target_shapes)
        target_index = builder.place(
            builder.pick(shapes),
            target,
            y + lateral_offset,
            sizes=prior.target_sizes,
            materials=prior.target_materials,
            role="partner",
        )
        target_entity = builder.entities[target_index]
        if builder.lab:
            density, friction = prior.target_density, prior.target_friction
            if outcome == "tips over" and builder.partner_shape == "cone":
                density, friction = _CONE_DENSITY, _CONE_FRICTION
            target_entity = replace(target_entity, density=density, friction=friction)
        elif outcome == "tips over":
            target_entity = replace(target_entity, friction=0.9)
        builder.replace_entity(target_index, target_entity)
        speed, stop = abs(target - start) / (builder.uniform(0.3, 0.5) * builder.duration), None
        if outcome == "short of":
            gap = abs(target - start) - builder.bounding_radius(ball) - builder.bounding_radius(target_index)
            stop = builder.uniform(0.5, 0.75) * builder.duration
            speed = 2 * max(0.4 if builder.lab else 0.7, gap * builder.uniform(0.55, 0.9)) / stop
        elif outcome == "tips over":
            speed = max(speed, builder.uniform(3.2, 4.4) if builder.lab else builder.uniform(2.6, 3.8))
        elif outcome == "pushed":
            speed = max(speed, builder.uniform(1.6, 2.8))
        elif outcome == "stays":
            speed = min(speed, builder.uniform(0.9, 1.4))
        builder.set_moving(ball, (side * speed, 0.0, 0.0), stop)
        builder.add_background()
        return builder.build_proposal(relation=outcome)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the contact and the motion of the target after it."""
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 3)
        )
        if direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        contact = trajectory.contact_between(0, 1)
        end_frame = trajectory.num_frames - 1 if contact is None else contact.first
        motion_claims = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, end_frame),
        )
        if contact is None:
            return self._evaluate_no_contact(trajectory, side, motion_claims)
        if contact.first > 0.8 * trajectory.num_frames:
            return None
        hit_claims = (*motion_claims, Claim(kind="hits", subject=0, object=1))
        aftermath = event_checks.aftermath_claims(trajectory, 0, np.array([side, 0.0, 0.0]), contact.first)
        can_tip = proposal.entities[1].shape not in ("ball", "egg", "gem", "capsule", "octahedron")
        consequence = event_checks.hit_consequence(trajectory, 1, contact.first, can_tip=can_tip)
        if consequence is None:
            return None
        claims = (*hit_claims, consequence, *aftermath)
        return EventOutcome(outcome=consequence.kind, claims=claims, event_frame=contact.first)

    def _evaluate_no_contact(
        self, trajectory: Trajectory, side: float, motion_claims: tuple[Claim, ...]
    ) -> EventOutcome | None:
        ahead = (trajectory.position[:, 0, 0] - trajectory.position[:, 1, 0]) * side
        if event_checks.is_stationary(trajectory, 1) is not True:
            return None
        if ahead[-1] > 0.5:
            passing = int(np.argmax(ahead > 0))
            claims = (*motion_claims, Claim(kind="misses", subject=0, object=1))
            return EventOutcome(outcome="misses", claims=claims, event_frame=passing)
        if ahead[-1] < -0.5 and event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED:
            claims = (*motion_claims, Claim(kind="short of", subject=0, object=1))
            return EventOutcome(outcome="short of", claims=claims, event_frame=trajectory.num_frames - 1)
        return None
