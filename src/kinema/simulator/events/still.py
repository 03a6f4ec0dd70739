"""Objects stand still side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.attributes import SHAPES
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal, ViewRange
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_SHAPES: tuple[Shape, ...] = (*SHAPES, "snowman", "car")


@dataclass(frozen=True)
class Still:
    """Two, three or four objects."""

    name: Event = "still"
    outcomes: tuple[str, ...] = ("pair", "three", "row")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Objects in a row; of two, the main one may stand on either side."""
        number = {"pair": 2, "three": 3, "row": 4}[outcome]
        width = {"pair": builder.uniform(0.76, 1.0), "three": 1.3, "row": 1.75}[outcome]
        positions = [float(x) for x in np.linspace(-width, width, number)]
        main_on_left = builder.bernoulli(0.5)
        if number == 2 and not main_on_left:
            positions.reverse()
        for k, x in enumerate(positions):
            builder.place(
                builder.pick(builder.allowed_shapes(_SHAPES)),
                x + builder.uniform(-0.08, 0.08),
                builder.uniform(-0.3, 0.4),
                sizes=("small", "medium", "large") if number < 4 else ("small", "medium"),
                role="main" if k == 0 else "partner",
            )
        return builder.build_proposal(
            relation=("left of" if main_on_left else "right of") if number == 2 else "row",
            view=ViewRange(azimuth=8.0),
        )

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the number and order of the objects."""
        number = len(proposal.entities)
        if any(event_checks.is_stationary(trajectory, k) is not True for k in range(number)):
            return None
        x = trajectory.position[0, :, 0]
        frame = trajectory.num_frames // 2
        if number == 2:
            left = bool(x[0] < x[1])
            claim = Claim(kind="left of" if left else "right of", subject=0, object=1)
            return EventOutcome(outcome="pair", claims=(claim,), event_frame=frame)
        pairs = tuple(Claim(kind="left of", subject=k, object=k + 1) for k in range(number - 1))
        if number == 3:
            return EventOutcome(
                outcome="three", claims=(*pairs, Claim(kind="middle", subject=1)), event_frame=frame
            )
        return EventOutcome(
            outcome="row", claims=(Claim(kind="in a row", subject=0, object=3), *pairs), event_frame=frame
        )
