"""A ball is bowled at a triangle of pins."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Material
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal, ViewRange
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

GROUP = "pins"
_HEAVY_MATERIALS: tuple[Material, ...] = ("metal", "marble", "rubber", "clay")
_PIN_HALF_HEIGHT = 0.36


@dataclass(frozen=True)
class Bowl:
    """All pins fall, some of them, or none."""

    name: Event = "bowl"
    outcomes: tuple[str, ...] = ("all", "some", "none")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A heavy ball aimed at the middle, a light one at the side, or one that passes the pins."""
        rows = builder.pick({"all": (2, 2, 3), "some": (3, 3, 4), "none": (2, 3, 3)}[outcome])
        side = builder.random_side()
        width = (rows - 1) / 2 * 0.4
        aim = {
            "all": builder.uniform(-0.05, 0.05),
            "some": side * (width + builder.uniform(-0.15, 0.2)),
            "none": side * (width + builder.uniform(0.75, 0.95)),
        }[outcome]
        ball = builder.place(
            "ball",
            aim * 0.5,
            -1.9,
            size="large" if outcome == "all" else "small" if outcome == "some" else "medium",
            materials=_HEAVY_MATERIALS if outcome == "all" else ("plastic", "rubber", "wood"),
        )
        entity = builder.entities[ball]
        if entity.colour == "white":
            builder.replace_entity(ball, replace(entity, colour="blue"))
        white = builder.random_entity("pin", ("plastic",))
        for row in range(rows):
            for k in range(row + 1):
                builder.add(
                    replace(
                        white,
                        colour="white",
                        pattern="solid",
                        second_colour=None,
                        size="small",
                        extent=_PIN_HALF_HEIGHT,
                        position=((k - row / 2) * 0.4, 0.45 + row * 0.34, _PIN_HALF_HEIGHT),
                        density=320.0,
                        restitution=0.4,
                        friction=0.5,
                        role="partner",
                        named=False,
                        group=GROUP,
                    )
                )
        velocity = np.array([aim * 0.5, 2.4])
        velocity = (
            velocity / np.linalg.norm(velocity) * builder.uniform(3.4 if outcome == "all" else 2.2, 4.6)
        )
        builder.set_moving(ball, (float(velocity[0]), float(velocity[1]), 0.0))
        view = ViewRange(
            elevation=(14.0, 26.0), azimuth=6.0, moves=("static", "zoom in", "crane up", "tilt up")
        )
        return builder.build_proposal(view=view)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the number of pins that lie at the end."""
        pins = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        num_fallen = event_checks.count_fallen(trajectory, pins)
        touching = [c for c in trajectory.contacts if c.a == 0 and c.b in pins]
        if num_fallen is None or (num_fallen == 0) != (not touching):
            return None
        contact_frame = touching[0].first if touching else trajectory.num_frames // 2
        moves = (
            Claim(kind="moves", subject=0, value="away"),
            *event_checks.speed_claims(trajectory, 0, contact_frame),
        )
        if (
            event_checks.cardinal_direction(event_checks.displacement(trajectory, 0, 0, contact_frame))
            != "away"
        ):
            return None
        if num_fallen == 0:
            if trajectory.position[-1, 0, 1] < 1.2:
                return None
            passing = int(np.argmax(trajectory.position[:, 0, 1] > 0.45))
            claims = (
                *moves,
                Claim(kind="misses", subject=0, object=pins[0], group=GROUP),
                Claim(kind="stands", group=GROUP),
            )
            return EventOutcome(outcome="none", claims=claims, event_frame=passing)
        claims = (
            *moves,
            Claim(kind="hits", subject=0, object=touching[0].b, group=GROUP),
            Claim(kind="fallen", group=GROUP, value=str(num_fallen)),
        )
        outcome = "all" if num_fallen == len(pins) else "some"
        return EventOutcome(outcome=outcome, claims=claims, event_frame=touching[0].first)
