"""A ball is rolled at a tower of blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Material, Size
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

GROUP = "tower"
_BLOCK_HALF_SIDE = 0.21
"""Half the side of a block, metres."""


@dataclass(frozen=True, kw_only=True)
class _Prior:
    ball_size: Size
    ball_materials: tuple[Material, ...]
    speed: tuple[float, float]
    block_density: float
    """Of the blocks."""
    block_counts: tuple[int, ...]
    lateral_offset: tuple[float, float] = (0.0, 0.05)
    """How far beside the middle the ball strikes, metres."""
    ball_density: float | None = None
    """Density of the ball, where its look shall not set it."""


_PRIORS = {
    "short of": _Prior(
        ball_size="medium", ball_materials=("plastic", "rubber", "wood"), speed=(1.0, 1.5),
        block_density=500.0, block_counts=(3, 4, 5),
    ),
    "stands": _Prior(
        ball_size="small", ball_materials=("plastic", "wood"), speed=(1.0, 1.6), block_density=1300.0,
        block_counts=(3, 4),
    ),
    "some fall": _Prior(
        ball_size="medium", ball_materials=("metal",), speed=(2.1, 3.0), block_density=500.0,
        block_counts=(5,), lateral_offset=(0.05, 0.2),
    ),
    "falls": _Prior(
        ball_size="large", ball_materials=("rubber", "marble", "clay", "plastic"), speed=(2.5, 3.4),
        block_density=450.0, block_counts=(3, 4), ball_density=1100.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Tower:
    """It stands, part of it falls, or all of it; or the ball never gets there."""

    name: Event = "tower"
    outcomes: tuple[str, ...] = ("short of", "stands", "some fall", "falls")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """The heavier and faster the ball, the more falls."""
        prior = _PRIORS[outcome]
        side = builder.random_side()
        start = -side * builder.uniform(1.5, 1.8)
        ball = builder.place(
            "ball", start, builder.uniform(-0.05, 0.05), size=prior.ball_size, materials=prior.ball_materials
        )
        builder.replace_entity(
            ball, replace(builder.entities[ball], density=prior.ball_density, restitution=0.1)
        )
        foot = side * builder.uniform(0.25, 0.5)
        two = builder.bernoulli(0.4)
        looks = [builder.random_entity("block", ("plastic", "wood", "clay")) for _ in range(2)]
        for k in range(builder.pick(prior.block_counts)):
            block = replace(
                looks[k % 2] if two else looks[0],
                size="small",
                extent=_BLOCK_HALF_SIDE,
                dimensions=(_BLOCK_HALF_SIDE, _BLOCK_HALF_SIDE, _BLOCK_HALF_SIDE),
                position=(
                    foot + builder.uniform(-0.02, 0.02),
                    builder.uniform(-0.02, 0.02),
                    _BLOCK_HALF_SIDE * (2 * k + 1),
                ),
                density=prior.block_density,
                friction=0.7,
                restitution=0.1,
                role="partner",
                named=False,
                group=GROUP,
            )
            builder.add(block)
        speed, stop = builder.uniform(*prior.speed), None
        if outcome == "short of":
            gap = abs(foot - start) - builder.bounding_radius(ball) - _BLOCK_HALF_SIDE
            stop = builder.uniform(0.5, 0.75) * builder.duration
            speed = 2 * gap * builder.uniform(0.55, 0.85) / stop
        builder.set_moving(ball, (side * speed, 0.0, 0.0), stop)
        builder.add_background(1)
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """A block has fallen when it lies lower than at first, or on its side."""
        blocks = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 4)
        )
        if direction not in ("left", "right"):
            return None
        touching = [c for c in trajectory.contacts if c.a == 0 and c.b in blocks]
        until = touching[0].first if touching else trajectory.num_frames - 1
        moves = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, until),
        )
        fallen = event_checks.count_fallen(trajectory, blocks)
        if fallen is None:
            return None
        stands = Claim(kind="stands", group=GROUP)
        if not touching:
            if event_checks.final_speed(trajectory, 0) > event_checks.MAX_REST_SPEED or fallen:
                return None
            short = Claim(kind="short of", subject=0, object=blocks[0], group=GROUP)
            return EventOutcome(
                outcome="short of", claims=(*moves, short, stands), event_frame=trajectory.num_frames - 1
            )
        hit = (*moves, Claim(kind="hits", subject=0, object=touching[0].b, group=GROUP))
        if touching[0].first > 0.6 * trajectory.num_frames:
            return None
        if fallen == 0:
            straight = all(
                float(np.abs(event_checks.displacement(trajectory, k)).max()) < 0.3 for k in blocks
            )
            if not straight:
                return None
            return EventOutcome(outcome="stands", claims=(*hit, stands), event_frame=touching[0].first)
        if max(abs(float(trajectory.position[-1, k, 0])) for k in blocks) > 2.7:
            return None  # too far out to be counted
        count = Claim(kind="fallen", group=GROUP, value=str(fallen))
        # The lowest block stands on the floor already and can't fall.
        whole = fallen >= len(blocks) - 1
        return EventOutcome(
            outcome="falls" if whole else "some fall", claims=(*hit, count), event_frame=touching[0].first
        )
