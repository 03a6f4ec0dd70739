"""Something falls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Material, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict

_FALLING: tuple[Shape, ...] = ("ball", "cube", "cone", "gem", "ring", "capsule", "egg", "hexagonal block")
_FLAT: tuple[Shape, ...] = ("cube", "cylinder", "hexagonal block")


@dataclass(frozen=True)
class Drop:
    """It bounces high, a little or not at all; or it lands on something, or falls beside it."""

    name: Event = "drop"
    outcomes: tuple[str, ...] = ("bounces high", "bounces a little", "no bounce", "lands on", "falls beside")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Rubber bounces, clay does not; a flat thing lands well on a flat thing."""
        height = stage.between(0.75, 1.1) if stage.lab else stage.between(1.1, 1.9)
        x = stage.between(-0.3, 0.3)
        target = wanted in ("lands on", "falls beside")
        materials: tuple[Material, ...] = ("plastic", "rubber", "metal", "glass", "wood", "marble", "clay")
        if wanted == "bounces high":
            materials = ("rubber",)
        elif wanted == "bounces a little":
            materials = ("plastic", "glass", "wood")
        elif wanted in ("no bounce", "lands on"):
            materials = ("clay", "metal", "marble")
        shapes = _FALLING
        if wanted in ("bounces high", "bounces a little"):
            shapes = ("ball", "ball", "gem", "egg")
        elif wanted == "lands on":
            shapes = ("cube", "cylinder", "disc", "hexagonal block", "cone", "pyramid")
        shape = stage.pick(stage.shapes(shapes))
        # The lab has no clay: there the material says nothing and the bounce is set directly.
        lab_bounce = {"bounces high": 0.78, "bounces a little": 0.42}.get(wanted, 0.03)
        sizes = ("small",) if target else ("small", "medium")
        main = stage.put(shape, x, 0.0, sizes=sizes, materials=materials, over=height)
        thing = stage.entities[main]
        level = wanted == "lands on" or shape == "ball" or (wanted == "no bounce" and stage.chance(0.5))
        stage.change(
            main,
            replace(
                thing,
                rotation=thing.rotation if level else stage.tumbled(),
                restitution=lab_bounce if stage.lab else thing.restitution,
                rolling=0.01 if shape == "ball" else 0.0,
            ),
        )
        if target:
            beside = 0.0
            if wanted == "falls beside":
                # Past the edge it strikes, with its middle: lab things are larger than the small ones here.
                beside = stage.side() * (stage.between(0.46, 0.6) if stage.lab else stage.between(0.33, 0.5))
            under = stage.put(
                stage.pick(stage.shapes(_FLAT if wanted == "lands on" else (*_FLAT, "ball", "pyramid"))),
                x + beside + stage.between(-0.06, 0.06),
                stage.between(-0.06, 0.06),
                size="large",
                role="partner",
                materials=("clay", "wood", "metal", "marble", "plastic"),
            )
            height_under = stage.top(under)
            lifted = stage.entities[main]
            place = (
                lifted.position[0],
                lifted.position[1],
                lifted.position[2] + height_under * (0.5 if stage.lab else 0.6),
            )
            stage.change(main, replace(lifted, position=place))
            if stage.lab:
                stage.change(under, replace(stage.entities[under], restitution=0.03))
        stage.backdrop()
        return stage.proposal(relation=wanted)

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From the first contact: with the other thing, or with the floor and the height after it."""
        falls = (Claim(kind="falls", subject=0),)
        z = seen.position[:, 0, 2]
        partner = len(proposal.entities) > 1 and proposal.entities[1].role == "partner"
        landing, touch = seen.landing(0), seen.touch(0, 1) if partner else None
        if partner:
            return self._onto(seen, falls)
        if landing is None or touch is not None:
            return None
        first = int(np.ceil(landing.first))
        if first > seen.frames - 6:
            return None
        drop = z[0] - z.min()
        low = int(np.argmin(z[first - 1 : first + 3])) + first - 1
        ratio = float(z[low:].max() - z[low]) / float(drop)
        value, outcome = "", ""
        if ratio > 0.3:
            value, outcome = "high", "bounces high"
        elif 0.08 < ratio < 0.25:
            value, outcome = "little", "bounces a little"
        elif ratio < 0.045:
            value, outcome = "none", "no bounce"
        if not outcome:
            return None
        claims = (*falls, Claim(kind="bounces", subject=0, value=value))
        return Verdict(outcome=outcome, claims=claims, frame=landing.first)

    def _onto(self, seen: Trajectory, falls: tuple[Claim, ...]) -> Verdict | None:
        touch, landing = seen.touch(0, 1), seen.landing(0)
        if touch is None or touch.first > seen.frames - 8 or judging.farthest(seen, 1) > 0.4:
            return None
        at_rest = judging.final_speed(seen, 0) < judging.RESTING
        above = seen.position[-1, 0, 2] - seen.position[-1, 1, 2]
        if landing is None and at_rest and above > 0.3 and touch.last > seen.frames - 3:
            claims = (*falls, Claim(kind="lands on", subject=0, object=1))
            return Verdict(outcome="lands on", claims=claims, frame=touch.first)
        apart = float(np.linalg.norm(seen.position[-1, 0, :2] - seen.position[-1, 1, :2]))
        if landing is not None and above < 0.2 and apart > 0.35:
            claims = (*falls, Claim(kind="falls beside", subject=0, object=1))
            return Verdict(outcome="falls beside", claims=claims, frame=touch.first)
        return None
