"""A ball swings on a rod."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kinema.simulator.annotations import Claim, Event, Material, Shape, Size
from kinema.simulator.attributes import MATERIALS
from kinema.simulator.entities import Entity, Hinge, RigidAttachment, quat_from_axis_angle
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_ROD_LENGTH = 1.35


@dataclass(frozen=True, kw_only=True)
class _Prior:
    density: float
    angle: tuple[float, float]
    target_shapes: tuple[Shape, ...] = ()
    size: Size = "medium"
    materials: tuple[Material, ...] = MATERIALS


_PRIORS = {
    "swings": _Prior(density=2500.0, angle=(35.0, 60.0)),
    "pushed": _Prior(
        density=2500.0, angle=(40.0, 60.0), target_shapes=("cube", "ball", "pyramid", "prism", "disc")
    ),
    "tips over": _Prior(
        density=2500.0, angle=(35.0, 55.0), target_shapes=("cylinder", "cylinder", "snowman"),
        materials=("plastic", "rubber", "wood"),
    ),
    "stays": _Prior(
        density=120.0, angle=(22.0, 35.0), target_shapes=("cube", "pyramid", "hexagonal block"), size="large",
        materials=("metal", "marble", "clay"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Pendulum:
    """It swings freely, or strikes something that is pushed, tips over or stays."""

    name: Event = "pendulum"
    outcomes: tuple[str, ...] = ("swings", "pushed", "tips over", "stays")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A stand, a rod, a ball held to one side, and perhaps a target at the lowest point."""
        prior = _PRIORS[outcome]
        side = builder.random_side()
        radius = 0.27
        hook = (
            builder.uniform(-0.15, 0.15) - (0.2 * side if prior.target_shapes else 0.0),
            0.0,
            _ROD_LENGTH + radius + 0.08,
        )
        angle = math.radians(builder.uniform(*prior.angle))
        ball = replace(
            builder.random_entity("ball", ("metal", "plastic", "rubber", "marble")),
            size="small",
            extent=radius,
            position=(
                hook[0] - side * _ROD_LENGTH * math.sin(angle),
                hook[1],
                hook[2] - _ROD_LENGTH * math.cos(angle),
            ),
            rotation=quat_from_axis_angle((0.0, 1.0, 0.0), side * angle),
            motion=Hinge(axis=(0.0, 1.0, 0.0), anchor=(0.0, 0.0, _ROD_LENGTH)),
            density=prior.density,
        )
        builder.add(ball)
        if prior.target_shapes:
            target = builder.place(
                builder.pick(prior.target_shapes),
                0.0,
                0.0,
                size=prior.size,
                materials=prior.materials,
                role="partner",
            )
            thing = builder.entities[target]
            reach = thing.extent * (
                1.3 if thing.shape == "cube" else 0.65 if thing.shape == "cylinder" else 1.0
            )
            where = hook[0] + side * (radius + reach + builder.uniform(0.02, 0.12))
            friction = 0.8 if outcome == "tips over" else thing.friction
            builder.replace_entity(
                target, replace(thing, position=(where, 0.0, thing.position[2]), friction=friction)
            )
        gray = Entity(shape="rod", material="metal", colour="gray", role="prop", named=False)
        builder.add(
            replace(
                gray,
                dimensions=(0.02, 0.0, _ROD_LENGTH / 2),
                motion=RigidAttachment(entity=0, position=(0.0, 0.0, _ROD_LENGTH / 2)),
            )
        )
        stand = (0.035, 0.75, hook[2] / 2)
        builder.add(replace(gray, dimensions=stand, position=(hook[0], hook[1], hook[2] / 2), fixed=True))
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """From the contact and what it did."""
        swings = (Claim(kind="swings", subject=0),)
        if proposal.entities[1].role != "partner":
            return EventOutcome(outcome="swings", claims=swings, event_frame=trajectory.num_frames // 2)
        contact, stayed = trajectory.contact_between(0, 1), event_checks.is_stationary(trajectory, 1)
        if (
            contact is None
            or stayed is None
            or contact.first > 0.6 * trajectory.num_frames
            or contact.first < 2
        ):
            return None
        hit = (*swings, Claim(kind="hits", subject=0, object=1))
        if stayed:
            claims = (*hit, Claim(kind="stays", subject=1))
            return EventOutcome(outcome="stays", claims=claims, event_frame=contact.first)
        fallen = proposal.entities[1].shape != "ball" and event_checks.has_fallen_over(trajectory, 1)
        if fallen is None:
            return None
        if fallen:
            claims = (*hit, Claim(kind="tips over", subject=1))
            return EventOutcome(outcome="tips over", claims=claims, event_frame=contact.first)
        claims = (*hit, event_checks.pushed_claim(trajectory, 1, contact.first))
        return EventOutcome(outcome="pushed", claims=claims, event_frame=contact.first)
