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
    """It swings freely, or hits a target that is pushed, tips over or stays."""

    name: Event = "pendulum"
    outcomes: tuple[str, ...] = ("swings", "pushed", "tips over", "stays")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A stand, a rod, a ball released from one side, and perhaps a target at the lowest point."""
        prior = _PRIORS[outcome]
        side = builder.random_side()
        radius = 0.27
        pivot = (
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
                pivot[0] - side * _ROD_LENGTH * math.sin(angle),
                pivot[1],
                pivot[2] - _ROD_LENGTH * math.cos(angle),
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
            entity = builder.entities[target]
            half_width = entity.extent * (
                1.3 if entity.shape == "cube" else 0.65 if entity.shape == "cylinder" else 1.0
            )
            x = pivot[0] + side * (radius + half_width + builder.uniform(0.02, 0.12))
            friction = 0.8 if outcome == "tips over" else entity.friction
            builder.replace_entity(
                target, replace(entity, position=(x, 0.0, entity.position[2]), friction=friction)
            )
        rod = Entity(shape="rod", material="metal", colour="gray", role="prop", named=False)
        builder.add(
            replace(
                rod,
                dimensions=(0.02, 0.0, _ROD_LENGTH / 2),
                motion=RigidAttachment(entity=0, position=(0.0, 0.0, _ROD_LENGTH / 2)),
            )
        )
        stand = (0.035, 0.75, pivot[2] / 2)
        builder.add(replace(rod, dimensions=stand, position=(pivot[0], pivot[1], pivot[2] / 2), fixed=True))
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the contact and the motion of the target after it."""
        swing_claims = (Claim(kind="swings", subject=0),)
        if proposal.entities[1].role != "partner":
            return EventOutcome(outcome="swings", claims=swing_claims, event_frame=trajectory.num_frames // 2)
        contact = trajectory.contact_between(0, 1)
        if contact is None or contact.first > 0.6 * trajectory.num_frames or contact.first < 2:
            return None
        consequence = event_checks.hit_consequence(
            trajectory, 1, contact.first, can_tip=proposal.entities[1].shape != "ball"
        )
        if consequence is None:
            return None
        claims = (*swing_claims, Claim(kind="hits", subject=0, object=1), consequence)
        return EventOutcome(outcome=consequence.kind, claims=claims, event_frame=contact.first)
