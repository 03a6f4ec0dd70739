"""Two events in a row: a ball hits one thing, which then meets another."""

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
"""Cubic metres at an extent of one metre."""
_TALL_SHAPES: tuple[Shape, ...] = ("cylinder", "cylinder", "cylinder", "snowman", "cone")
_LOW_SHAPES: tuple[Shape, ...] = ("ball", "cube", "pyramid", "disc", "prism")


@dataclass(frozen=True)
class Chain:
    """The last thing tips over, is pushed, or is never reached."""

    name: Event = "chain"
    outcomes: tuple[str, ...] = ("tips over", "pushed", "short of")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A smooth second thing goes far, a rough one stops."""
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
        first = -side * builder.uniform(0.05, 0.2)
        second = builder.place(
            builder.pick(_SECOND_SHAPES if reached else _SLIDING_SHAPES),
            first,
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
        between = builder.bounding_radius(second) + builder.bounding_radius(third)
        last = builder.entities[third]
        builder.replace_entity(
            third,
            replace(
                last,
                position=(first + side * (between * 0.85 + gap), last.position[1], last.position[2]),
                friction=1.1 if outcome == "tips over" else 0.4,
            ),
        )
        speed = builder.uniform(2.0, 2.9) if reached else builder.uniform(1.5, 2.2)
        middle = builder.entities[second]
        friction = builder.uniform(0.12, 0.25)
        if not reached:
            friction = self._friction_for_slide(
                builder.entities[ball], middle, speed, builder.uniform(0.3, 0.4)
            )
        builder.replace_entity(
            second,
            replace(middle, friction=friction, rolling_friction=0.003 if middle.shape == "ball" else 0.0),
        )
        builder.set_moving(ball, (side * speed, 0.0, 0.0))
        return builder.build_proposal()

    def _friction_for_slide(self, ball: Entity, second: Entity, speed: float, distance: float) -> float:
        """The friction with which `second`, hit by the ball, slides about `distance` metres."""
        first_mass = MATERIAL_PROPERTIES[ball.material].density * 4 / 3 * math.pi * ball.extent**3
        second_mass = (
            MATERIAL_PROPERTIES[second.material].density * _UNIT_VOLUME[second.shape] * second.extent**3
        )
        # A blow that is about a third elastic.
        pushed = 1.3 * speed * first_mass / (first_mass + second_mass)
        return min(1.0, max(0.08, pushed**2 / (2 * GRAVITY * distance)))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """From the two contacts, in their order."""
        one, two, direct = (
            trajectory.contact_between(0, 1),
            trajectory.contact_between(1, 2),
            trajectory.contact_between(0, 2),
        )
        if one is None or one.first > 0.6 * trajectory.num_frames:
            return None
        direction = event_checks.cardinal_direction(event_checks.displacement(trajectory, 0, 0, one.first))
        if direction not in ("left", "right"):
            return None
        began = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, one.first),
            Claim(kind="hits", subject=0, object=1),
        )
        push = event_checks.pushed_claim(trajectory, 1, one.first)
        stayed = event_checks.is_stationary(trajectory, 2)
        if two is None:
            moved = event_checks.max_displacement(trajectory, 1)
            calm = event_checks.final_speed(trajectory, 1) < event_checks.MAX_REST_SPEED
            if (
                direct is not None
                or stayed is not True
                or moved < event_checks.MIN_MOVED_DISTANCE
                or not calm
            ):
                return None
            claims = (
                *began,
                push,
                Claim(kind="short of", subject=1, object=2),
                Claim(kind="stays", subject=2),
            )
            return EventOutcome(outcome="short of", claims=claims, event_frame=one.first)
        if two.first < one.first + 0.5 or two.first > 0.75 * trajectory.num_frames or stayed is not False:
            return None
        if direct is not None and direct.first < two.first:
            return None
        then = (*began, push, Claim(kind="hits", subject=1, object=2))
        fallen = proposal.entities[2].shape != "ball" and event_checks.has_fallen_over(trajectory, 2)
        if fallen is None:
            return None
        if fallen:
            claims = (*then, Claim(kind="tips over", subject=2))
            return EventOutcome(outcome="tips over", claims=claims, event_frame=two.first)
        claims = (*then, event_checks.pushed_claim(trajectory, 2, two.first))
        return EventOutcome(outcome="pushed", claims=claims, event_frame=two.first)
