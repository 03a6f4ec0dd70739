"""Something on a slope."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.world.entities import Entity, after, turn
from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.solids import standing
from kinema.world.stage import Proposal, Stage, Verdict

_SLIDING: tuple[Shape, ...] = ("cube", "cylinder", "hexagonal block", "disc", "pyramid")
_ROLLING: tuple[Shape, ...] = ("ball", "ball", "car")
_LENGTH, _DEPTH = 0.8, 0.5
"""Half extents of the ramp."""


@dataclass(frozen=True)
class Ramp:
    """It stays where it is, goes down, or goes down and hits something at the foot."""

    name: Event = "ramp"
    outcomes: tuple[str, ...] = ("rests on", "goes down", "hits")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Rough things rest, smooth and round ones go."""
        side = stage.side()
        rise = stage.between(0.34, 0.5)
        shapes = _SLIDING if wanted == "rests on" else _SLIDING + _ROLLING * 2
        main = stage.put(stage.pick(shapes), 0.0, 0.0, size="small", facing=0.0)
        heading = turn((0.0, 0.0, 1.0), 0.0 if side > 0 else math.pi)
        half = (_LENGTH, _DEPTH, _LENGTH * rise)
        place = (-side * stage.between(0.75, 0.95), 0.1, half[2])
        slope = math.atan(rise)
        self._on_slope(stage, main, place, slope, side)
        thing = stage.entities[main]
        sliding = 0.9 if wanted == "rests on" else stage.between(0.1, 0.2)
        friction = sliding if thing.shape in _SLIDING else thing.friction
        stage.change(main, replace(thing, friction=friction))
        stage.add(
            Entity(
                shape="ramp", size="large", dimensions=half, material="wood", colour=None, pattern="wooden",
                position=place, rotation=heading, fixed=True, friction=0.03, restitution=0.1, role="partner",
            )
        )  # fmt: skip
        if wanted == "hits":
            stage.put(
                stage.pick(("cube", "cone", "cylinder", "ball", "pyramid", "hexagonal block")),
                side * stage.between(0.65, 1.1),
                0.1,
                size="small",
                role="partner",
            )
        stage.backdrop()
        return stage.proposal()

    def _on_slope(
        self, stage: Stage, main: int, place: tuple[float, float, float], slope: float, side: int
    ) -> None:
        thing = stage.entities[main]
        height, resting = standing(thing)
        along = -0.55 * _LENGTH
        lift = height + 0.004
        x = place[0] + side * (along + math.sin(slope) * lift)
        z = place[2] - along * math.tan(slope) + math.cos(slope) * lift
        heading = turn((0.0, 0.0, 1.0), 0.0 if side > 0 else math.pi)
        rotation = after(heading, after(turn((0.0, 1.0, 0.0), slope), resting))
        if thing.shape == "ball":
            rotation = thing.rotation
        stage.change(main, replace(thing, position=(x, place[1], z), rotation=rotation))

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From how far it has come, and what it met at the foot."""
        step = judging.travel(seen, 0)
        if np.linalg.norm(step) < judging.STAYED and len(proposal.entities) == 2 + self._extras(proposal):
            claim = Claim(kind="rests on", subject=0, object=1)
            return Verdict(outcome="rests on", claims=(claim,), frame=seen.frames // 2)
        foot = float(np.abs(seen.position[0, 1, 0] - seen.position[:, 0, 0]).max())
        if step[2] > -0.15 or foot < _LENGTH * 0.9:
            return None
        direction = judging.word(float(step[0]))
        down = Claim(kind="slides down", subject=0, object=1, value=direction)
        partner = len(proposal.entities) > 2 and proposal.entities[2].role == "partner"
        past = np.abs(seen.position[:, 0, 0] - seen.position[0, 1, 0]) > _LENGTH * 0.9
        if not partner:
            return Verdict(outcome="goes down", claims=(down,), frame=int(np.argmax(past)))
        contact = seen.touch(0, 2)
        stayed = judging.stayed(seen, 2)
        if contact is None or stayed is None or contact.first > seen.frames - 5:
            return None
        fate = Claim(kind="stays", subject=2)
        if not stayed:
            fallen = proposal.entities[2].shape != "ball" and judging.fell_over(seen, 2)
            if fallen is None:
                return None
            fate = judging.pushed_claim(seen, 2, contact.first)
            if fallen:
                fate = Claim(kind="tips over", subject=2)
        claims = (down, Claim(kind="hits", subject=0, object=2), fate)
        return Verdict(outcome="hits", claims=claims, frame=contact.first)

    def _extras(self, proposal: Proposal) -> int:
        return sum(entity.role == "background" for entity in proposal.entities)
