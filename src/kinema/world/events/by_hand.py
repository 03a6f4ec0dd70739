"""Two events that no force drives: something circles round another thing, or spins in the air."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.world.entities import Circling, Spinning
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View

_TURNS = {"counterclockwise": 1.0, "clockwise": -1.0}
_TURNING: tuple[Shape, ...] = (
    "cube", "gem", "ring", "octahedron", "hexagonal block", "car", "snowman", "prism", "pyramid", "capsule",
)  # fmt: skip


@dataclass(frozen=True)
class Orbit:
    """A small thing travels round a large one."""

    name: Event = "orbit"
    outcomes: tuple[str, ...] = ("clockwise", "counterclockwise")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """A circle of its own height and pace."""
        main = stage.put(
            stage.pick(("ball", "ball", "gem", "ring", "cube", "octahedron")), 0.0, 0.0, size="small"
        )
        stage.put(
            stage.pick(("ball", "gem", "cone", "snowman", "pyramid", "cylinder", "octahedron")),
            0.0,
            0.0,
            size="large",
            role="partner",
        )
        way = Circling(
            centre=(0.0, 0.0, stage.between(0.45, 0.75)),
            radius=stage.between(1.05, 1.3),
            period=_TURNS[wanted] * stage.seconds / stage.between(0.8, 1.4),
            phase=stage.between(0.0, 2 * math.pi),
            bob=stage.between(0.0, 0.1),
        )
        stage.change(main, replace(stage.entities[main], moved=way))
        return stage.proposal(view=View(elevation=(14.0, 30.0)))

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From the sense in which its angle grows."""
        if len(proposal.entities) < 2 or seen.frames < 2:
            return None
        first, second = seen.position[0, 0], seen.position[1, 0]
        growing = first[0] * second[1] - first[1] * second[0] > 0
        way = "counterclockwise" if growing else "clockwise"
        claim = Claim(kind="circles", subject=0, object=1, value=way)
        # Told of the moment in which it passes in front.
        return Verdict(outcome=way, claims=(claim,), frame=int(np.argmin(seen.position[:, 0, 1])))


@dataclass(frozen=True)
class Spin:
    """A thing turns in the air."""

    name: Event = "spin"
    outcomes: tuple[str, ...] = ("clockwise", "counterclockwise")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Only things whose turning can be seen."""
        shape = stage.pick(_TURNING)
        main = stage.put(shape, 0.0, 0.0, size="large", over=stage.between(0.15, 0.4))
        way = Spinning(
            period=_TURNS[wanted] * stage.between(1.5, 3.4),
            tilt=math.radians(40) if shape == "ring" else 0.0,
            bob=0.05,
        )
        stage.change(main, replace(stage.entities[main], moved=way))
        stage.backdrop()
        return stage.proposal()

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From the sense in which it has turned after one frame."""
        if not isinstance(proposal.entities[0].moved, Spinning):
            return None
        step = seen.rotation[1, 0] @ seen.rotation[0, 0].T
        way = "counterclockwise" if step[1, 0] > step[0, 1] else "clockwise"
        claim = Claim(kind="spins", subject=0, value=way)
        return Verdict(outcome=way, claims=(claim,), frame=seen.frames // 2)
