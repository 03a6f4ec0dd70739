"""How often each outcome comes about, counted without rendering."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.simulator.annotations import Event
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.events import EVENT_TYPES
from kinema.simulator.lab_split import lab_outcomes
from kinema.simulator.scene_sampler import sample_scene


@dataclass(frozen=True, kw_only=True)
class OutcomeStats:
    """The outcomes of one event over many draws."""

    event: Event
    counts: dict[str, int]
    num_simulations: int
    """Simulations that all of its draws took together."""

    @property
    def num_scenes(self) -> int:
        """How often the event was drawn."""
        return sum(self.counts.values())

    @property
    def rarest_share(self) -> float:
        """Count of the rarest outcome as a share of a fair one; 1 is perfect balance."""
        return min(self.counts.values()) * len(self.counts) / self.num_scenes if self.num_scenes else 1.0


def compute_outcome_stats(
    count: int, seed: int = 0, *, event: Event | None = None, lab: bool = False
) -> tuple[OutcomeStats, ...]:
    """Draw `count` clips from the seeds `seed`, `seed + 1`, ... and count what happens in them.

    Simulated and framed, as for a film, but not rendered.

    Args:
        count: number of draws.
        seed: the first seed.
        event: only this event; None: as the seeds have it.
        lab: count in the lab subset.
    """
    found: dict[Event, OutcomeStats] = {}
    for number in range(seed, seed + count):
        scene = sample_scene(ClipSpec(seed=number, event=event, lab=lab))
        kind = EVENT_TYPES[scene.event]
        options = lab_outcomes(kind) if lab else kind.outcomes
        before = found.get(scene.event) or OutcomeStats(
            event=scene.event, counts=dict.fromkeys(options, 0), num_simulations=0
        )
        counts = {**before.counts, scene.outcome: before.counts[scene.outcome] + 1}
        found[scene.event] = OutcomeStats(
            event=scene.event, counts=counts, num_simulations=before.num_simulations + scene.num_simulations
        )
    return tuple(found[name] for name in sorted(found))
