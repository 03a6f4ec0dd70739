"""Pairs of clips that differ in one cause: a wall or no wall, a light or a heavy ball.

Both variants of a proposal draw the same random numbers, so that everything else is equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Material, Shape
from kinema.simulator.attributes import EXTENT
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory


@dataclass(frozen=True)
class WallPair:
    """A ball rolls freely, or hits a wall."""

    name: Event = "wall pair"
    outcomes: tuple[str, ...] = ("wall", "no wall")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """The ball, and the wall for the outcome 'wall'."""
        side = builder.random_side()
        start = -side * builder.uniform(1.2, 1.5)
        main = builder.place(
            "ball", start, 0.0, sizes=("small", "medium"), materials=("rubber", "plastic", "glass", "wood")
        )
        entity = builder.entities[main]
        builder.replace_entity(main, replace(entity, restitution=builder.uniform(0.6, 0.85)))
        height = builder.uniform(0.35, 0.5)
        wall = replace(
            builder.random_entity("wall", ("plastic", "clay", "wood")),
            size="medium",
            extent=EXTENT["medium"],
            dimensions=(0.07, builder.uniform(0.5, 0.65), height),
            position=(side * builder.uniform(0.1, 0.35), 0.0, height),
            fixed=True,
            restitution=0.85,
            role="partner",
        )
        speed = builder.uniform(2.5, 2.9) / builder.duration
        builder.set_moving(main, (side * speed * builder.uniform(1.0, 1.15), 0.0, 0.0))
        if outcome == "wall":
            builder.add(wall)
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Check that the wall stopped the ball, or that the ball rolled on."""
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 4)
        )
        if direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        motion_claims = Claim(kind="moves", subject=0, value=direction)
        if len(proposal.entities) == 1:
            if float(event_checks.displacement(trajectory, 0)[0]) * side < 2.0:
                return None
            claims = (motion_claims, *event_checks.speed_claims(trajectory, 0, trajectory.num_frames - 1))
            return EventOutcome(outcome="no wall", claims=claims, event_frame=trajectory.num_frames // 2)
        contact = trajectory.contact_between(0, 1)
        if contact is None or contact.first > 0.75 * trajectory.num_frames:
            return None
        aftermath = event_checks.aftermath_claims(trajectory, 0, np.array([side, 0.0, 0.0]), contact.first)
        if not aftermath:
            return None
        claims = (
            motion_claims,
            *event_checks.speed_claims(trajectory, 0, contact.first),
            Claim(kind="hits", subject=0, object=1),
            *aftermath,
        )
        return EventOutcome(outcome="wall", claims=claims, event_frame=contact.first)


@dataclass(frozen=True)
class MassPair:
    """A light or a heavy ball of the same size and speed hits the same object."""

    name: Event = "mass pair"
    outcomes: tuple[str, ...] = ("light", "heavy")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """The ball's material and density depend on the outcome; its restitution and speed do not."""
        side = builder.random_side()
        start = -side * builder.uniform(1.1, 1.3)
        main = builder.place("ball", start, 0.0, sizes=("small", "medium"), materials=("rubber",))
        entity = builder.entities[main]
        materials: dict[str, tuple[Material, float]] = {
            "light": ("plastic", 25.0),
            "heavy": ("metal", 5000.0),
        }
        material, density = materials[outcome]
        builder.replace_entity(
            main,
            replace(
                entity,
                material=material,
                density=density,
                pattern="solid",
                second_colour=None,
                restitution=0.3,
                friction=0.5,
            ),
        )
        shapes: tuple[Shape, ...] = ("cube", "cylinder", "pyramid", "hexagonal block", "prism", "cone")
        other = builder.place(
            builder.pick(shapes),
            side * builder.uniform(0.1, 0.4),
            builder.uniform(-0.03, 0.03),
            sizes=("small", "medium"),
            materials=("wood", "clay", "plastic"),
            role="partner",
        )
        builder.replace_entity(other, replace(builder.entities[other], density=700.0, friction=0.6))
        speed = builder.uniform(1.4, 2.0)
        builder.set_moving(main, (side * speed, 0.0, 0.0))
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Check that the light ball does not move the target and the heavy one does."""
        contact = trajectory.contact_between(0, 1)
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 4)
        )
        if (
            contact is None
            or contact.first > 0.6 * trajectory.num_frames
            or direction not in ("left", "right")
        ):
            return None
        side = 1.0 if direction == "right" else -1.0
        contact_frame = contact.first
        motion_claims = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, contact_frame),
        )
        hit_claims = (*motion_claims, Claim(kind="hits", subject=0, object=1))
        aftermath = event_checks.aftermath_claims(trajectory, 0, np.array([side, 0.0, 0.0]), contact_frame)
        consequence = event_checks.hit_consequence(trajectory, 1, contact_frame, can_tip=True)
        outcome = "light" if proposal.entities[0].material == "plastic" else "heavy"
        if consequence is None or (consequence.kind == "stays") != (outcome == "light"):
            return None
        claims = (*hit_claims, consequence, *aftermath)
        return EventOutcome(outcome=outcome, claims=claims, event_frame=contact_frame)
