"""Several equal objects, to be counted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.attributes import SHAPES
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal, ViewRange
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

GROUP = "count"
_SHAPES: tuple[Shape, ...] = (*SHAPES, "car")


@dataclass(frozen=True)
class Count:
    """They stand still, or roll side by side."""

    name: Event = "count"
    outcomes: tuple[str, ...] = ("stand", "roll")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Two to five objects with gaps between them."""
        rolling = outcome == "roll"
        number = int(builder.rng.integers(2, 5 if builder.lab and rolling else 6))
        shape = "ball" if rolling else builder.pick(builder.allowed_shapes(_SHAPES))
        step = builder.uniform(0.7, 0.76) if builder.lab else builder.uniform(0.78, 0.92)
        depth_jitter = 0.25 if builder.lab else 0.45
        side = builder.random_side() if rolling else 0
        shift = -side * 0.45
        positions = [(k - (number - 1) / 2) * step + shift for k in range(number)]
        for k, x in enumerate(positions):
            index = builder.place(
                shape,
                x + builder.uniform(-0.05, 0.05),
                builder.uniform(-depth_jitter, depth_jitter),
                size="small",
                facing=None,
            )
            entity = builder.entities[index]
            first = builder.entities[0]
            extent = 0.29 if builder.lab else entity.extent
            height = entity.position[2] * extent / entity.extent
            builder.replace_entity(
                index,
                replace(
                    entity,
                    extent=extent,
                    material=first.material,
                    colour=first.colour,
                    pattern=first.pattern,
                    second_colour=first.second_colour,
                    position=(entity.position[0], entity.position[1], height),
                    role="main",
                    named=False,
                    group=GROUP,
                ),
            )
            if rolling:
                # The same speed for all keeps the gaps.
                builder.set_moving(k, (side * 0.9 / builder.duration, 0.0, 0.0))
        return builder.build_proposal(
            relation=str(number), view=ViewRange(elevation=(14.0, 26.0), azimuth=8.0)
        )

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Accept only scenes in which all objects do the same."""
        members = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        if any(c.a in members and c.b in members for c in trajectory.contacts):
            return None
        count_claim = Claim(kind="count", group=GROUP, value=str(len(members)))
        frame = trajectory.num_frames // 2
        if all(event_checks.is_stationary(trajectory, k) is True for k in members):
            claims = (count_claim, Claim(kind="stays", group=GROUP))
            return EventOutcome(outcome="stand", claims=claims, event_frame=frame)
        steps = [event_checks.displacement(trajectory, k) for k in members]
        directions = {event_checks.cardinal_direction(step) for step in steps}
        direction = directions.pop() if len(directions) == 1 else None
        if direction not in ("left", "right") or min(float(np.linalg.norm(step)) for step in steps) < 0.6:
            return None
        claims = (count_claim, Claim(kind="moves", subject=0, group=GROUP, value=direction))
        return EventOutcome(outcome="roll", claims=claims, event_frame=frame)
