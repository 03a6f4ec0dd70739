"""How often each outcome comes about, counted without rendering."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.simulator.events import EVENT_TYPES
from kinema.world.draw import drawn
from kinema.world.facts import Event
from kinema.world.lab import outcomes
from kinema.world.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The outcomes of one event over many draws."""

    event: Event
    counts: dict[str, int]
    tries: int
    """Simulations that all of its draws took together."""

    @property
    def draws(self) -> int:
        """How often the event was drawn."""
        return sum(self.counts.values())

    @property
    def rarest(self) -> float:
        """Count of the rarest outcome as a share of a fair one; 1 is perfect balance."""
        return min(self.counts.values()) * len(self.counts) / self.draws if self.draws else 1.0


def outcome_balance(
    count: int, seed: int = 0, *, event: Event | None = None, lab: bool = False
) -> tuple[Balance, ...]:
    """Draw `count` clips from the seeds `seed`, `seed + 1`, ... and count what happens in them.

    Simulated and framed, as for a film, but not rendered.

    Args:
        count: number of draws.
        seed: the first seed.
        event: only this event; None: as the seeds have it.
        lab: count in the lab subset.
    """
    found: dict[Event, Balance] = {}
    for number in range(seed, seed + count):
        scene = drawn(ClipSpec(seed=number, event=event, lab=lab))
        kind = EVENT_TYPES[scene.event]
        options = outcomes(kind) if lab else kind.outcomes
        before = found.get(scene.event) or Balance(
            event=scene.event, counts=dict.fromkeys(options, 0), tries=0
        )
        counts = {**before.counts, scene.outcome: before.counts[scene.outcome] + 1}
        found[scene.event] = Balance(event=scene.event, counts=counts, tries=before.tries + scene.tries)
    return tuple(found[name] for name in sorted(found))
