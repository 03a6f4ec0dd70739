"""The camera event of the lab: one or two objects stand still and only the camera moves."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.simulator.annotations import Claim, Event
from kinema.simulator.attributes import CAMERA_MOVES, LAB_SHAPES
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory


@dataclass(frozen=True)
class CameraMotion:
    """One outcome per camera move."""

    name: Event = "camera"
    outcomes: tuple[str, ...] = CAMERA_MOVES

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Objects near the middle, so that every camera move keeps them in view."""
        number = builder.pick((1, 2))
        half_gap = builder.uniform(0.5, 0.65)
        for k in range(number):
            x = 0.0 if number == 1 else (2 * k - 1) * half_gap
            builder.place(
                builder.pick(LAB_SHAPES),
                x + builder.uniform(-0.06, 0.06),
                builder.uniform(-0.25, 0.25),
                role="main" if k == 0 else "partner",
            )
        return builder.build_proposal(relation=outcome)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Accept only scenes in which nothing moves."""
        indices = range(len(proposal.entities))
        if any(event_checks.is_stationary(trajectory, k) is not True for k in indices):
            return None
        order = (Claim(kind="left of", subject=0, object=1),) if len(proposal.entities) == 2 else ()
        camera_claim = Claim(kind="camera", value=proposal.relation)
        return EventOutcome(
            outcome=proposal.relation, claims=(camera_claim, *order), event_frame=trajectory.num_frames // 2
        )
