"""An object on a ramp."""

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
"""Half extents of the ramp, metres."""


@dataclass(frozen=True)
class Ramp:
    """It rests, goes down, or goes down and hits an object at the foot."""

    name: Event = "ramp"
    outcomes: tuple[str, ...] = ("rests on", "goes down", "hits")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """High friction for 'rests on', low friction or a rolling shape otherwise."""
        side = builder.random_side()
        rise = builder.uniform(0.34, 0.5)
        shapes = _SLIDING_SHAPES if outcome == "rests on" else _SLIDING_SHAPES + _ROLLING_SHAPES * 2
        main = builder.place(builder.pick(shapes), 0.0, 0.0, size="small", facing=0.0)
        heading = quat_from_axis_angle((0.0, 0.0, 1.0), 0.0 if side > 0 else math.pi)
        half_extents = (_HALF_LENGTH, _HALF_DEPTH, _HALF_LENGTH * rise)
        ramp_position = (-side * builder.uniform(0.75, 0.95), 0.1, half_extents[2])
        slope = math.atan(rise)
        self._place_on_slope(builder, main, ramp_position, slope, side)
        entity = builder.entities[main]
        sliding = 0.9 if outcome == "rests on" else builder.uniform(0.1, 0.2)
        friction = sliding if entity.shape in _SLIDING_SHAPES else entity.friction
        builder.replace_entity(main, replace(entity, friction=friction))
        builder.add(
            Entity(
                shape="ramp", size="large", dimensions=half_extents, material="wood", colour=None,
                pattern="wooden", position=ramp_position, rotation=heading, fixed=True, friction=0.03,
                restitution=0.1, role="partner",
            ),
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
        entity = builder.entities[main]
        height, rest_rotation = rest_pose(entity)
        along = -0.55 * _HALF_LENGTH
        lift = height + 0.004
        x = ramp_position[0] + side * (along + math.sin(slope) * lift)
        z = ramp_position[2] - along * math.tan(slope) + math.cos(slope) * lift
        heading = quat_from_axis_angle((0.0, 0.0, 1.0), 0.0 if side > 0 else math.pi)
        rotation = quat_mul(heading, quat_mul(quat_from_axis_angle((0.0, 1.0, 0.0), slope), rest_rotation))
        if entity.shape == "ball":
            rotation = entity.rotation
        builder.replace_entity(main, replace(entity, position=(x, ramp_position[1], z), rotation=rotation))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the distance it moved and its contact at the foot."""
        step = event_checks.displacement(trajectory, 0)
        if np.linalg.norm(step) < event_checks.MAX_STATIONARY_DISTANCE and len(
            proposal.entities
        ) == 2 + self._count_background(proposal):
            claim = Claim(kind="rests on", subject=0, object=1)
            return EventOutcome(outcome="rests on", claims=(claim,), event_frame=trajectory.num_frames // 2)
        farthest = float(np.abs(trajectory.position[0, 1, 0] - trajectory.position[:, 0, 0]).max())
        if step[2] > -0.15 or farthest < _HALF_LENGTH * 0.9:
            return None
        direction = event_checks.side_name(float(step[0]))
        slide_claim = Claim(kind="slides down", subject=0, object=1, value=direction)
        has_partner = len(proposal.entities) > 2 and proposal.entities[2].role == "partner"
        beyond_foot = np.abs(trajectory.position[:, 0, 0] - trajectory.position[0, 1, 0]) > _HALF_LENGTH * 0.9
        if not has_partner:
            return EventOutcome(
                outcome="goes down", claims=(slide_claim,), event_frame=int(np.argmax(beyond_foot))
            )
        contact = trajectory.contact_between(0, 2)
        if contact is None or contact.first > trajectory.num_frames - 5:
            return None
        consequence = event_checks.hit_consequence(
            trajectory, 2, contact.first, can_tip=proposal.entities[2].shape != "ball"
        )
        if consequence is None:
            return None
        claims = (slide_claim, Claim(kind="hits", subject=0, object=2), consequence)
        return EventOutcome(outcome="hits", claims=claims, event_frame=contact.first)

    def _count_background(self, proposal: SceneProposal) -> int:
        return sum(entity.role == "background" for entity in proposal.entities)
