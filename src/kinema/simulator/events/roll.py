"""Something rolls, slides or drives across the floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.simulator.annotations import Claim, Event, Shape
from kinema.simulator.attributes import LAB_SHAPES
from kinema.simulator.event_api import (
    EventOutcome,
    SceneBuilder,
    SceneProposal,
    ViewRange,
    VisibilityConstraint,
)
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

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

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A thing sent along one of four directions, the two across the view more often."""
        across = outcome == "leaves" or (not builder.lab and builder.bernoulli(0.7))
        direction = builder.pick(("right", "left") if across else ("right", "left", "away", "toward"))
        x, y = _DIRECTIONS[direction]
        shapes: list[Shape] = [s for s in _SHAPES if outcome != "stops" or s not in ("car", "ring", "egg")]
        shape: Shape = builder.pick(("ball", *LAB_SHAPES) if builder.lab else shapes)
        length = builder.uniform(1.6, 2.6) if x else builder.uniform(1.5, 2.4)
        drift = builder.uniform(-0.5, 0.5)
        facing = None
        if shape == "car":
            facing = math.atan2(y, x)
        elif shape in ("ring", "egg"):
            # Their axles lie across the way they roll.
            facing = 0.0 if x else math.pi / 2
        thing = builder.place(
            shape,
            -x * length / 2 + y * drift,
            -y * length / 2 + x * drift * 0.6 + (0.3 if y else 0.0),
            lying=shape == "ring",
            facing=facing,
        )
        if outcome == "stops":
            stop = builder.uniform(0.45, 0.8) * builder.duration
            speed = 2 * length / stop
        elif outcome == "leaves":
            stop, speed = None, builder.uniform(3.7, 7.5) / builder.duration
        else:
            stop, speed = None, length / (builder.duration * builder.uniform(0.85, 1.1))
        builder.set_moving(thing, (x * speed, y * speed, 0.0), stop)
        if x:
            builder.add_background()
        # Away from the camera is down into the picture, which a low camera does not show.
        view = (
            ViewRange() if x else ViewRange(elevation=(16.0, 28.0), azimuth=6.0, moves=("static", "crane up"))
        )
        return builder.build_proposal(relation=direction, view=view)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """From how far it went and how fast it is at the end."""
        step = event_checks.displacement(trajectory, 0)
        direction = event_checks.cardinal_direction(step)
        if direction is None or float(np.linalg.norm(step)) < 0.8:
            return None
        moves = Claim(kind="moves", subject=0, value=direction)
        last = trajectory.num_frames - 1
        if event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED:
            speeds = np.linalg.norm(np.diff(trajectory.position[:, 0], axis=0), axis=1) * trajectory.fps
            stop = int(np.argmax(speeds < event_checks.MAX_REST_SPEED * 2))
            claims = (moves, *event_checks.speed_claims(trajectory, 0, stop), Claim(kind="stops", subject=0))
            return EventOutcome(outcome="stops", claims=claims, event_frame=min(stop, last))
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
            return EventOutcome(outcome="keeps going", claims=going, event_frame=last // 2)
        if gone[-1] < _MIN_LEAVING_DISTANCE or direction not in ("left", "right"):
            return None
        # The camera keeps it in view up to here; what is left of its way takes it out.
        exits = max(1, int(np.argmax(gone > _MIN_LEAVING_DISTANCE - 1.7)) - 1)
        return EventOutcome(
            outcome="leaves",
            claims=(*going, Claim(kind="leaves", subject=0)),
            event_frame=exits,
            visibility=(VisibilityConstraint(entity=0, first_frame=0, last_frame=exits),),
        )
