"""An object falls towards an open box."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal, ViewRange
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_SHAPES: tuple[Shape, ...] = ("ball", "ball", "cube", "gem", "egg", "cylinder", "octahedron")


@dataclass(frozen=True)
class Container:
    """It falls in, or it misses the box."""

    name: Event = "container"
    outcomes: tuple[str, ...] = ("falls in", "misses")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """An object above the opening, or next to the box."""
        half_extents = (builder.uniform(0.55, 0.7), builder.uniform(0.5, 0.6), builder.uniform(0.22, 0.3))
        side = builder.random_side()
        x = (
            side * (half_extents[0] + builder.uniform(0.45, 0.7))
            if outcome == "misses"
            else builder.uniform(-0.15, 0.15)
        )
        main = builder.place(
            builder.pick(_SHAPES),
            x,
            builder.uniform(-0.08, 0.08),
            size="small",
            height_above_rest=builder.uniform(1.1, 1.7),
        )
        entity = builder.entities[main]
        falls_in = outcome == "falls in"
        bounce = builder.uniform(0.05, 0.3) if falls_in else entity.restitution
        builder.replace_entity(
            main,
            replace(entity, restitution=bounce, rolling_friction=0.01 if entity.shape == "ball" else 0.0),
        )
        box = builder.random_entity("box", ("plastic", "wood", "clay"))
        has_natural_colour = box.colour is None
        builder.add(
            replace(
                box,
                pattern=box.pattern if has_natural_colour else "solid",
                second_colour=None,
                size="large",
                extent=half_extents[0],
                dimensions=half_extents,
                position=(0.0, 0.0, half_extents[2]),
                rotation=builder.random_yaw(0.3),
                fixed=True,
                restitution=0.1,
                role="partner",
            )
        )
        builder.add_background(1)
        return builder.build_proposal(view=ViewRange(elevation=(24.0, 36.0)))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the place where it comes to rest."""
        half_extents = proposal.entities[1].dimensions or (0.0, 0.0, 0.0)
        fall_claim = Claim(kind="falls", subject=0)
        offset = trajectory.position[:, 0] - trajectory.position[0, 1]
        if np.abs(offset[-1, :2]).max() < max(half_extents[:2]) and trajectory.floor_contact(0) is None:
            touch = trajectory.contact_between(0, 1)
            at_rest = event_checks.final_speed(trajectory, 0) < 0.3 and offset[-1, 2] < half_extents[2] + 0.1
            if touch is None or not at_rest:
                return None
            claims = (fall_claim, Claim(kind="falls in", subject=0, object=1))
            return EventOutcome(outcome="falls in", claims=claims, event_frame=touch.first)
        landing = trajectory.floor_contact(0)
        if (
            landing is None
            or np.linalg.norm(offset[-1, :2]) < max(half_extents[:2])
            or landing.first > trajectory.num_frames - 6
        ):
            return None
        if trajectory.contact_between(0, 1) is not None:
            return None
        claims = (fall_claim, Claim(kind="misses", subject=0, object=1))
        return EventOutcome(outcome="misses", claims=claims, event_frame=landing.first)
