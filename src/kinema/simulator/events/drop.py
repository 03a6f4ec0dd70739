"""An object falls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.simulator.annotations import Claim, Event, Material, Shape
from kinema.simulator.event_api import EventOutcome, SceneBuilder, SceneProposal
from kinema.simulator.events import event_checks
from kinema.simulator.physics import Trajectory

_FALLING_SHAPES: tuple[Shape, ...] = (
    "ball", "cube", "cone", "gem", "ring", "capsule", "egg", "hexagonal block",
)  # fmt: skip
_FLAT_SHAPES: tuple[Shape, ...] = ("cube", "cylinder", "hexagonal block")


@dataclass(frozen=True)
class Drop:
    """It bounces high, a little or not at all, or it lands on another object or next to it."""

    name: Event = "drop"
    outcomes: tuple[str, ...] = ("bounces high", "bounces a little", "no bounce", "lands on", "falls beside")

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Materials that bounce as required; flat shapes for landing on top."""
        height = builder.uniform(0.75, 1.1) if builder.lab else builder.uniform(1.1, 1.9)
        x = builder.uniform(-0.3, 0.3)
        target = outcome in ("lands on", "falls beside")
        materials: tuple[Material, ...] = ("plastic", "rubber", "metal", "glass", "wood", "marble", "clay")
        if outcome == "bounces high":
            materials = ("rubber",)
        elif outcome == "bounces a little":
            materials = ("plastic", "glass", "wood")
        elif outcome in ("no bounce", "lands on"):
            materials = ("clay", "metal", "marble")
        shapes = _FALLING_SHAPES
        if outcome in ("bounces high", "bounces a little"):
            shapes = ("ball", "ball", "gem", "egg")
        elif outcome == "lands on":
            shapes = ("cube", "cylinder", "disc", "hexagonal block", "cone", "pyramid")
        shape = builder.pick(builder.allowed_shapes(shapes))
        # The lab has only plastic and rubber, so it sets the restitution directly.
        lab_bounce = {"bounces high": 0.78, "bounces a little": 0.42}.get(outcome, 0.03)
        sizes = ("small",) if target else ("small", "medium")
        main = builder.place(shape, x, 0.0, sizes=sizes, materials=materials, height_above_rest=height)
        entity = builder.entities[main]
        keeps_rotation = (
            outcome == "lands on" or shape == "ball" or (outcome == "no bounce" and builder.bernoulli(0.5))
        )
        builder.replace_entity(
            main,
            replace(
                entity,
                rotation=entity.rotation if keeps_rotation else builder.random_rotation(),
                restitution=lab_bounce if builder.lab else entity.restitution,
                rolling_friction=0.01 if shape == "ball" else 0.0,
            ),
        )
        if target:
            lateral_offset = 0.0
            if outcome == "falls beside":
                # Its centre must miss the top face; objects are larger in the lab.
                lateral_offset = builder.random_side() * (
                    builder.uniform(0.46, 0.6) if builder.lab else builder.uniform(0.33, 0.5)
                )
            support = builder.place(
                builder.pick(
                    builder.allowed_shapes(
                        _FLAT_SHAPES if outcome == "lands on" else (*_FLAT_SHAPES, "ball", "pyramid")
                    )
                ),
                x + lateral_offset + builder.uniform(-0.06, 0.06),
                builder.uniform(-0.06, 0.06),
                size="large",
                role="partner",
                materials=("clay", "wood", "metal", "marble", "plastic"),
            )
            height_under = builder.top_height(support)
            dropped = builder.entities[main]
            position = (
                dropped.position[0],
                dropped.position[1],
                dropped.position[2] + height_under * (0.5 if builder.lab else 0.6),
            )
            builder.replace_entity(main, replace(dropped, position=position))
            if builder.lab:
                builder.replace_entity(support, replace(builder.entities[support], restitution=0.03))
        builder.add_background()
        return builder.build_proposal(relation=outcome)

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Decide by the first contact, and by the height after it."""
        fall_claims = (Claim(kind="falls", subject=0),)
        z = trajectory.position[:, 0, 2]
        has_partner = len(proposal.entities) > 1 and proposal.entities[1].role == "partner"
        floor_contact, object_contact = (
            trajectory.floor_contact(0),
            trajectory.contact_between(0, 1) if has_partner else None,
        )
        if has_partner:
            return self._evaluate_landing_on_object(trajectory, fall_claims)
        if floor_contact is None or object_contact is not None:
            return None
        first = int(np.ceil(floor_contact.first))
        if first > trajectory.num_frames - 6:
            return None
        drop = z[0] - z.min()
        lowest_frame = int(np.argmin(z[first - 1 : first + 3])) + first - 1
        ratio = float(z[lowest_frame:].max() - z[lowest_frame]) / float(drop)
        value, outcome = "", ""
        if ratio > 0.3:
            value, outcome = "high", "bounces high"
        elif 0.08 < ratio < 0.25:
            value, outcome = "little", "bounces a little"
        elif ratio < 0.045:
            value, outcome = "none", "no bounce"
        if not outcome:
            return None
        claims = (*fall_claims, Claim(kind="bounces", subject=0, value=value))
        return EventOutcome(outcome=outcome, claims=claims, event_frame=floor_contact.first)

    def _evaluate_landing_on_object(
        self, trajectory: Trajectory, fall_claims: tuple[Claim, ...]
    ) -> EventOutcome | None:
        object_contact, floor_contact = trajectory.contact_between(0, 1), trajectory.floor_contact(0)
        if (
            object_contact is None
            or object_contact.first > trajectory.num_frames - 8
            or event_checks.max_displacement(trajectory, 1) > 0.4
        ):
            return None
        at_rest = event_checks.final_speed(trajectory, 0) < event_checks.MAX_REST_SPEED
        above = trajectory.position[-1, 0, 2] - trajectory.position[-1, 1, 2]
        if (
            floor_contact is None
            and at_rest
            and above > 0.3
            and object_contact.last > trajectory.num_frames - 3
        ):
            claims = (*fall_claims, Claim(kind="lands on", subject=0, object=1))
            return EventOutcome(outcome="lands on", claims=claims, event_frame=object_contact.first)
        distance = float(np.linalg.norm(trajectory.position[-1, 0, :2] - trajectory.position[-1, 1, :2]))
        if floor_contact is not None and above < 0.2 and distance > 0.35:
            claims = (*fall_claims, Claim(kind="falls beside", subject=0, object=1))
            return EventOutcome(outcome="falls beside", claims=claims, event_frame=object_contact.first)
        return None
