"""Everything that can happen on the film set, one file for each kind of event."""

from __future__ import annotations

from kinema.world.events.collide import Collide
from kinema.world.events.drop import Drop
from kinema.world.events.occlude import Occlude
from kinema.world.events.roll import Roll
from kinema.world.events.still import Still
from kinema.world.facts import Event
from kinema.world.stage import EventKind

_KINDS: tuple[tuple[EventKind, float], ...] = (
    (Roll(), 2.0),
    (Collide(), 3.0),
    (Drop(), 2.0),
    (Occlude(), 1.5),
    (Still(), 1.5),
)

EVENT_KINDS: dict[Event, EventKind] = {kind.name: kind for kind, _ in _KINDS}
WEIGHTS: dict[Event, float] = {kind.name: weight for kind, weight in _KINDS}
"""How often each event is drawn."""

LAB_WEIGHTS: dict[Event, float] = {"roll": 3, "drop": 1.5, "still": 2, "collide": 2.5, "occlude": 2}
LAB_EVENTS: tuple[Event, ...] = tuple(LAB_WEIGHTS)
