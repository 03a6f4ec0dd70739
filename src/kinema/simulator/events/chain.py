"""Two events in a row: a ball hits an object, which then hits another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.attributes import MATERIAL_PROPERTIES
from kinema.simulator.entities import Entity
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import GRAVITY, Trajectory

_SLIDING_SHAPES: tuple[Shape, ...] = ("cube", "cube", "hexagonal block", "prism")
_SECOND_SHAPES: tuple[Shape, ...] = (*_SLIDING_SHAPES, "ball")
_UNIT_VOLUME = {"cube": 8.0, "hexagonal block": 4.2, "prism": 2.7}
"""Volume in cubic metres at an extent of one metre."""
_TALL_SHAPES: tuple[Shape, ...] = ("cylinder", "cylinder", "cylinder", "snowman", "cone")
_LOW_SHAPES: tuple[Shape, ...] = ("ball", "cube", "pyramid", "disc", "prism")


@dataclass(frozen=True)
class Chain:
    """The last object tips over, is pushed, or is not reached."""

    name: Event = "chain"
    outcomes: tuple[str, ...] = ("tips over", "pushed", "short of")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """The friction of the second object decides whether it reaches the third."""
        side = builder.random_side()
        reached = outcome != "short of"
        start = -side * builder.uniform(1.5, 1.7)
        ball = builder.place(
            "ball",
            start,
            0.0,
            sizes=("medium", "large") if reached else ("small", "medium"),
            materials=("metal", "marble", "clay", "rubber"),
        )
        second_x = -side * builder.uniform(0.05, 0.2)
        second = builder.place(
            builder.pick(_SECOND_SHAPES if reached else _SLIDING_SHAPES),
            second_x,
            builder.uniform(-0.03, 0.03),
            sizes=("medium", "large") if outcome == "tips over" else ("small", "medium"),
            materials=("plastic", "wood", "glass", "rubber"),
            role="partner",
            facing=0.0,
        )
        third = builder.place(
            builder.pick(_TALL_SHAPES if outcome == "tips over" else _LOW_SHAPES),
            0.0,
            builder.uniform(-0.03, 0.03),
            sizes=("small",) if outcome == "tips over" else ("small", "medium"),
            materials=("plastic", "wood") if reached else ("metal", "marble", "clay", "wood"),
            role="partner",
        )
        gap = builder.uniform(0.15, 0.35) if reached else builder.uniform(0.6, 0.9)
        radii = builder.bounding_radius(second) + builder.bounding_radius(third)
        third_entity = builder.entities[third]
        builder.replace_entity(
            third,
            replace(
                third_entity,
                position=(
                    second_x + side * (radii * 0.85 + gap),
                    third_entity.position[1],
                    third_entity.position[2],
                ),
                friction=1.1 if outcome == "tips over" else 0.4,
            ),
        )
        speed = builder.uniform(2.0, 2.9) if reached else builder.uniform(1.5, 2.2)
        second_entity = builder.entities[second]
        friction = builder.uniform(0.12, 0.25)
        if not reached:
            friction = self._friction_for_slide(
                builder.entities[ball], second_entity, speed, builder.uniform(0.3, 0.4)
            )
        builder.replace_entity(
            second,
            replace(
                second_entity,
                friction=friction,
                rolling_friction=0.003 if second_entity.shape == "ball" else 0.0,
            ),
        )
        builder.set_moving(ball, (side * speed, 0.0, 0.0))
        return builder.build_proposal()

    def _friction_for_slide(self, ball: Entity, second: Entity, speed: float, distance: float) -> float:
        """The friction with which `second` slides about `distance` metres after the ball hits it."""
        first_mass = MATERIAL_PROPERTIES[ball.material].density * 4 / 3 * math.pi * ball.extent**3
        second_mass = (
            MATERIAL_PROPERTIES[second.material].density * _UNIT_VOLUME[second.shape] * second.extent**3
        )
        # A collision with a restitution of about 0.3.
        slide_speed = 1.3 * speed * first_mass / (first_mass + second_mass)
        return min(1.0, max(0.08, slide_speed**2 / (2 * GRAVITY * distance)))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the two contacts and their order."""
        first_hit, second_hit, direct_hit = (
            trajectory.contact_between(0, 1),
            trajectory.contact_between(1, 2),
            trajectory.contact_between(0, 2),
        )
        if first_hit is None or first_hit.first > 0.6 * trajectory.num_frames:
            return None
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, first_hit.first)
        )
        if direction not in ("left", "right"):
            return None
        opening_claims = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, first_hit.first),
            Claim(kind="hits", subject=0, object=1),
        )
        push = event_checks.pushed_claim(trajectory, 1, first_hit.first)
        if second_hit is None:
            moved = event_checks.max_displacement(trajectory, 1)
            at_rest = event_checks.final_speed(trajectory, 1) < event_checks.MAX_REST_SPEED
            if (
                direct_hit is not None
                or event_checks.is_stationary(trajectory, 2) is not True
                or moved < event_checks.MIN_MOVED_DISTANCE
                or not at_rest
            ):
                return None
            claims = (
                *opening_claims,
                push,
                Claim(kind="short of", subject=1, object=2),
                Claim(kind="stays", subject=2),
            )
            return EventOutcome(outcome="short of", claims=claims, event_frame=first_hit.first)
        if second_hit.first < first_hit.first + 0.5 or second_hit.first > 0.75 * trajectory.num_frames:
            return None
        if direct_hit is not None and direct_hit.first < second_hit.first:
            return None
        hit_claims = (*opening_claims, push, Claim(kind="hits", subject=1, object=2))
        consequence = event_checks.hit_consequence(
            trajectory, 2, second_hit.first, can_tip=proposal.entities[2].shape != "ball"
        )
        if consequence is None or consequence.kind == "stays":
            return None
        return EventOutcome(
            outcome=consequence.kind, claims=(*hit_claims, consequence), event_frame=second_hit.first
        )
