"""Something moves along a table towards its edge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.world.entities import Entity
from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict

_HALF = (1.0, 0.5, 0.38)
_SHAPES: tuple[Shape, ...] = ("ball", "ball", "cube", "cylinder", "disc", "hexagonal block")


@dataclass(frozen=True)
class Edge:
    """It falls off, or stops in time."""

    name: Event = "edge"
    outcomes: tuple[str, ...] = ("falls off", "stops")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Slow enough to stop on the table, or too fast for it."""
        side = stage.side()
        middle = -side * stage.between(0.4, 0.6)
        start = middle - side * stage.between(0.5, 0.7)
        main = stage.put(
            stage.pick(_SHAPES),
            start,
            0.1,
            size="small" if stage.chance(0.7) else "medium",
            over=2 * _HALF[2],
        )
        stage.add(
            Entity(
                shape="table", size="large", dimensions=_HALF, material="wood", colour=None, pattern="wooden",
                position=(middle, 0.1, _HALF[2]), fixed=True, friction=0.02, restitution=0.3, role="partner",
            )
        )  # fmt: skip
        room = abs(middle + side * _HALF[0] - start)
        if wanted == "stops":
            stop = stage.between(0.45, 0.75) * stage.seconds
            stage.send(main, (side * 2 * room * stage.between(0.4, 0.75) / stop, 0.0, 0.0), stop)
        else:
            speed = room / (stage.between(0.3, 0.5) * stage.seconds)
            stage.send(main, (side * speed, 0.0, 0.0))
            thing = stage.entities[main]
            stage.change(main, replace(thing, rolling=0.004 if thing.shape == "ball" else 0.0))
        stage.backdrop()
        return stage.proposal()

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From its height at the end."""
        step = judging.travel(seen, 0, 0, seen.frames // 2)
        direction = judging.heading(step)
        if direction not in ("left", "right"):
            return None
        top = 2 * _HALF[2]
        z = seen.position[:, 0, 2]
        moves = (Claim(kind="moves", subject=0, value=direction),)
        if z[-1] < top - 0.2:
            over = int(np.argmax(z < z[0] - 0.1))
            if over > seen.frames - 5 or seen.landing(0) is None:
                return None
            claims = (
                *moves,
                *judging.speed_claim(seen, 0, over),
                Claim(kind="falls off", subject=0, object=1),
            )
            return Verdict(outcome="falls off", claims=claims, frame=over)
        if judging.final_speed(seen, 0) < judging.RESTING and abs(z[-1] - z[0]) < 0.05:
            upright = proposal.entities[0].shape == "ball" or judging.fell_over(seen, 0) is False
            if not upright or float(np.linalg.norm(step)) < 0.3:
                return None
            claims = (
                *moves,
                Claim(kind="stops", subject=0),
                Claim(kind="rests on", subject=0, object=1),
            )
            return Verdict(outcome="stops", claims=claims, frame=seen.frames - 1)
        return None
