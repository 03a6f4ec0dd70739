"""Pairs of clips that differ in one cause: with the wall and without it, a light ball and a heavy one.

Both variants of a proposal draw the same random numbers, so that everything else is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.events import event_checks
from kinema.world.facts import Claim, Event, Material, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict
from kinema.world.vocabulary import EXTENT


@dataclass(frozen=True)
class WallPair:
    """A ball rolls on, or meets a wall that stands in its way."""

    name: Event = "wall pair"
    outcomes: tuple[str, ...] = ("wall", "no wall")

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """The ball, and the wall unless it is taken away."""
        side = builder.side()
        start = -side * builder.between(1.2, 1.5)
        main = builder.put(
            "ball", start, 0.0, sizes=("small", "medium"), materials=("rubber", "plastic", "glass", "wood")
        )
        thing = builder.entities[main]
        builder.change(main, replace(thing, restitution=builder.between(0.6, 0.85)))
        height = builder.between(0.35, 0.5)
        wall = replace(
            builder.dressed("wall", ("plastic", "clay", "wood")),
            size="medium",
            extent=EXTENT["medium"],
            dimensions=(0.07, builder.between(0.5, 0.65), height),
            position=(side * builder.between(0.1, 0.35), 0.0, height),
            fixed=True,
            restitution=0.85,
            role="partner",
        )
        speed = builder.between(2.5, 2.9) / builder.seconds
        builder.send(main, (side * speed * builder.between(1.0, 1.15), 0.0, 0.0))
        if outcome == "wall":
            builder.add(wall)
        return builder.proposal()

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """Whether it was stopped."""
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.frames // 4)
        )
        if direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        moves = Claim(kind="moves", subject=0, value=direction)
        if len(proposal.entities) == 1:
            if float(event_checks.displacement(trajectory, 0)[0]) * side < 2.0:
                return None
            claims = (moves, *event_checks.speed_claims(trajectory, 0, trajectory.frames - 1))
            return Verdict(outcome="no wall", claims=claims, frame=trajectory.frames // 2)
        contact = trajectory.touch(0, 1)
        if contact is None or contact.first > 0.75 * trajectory.frames:
            return None
        after = event_checks.aftermath_claims(trajectory, 0, np.array([side, 0.0, 0.0]), contact.first)
        if not after:
            return None
        claims = (
            moves,
            *event_checks.speed_claims(trajectory, 0, contact.first),
            Claim(kind="hits", subject=0, object=1),
            *after,
        )
        return Verdict(outcome="wall", claims=claims, frame=contact.first)


@dataclass(frozen=True)
class MassPair:
    """A light ball or a heavy one of the same size and speed hits the same thing."""

    name: Event = "mass pair"
    outcomes: tuple[str, ...] = ("light", "heavy")

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """The ball's stuff differs, and with it its mass; its bounce and its speed do not."""
        side = builder.side()
        start = -side * builder.between(1.1, 1.3)
        main = builder.put("ball", start, 0.0, sizes=("small", "medium"), materials=("rubber",))
        thing = builder.entities[main]
        stuffs: dict[str, tuple[Material, float]] = {"light": ("plastic", 25.0), "heavy": ("metal", 5000.0)}
        material, density = stuffs[outcome]
        builder.change(
            main,
            replace(
                thing,
                material=material,
                density=density,
                pattern="solid",
                second_colour=None,
                restitution=0.3,
                friction=0.5,
            ),
        )
        shapes: tuple[Shape, ...] = ("cube", "cylinder", "pyramid", "hexagonal block", "prism", "cone")
        other = builder.put(
            builder.pick(shapes),
            side * builder.between(0.1, 0.4),
            builder.between(-0.03, 0.03),
            sizes=("small", "medium"),
            materials=("wood", "clay", "plastic"),
            role="partner",
        )
        builder.change(other, replace(builder.entities[other], density=700.0, friction=0.6))
        speed = builder.between(1.4, 2.0)
        builder.send(main, (side * speed, 0.0, 0.0))
        return builder.proposal()

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """Light balls leave the other thing where it is, heavy ones do not."""
        contact, stayed = trajectory.touch(0, 1), event_checks.is_stationary(trajectory, 1)
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.frames // 4)
        )
        if contact is None or contact.first > 0.6 * trajectory.frames or direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        until = contact.first
        moves = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, until),
        )
        hit = (*moves, Claim(kind="hits", subject=0, object=1))
        after = event_checks.aftermath_claims(trajectory, 0, np.array([side, 0.0, 0.0]), until)
        light = proposal.entities[0].material == "plastic"
        if light:
            if stayed is not True:
                return None
            claims = (*hit, Claim(kind="stays", subject=1), *after)
            return Verdict(outcome="light", claims=claims, frame=until)
        fallen = event_checks.has_fallen_over(trajectory, 1)
        if stayed is not False or fallen is None:
            return None
        fate = (
            Claim(kind="tips over", subject=1) if fallen else event_checks.pushed_claim(trajectory, 1, until)
        )
        return Verdict(outcome="heavy", claims=(*hit, fate, *after), frame=until)
