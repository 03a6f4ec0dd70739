"""Several things of one kind: how many?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View
from kinema.world.vocabulary import SHAPES

GROUP = "count"
_SHAPES: tuple[Shape, ...] = (*SHAPES, "car")


@dataclass(frozen=True)
class Count:
    """They stand, or roll side by side."""

    name: Event = "count"
    outcomes: tuple[str, ...] = ("stand", "roll")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Two to five of them, apart enough to be counted."""
        rolling = wanted == "roll"
        number = int(stage.rng.integers(2, 5 if stage.lab and rolling else 6))
        shape = "ball" if rolling else stage.pick(stage.shapes(_SHAPES))
        step = stage.between(0.7, 0.76) if stage.lab else stage.between(0.78, 0.92)
        deep = 0.25 if stage.lab else 0.45
        side = stage.side() if rolling else 0
        shift = -side * 0.45
        places = [(k - (number - 1) / 2) * step + shift for k in range(number)]
        for k, x in enumerate(places):
            index = stage.put(
                shape, x + stage.between(-0.05, 0.05), stage.between(-deep, deep), size="small", facing=None
            )
            thing = stage.entities[index]
            first = stage.entities[0]
            extent = 0.29 if stage.lab else thing.extent
            height = thing.position[2] * extent / thing.extent
            stage.change(
                index,
                replace(
                    thing,
                    extent=extent,
                    material=first.material,
                    colour=first.colour,
                    pattern=first.pattern,
                    second_colour=first.second_colour,
                    position=(thing.position[0], thing.position[1], height),
                    role="main",
                    named=False,
                    group=GROUP,
                ),
            )
            if rolling:
                # All at the same pace: what stands apart stays apart.
                stage.send(k, (side * 0.9 / stage.seconds, 0.0, 0.0))
        return stage.proposal(relation=str(number), view=View(elevation=(14.0, 26.0), azimuth=8.0))

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """All of them alike, or nothing."""
        members = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        if any(c.a in members and c.b in members for c in seen.contacts):
            return None
        count = Claim(kind="count", group=GROUP, value=str(len(members)))
        frame = seen.frames // 2
        if all(judging.stayed(seen, k) is True for k in members):
            claims = (count, Claim(kind="stays", group=GROUP))
            return Verdict(outcome="stand", claims=claims, frame=frame)
        steps = [judging.travel(seen, k) for k in members]
        ways = {judging.heading(step) for step in steps}
        way = ways.pop() if len(ways) == 1 else None
        if way not in ("left", "right") or min(float(np.linalg.norm(step)) for step in steps) < 0.6:
            return None
        claims = (count, Claim(kind="moves", subject=0, group=GROUP, value=way))
        return Verdict(outcome="roll", claims=claims, frame=frame)
