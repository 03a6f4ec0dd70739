"""Events with prescribed motion: an object circles around another, or spins in the air."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.entities import CircularMotion, SpinMotion
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal, ViewRange
from kinema.simulator.physics import Trajectory

_ROTATION_SIGNS = {"counterclockwise": 1.0, "clockwise": -1.0}
_SPINNING_SHAPES: tuple[Shape, ...] = (
    "cube", "gem", "ring", "octahedron", "hexagonal block", "car", "snowman", "prism", "pyramid", "capsule",
)  # fmt: skip


@dataclass(frozen=True)
class Orbit:
    """A small object circles around a large one."""

    name: Event = "orbit"
    outcomes: tuple[str, ...] = ("clockwise", "counterclockwise")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A circle with random height, radius and speed."""
        main = builder.place(
            builder.pick(("ball", "ball", "gem", "ring", "cube", "octahedron")), 0.0, 0.0, size="small"
        )
        builder.place(
            builder.pick(("ball", "gem", "cone", "snowman", "pyramid", "cylinder", "octahedron")),
            0.0,
            0.0,
            size="large",
            role="partner",
        )
        motion = CircularMotion(
            centre=(0.0, 0.0, builder.uniform(0.45, 0.75)),
            radius=builder.uniform(1.05, 1.3),
            period=_ROTATION_SIGNS[outcome] * builder.duration / builder.uniform(0.8, 1.4),
            phase=builder.uniform(0.0, 2 * math.pi),
            bob=builder.uniform(0.0, 0.1),
        )
        builder.replace_entity(main, replace(builder.entities[main], motion=motion))
        return builder.build_proposal(view=ViewRange(elevation=(14.0, 30.0)))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the direction in which its angle changes."""
        if len(proposal.entities) < 2 or trajectory.num_frames < 2:
            return None
        first, second = trajectory.position[0, 0], trajectory.position[1, 0]
        is_counterclockwise = first[0] * second[1] - first[1] * second[0] > 0
        motion = "counterclockwise" if is_counterclockwise else "clockwise"
        claim = Claim(kind="circles", subject=0, object=1, value=motion)
        # The event is the moment in which it passes in front.
        return EventOutcome(
            outcome=motion, claims=(claim,), event_frame=int(np.argmin(trajectory.position[:, 0, 1]))
        )


@dataclass(frozen=True)
class Spin:
    """An object spins in the air."""

    name: Event = "spin"
    outcomes: tuple[str, ...] = ("clockwise", "counterclockwise")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A shape whose rotation is visible."""
        shape = builder.pick(_SPINNING_SHAPES)
        main = builder.place(shape, 0.0, 0.0, size="large", height_above_rest=builder.uniform(0.15, 0.4))
        motion = SpinMotion(
            period=_ROTATION_SIGNS[outcome] * builder.uniform(1.5, 3.4),
            tilt=math.radians(40) if shape == "ring" else 0.0,
            bob=0.05,
        )
        builder.replace_entity(main, replace(builder.entities[main], motion=motion))
        builder.add_background()
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the rotation between the first two frames."""
        if not isinstance(proposal.entities[0].motion, SpinMotion):
            return None
        step = trajectory.rotation[1, 0] @ trajectory.rotation[0, 0].T
        motion = "counterclockwise" if step[1, 0] > step[0, 1] else "clockwise"
        claim = Claim(kind="spins", subject=0, value=motion)
        return EventOutcome(outcome=motion, claims=(claim,), event_frame=trajectory.num_frames // 2)
