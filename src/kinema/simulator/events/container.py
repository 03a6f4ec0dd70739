"""Something falls towards an open box."""

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
    """It falls in, or misses."""

    name: Event = "container"
    outcomes: tuple[str, ...] = ("falls in", "misses")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Over the opening, or well beside the box."""
        half = (builder.uniform(0.55, 0.7), builder.uniform(0.5, 0.6), builder.uniform(0.22, 0.3))
        side = builder.random_side()
        x = (
            side * (half[0] + builder.uniform(0.45, 0.7))
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
        thing = builder.entities[main]
        inside = outcome == "falls in"
        bounce = builder.uniform(0.05, 0.3) if inside else thing.restitution
        builder.replace_entity(
            main, replace(thing, restitution=bounce, rolling_friction=0.01 if thing.shape == "ball" else 0.0)
        )
        box = builder.random_entity("box", ("plastic", "wood", "clay"))
        natural = box.colour is None
        builder.add(
            replace(
                box,
                pattern=box.pattern if natural else "solid",
                second_colour=None,
                size="large",
                extent=half[0],
                dimensions=half,
                position=(0.0, 0.0, half[2]),
                rotation=builder.random_yaw(0.3),
                fixed=True,
                restitution=0.1,
                role="partner",
            )
        )
        builder.add_background(1)
        return builder.build_proposal(view=ViewRange(elevation=(24.0, 36.0)))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """From where it comes to rest."""
        half = proposal.entities[1].dimensions or (0.0, 0.0, 0.0)
        falls = Claim(kind="falls", subject=0)
        away = trajectory.position[:, 0] - trajectory.position[0, 1]
        if np.abs(away[-1, :2]).max() < max(half[:2]) and trajectory.floor_contact(0) is None:
            touch = trajectory.contact_between(0, 1)
            calm = event_checks.final_speed(trajectory, 0) < 0.3 and away[-1, 2] < half[2] + 0.1
            if touch is None or not calm:
                return None
            claims = (falls, Claim(kind="falls in", subject=0, object=1))
            return EventOutcome(outcome="falls in", claims=claims, event_frame=touch.first)
        landing = trajectory.floor_contact(0)
        if (
            landing is None
            or np.linalg.norm(away[-1, :2]) < max(half[:2])
            or landing.first > trajectory.num_frames - 6
        ):
            return None
        if trajectory.contact_between(0, 1) is not None:
            return None
        claims = (falls, Claim(kind="misses", subject=0, object=1))
        return EventOutcome(outcome="misses", claims=claims, event_frame=landing.first)
