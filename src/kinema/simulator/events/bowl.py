"""Bowling."""

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
    """All pins fall, some, or none."""

    name: Event = "bowl"
    outcomes: tuple[str, ...] = ("all", "some", "none")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Straight and heavy for a strike, off to one side for a few, wide of them for none."""
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
        thing = builder.entities[ball]
        if thing.colour == "white":
            builder.replace_entity(ball, replace(thing, colour="blue"))
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
        way = np.array([aim * 0.5, 2.4])
        way = way / np.linalg.norm(way) * builder.uniform(3.4 if outcome == "all" else 2.2, 4.6)
        builder.set_moving(ball, (float(way[0]), float(way[1]), 0.0))
        view = ViewRange(
            elevation=(14.0, 26.0), azimuth=6.0, moves=("static", "zoom in", "crane up", "tilt up")
        )
        return builder.build_proposal(view=view)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """From how many pins lie at the end."""
        pins = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        fallen = event_checks.count_fallen(trajectory, pins)
        touching = [c for c in trajectory.contacts if c.a == 0 and c.b in pins]
        if fallen is None or (fallen == 0) != (not touching):
            return None
        until = touching[0].first if touching else trajectory.num_frames // 2
        moves = (
            Claim(kind="moves", subject=0, value="away"),
            *event_checks.speed_claims(trajectory, 0, until),
        )
        if event_checks.cardinal_direction(event_checks.displacement(trajectory, 0, 0, until)) != "away":
            return None
        if fallen == 0:
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
            Claim(kind="fallen", group=GROUP, value=str(fallen)),
        )
        outcome = "all" if fallen == len(pins) else "some"
        return EventOutcome(outcome=outcome, claims=claims, event_frame=touching[0].first)
