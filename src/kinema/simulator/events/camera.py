"""The lab's camera event: one or two things stand still, and only the camera moves."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.simulator.events import event_checks
from kinema.world.facts import Claim, Event
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict
from kinema.world.vocabulary import CAMERA_MOVES, LAB_SHAPES


@dataclass(frozen=True)
class CameraMotion:
    """One outcome for each move."""

    name: Event = "camera"
    outcomes: tuple[str, ...] = CAMERA_MOVES

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """Near the middle, so that every move keeps them in view."""
        number = builder.pick((1, 2))
        apart = builder.between(0.5, 0.65)
        for k in range(number):
            x = 0.0 if number == 1 else (2 * k - 1) * apart
            builder.put(
                builder.pick(LAB_SHAPES),
                x + builder.between(-0.06, 0.06),
                builder.between(-0.25, 0.25),
                role="main" if k == 0 else "partner",
            )
        return builder.proposal(relation=outcome)

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """Nothing else may move."""
        things = range(len(proposal.entities))
        if any(event_checks.is_stationary(trajectory, k) is not True for k in things):
            return None
        sides = (Claim(kind="left of", subject=0, object=1),) if len(proposal.entities) == 2 else ()
        move = Claim(kind="camera", value=proposal.relation)
        return Verdict(outcome=proposal.relation, claims=(move, *sides), frame=trajectory.frames // 2)
