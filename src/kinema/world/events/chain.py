"""Two events in a row: a ball hits one thing, which then meets another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kinema.world.entities import Entity
from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import GRAVITY, Trajectory
from kinema.world.stage import Proposal, Stage, Verdict
from kinema.world.vocabulary import STUFF

_BLOCKS: tuple[Shape, ...] = ("cube", "cube", "hexagonal block", "prism")
_SECOND: tuple[Shape, ...] = (*_BLOCKS, "ball")
_VOLUME = {"cube": 8.0, "hexagonal block": 4.2, "prism": 2.7}
"""Cubic metres at an extent of one metre."""
_TALL: tuple[Shape, ...] = ("cylinder", "cylinder", "cylinder", "snowman", "cone")
_LOW: tuple[Shape, ...] = ("ball", "cube", "pyramid", "disc", "prism")


@dataclass(frozen=True)
class Chain:
    """The last thing tips over, is pushed, or is never reached."""

    name: Event = "chain"
    outcomes: tuple[str, ...] = ("tips over", "pushed", "short of")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """A smooth second thing goes far, a rough one stops."""
        side = stage.side()
        reached = wanted != "short of"
        start = -side * stage.between(1.5, 1.7)
        ball = stage.put(
            "ball",
            start,
            0.0,
            sizes=("medium", "large") if reached else ("small", "medium"),
            materials=("metal", "marble", "clay", "rubber"),
        )
        first = -side * stage.between(0.05, 0.2)
        second = stage.put(
            stage.pick(_SECOND if reached else _BLOCKS),
            first,
            stage.between(-0.03, 0.03),
            sizes=("medium", "large") if wanted == "tips over" else ("small", "medium"),
            materials=("plastic", "wood", "glass", "rubber"),
            role="partner",
            facing=0.0,
        )
        third = stage.put(
            stage.pick(_TALL if wanted == "tips over" else _LOW),
            0.0,
            stage.between(-0.03, 0.03),
            sizes=("small",) if wanted == "tips over" else ("small", "medium"),
            materials=("plastic", "wood") if reached else ("metal", "marble", "clay", "wood"),
            role="partner",
        )
        gap = stage.between(0.15, 0.35) if reached else stage.between(0.6, 0.9)
        between = stage.reach(second) + stage.reach(third)
        last = stage.entities[third]
        stage.change(
            third,
            replace(
                last,
                position=(first + side * (between * 0.85 + gap), last.position[1], last.position[2]),
                friction=1.1 if wanted == "tips over" else 0.4,
            ),
        )
        speed = stage.between(2.0, 2.9) if reached else stage.between(1.5, 2.2)
        middle = stage.entities[second]
        friction = stage.between(0.12, 0.25)
        if not reached:
            friction = self._brake(stage.entities[ball], middle, speed, stage.between(0.3, 0.4))
        stage.change(
            second, replace(middle, friction=friction, rolling=0.003 if middle.shape == "ball" else 0.0)
        )
        stage.send(ball, (side * speed, 0.0, 0.0))
        return stage.proposal()

    def _brake(self, ball: Entity, second: Entity, speed: float, way: float) -> float:
        """The friction with which `second`, hit by the ball, slides about `way` metres."""
        first_mass = STUFF[ball.material].density * 4 / 3 * math.pi * ball.extent**3
        second_mass = STUFF[second.material].density * _VOLUME[second.shape] * second.extent**3
        # A blow that is about a third elastic.
        pushed = 1.3 * speed * first_mass / (first_mass + second_mass)
        return min(1.0, max(0.08, pushed**2 / (2 * GRAVITY * way)))

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From the two contacts, in their order."""
        one, two, direct = seen.touch(0, 1), seen.touch(1, 2), seen.touch(0, 2)
        if one is None or one.first > 0.6 * seen.frames:
            return None
        direction = judging.heading(judging.travel(seen, 0, 0, one.first))
        if direction not in ("left", "right"):
            return None
        began = (
            Claim(kind="moves", subject=0, value=direction),
            *judging.speed_claim(seen, 0, one.first),
            Claim(kind="hits", subject=0, object=1),
        )
        push = judging.pushed_claim(seen, 1, one.first)
        stayed = judging.stayed(seen, 2)
        if two is None:
            moved = judging.farthest(seen, 1)
            calm = judging.final_speed(seen, 1) < judging.RESTING
            if direct is not None or stayed is not True or moved < judging.MOVED or not calm:
                return None
            claims = (
                *began,
                push,
                Claim(kind="short of", subject=1, object=2),
                Claim(kind="stays", subject=2),
            )
            return Verdict(outcome="short of", claims=claims, frame=one.first)
        if two.first < one.first + 0.5 or two.first > 0.75 * seen.frames or stayed is not False:
            return None
        if direct is not None and direct.first < two.first:
            return None
        then = (*began, push, Claim(kind="hits", subject=1, object=2))
        fallen = proposal.entities[2].shape != "ball" and judging.fell_over(seen, 2)
        if fallen is None:
            return None
        if fallen:
            claims = (*then, Claim(kind="tips over", subject=2))
            return Verdict(outcome="tips over", claims=claims, frame=two.first)
        claims = (*then, judging.pushed_claim(seen, 2, two.first))
        return Verdict(outcome="pushed", claims=claims, frame=two.first)
