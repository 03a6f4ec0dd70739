"""Two events in a row: a ball hits one thing, which then meets another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kinema.simulator.events import event_checks
from kinema.world.entities import Entity
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import GRAVITY, Trajectory
from kinema.world.stage import Proposal, Stage, Verdict
from kinema.world.vocabulary import STUFF

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

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """A smooth second thing goes far, a rough one stops."""
        side = builder.side()
        reached = outcome != "short of"
        start = -side * builder.between(1.5, 1.7)
        ball = builder.put(
            "ball",
            start,
            0.0,
            sizes=("medium", "large") if reached else ("small", "medium"),
            materials=("metal", "marble", "clay", "rubber"),
        )
        first = -side * builder.between(0.05, 0.2)
        second = builder.put(
            builder.pick(_SECOND_SHAPES if reached else _SLIDING_SHAPES),
            first,
            builder.between(-0.03, 0.03),
            sizes=("medium", "large") if outcome == "tips over" else ("small", "medium"),
            materials=("plastic", "wood", "glass", "rubber"),
            role="partner",
            facing=0.0,
        )
        third = builder.put(
            builder.pick(_TALL_SHAPES if outcome == "tips over" else _LOW_SHAPES),
            0.0,
            builder.between(-0.03, 0.03),
            sizes=("small",) if outcome == "tips over" else ("small", "medium"),
            materials=("plastic", "wood") if reached else ("metal", "marble", "clay", "wood"),
            role="partner",
        )
        gap = builder.between(0.15, 0.35) if reached else builder.between(0.6, 0.9)
        between = builder.reach(second) + builder.reach(third)
        last = builder.entities[third]
        builder.change(
            third,
            replace(
                last,
                position=(first + side * (between * 0.85 + gap), last.position[1], last.position[2]),
                friction=1.1 if outcome == "tips over" else 0.4,
            ),
        )
        speed = builder.between(2.0, 2.9) if reached else builder.between(1.5, 2.2)
        middle = builder.entities[second]
        friction = builder.between(0.12, 0.25)
        if not reached:
            friction = self._friction_for_slide(
                builder.entities[ball], middle, speed, builder.between(0.3, 0.4)
            )
        builder.change(
            second, replace(middle, friction=friction, rolling=0.003 if middle.shape == "ball" else 0.0)
        )
        builder.send(ball, (side * speed, 0.0, 0.0))
        return builder.proposal()

    def _friction_for_slide(self, ball: Entity, second: Entity, speed: float, distance: float) -> float:
        """The friction with which `second`, hit by the ball, slides about `distance` metres."""
        first_mass = STUFF[ball.material].density * 4 / 3 * math.pi * ball.extent**3
        second_mass = STUFF[second.material].density * _UNIT_VOLUME[second.shape] * second.extent**3
        # A blow that is about a third elastic.
        pushed = 1.3 * speed * first_mass / (first_mass + second_mass)
        return min(1.0, max(0.08, pushed**2 / (2 * GRAVITY * distance)))

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """From the two contacts, in their order."""
        one, two, direct = trajectory.touch(0, 1), trajectory.touch(1, 2), trajectory.touch(0, 2)
        if one is None or one.first > 0.6 * trajectory.frames:
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
            return Verdict(outcome="short of", claims=claims, frame=one.first)
        if two.first < one.first + 0.5 or two.first > 0.75 * trajectory.frames or stayed is not False:
            return None
        if direct is not None and direct.first < two.first:
            return None
        then = (*began, push, Claim(kind="hits", subject=1, object=2))
        fallen = proposal.entities[2].shape != "ball" and event_checks.has_fallen_over(trajectory, 2)
        if fallen is None:
            return None
        if fallen:
            claims = (*then, Claim(kind="tips over", subject=2))
            return Verdict(outcome="tips over", claims=claims, frame=two.first)
        claims = (*then, event_checks.pushed_claim(trajectory, 2, two.first))
        return Verdict(outcome="pushed", claims=claims, frame=two.first)
