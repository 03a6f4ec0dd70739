"""A weight falls on the raised end of a plank on a pivot."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.world.entities import Entity, Hinge, Vector, after, turn
from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Material, Shape
from kinema.world.physics import Trajectory
from kinema.world.solids import standing
from kinema.world.stage import Proposal, Stage, Verdict

_HALF = (1.05, 0.24, 0.03)
"""Half extents of the plank."""
_PIVOT = 0.34
"""Height of the pivot, metres."""
_TILT = math.asin((_PIVOT + 0.0015) / _HALF[0])
"""At which the lower end's edge rests on the floor."""
_RIDERS: tuple[Shape, ...] = ("cube", "hexagonal block", "pyramid")


@dataclass(frozen=True, kw_only=True)
class _Prior:
    weight: float
    """Density, kilograms per cubic metre."""
    materials: tuple[Material, ...]
    rider: float | None
    weights: tuple[Shape, ...] = ("ball", "cube", "cylinder", "hexagonal block")
    rider_materials: tuple[Material, ...] = ("plastic", "wood")


_PRIORS = {
    "thrown": _Prior(weight=3000.0, materials=("metal", "marble"), rider=120.0),
    "tips": _Prior(weight=1500.0, materials=("metal", "marble", "clay", "rubber"), rider=None),
    "stays": _Prior(
        weight=60.0,
        materials=("plastic", "wood"),
        rider=900.0,
        rider_materials=("metal", "marble"),
        weights=("cube", "hexagonal block"),
    ),
}


@dataclass(frozen=True)
class Seesaw:
    """What sits on the other end is thrown up; or an empty plank tips; or the weight is too light."""

    name: Event = "seesaw"
    outcomes: tuple[str, ...] = ("thrown", "tips", "stays")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """Heavy against light, heavy alone, light against heavy."""
        prior = _PRIORS[wanted]
        side = stage.side()
        # The end at -side is down at first.
        tilted = turn((0.0, 1.0, 0.0), -side * _TILT)
        middle = (0.0, 0.0, _PIVOT + _HALF[2])
        arm = stage.between(0.78, 0.88) * _HALF[0]
        drop = stage.between(1.2, 1.7)
        weight = stage.put(
            stage.pick(prior.weights), side * arm * math.cos(_TILT), 0.0, size="small",
            materials=prior.materials, facing=0.0, over=drop,
        )  # fmt: skip
        stage.change(
            weight, replace(stage.entities[weight], density=prior.weight, restitution=0.05, friction=0.9)
        )
        stage.add(
            Entity(
                shape="plank", size="large", dimensions=_HALF, material="wood", colour=None, pattern="wooden",
                position=middle, rotation=tilted, density=400.0, friction=0.9, restitution=0.02,
                moved=Hinge(axis=(0.0, 1.0, 0.0), anchor=(0.0, 0.0, 0.0), damping=0.5), role="prop",
            )
        )  # fmt: skip
        pivot = stage.dressed("pivot", ("plastic", "clay"))
        stage.add(
            replace(
                pivot, pattern="solid", second_colour=None, size="small", extent=_PIVOT, fixed=True,
                position=(0.0, 0.0, _PIVOT / 2), role="prop", named=False,
            )
        )  # fmt: skip
        if prior.rider is not None:
            self._seat(stage, prior, -side * stage.between(0.66, 0.76) * _HALF[0], side, middle)
        return stage.proposal()

    def _seat(self, stage: Stage, prior: _Prior, arm: float, side: int, middle: Vector) -> None:
        rider = stage.put(
            stage.pick(_RIDERS), 0.0, 0.0, size="small", materials=prior.rider_materials, facing=0.0,
            role="partner",
        )  # fmt: skip
        thing = stage.entities[rider]
        height, resting = standing(thing)
        lift = _HALF[2] + height + 0.002
        # Up the plank's own axes: along it by `arm`, off it by `lift`.
        angle = -side * _TILT
        x = middle[0] + arm * math.cos(angle) + lift * math.sin(angle)
        z = middle[2] - arm * math.sin(angle) + lift * math.cos(angle)
        rotation = after(turn((0.0, 1.0, 0.0), angle), resting)
        stage.change(
            rider,
            replace(
                thing, position=(x, 0.0, z), rotation=rotation, density=prior.rider, friction=0.9,
                restitution=0.05,
            ),
        )  # fmt: skip

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """From the plank's slope and the rider's height."""
        contact = seen.touch(0, 1)
        if contact is None or contact.first > 0.6 * seen.frames:
            return None
        falls = (Claim(kind="falls", subject=0), Claim(kind="hits", subject=0, object=1))
        # Height of the plank's +x end over its middle.
        slope = seen.rotation[:, 1, 2, 0]
        raised = 1.0 if slope[0] > 0 else -1.0
        later = slope[math.ceil(contact.first) :]
        rider = len(proposal.entities) > 3 and proposal.entities[3].role == "partner"
        if np.abs(later - slope[0]).max() < 0.06:
            if not rider or judging.farthest(seen, 3) > judging.STAYED * 2:
                return None
            claims = (*falls, Claim(kind="stays", subject=1), Claim(kind="stays", subject=3))
            return Verdict(outcome="stays", claims=claims, frame=contact.first)
        if (later * raised).min() > -0.2:
            return None
        tips = Claim(kind="seesaw", subject=0, object=1, value=judging.word(raised))
        if not rider:
            return Verdict(outcome="tips", claims=(*falls, tips), frame=contact.first)
        height = float(seen.position[:, 3, 2].max() - seen.position[0, 3, 2])
        # The plank itself lifts its end by less than twice the pivot's height.
        if height < 2 * _PIVOT + 0.15:
            return None
        claims = (*falls, tips, Claim(kind="thrown", subject=3))
        return Verdict(outcome="thrown", claims=claims, frame=contact.first)
