"""Pairs of clips that differ in one cause: with the wall and without it, a light ball and a heavy one.

Both variants of a proposal draw the same random numbers, so that everything else is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Material, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict
from kinema.world.vocabulary import EXTENT


@dataclass(frozen=True)
class WallPair:
    """A ball rolls on, or meets a wall that stands in its way."""

    name: Event = "wall pair"
    outcomes: tuple[str, ...] = ("wall", "no wall")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """The ball, and the wall unless it is taken away."""
        side = stage.side()
        start = -side * stage.between(1.2, 1.5)
        main = stage.put(
            "ball", start, 0.0, sizes=("small", "medium"), materials=("rubber", "plastic", "glass", "wood")
        )
        thing = stage.entities[main]
        stage.change(main, replace(thing, restitution=stage.between(0.6, 0.85)))
        height = stage.between(0.35, 0.5)
        wall = replace(
            stage.dressed("wall", ("plastic", "clay", "wood")),
            size="medium",
            extent=EXTENT["medium"],
            dimensions=(0.07, stage.between(0.5, 0.65), height),
            position=(side * stage.between(0.1, 0.35), 0.0, height),
            fixed=True,
            restitution=0.85,
            role="partner",
        )
        speed = stage.between(2.5, 2.9) / stage.seconds
        stage.send(main, (side * speed * stage.between(1.0, 1.15), 0.0, 0.0))
        if wanted == "wall":
            stage.add(wall)
        return stage.proposal()

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """Whether it was stopped."""
        direction = judging.heading(judging.travel(seen, 0, 0, seen.frames // 4))
        if direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        moves = Claim(kind="moves", subject=0, value=direction)
        if len(proposal.entities) == 1:
            if float(judging.travel(seen, 0)[0]) * side < 2.0:
                return None
            claims = (moves, *judging.speed_claim(seen, 0, seen.frames - 1))
            return Verdict(outcome="no wall", claims=claims, frame=seen.frames // 2)
        contact = seen.touch(0, 1)
        if contact is None or contact.first > 0.75 * seen.frames:
            return None
        after = judging.aftermath(seen, 0, np.array([side, 0.0, 0.0]), contact.first)
        if not after:
            return None
        claims = (
            moves,
            *judging.speed_claim(seen, 0, contact.first),
            Claim(kind="hits", subject=0, object=1),
            *after,
        )
        return Verdict(outcome="wall", claims=claims, frame=contact.first)


@dataclass(frozen=True)
class MassPair:
    """A light ball or a heavy one of the same size and speed hits the same thing."""

    name: Event = "mass pair"
    outcomes: tuple[str, ...] = ("light", "heavy")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """The ball's stuff differs, and with it its mass; its bounce and its speed do not."""
        side = stage.side()
        start = -side * stage.between(1.1, 1.3)
        main = stage.put("ball", start, 0.0, sizes=("small", "medium"), materials=("rubber",))
        thing = stage.entities[main]
        stuffs: dict[str, tuple[Material, float]] = {"light": ("plastic", 25.0), "heavy": ("metal", 5000.0)}
        material, density = stuffs[wanted]
        stage.change(
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
        other = stage.put(
            stage.pick(shapes),
            side * stage.between(0.1, 0.4),
            stage.between(-0.03, 0.03),
            sizes=("small", "medium"),
            materials=("wood", "clay", "plastic"),
            role="partner",
        )
        stage.change(other, replace(stage.entities[other], density=700.0, friction=0.6))
        speed = stage.between(1.4, 2.0)
        stage.send(main, (side * speed, 0.0, 0.0))
        return stage.proposal()

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """Light balls leave the other thing where it is, heavy ones do not."""
        contact, stayed = seen.touch(0, 1), judging.stayed(seen, 1)
        direction = judging.heading(judging.travel(seen, 0, 0, seen.frames // 4))
        if contact is None or contact.first > 0.6 * seen.frames or direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        until = contact.first
        moves = (Claim(kind="moves", subject=0, value=direction), *judging.speed_claim(seen, 0, until))
        hit = (*moves, Claim(kind="hits", subject=0, object=1))
        after = judging.aftermath(seen, 0, np.array([side, 0.0, 0.0]), until)
        light = proposal.entities[0].material == "plastic"
        if light:
            if stayed is not True:
                return None
            claims = (*hit, Claim(kind="stays", subject=1), *after)
            return Verdict(outcome="light", claims=claims, frame=until)
        fallen = judging.fell_over(seen, 1)
        if stayed is not False or fallen is None:
            return None
        fate = Claim(kind="tips over", subject=1) if fallen else judging.pushed_claim(seen, 1, until)
        return Verdict(outcome="heavy", claims=(*hit, fate, *after), frame=until)
