"""Everything that can happen on the film set, one file for each kind of event."""

from __future__ import annotations

from kinema.world.events.bowl import Bowl
from kinema.world.events.by_hand import Orbit, Spin
from kinema.world.events.camera import Camera
from kinema.world.events.chain import Chain
from kinema.world.events.collide import Collide
from kinema.world.events.container import Container
from kinema.world.events.count import Count
from kinema.world.events.domino import Domino
from kinema.world.events.drop import Drop
from kinema.world.events.edge import Edge
from kinema.world.events.occlude import Occlude
from kinema.world.events.pairs import MassPair, WallPair
from kinema.world.events.pendulum import Pendulum
from kinema.world.events.ramp import Ramp
from kinema.world.events.roll import Roll
from kinema.world.events.seesaw import Seesaw
from kinema.world.events.still import Still
from kinema.world.events.tower import Tower
from kinema.world.facts import Event
from kinema.world.stage import EventKind

_KINDS: tuple[tuple[EventKind, float], ...] = (
    (Roll(), 2.0),
    (Collide(), 3.0),
    (Drop(), 2.0),
    (Ramp(), 1.5),
    (Tower(), 1.5),
    (Domino(), 1.0),
    (Occlude(), 1.5),
    (Orbit(), 0.8),
    (Edge(), 1.0),
    (Pendulum(), 1.0),
    (Bowl(), 1.0),
    (Still(), 1.5),
    (Spin(), 0.8),
    (Seesaw(), 1.2),
    (Container(), 1.2),
    (Chain(), 1.5),
    (Count(), 1.5),
    (WallPair(), 1.0),
    (MassPair(), 1.0),
)

WEIGHTS: dict[Event, float] = {kind.name: weight for kind, weight in _KINDS}
"""How often each event is drawn."""

LAB_WEIGHTS: dict[Event, float] = {
    "roll": 3.0, "drop": 1.5, "still": 2.0, "collide": 2.5, "occlude": 2.0, "count": 1.5, "camera": 2.0,
}  # fmt: skip

EVENT_KINDS: dict[Event, EventKind] = {kind.name: kind for kind, _ in _KINDS} | {"camera": Camera()}
