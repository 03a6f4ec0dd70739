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
"""Half the edge length of a block, metres."""


@dataclass(frozen=True, kw_only=True)
class _Prior:
    ball_size: Size
    ball_materials: tuple[Material, ...]
    speed: tuple[float, float]
    block_density: float
    """Kilograms per cubic metre."""
    block_counts: tuple[int, ...]
    ball_density: float | None = None
    """Kilograms per cubic metre; None takes the density of the material."""


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
        block_counts=(5,),
    ),
    "falls": _Prior(
        ball_size="large", ball_materials=("rubber", "marble", "clay", "plastic"), speed=(2.5, 3.4),
        block_density=450.0, block_counts=(3, 4), ball_density=1100.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Tower:
    """The ball stops short of it, it stands, part of it falls, or all of it falls."""

    name: Event = "tower"
    outcomes: tuple[str, ...] = ("short of", "stands", "some fall", "falls")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """The more blocks shall fall, the heavier and faster the ball."""
        prior = _PRIORS[outcome]
        side = builder.random_side()
        start = -side * builder.uniform(1.5, 1.8)
        ball = builder.place(
            "ball", start, builder.uniform(-0.05, 0.05), size=prior.ball_size, materials=prior.ball_materials
        )
        builder.replace_entity(
            ball, replace(builder.entities[ball], density=prior.ball_density, restitution=0.1)
        )
        tower_x = side * builder.uniform(0.25, 0.5)
        two_colours = builder.bernoulli(0.4)
        appearances = [builder.random_entity("block", ("plastic", "wood", "clay")) for _ in range(2)]
        for k in range(builder.pick(prior.block_counts)):
            block = replace(
                appearances[k % 2] if two_colours else appearances[0],
                size="small",
                extent=_BLOCK_HALF_SIDE,
                dimensions=(_BLOCK_HALF_SIDE, _BLOCK_HALF_SIDE, _BLOCK_HALF_SIDE),
                position=(
                    tower_x + builder.uniform(-0.02, 0.02),
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
            gap = abs(tower_x - start) - builder.bounding_radius(ball) - _BLOCK_HALF_SIDE
            stop = builder.uniform(0.5, 0.75) * builder.duration
            speed = 2 * gap * builder.uniform(0.55, 0.85) / stop
        builder.set_moving(ball, (side * speed, 0.0, 0.0), stop)
        builder.add_background(1)
        return builder.build_proposal()

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the number of fallen blocks."""
        blocks = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        direction = event_checks.cardinal_direction(
            event_checks.displacement(trajectory, 0, 0, trajectory.num_frames // 4)
        )
        if direction not in ("left", "right"):
            return None
        touching = [c for c in trajectory.contacts if c.a == 0 and c.b in blocks]
        contact_frame = touching[0].first if touching else trajectory.num_frames - 1
        motion_claims = (
            Claim(kind="moves", subject=0, value=direction),
            *event_checks.speed_claims(trajectory, 0, contact_frame),
        )
        num_fallen = event_checks.count_fallen(trajectory, blocks)
        if num_fallen is None:
            return None
        stands_claim = Claim(kind="stands", group=GROUP)
        if not touching:
            if event_checks.final_speed(trajectory, 0) > event_checks.MAX_REST_SPEED or num_fallen:
                return None
            short_claim = Claim(kind="short of", subject=0, object=blocks[0], group=GROUP)
            return EventOutcome(
                outcome="short of",
                claims=(*motion_claims, short_claim, stands_claim),
                event_frame=trajectory.num_frames - 1,
            )
        hit_claims = (*motion_claims, Claim(kind="hits", subject=0, object=touching[0].b, group=GROUP))
        if touching[0].first > 0.6 * trajectory.num_frames:
            return None
        if num_fallen == 0:
            undisturbed = all(
                float(np.abs(event_checks.displacement(trajectory, k)).max()) < 0.3 for k in blocks
            )
            if not undisturbed:
                return None
            return EventOutcome(
                outcome="stands", claims=(*hit_claims, stands_claim), event_frame=touching[0].first
            )
        if max(abs(float(trajectory.position[-1, k, 0])) for k in blocks) > 2.7:
            return None  # too far away to be counted in the frame
        fallen_claim = Claim(kind="fallen", group=GROUP, value=str(num_fallen))
        # The lowest block stands on the floor and cannot fall.
        all_fell = num_fallen >= len(blocks) - 1
        return EventOutcome(
            outcome="falls" if all_fell else "some fall",
            claims=(*hit_claims, fallen_claim),
            event_frame=touching[0].first,
        )
