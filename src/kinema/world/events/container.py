"""Something falls towards an open box."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View

_SHAPES: tuple[Shape, ...] = ("ball", "ball", "cube", "gem", "egg", "cylinder", "octahedron")


@dataclass(frozen=True)
class Container:
    """It falls in, or misses."""

    name: Event = "container"
    outcomes: tuple[str, ...] = ("falls in", "misses")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Over the opening, or well beside the box."""
        half = (stage.between(0.55, 0.7), stage.between(0.5, 0.6), stage.between(0.22, 0.3))
        side = stage.side()
        x = side * (half[0] + stage.between(0.45, 0.7)) if wanted == "misses" else stage.between(-0.15, 0.15)
        main = stage.put(
            stage.pick(_SHAPES), x, stage.between(-0.08, 0.08), size="small", over=stage.between(1.1, 1.7)
        )
        thing = stage.entities[main]
        inside = wanted == "falls in"
        bounce = stage.between(0.05, 0.3) if inside else thing.restitution
        stage.change(main, replace(thing, restitution=bounce, rolling=0.01 if thing.shape == "ball" else 0.0))
        box = stage.dressed("box", ("plastic", "wood", "clay"))
        natural = box.colour is None
        stage.add(
            replace(
                box,
                pattern=box.pattern if natural else "solid",
                second_colour=None,
                size="large",
                extent=half[0],
                dimensions=half,
                position=(0.0, 0.0, half[2]),
                rotation=stage.facing(0.3),
                fixed=True,
                restitution=0.1,
                role="partner",
            )
        )
        stage.backdrop(1)
        return stage.proposal(view=View(elevation=(24.0, 36.0)))

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From where it comes to rest."""
        half = proposal.entities[1].dimensions or (0.0, 0.0, 0.0)
        falls = Claim(kind="falls", subject=0)
        away = seen.position[:, 0] - seen.position[0, 1]
        if np.abs(away[-1, :2]).max() < max(half[:2]) and seen.landing(0) is None:
            touch = seen.touch(0, 1)
            calm = judging.final_speed(seen, 0) < 0.3 and away[-1, 2] < half[2] + 0.1
            if touch is None or not calm:
                return None
            claims = (falls, Claim(kind="falls in", subject=0, object=1))
            return Verdict(outcome="falls in", claims=claims, frame=touch.first)
        landing = seen.landing(0)
        if landing is None or np.linalg.norm(away[-1, :2]) < max(half[:2]) or landing.first > seen.frames - 6:
            return None
        if seen.touch(0, 1) is not None:
            return None
        claims = (falls, Claim(kind="misses", subject=0, object=1))
        return Verdict(outcome="misses", claims=claims, frame=landing.first)
