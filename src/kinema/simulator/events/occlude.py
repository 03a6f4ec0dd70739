"""Something passes behind a screen, or in front of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event
from kinema.simulator.attributes import EXTENT
from kinema.simulator.entities import Entity
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal, ViewRange
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory


@dataclass(frozen=True)
class Occlude:
    """It comes out on the other side, stays hidden, comes back, or never was hidden.

    Whether it is really out of sight is for the id buffer to say; `measure` has the last word.
    """

    name: Event = "occlude"
    outcomes: tuple[str, ...] = ("re-emerges", "stays hidden", "comes back", "in front")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A screen wide enough to hide it whole; it stops behind it or meets a hidden stop to turn back."""
        side = builder.random_side()
        shape = "ball" if builder.lab or outcome != "re-emerges" or builder.bernoulli(0.7) else "car"
        behind = outcome != "in front"
        width = builder.uniform(0.68, 0.76) if builder.lab else builder.uniform(0.7, 0.85)
        radius = 0.36
        near = 0.55 if behind else -0.55
        main = builder.place(
            shape,
            -side * self._offset_past_screen(builder, behind),
            near,
            sizes=("small", "medium"),
            materials=("plastic", "rubber", "metal", "wood", "marble", "clay"),
            facing=0.0 if side > 0 else np.pi,
        )
        look = builder.random_entity("screen", ("plastic", "clay"))
        height = 0.62 if builder.lab else builder.uniform(0.55, 0.7)
        builder.add(
            replace(
                look,
                size="large",
                extent=EXTENT["large"],
                dimensions=(width, 0.05, height),
                position=(0.0, 0.0, height),
                fixed=True,
                role="partner",
            )
        )
        start = abs(builder.entities[main].position[0])
        if outcome == "stays hidden":
            stop = builder.uniform(0.5, 0.75) * builder.duration
            speed: float = 2 * (start + builder.uniform(-0.15, 0.1)) / stop
            builder.set_moving(main, (side * speed, 0.0, 0.0), stop)
        elif outcome == "comes back":
            speed = (2 * start + 0.9) / (0.9 * builder.duration)
            builder.set_moving(main, (side * speed * 1.15, 0.0, 0.0))
            builder.replace_entity(main, replace(builder.entities[main], restitution=0.9))
            builder.add(
                Entity(
                    shape="block",
                    size="small",
                    extent=0.2,
                    dimensions=(0.06, 0.25, radius),
                    material="clay",
                    colour="gray",
                    position=(side * (0.36 + 0.1), near, radius),
                    fixed=True,
                    restitution=0.9,
                    role="prop",
                    named=False,
                )
            )
        else:
            end = self._offset_past_screen(builder, behind) + (
                0.0 if builder.lab else builder.uniform(0.0, 0.3)
            )
            speed = (start + end) / builder.duration
            builder.set_moving(main, (side * speed, 0.0, 0.0))
        view = ViewRange(elevation=(6.0, 11.0), azimuth=4.0, moves=("static", "zoom in", "zoom out"))
        return builder.build_proposal(relation=outcome, view=view)

    def _offset_past_screen(self, builder: SceneBuilder, behind: bool) -> float:
        """How far from the middle it is clear of the screen; the lab's fixed camera leaves little room."""
        if not builder.lab:
            return builder.uniform(1.65, 1.85)
        return builder.uniform(1.4, 1.55) if behind else builder.uniform(1.1, 1.2)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """From where it ends, seen from the front."""
        if trajectory.contact_between(0, 1) is not None:
            return None
        half = (proposal.entities[1].dimensions or (0.0, 0.0, 0.0))[0]
        x = trajectory.position[:, 0, 0]
        side = 1.0 if x[0] < 0 else -1.0
        direction = event_checks.side_name(side)
        behind = np.abs(x) < half * 0.5
        frame = int(np.argmax(behind))
        if not behind.any() or frame > trajectory.num_frames - 6:
            return None
        moves = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, frame),
        )
        if trajectory.position[0, 0, 1] < 0:
            if x[-1] * side < half + 0.3:
                return None
            claims = (*moves, Claim(kind="in front", subject=0, object=1))
            return EventOutcome(outcome="in front", claims=claims, event_frame=frame)
        hides = (*moves, Claim(kind="hides", subject=0, object=1))
        if x[-1] * side > half + 0.35:
            out = Claim(kind="re-emerges", subject=0, object=1, value=direction)
            return EventOutcome(outcome="re-emerges", claims=(*hides, out), event_frame=frame)
        if x[-1] * side < -half - 0.35:
            out = Claim(kind="re-emerges", subject=0, object=1, value=event_checks.side_name(-side))
            return EventOutcome(outcome="comes back", claims=(*hides, out), event_frame=frame)
        if event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED and abs(x[-1]) < half * 0.5:
            stays = Claim(kind="stays hidden", subject=0, object=1)
            return EventOutcome(outcome="stays hidden", claims=(*hides, stays), event_frame=frame)
        return None
