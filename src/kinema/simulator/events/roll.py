"""An object rolls, slides or drives across the floor."""

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
    "ball", "ball", "ball", "egg", "cube", "cylinder", "ring", "car", "disc", "cone",
)  # fmt: skip
_MAX_IN_VIEW_DISTANCE, _MIN_LEAVING_DISTANCE = 3.0, 3.5
"""Metres. Shorter motions stay in view, longer ones leave it; others are rejected."""
_DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "away": (0, 1), "toward": (0, -1)}


@dataclass(frozen=True)
class Roll:
    """It stops by itself, keeps going, or leaves the frame."""

    name: Event = "roll"
    outcomes: tuple[str, ...] = ("stops", "keeps going", "leaves")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """An object moving in one of four directions, most often across the view."""
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
            # These shapes roll about an axis across the direction of motion.
            facing = 0.0 if x else math.pi / 2
        mover = builder.place(
            shape,
            -x * length / 2 + y * drift,
            -y * length / 2 + x * drift * 0.6 + (0.3 if y else 0.0),
            lying=shape == "ring",
            facing=facing,
        )
        if outcome == "stops":
            stop_time = builder.uniform(0.45, 0.8) * builder.duration
            speed = 2 * length / stop_time
        elif outcome == "leaves":
            stop_time, speed = None, builder.uniform(3.7, 7.5) / builder.duration
        else:
            stop_time, speed = None, length / (builder.duration * builder.uniform(0.85, 1.1))
        builder.set_moving(mover, (x * speed, y * speed, 0.0), stop_time)
        if x:
            builder.add_background()
        # A low camera would not show motion along the view axis.
        view = (
            ViewRange() if x else ViewRange(elevation=(16.0, 28.0), azimuth=6.0, moves=("static", "crane up"))
        )
        return builder.build_proposal(relation=direction, view=view)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the distance it moved and its speed at the end."""
        step = event_checks.displacement(trajectory, 0)
        direction = event_checks.cardinal_direction(step)
        if direction is None or float(np.linalg.norm(step)) < 0.8:
            return None
        motion_claim = Claim(kind="moves", subject=0, value=direction)
        last = trajectory.num_frames - 1
        if event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED:
            speeds = np.linalg.norm(np.diff(trajectory.position[:, 0], axis=0), axis=1) * trajectory.fps
            stop_frame = int(np.argmax(speeds < event_checks.MAX_REST_SPEED * 2))
            claims = (
                motion_claim,
                *event_checks.speed_claims(trajectory, 0, stop_frame),
                Claim(kind="stops", subject=0),
            )
            return EventOutcome(outcome="stops", claims=claims, event_frame=min(stop_frame, last))
        if event_checks.final_speed(trajectory, 0) < event_checks.MIN_MOVING_SPEED:
            return None
        if event_checks.has_fallen_over(trajectory, 0) is not False and proposal.entities[0].shape in (
            "cube",
            "cylinder",
        ):
            return None
        motion_claims = (motion_claim, *event_checks.speed_claims(trajectory, 0, last))
        distance = np.linalg.norm(trajectory.position[:, 0] - trajectory.position[0, 0], axis=1)
        if distance[-1] < _MAX_IN_VIEW_DISTANCE:
            return EventOutcome(outcome="keeps going", claims=motion_claims, event_frame=last // 2)
        if distance[-1] < _MIN_LEAVING_DISTANCE or direction not in ("left", "right"):
            return None
        # The camera keeps it in view up to this frame; after that it leaves the frame.
        exit_frame = max(1, int(np.argmax(distance > _MIN_LEAVING_DISTANCE - 1.7)) - 1)
        return EventOutcome(
            outcome="leaves",
            claims=(*motion_claims, Claim(kind="leaves", subject=0)),
            event_frame=exit_frame,
            visibility=(VisibilityConstraint(entity=0, first_frame=0, last_frame=exit_frame),),
        )
