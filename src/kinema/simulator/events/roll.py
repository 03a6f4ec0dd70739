"""Something rolls, slides or drives across the floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.simulator.events import event_checks
from kinema.world.facts import Claim, Event, Shape
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict, View, Watch
from kinema.world.vocabulary import LAB_SHAPES

_SHAPES: tuple[Shape, ...] = (
    "ball",
    "ball",
    "ball",
    "egg",
    "cube",
    "cylinder",
    "ring",
    "car",
    "disc",
    "cone",
)
_MAX_IN_VIEW_DISTANCE, _MIN_LEAVING_DISTANCE = 3.0, 3.5
"""Metres: what goes less far stays in view, what goes farther leaves it."""
_DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "away": (0, 1), "toward": (0, -1)}


@dataclass(frozen=True)
class Roll:
    """It stops by itself, keeps going, or leaves the frame."""

    name: Event = "roll"
    outcomes: tuple[str, ...] = ("stops", "keeps going", "leaves")

    def propose(self, builder: Stage, outcome: str) -> Proposal:
        """A thing sent along one of four directions, the two across the view more often."""
        across = outcome == "leaves" or (not builder.lab and builder.chance(0.7))
        direction = builder.pick(("right", "left") if across else ("right", "left", "away", "toward"))
        x, y = _DIRECTIONS[direction]
        shapes: list[Shape] = [s for s in _SHAPES if outcome != "stops" or s not in ("car", "ring", "egg")]
        shape: Shape = builder.pick(("ball", *LAB_SHAPES) if builder.lab else shapes)
        length = builder.between(1.6, 2.6) if x else builder.between(1.5, 2.4)
        drift = builder.between(-0.5, 0.5)
        facing = None
        if shape == "car":
            facing = math.atan2(y, x)
        elif shape in ("ring", "egg"):
            # Their axles lie across the way they roll.
            facing = 0.0 if x else math.pi / 2
        thing = builder.put(
            shape,
            -x * length / 2 + y * drift,
            -y * length / 2 + x * drift * 0.6 + (0.3 if y else 0.0),
            lying=shape == "ring",
            facing=facing,
        )
        if outcome == "stops":
            stop = builder.between(0.45, 0.8) * builder.seconds
            speed = 2 * length / stop
        elif outcome == "leaves":
            stop, speed = None, builder.between(3.7, 7.5) / builder.seconds
        else:
            stop, speed = None, length / (builder.seconds * builder.between(0.85, 1.1))
        builder.send(thing, (x * speed, y * speed, 0.0), stop)
        if x:
            builder.backdrop()
        # Away from the camera is down into the picture, which a low camera does not show.
        view = View() if x else View(elevation=(16.0, 28.0), azimuth=6.0, moves=("static", "crane up"))
        return builder.proposal(relation=direction, view=view)

    def evaluate(self, proposal: Proposal, trajectory: Trajectory) -> Verdict | None:
        """From how far it went and how fast it is at the end."""
        step = event_checks.displacement(trajectory, 0)
        direction = event_checks.cardinal_direction(step)
        if direction is None or float(np.linalg.norm(step)) < 0.8:
            return None
        moves = Claim(kind="moves", subject=0, value=direction)
        last = trajectory.frames - 1
        if event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED:
            speeds = np.linalg.norm(np.diff(trajectory.position[:, 0], axis=0), axis=1) * trajectory.fps
            stop = int(np.argmax(speeds < event_checks.MAX_REST_SPEED * 2))
            claims = (moves, *event_checks.speed_claims(trajectory, 0, stop), Claim(kind="stops", subject=0))
            return Verdict(outcome="stops", claims=claims, frame=min(stop, last))
        if event_checks.final_speed(trajectory, 0) < event_checks.MIN_MOVING_SPEED:
            return None
        if event_checks.has_fallen_over(trajectory, 0) is not False and proposal.entities[0].shape in (
            "cube",
            "cylinder",
        ):
            return None
        going = (moves, *event_checks.speed_claims(trajectory, 0, last))
        gone = np.linalg.norm(trajectory.position[:, 0] - trajectory.position[0, 0], axis=1)
        if gone[-1] < _MAX_IN_VIEW_DISTANCE:
            return Verdict(outcome="keeps going", claims=going, frame=last // 2)
        if gone[-1] < _MIN_LEAVING_DISTANCE or direction not in ("left", "right"):
            return None
        # The camera keeps it in view up to here; what is left of its way takes it out.
        exits = max(1, int(np.argmax(gone > _MIN_LEAVING_DISTANCE - 1.7)) - 1)
        return Verdict(
            outcome="leaves",
            claims=(*going, Claim(kind="leaves", subject=0)),
            frame=exits,
            watch=(Watch(entity=0, first=0, last=exits),),
            leaves=0,
        )
