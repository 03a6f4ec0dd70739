"""An object moves along a table towards its edge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.entities import Entity
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_TABLE_HALF_EXTENTS = (1.0, 0.5, 0.38)
_SHAPES: tuple[Shape, ...] = ("ball", "ball", "cube", "cylinder", "disc", "hexagonal block")


@dataclass(frozen=True)
class Edge:
    """It falls off, or stops before the edge."""

    name: Event = "edge"
    outcomes: tuple[str, ...] = ("falls off", "stops")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A speed that lets it stop on the table, or one that carries it over the edge."""
        side = builder.random_side()
        middle = -side * builder.uniform(0.4, 0.6)
        start = middle - side * builder.uniform(0.5, 0.7)
        main = builder.place(
            builder.pick(_SHAPES),
            start,
            0.1,
            size="small" if builder.bernoulli(0.7) else "medium",
            height_above_rest=2 * _TABLE_HALF_EXTENTS[2],
        )
        builder.add(
            Entity(
                shape="table", size="large", dimensions=_TABLE_HALF_EXTENTS, material="wood", colour=None,
                pattern="wooden", position=(middle, 0.1, _TABLE_HALF_EXTENTS[2]), fixed=True, friction=0.02,
                restitution=0.3, role="partner",
            ),
        )  # fmt: skip
        distance_to_edge = abs(middle + side * _TABLE_HALF_EXTENTS[0] - start)
        if outcome == "stops":
            stop = builder.uniform(0.45, 0.75) * builder.duration
            builder.set_moving(
                main, (side * 2 * distance_to_edge * builder.uniform(0.4, 0.75) / stop, 0.0, 0.0), stop
            )
        else:
            speed = distance_to_edge / (builder.uniform(0.3, 0.5) * builder.duration)
            builder.set_moving(main, (side * speed, 0.0, 0.0))
            entity = builder.entities[main]
            builder.replace_entity(
                main, replace(entity, rolling_friction=0.004 if entity.shape == "ball" else 0.0)
            )
        builder.add_background()
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by its height at the end."""
        step = event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 2)
        direction = event_checks.cardinal_direction(step)
        if direction not in ("left", "right"):
            return None
        top = 2 * _TABLE_HALF_EXTENTS[2]
        z = trajectory.position[:, 0, 2]
        motion_claim = (Claim(kind="moves", subject=0, value=direction),)
        if z[-1] < top - 0.2:
            fall_frame = int(np.argmax(z < z[0] - 0.1))
            if fall_frame > trajectory.num_frames - 5 or trajectory.floor_contact(0) is None:
                return None
            claims = (
                *motion_claim,
                *event_checks.speed_claims(trajectory, 0, fall_frame),
                Claim(kind="falls off", subject=0, object=1),
            )
            return EventOutcome(outcome="falls off", claims=claims, event_frame=fall_frame)
        if event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED and abs(z[-1] - z[0]) < 0.05:
            upright = (
                proposal.entities[0].shape == "ball" or event_checks.has_fallen_over(trajectory, 0) is False
            )
            if not upright or float(np.linalg.norm(step)) < 0.3:
                return None
            claims = (
                *motion_claim,
                Claim(kind="stops", subject=0),
                Claim(kind="rests on", subject=0, object=1),
            )
            return EventOutcome(outcome="stops", claims=claims, event_frame=trajectory.num_frames - 1)
        return None
