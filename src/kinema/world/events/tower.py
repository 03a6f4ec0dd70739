"""A ball is rolled at a tower of blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.world.events import judging
from kinema.world.facts import Claim, Event, Material, Size
from kinema.world.physics import Trajectory
from kinema.world.stage import Proposal, Stage, Verdict

GROUP = "tower"
_BLOCK = 0.21
"""Half the side of a block, metres."""


@dataclass(frozen=True, kw_only=True)
class _Prior:
    size: Size
    materials: tuple[Material, ...]
    speed: tuple[float, float]
    density: float
    """Of the blocks."""
    blocks: tuple[int, ...]
    off: tuple[float, float] = (0.0, 0.05)
    """How far beside the middle the ball strikes, metres."""
    ball: float | None = None
    """Density of the ball, where its look shall not set it."""


_PRIORS = {
    "short of": _Prior(
        size="medium", materials=("plastic", "rubber", "wood"), speed=(1.0, 1.5), density=500.0,
        blocks=(3, 4, 5),
    ),
    "stands": _Prior(
        size="small", materials=("plastic", "wood"), speed=(1.0, 1.6), density=1300.0, blocks=(3, 4)
    ),
    "some fall": _Prior(
        size="medium", materials=("metal",), speed=(2.1, 3.0), density=500.0, blocks=(5,), off=(0.05, 0.2)
    ),
    "falls": _Prior(
        size="large", materials=("rubber", "marble", "clay", "plastic"), speed=(2.5, 3.4), density=450.0,
        blocks=(3, 4), ball=1100.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Tower:
    """It stands, part of it falls, or all of it; or the ball never gets there."""

    name: Event = "tower"
    outcomes: tuple[str, ...] = ("short of", "stands", "some fall", "falls")

    def propose(self, stage: Stage, wanted: str) -> Proposal:
        """The heavier and faster the ball, the more falls."""
        prior = _PRIORS[wanted]
        side = stage.side()
        start = -side * stage.between(1.5, 1.8)
        ball = stage.put(
            "ball", start, stage.between(-0.05, 0.05), size=prior.size, materials=prior.materials
        )
        stage.change(ball, replace(stage.entities[ball], density=prior.ball, restitution=0.1))
        foot = side * stage.between(0.25, 0.5)
        two = stage.chance(0.4)
        looks = [stage.dressed("block", ("plastic", "wood", "clay")) for _ in range(2)]
        for k in range(stage.pick(prior.blocks)):
            block = replace(
                looks[k % 2] if two else looks[0],
                size="small",
                extent=_BLOCK,
                dimensions=(_BLOCK, _BLOCK, _BLOCK),
                position=(
                    foot + stage.between(-0.02, 0.02),
                    stage.between(-0.02, 0.02),
                    _BLOCK * (2 * k + 1),
                ),
                density=prior.density,
                friction=0.7,
                restitution=0.1,
                role="partner",
                named=False,
                group=GROUP,
            )
            stage.add(block)
        speed, stop = stage.between(*prior.speed), None
        if wanted == "short of":
            gap = abs(foot - start) - stage.reach(ball) - _BLOCK
            stop = stage.between(0.5, 0.75) * stage.seconds
            speed = 2 * gap * stage.between(0.55, 0.85) / stop
        stage.send(ball, (side * speed, 0.0, 0.0), stop)
        stage.backdrop(1)
        return stage.proposal()

    def judge(self, proposal: Proposal, seen: Trajectory) -> Verdict | None:
        """A block has fallen when it lies lower than at first, or on its side."""
        blocks = [k for k, entity in enumerate(proposal.entities) if entity.group == GROUP]
        direction = judging.heading(judging.travel(seen, 0, 0, seen.frames // 4))
        if direction not in ("left", "right"):
            return None
        touching = [c for c in seen.contacts if c.a == 0 and c.b in blocks]
        until = touching[0].first if touching else seen.frames - 1
        moves = (
            Claim(kind="moves", subject=0, value=direction),
            *judging.speed_claim(seen, 0, until),
        )
        fallen = judging.fallen(seen, blocks)
        if fallen is None:
            return None
        stands = Claim(kind="stands", group=GROUP)
        if not touching:
            if judging.final_speed(seen, 0) > judging.RESTING or fallen:
                return None
            short = Claim(kind="short of", subject=0, object=blocks[0], group=GROUP)
            return Verdict(outcome="short of", claims=(*moves, short, stands), frame=seen.frames - 1)
        hit = (*moves, Claim(kind="hits", subject=0, object=touching[0].b, group=GROUP))
        if touching[0].first > 0.6 * seen.frames:
            return None
        if fallen == 0:
            straight = all(float(np.abs(judging.travel(seen, k)).max()) < 0.3 for k in blocks)
            if not straight:
                return None
            return Verdict(outcome="stands", claims=(*hit, stands), frame=touching[0].first)
        if max(abs(float(seen.position[-1, k, 0])) for k in blocks) > 2.7:
            return None  # too far out to be counted
        count = Claim(kind="fallen", group=GROUP, value=str(fallen))
        # The lowest block stands on the floor already and can't fall.
        whole = fallen >= len(blocks) - 1
        return Verdict(
            outcome="falls" if whole else "some fall", claims=(*hit, count), frame=touching[0].first
        )
