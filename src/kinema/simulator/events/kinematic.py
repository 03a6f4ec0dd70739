"""Two events that no force drives: something circles round another thing, or spins in the air."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.world.entities import Circling, Spinning
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View

_ROTATION_SIGNS = {"counterclockwise": 1.0, "clockwise": -1.0}
_SPINNING_SHAPES: tuple[Shape, ...] = (
    "cube", "gem", "ring", "octahedron", "hexagonal block", "car", "snowman", "prism", "pyramid", "capsule",
)  # fmt: skip


@dataclass(frozen=True)
class Orbit:
    """A small thing travels round a large one."""

    name: Event = "orbit"
    outcomes: tuple[str, ...] = ("clockwise", "counterclockwise")

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """A circle of its own height and pace."""
        main = builder.put(
            builder.pick(("ball", "ball", "gem", "ring", "cube", "octahedron")), 0.0, 0.0, size="small"
        )
        builder.put(
            builder.pick(("ball", "gem", "cone", "snowman", "pyramid", "cylinder", "octahedron")),
            0.0,
            0.0,
            size="large",
            role="partner",
        )
        way = Circling(
            centre=(0.0, 0.0, builder.between(0.45, 0.75)),
            radius=builder.between(1.05, 1.3),
            period=_ROTATION_SIGNS[outcome] * builder.seconds / builder.between(0.8, 1.4),
            phase=builder.between(0.0, 2 * math.pi),
            bob=builder.between(0.0, 0.1),
        )
        builder.change(main, replace(builder.entities[main], moved=way))
        return builder.proposal(view=View(elevation=(14.0, 30.0)))

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """From the sense in which its angle grows."""
        if len(proposal.entities) < 2 or trajectory.frames < 2:
            return None
        first, second = trajectory.position[0, 0], trajectory.position[1, 0]
        growing = first[0] * second[1] - first[1] * second[0] > 0
        way = "counterclockwise" if growing else "clockwise"
        claim = Claim(kind="circles", subject=0, object=1, value=way)
        # Told of the moment in which it passes in front.
        return Verdict(outcome=way, claims=(claim,), frame=int(np.argmin(trajectory.position[:, 0, 1])))


@dataclass(frozen=True)
class Spin:
    """A thing turns in the air."""

    name: Event = "spin"
    outcomes: tuple[str, ...] = ("clockwise", "counterclockwise")

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """Only things whose turning can be seen."""
        shape = builder.pick(_SPINNING_SHAPES)
        main = builder.put(shape, 0.0, 0.0, size="large", over=builder.between(0.15, 0.4))
        way = Spinning(
            period=_ROTATION_SIGNS[outcome] * builder.between(1.5, 3.4),
            tilt=math.radians(40) if shape == "ring" else 0.0,
            bob=0.05,
        )
        builder.change(main, replace(builder.entities[main], moved=way))
        builder.backdrop()
        return builder.proposal()

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """From the sense in which it has turned after one frame."""
        if not isinstance(proposal.entities[0].moved, Spinning):
            return None
        step = trajectory.rotation[1, 0] @ trajectory.rotation[0, 0].T
        way = "counterclockwise" if step[1, 0] > step[0, 1] else "clockwise"
        claim = Claim(kind="spins", subject=0, value=way)
        return Verdict(outcome=way, claims=(claim,), frame=trajectory.frames // 2)
