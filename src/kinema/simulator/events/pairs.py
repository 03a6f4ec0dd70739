"""Pairs of clips that differ in one cause: with the wall and without it, a light ball and a heavy one.

Both variants of a proposal draw the same random numbers, so that everything else is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Material, Shape
from kinema.simulator.attributes import EXTENT
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory


@dataclass(frozen=True)
class WallPair:
    """A ball rolls on, or meets a wall that stands in its way."""

    name: Event = "wall pair"
    outcomes: tuple[str, ...] = ("wall", "no wall")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """The ball, and the wall unless it is taken away."""
        side = builder.random_side()
        start = -side * builder.uniform(1.2, 1.5)
        main = builder.place(
            "ball", start, 0.0, sizes=("small", "medium"), materials=("rubber", "plastic", "glass", "wood")
        )
        thing = builder.entities[main]
        builder.replace_entity(main, replace(thing, restitution=builder.uniform(0.6, 0.85)))
        height = builder.uniform(0.35, 0.5)
        wall = replace(
            builder.random_entity("wall", ("plastic", "clay", "wood")),
            size="medium",
            extent=EXTENT["medium"],
            dimensions=(0.07, builder.uniform(0.5, 0.65), height),
            position=(side * builder.uniform(0.1, 0.35), 0.0, height),
            fixed=True,
            restitution=0.85,
            role="partner",
        )
        speed = builder.uniform(2.5, 2.9) / builder.duration
        builder.set_moving(main, (side * speed * builder.uniform(1.0, 1.15), 0.0, 0.0))
        if outcome == "wall":
            builder.add(wall)
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Whether it was stopped."""
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 4)
        )
        if direction not in ("left", "right"):
            return None
        side = 1.0 if direction == "right" else -1.0
        moves = Claim(kind="moves", subject=0, value=direction)
        if len(proposal.entities) == 1:
            if float(event_checks.displacement(trajectory, 0)[0]) * side < 2.0:
                return None
            claims = (moves, *event_checks.speed_claims(trajectory, 0, trajectory.num_frames - 1))
            return EventOutcome(outcome="no wall", claims=claims, event_frame=trajectory.num_frames // 2)
        contact = trajectory.contact_between(0, 1)
        if contact is None or contact.first > 0.75 * trajectory.num_frames:
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
        return EventOutcome(outcome="wall", claims=claims, event_frame=contact.first)


@dataclass(frozen=True)
class MassPair:
    """A light ball or a heavy one of the same size and speed hits the same thing."""

    name: Event = "mass pair"
    outcomes: tuple[str, ...] = ("light", "heavy")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """The ball's stuff differs, and with it its mass; its bounce and its speed do not."""
        side = builder.random_side()
        start = -side * builder.uniform(1.1, 1.3)
        main = builder.place("ball", start, 0.0, sizes=("small", "medium"), materials=("rubber",))
        thing = builder.entities[main]
        stuffs: dict[str, tuple[Material, float]] = {"light": ("plastic", 25.0), "heavy": ("metal", 5000.0)}
        material, density = stuffs[outcome]
        builder.replace_entity(
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
        other = builder.place(
            builder.pick(shapes),
            side * builder.uniform(0.1, 0.4),
            builder.uniform(-0.03, 0.03),
            sizes=("small", "medium"),
            materials=("wood", "clay", "plastic"),
            role="partner",
        )
        builder.replace_entity(other, replace(builder.entities[other], density=700.0, friction=0.6))
        speed = builder.uniform(1.4, 2.0)
        builder.set_moving(main, (side * speed, 0.0, 0.0))
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Light balls leave the other thing where it is, heavy ones do not."""
        contact, stayed = trajectory.contact_between(0, 1), event_checks.is_stationary(trajectory, 1)
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 4)
        )
        if (
            contact is None
            or contact.first > 0.6 * trajectory.num_frames
            or direction not in ("left", "right")
        ):
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
            return EventOutcome(outcome="light", claims=claims, event_frame=until)
        fallen = event_checks.has_fallen_over(trajectory, 1)
        if stayed is not False or fallen is None:
            return None
        fate = (
            Claim(kind="tips over", subject=1) if fallen else event_checks.pushed_claim(trajectory, 1, until)
        )
        return EventOutcome(outcome="heavy", claims=(*hit, fate, *after), event_frame=until)
