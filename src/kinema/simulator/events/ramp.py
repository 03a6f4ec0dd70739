"""Something on a slope."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.body_builder import rest_pose
from kinema.simulator.entities import Entity, quat_from_axis_angle, quat_mul
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_SLIDING_SHAPES: tuple[Shape, ...] = ("cube", "cylinder", "hexagonal block", "disc", "pyramid")
_ROLLING_SHAPES: tuple[Shape, ...] = ("ball", "ball", "car")
_HALF_LENGTH, _HALF_DEPTH = 0.8, 0.5
"""Half extents of the ramp."""


@dataclass(frozen=True)
class Ramp:
    """It stays where it is, goes down, or goes down and hits something at the foot."""

    name: Event = "ramp"
    outcomes: tuple[str, ...] = ("rests on", "goes down", "hits")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Rough things rest, smooth and round ones go."""
        side = builder.random_side()
        rise = builder.uniform(0.34, 0.5)
        shapes = _SLIDING_SHAPES if outcome == "rests on" else _SLIDING_SHAPES + _ROLLING_SHAPES * 2
        main = builder.place(builder.pick(shapes), 0.0, 0.0, size="small", facing=0.0)
        heading = quat_from_axis_angle((0.0, 0.0, 1.0), 0.0 if side > 0 else math.pi)
        half = (_HALF_LENGTH, _HALF_DEPTH, _HALF_LENGTH * rise)
        place = (-side * builder.uniform(0.75, 0.95), 0.1, half[2])
        slope = math.atan(rise)
        self._place_on_slope(builder, main, place, slope, side)
        thing = builder.entities[main]
        sliding = 0.9 if outcome == "rests on" else builder.uniform(0.1, 0.2)
        friction = sliding if thing.shape in _SLIDING_SHAPES else thing.friction
        builder.replace_entity(main, replace(thing, friction=friction))
        builder.add(
            Entity(
                shape="ramp", size="large", dimensions=half, material="wood", colour=None, pattern="wooden",
                position=place, rotation=heading, fixed=True, friction=0.03, restitution=0.1, role="partner",
            )
        )  # fmt: skip
        if outcome == "hits":
            builder.place(
                builder.pick(("cube", "cone", "cylinder", "ball", "pyramid", "hexagonal block")),
                side * builder.uniform(0.65, 1.1),
                0.1,
                size="small",
                role="partner",
            )
        builder.add_background()
        return builder.build_proposal()

    def _place_on_slope(
        self,
        builder: SceneBuilder,
        main: int,
        ramp_position: tuple[float, float, float],
        slope: float,
        side: int,
    ) -> None:
        thing = builder.entities[main]
        height, resting = rest_pose(thing)
        along = -0.55 * _HALF_LENGTH
        lift = height + 0.004
        x = ramp_position[0] + side * (along + math.sin(slope) * lift)
        z = ramp_position[2] - along * math.tan(slope) + math.cos(slope) * lift
        heading = quat_from_axis_angle((0.0, 0.0, 1.0), 0.0 if side > 0 else math.pi)
        rotation = quat_mul(heading, quat_mul(quat_from_axis_angle((0.0, 1.0, 0.0), slope), resting))
        if thing.shape == "ball":
            rotation = thing.rotation
        builder.replace_entity(main, replace(thing, position=(x, ramp_position[1], z), rotation=rotation))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """From how far it has come, and what it met at the foot."""
        step = event_checks.displacement(trajectory, 0)
        if np.linalg.norm(step) < event_checks.MAX_STATIONARY_DISTANCE and len(
            proposal.entities
        ) == 2 + self._count_background(proposal):
            claim = Claim(kind="rests on", subject=0, object=1)
            return EventOutcome(outcome="rests on", claims=(claim,), event_frame=trajectory.num_frames // 2)
        foot = float(np.abs(trajectory.position[0, 1, 0] - trajectory.position[:, 0, 0]).max())
        if step[2] > -0.15 or foot < _HALF_LENGTH * 0.9:
            return None
        direction = event_checks.side_name(float(step[0]))
        down = Claim(kind="slides down", subject=0, object=1, value=direction)
        partner = len(proposal.entities) > 2 and proposal.entities[2].role == "partner"
        past = np.abs(trajectory.position[:, 0, 0] - trajectory.position[0, 1, 0]) > _HALF_LENGTH * 0.9
        if not partner:
            return EventOutcome(outcome="goes down", claims=(down,), event_frame=int(np.argmax(past)))
        contact = trajectory.contact_between(0, 2)
        stayed = event_checks.is_stationary(trajectory, 2)
        if contact is None or stayed is None or contact.first > trajectory.num_frames - 5:
            return None
        fate = Claim(kind="stays", subject=2)
        if not stayed:
            fallen = proposal.entities[2].shape != "ball" and event_checks.has_fallen_over(trajectory, 2)
            if fallen is None:
                return None
            fate = event_checks.pushed_claim(trajectory, 2, contact.first)
            if fallen:
                fate = Claim(kind="tips over", subject=2)
        claims = (down, Claim(kind="hits", subject=0, object=2), fate)
        return EventOutcome(outcome="hits", claims=claims, event_frame=contact.first)

    def _count_background(self, proposal: SceneProposal) -> int:
        return sum(entity.role == "background" for entity in proposal.entities)
