"""Bowling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Material
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View

GROUP = "pins"
_HEAVY: tuple[Material, ...] = ("metal", "marble", "rubber", "clay")
_PIN = 0.36


@dataclass(frozen=True)
class Bowl:
    """All pins fall, some, or none."""

    name: Event = "bowl"
    outcomes: tuple[str, ...] = ("all", "some", "none")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Straight and heavy for a strike, off to one side for a few, wide of them for none."""
        rows = stage.pick({"all": (2, 2, 3), "some": (3, 3, 4), "none": (2, 3, 3)}[wanted])
        side = stage.side()
        width = (rows - 1) / 2 * 0.4
        aim = {
            "all": stage.between(-0.05, 0.05),
            "some": side * (width + stage.between(-0.15, 0.2)),
            "none": side * (width + stage.between(0.75, 0.95)),
        }[wanted]
        ball = stage.put(
            "ball",
            aim * 0.5,
            -1.9,
            size="large" if wanted == "all" else "small" if wanted == "some" else "medium",
            materials=_HEAVY if wanted == "all" else ("plastic", "rubber", "wood"),
        )
        thing = stage.entities[ball]
        if thing.colour == "white":
            stage.change(ball, replace(thing, colour="blue"))
        white = stage.dressed("pin", ("plastic",))
        for row in range(rows):
            for k in range(row + 1):
                stage.add(
                    replace(
                        white,
                        colour="white",
                        pattern="solid",
                        second_colour=None,
                        size="small",
                        extent=_PIN,
                        position=((k - row / 2) * 0.4, 0.45 + row * 0.34, _PIN),
                        density=320.0,
                        restitution=0.4,
                        friction=0.5,
                        role="partner",
                        named=False,
                        group=GROUP,
                    )
                )
        way = np.array([aim * 0.5, 2.4])
        way = way / np.linalg.norm(way) * stage.between(3.4 if wanted == "all" else 2.2, 4.6)
        stage.send(ball, (float(way[0]), float(way[1]), 0.0))
        view = View(elevation=(14.0, 26.0), azimuth=6.0, moves=("static", "zoom in", "crane up", "tilt up"))
        return stage.proposal(view=view)

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From how many pins lie at the end."""
        pins = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        fallen = judging.fallen(seen, pins)
        touching = [c for c in seen.contacts if c.a == 0 and c.b in pins]
        if fallen is None or (fallen == 0) != (not touching):
            return None
        until = touching[0].first if touching else seen.frames // 2
        moves = (Claim(kind="moves", subject=0, value="away"), *judging.speed_claim(seen, 0, until))
        if judging.heading(judging.travel(seen, 0, 0, until)) != "away":
            return None
        if fallen == 0:
            if seen.position[-1, 0, 1] < 1.2:
                return None
            passing = int(np.argmax(seen.position[:, 0, 1] > 0.45))
            claims = (
                *moves,
                Claim(kind="misses", subject=0, object=pins[0], group=GROUP),
                Claim(kind="stands", group=GROUP),
            )
            return Verdict(outcome="none", claims=claims, frame=passing)
        claims = (
            *moves,
            Claim(kind="hits", subject=0, object=touching[0].b, group=GROUP),
            Claim(kind="fallen", group=GROUP, value=str(fallen)),
        )
        outcome = "all" if fallen == len(pins) else "some"
        return Verdict(outcome=outcome, claims=claims, frame=touching[0].first)
