"""The lab's camera event: one or two things stand still, and only the camera moves."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.simulator.annotations import Claim, Event
from kinema.simulator.attributes import CAMERA_MOVES, LAB_SHAPES
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory


@dataclass(frozen=True)
class CameraMotion:
    """One outcome for each move."""

    name: Event = "camera"
    outcomes: tuple[str, ...] = CAMERA_MOVES

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Near the middle, so that every move keeps them in view."""
        number = builder.pick((1, 2))
        apart = builder.uniform(0.5, 0.65)
        for k in range(number):
            x = 0.0 if number == 1 else (2 * k - 1) * apart
            builder.place(
                builder.pick(LAB_SHAPES),
                x + builder.uniform(-0.06, 0.06),
                builder.uniform(-0.25, 0.25),
                role="main" if k == 0 else "partner",
            )
        return builder.build_proposal(relation=outcome)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Nothing else may move."""
        things = range(len(proposal.entities))
        if any(event_checks.is_stationary(trajectory, k) is not True for k in things):
            return None
        sides = (Claim(kind="left of", subject=0, object=1),) if len(proposal.entities) == 2 else ()
        move = Claim(kind="camera", value=proposal.relation)
        return EventOutcome(
            outcome=proposal.relation, claims=(move, *sides), event_frame=trajectory.num_frames // 2
        )
