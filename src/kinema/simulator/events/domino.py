"""A row of dominoes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kinema.simulator.annotations import Claim, Event
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal, ViewRange
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

GROUP = "dominoes"
_HALF_EXTENTS = (0.055, 0.2, 0.4)
_GAP = 0.34


@dataclass(frozen=True)
class Domino:
    """All fall one after another, the chain stops at a gap, or nothing starts it."""

    name: Event = "domino"
    outcomes: tuple[str, ...] = ("all fall", "chain stops", "stands")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A row of dominoes; one wide gap stops the chain."""
        side = builder.random_side()
        number = int(builder.rng.integers(5, 9))
        gap_after = int(builder.rng.integers(2, number - 1)) if outcome == "chain stops" else None
        gaps = [_GAP * (2.9 if k == gap_after else 1.0) for k in range(1, number)]
        x = -side * sum(gaps) / 2
        two_colours = builder.bernoulli(0.4)
        appearances = [
            replace(builder.random_entity("domino", ("plastic", "clay")), pattern="solid", second_colour=None)
        ]
        builder.add(appearances[0])
        appearances.append(replace(builder.random_entity("domino", (appearances[0].material,))))
        builder.entities.clear()
        push_speed = 0.0 if outcome == "stands" else side * builder.uniform(1.6, 2.2)
        for k in range(number):
            builder.add(
                replace(
                    appearances[k % 2] if two_colours else appearances[0],
                    pattern="solid",
                    second_colour=None,
                    dimensions=_HALF_EXTENTS,
                    extent=_HALF_EXTENTS[2],
                    position=(x, 0.0, _HALF_EXTENTS[2]),
                    # The first domino starts with a rotation about its lower edge.
                    angular_velocity=(0.0, push_speed if k == 0 else 0.0, 0.0),
                    velocity=(push_speed * _HALF_EXTENTS[2] if k == 0 else 0.0, 0.0, 0.0),
                    restitution=0.1,
                    friction=0.5,
                    named=False,
                    group=GROUP,
                )
            )
            x += side * (gaps[k] if k < len(gaps) else 0.0)
        return builder.build_proposal(view=ViewRange(elevation=(10.0, 24.0), azimuth=20.0))

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the number of dominoes that lie at the end."""
        number = sum(entity.group == GROUP for entity in proposal.entities)
        num_fallen = event_checks.count_fallen(trajectory, list(range(number)))
        if num_fallen is None:
            return None
        if num_fallen == 0:
            claim = Claim(kind="stands", group=GROUP)
            return EventOutcome(outcome="stands", claims=(claim,), event_frame=trajectory.num_frames // 2)
        side = event_checks.side_name(
            float(trajectory.position[0, 0, 0] - trajectory.position[0, number - 1, 0])
        )
        topple = Claim(kind="topple", subject=0, object=number - 1, group=GROUP, value=side)
        first = next((c.first for c in trajectory.contacts), 0.0)
        if num_fallen == number:
            return EventOutcome(outcome="all fall", claims=(topple,), event_frame=first)
        if num_fallen < 2:
            return None
        claims = (
            topple,
            Claim(kind="chain stops", group=GROUP),
            Claim(kind="fallen", group=GROUP, value=str(num_fallen)),
        )
        return EventOutcome(outcome="chain stops", claims=claims, event_frame=first)
