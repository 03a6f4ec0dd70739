"""Nothing moves: things stand side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.simulator.events import event_checks
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View
from kinema.world.vocabulary import SHAPES

_SHAPES: tuple[Shape, ...] = (*SHAPES, "snowman", "car")


@dataclass(frozen=True)
class Still:
    """Two, three or four things."""

    name: Event = "still"
    outcomes: tuple[str, ...] = ("pair", "three", "row")

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """Side by side; told from either side where there are two."""
        number = {"pair": 2, "three": 3, "row": 4}[outcome]
        width = {"pair": builder.between(0.76, 1.0), "three": 1.3, "row": 1.75}[outcome]
        places = [float(x) for x in np.linspace(-width, width, number)]
        told_from_left = builder.chance(0.5)
        if number == 2 and not told_from_left:
            places.reverse()
        for k, place in enumerate(places):
            builder.put(
                builder.pick(builder.shapes(_SHAPES)),
                place + builder.between(-0.08, 0.08),
                builder.between(-0.3, 0.4),
                sizes=("small", "medium", "large") if number < 4 else ("small", "medium"),
                role="main" if k == 0 else "partner",
            )
        return builder.proposal(
            relation=("left of" if told_from_left else "right of") if number == 2 else "row",
            view=View(azimuth=8.0),
        )

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """From where they stand."""
        number = len(proposal.entities)
        if any(event_checks.is_stationary(trajectory, k) is not True for k in range(number)):
            return None
        x = trajectory.position[0, :, 0]
        frame = trajectory.frames // 2
        if number == 2:
            left = bool(x[0] < x[1])
            claim = Claim(kind="left of" if left else "right of", subject=0, object=1)
            return Verdict(outcome="pair", claims=(claim,), frame=frame)
        pairs = tuple(Claim(kind="left of", subject=k, object=k + 1) for k in range(number - 1))
        if number == 3:
            return Verdict(outcome="three", claims=(*pairs, Claim(kind="middle", subject=1)), frame=frame)
        return Verdict(
            outcome="row", claims=(Claim(kind="in a row", subject=0, object=3), *pairs), frame=frame
        )
