"""Something falls towards an open box."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.events import event_checks
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View

_SHAPES: tuple[Shape, ...] = ("ball", "ball", "cube", "gem", "egg", "cylinder", "octahedron")


@dataclass(frozen=True)
class Container:
    """It falls in, or misses."""

    name: Event = "container"
    outcomes: tuple[str, ...] = ("falls in", "misses")

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """Over the opening, or well beside the box."""
        half = (builder.between(0.55, 0.7), builder.between(0.5, 0.6), builder.between(0.22, 0.3))
        side = builder.side()
        x = (
            side * (half[0] + builder.between(0.45, 0.7))
            if outcome == "misses"
            else builder.between(-0.15, 0.15)
        )
        main = builder.put(
            builder.pick(_SHAPES),
            x,
            builder.between(-0.08, 0.08),
            size="small",
            over=builder.between(1.1, 1.7),
        )
        thing = builder.entities[main]
        inside = outcome == "falls in"
        bounce = builder.between(0.05, 0.3) if inside else thing.restitution
        builder.change(
            main, replace(thing, restitution=bounce, rolling=0.01 if thing.shape == "ball" else 0.0)
        )
        box = builder.dressed("box", ("plastic", "wood", "clay"))
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
                rotation=builder.facing(0.3),
                fixed=True,
                restitution=0.1,
                role="partner",
            )
        )
        builder.backdrop(1)
        return builder.proposal(view=View(elevation=(24.0, 36.0)))

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """From where it comes to rest."""
        half = proposal.entities[1].dimensions or (0.0, 0.0, 0.0)
        falls = Claim(kind="falls", subject=0)
        away = trajectory.position[:, 0] - trajectory.position[0, 1]
        if np.abs(away[-1, :2]).max() < max(half[:2]) and trajectory.landing(0) is None:
            touch = trajectory.touch(0, 1)
            calm = event_checks.final_speed(trajectory, 0) < 0.3 and away[-1, 2] < half[2] + 0.1
            if touch is None or not calm:
                return None
            claims = (falls, Claim(kind="falls in", subject=0, object=1))
            return Verdict(outcome="falls in", claims=claims, frame=touch.first)
        landing = trajectory.landing(0)
        if (
            landing is None
            or np.linalg.norm(away[-1, :2]) < max(half[:2])
            or landing.first > trajectory.frames - 6
        ):
            return None
        if trajectory.touch(0, 1) is not None:
            return None
        claims = (falls, Claim(kind="misses", subject=0, object=1))
        return Verdict(outcome="misses", claims=claims, frame=landing.first)
