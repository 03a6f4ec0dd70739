"""An object passes behind a screen, or in front of it."""

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
    """It re-emerges on the other side, stays hidden, comes back, or passes in front.

    `annotate.claims_visible` checks in the id buffer that it is hidden as claimed.
    """

    name: Event = "occlude"
    outcomes: tuple[str, ...] = ("re-emerges", "stays hidden", "comes back", "in front")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A screen that hides the object completely; for 'comes back' a hidden block reflects it."""
        side = builder.random_side()
        shape = "ball" if builder.lab or outcome != "re-emerges" or builder.bernoulli(0.7) else "car"
        behind = outcome != "in front"
        width = builder.uniform(0.68, 0.76) if builder.lab else builder.uniform(0.7, 0.85)
        radius = 0.36
        y = 0.55 if behind else -0.55
        main = builder.place(
            shape,
            -side * self._offset_past_screen(builder, behind),
            y,
            sizes=("small", "medium"),
            materials=("plastic", "rubber", "metal", "wood", "marble", "clay"),
            facing=0.0 if side > 0 else np.pi,
        )
        screen = builder.random_entity("screen", ("plastic", "clay"))
        height = 0.62 if builder.lab else builder.uniform(0.55, 0.7)
        builder.add(
            replace(
                screen,
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
                    position=(side * (0.36 + 0.1), y, radius),
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
        """Distance from the middle at which it is clear of the screen; small for the lab's fixed camera."""
        if not builder.lab:
            return builder.uniform(1.65, 1.85)
        return builder.uniform(1.4, 1.55) if behind else builder.uniform(1.1, 1.2)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by its position relative to the screen at the end."""
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
        motion_claims = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, frame),
        )
        if trajectory.position[0, 0, 1] < 0:
            if x[-1] * side < half + 0.3:
                return None
            claims = (*motion_claims, Claim(kind="in front", subject=0, object=1))
            return EventOutcome(outcome="in front", claims=claims, event_frame=frame)
        hide_claims = (*motion_claims, Claim(kind="hides", subject=0, object=1))
        if x[-1] * side > half + 0.35:
            emerges = Claim(kind="re-emerges", subject=0, object=1, value=direction)
            return EventOutcome(outcome="re-emerges", claims=(*hide_claims, emerges), event_frame=frame)
        if x[-1] * side < -half - 0.35:
            emerges = Claim(kind="re-emerges", subject=0, object=1, value=event_checks.side_name(-side))
            return EventOutcome(outcome="comes back", claims=(*hide_claims, emerges), event_frame=frame)
        if event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED and abs(x[-1]) < half * 0.5:
            stays_hidden = Claim(kind="stays hidden", subject=0, object=1)
            return EventOutcome(
                outcome="stays hidden", claims=(*hide_claims, stays_hidden), event_frame=frame
            )
        return None
