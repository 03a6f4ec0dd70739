"""A weight falls on the raised end of a plank on a pivot."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Material, Shape
from kinema.simulator.body_builder import rest_pose
from kinema.simulator.entities import Entity, Hinge, Vector, quat_from_axis_angle, quat_mul
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_PLANK_HALF_EXTENTS = (1.05, 0.24, 0.03)
"""Half extents of the plank, metres."""
_PIVOT_HEIGHT = 0.34
"""Height of the pivot, metres."""
_MAX_TILT = math.asin((_PIVOT_HEIGHT + 0.0015) / _PLANK_HALF_EXTENTS[0])
"""Tilt at which the lower end rests on the floor, radians."""
_RIDER_SHAPES: tuple[Shape, ...] = ("cube", "hexagonal block", "pyramid")


@dataclass(frozen=True, kw_only=True)
class _Prior:
    weight_density: float
    """Density, kilograms per cubic metre."""
    weight_materials: tuple[Material, ...]
    rider_density: float | None
    weight_shapes: tuple[Shape, ...] = ("ball", "cube", "cylinder", "hexagonal block")
    rider_materials: tuple[Material, ...] = ("plastic", "wood")


_PRIORS = {
    "thrown": _Prior(weight_density=3000.0, weight_materials=("metal", "marble"), rider_density=120.0),
    "tips": _Prior(
        weight_density=1500.0, weight_materials=("metal", "marble", "clay", "rubber"), rider_density=None
    ),
    "stays": _Prior(
        weight_density=60.0,
        weight_materials=("plastic", "wood"),
        rider_density=900.0,
        rider_materials=("metal", "marble"),
        weight_shapes=("cube", "hexagonal block"),
    ),
}


@dataclass(frozen=True)
class Seesaw:
    """A rider on the other end is thrown up, an empty plank tips, or the weight is too light."""

    name: Event = "seesaw"
    outcomes: tuple[str, ...] = ("thrown", "tips", "stays")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A heavy weight and a light rider, a heavy weight alone, or a light weight and a heavy rider."""
        prior = _PRIORS[outcome]
        side = builder.random_side()
        # The end at -side starts on the floor.
        plank_rotation = quat_from_axis_angle((0.0, 1.0, 0.0), -side * _MAX_TILT)
        plank_position = (0.0, 0.0, _PIVOT_HEIGHT + _PLANK_HALF_EXTENTS[2])
        arm = builder.uniform(0.78, 0.88) * _PLANK_HALF_EXTENTS[0]
        drop = builder.uniform(1.2, 1.7)
        weight = builder.place(
            builder.pick(prior.weight_shapes), side * arm * math.cos(_MAX_TILT), 0.0, size="small",
            materials=prior.weight_materials, facing=0.0, height_above_rest=drop,
        )  # fmt: skip
        builder.replace_entity(
            weight,
            replace(builder.entities[weight], density=prior.weight_density, restitution=0.05, friction=0.9),
        )
        builder.add(
            Entity(
                shape="plank", size="large", dimensions=_PLANK_HALF_EXTENTS, material="wood", colour=None,
                pattern="wooden", position=plank_position, rotation=plank_rotation, density=400.0,
                friction=0.9, restitution=0.02,
                motion=Hinge(axis=(0.0, 1.0, 0.0), anchor=(0.0, 0.0, 0.0), damping=0.5), role="prop",
            ),
        )  # fmt: skip
        pivot = builder.random_entity("pivot", ("plastic", "clay"))
        builder.add(
            replace(
                pivot, pattern="solid", second_colour=None, size="small", extent=_PIVOT_HEIGHT, fixed=True,
                position=(0.0, 0.0, _PIVOT_HEIGHT / 2), role="prop", named=False,
            )
        )  # fmt: skip
        if prior.rider_density is not None:
            self._place_rider(
                builder,
                prior,
                -side * builder.uniform(0.66, 0.76) * _PLANK_HALF_EXTENTS[0],
                side,
                plank_position,
            )
        return builder.build_proposal()

    def _place_rider(
        self, builder: SceneBuilder, prior: _Prior, arm: float, side: int, plank_position: Vector
    ) -> None:
        rider = builder.place(
            builder.pick(_RIDER_SHAPES), 0.0, 0.0, size="small", materials=prior.rider_materials, facing=0.0,
            role="partner",
        )  # fmt: skip
        entity = builder.entities[rider]
        height, rest_rotation = rest_pose(entity)
        lift = _PLANK_HALF_EXTENTS[2] + height + 0.002
        # In the plank's axes: `arm` along it, `lift` above it.
        angle = -side * _MAX_TILT
        x = plank_position[0] + arm * math.cos(angle) + lift * math.sin(angle)
        z = plank_position[2] - arm * math.sin(angle) + lift * math.cos(angle)
        rotation = quat_mul(quat_from_axis_angle((0.0, 1.0, 0.0), angle), rest_rotation)
        builder.replace_entity(
            rider,
            replace(
                entity, position=(x, 0.0, z), rotation=rotation, density=prior.rider_density, friction=0.9,
                restitution=0.05,
            ),
        )  # fmt: skip

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the plank's slope and the rider's height."""
        contact = trajectory.contact_between(0, 1)
        if contact is None or contact.first > 0.6 * trajectory.num_frames:
            return None
        hit_claims = (Claim(kind="falls", subject=0), Claim(kind="hits", subject=0, object=1))
        # Sine of the plank's tilt: positive where its +x end is higher.
        slope = trajectory.rotation[:, 1, 2, 0]
        raised = 1.0 if slope[0] > 0 else -1.0
        later_slope = slope[math.ceil(contact.first) :]
        has_rider = len(proposal.entities) > 3 and proposal.entities[3].role == "partner"
        if np.abs(later_slope - slope[0]).max() < 0.06:
            if (
                not has_rider
                or event_checks.max_displacement(trajectory, 3) > event_checks.MAX_STATIONARY_DISTANCE * 2
            ):
                return None
            claims = (*hit_claims, Claim(kind="stays", subject=1), Claim(kind="stays", subject=3))
            return EventOutcome(outcome="stays", claims=claims, event_frame=contact.first)
        if (later_slope * raised).min() > -0.2:
            return None
        tip_claim = Claim(kind="seesaw", subject=0, object=1, value=event_checks.side_name(raised))
        if not has_rider:
            return EventOutcome(outcome="tips", claims=(*hit_claims, tip_claim), event_frame=contact.first)
        height = float(trajectory.position[:, 3, 2].max() - trajectory.position[0, 3, 2])
        # The plank alone lifts its end by less than twice the pivot's height.
        if height < 2 * _PIVOT_HEIGHT + 0.15:
            return None
        claims = (*hit_claims, tip_claim, Claim(kind="thrown", subject=3))
        return EventOutcome(outcome="thrown", claims=claims, event_frame=contact.first)
