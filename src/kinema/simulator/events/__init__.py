"""The event types of the simulator, one file per kind of event."""

from __future__ import annotations

from kinema.simulator.annotations import Event
from kinema.simulator.event_api import EventType
from kinema.simulator.events.bowl import Bowl
from kinema.simulator.events.camera import CameraMotion
from kinema.simulator.events.chain import Chain
from kinema.simulator.events.collide import Collide
from kinema.simulator.events.container import Container
from kinema.simulator.events.count import Count
from kinema.simulator.events.domino import Domino
from kinema.simulator.events.drop import Drop
from kinema.simulator.events.edge import Edge
from kinema.simulator.events.kinematic import Orbit, Spin
from kinema.simulator.events.occlude import Occlude
from kinema.simulator.events.pairs import MassPair, WallPair
from kinema.simulator.events.pendulum import Pendulum
from kinema.simulator.events.ramp import Ramp
from kinema.simulator.events.roll import Roll
from kinema.simulator.events.seesaw import Seesaw
from kinema.simulator.events.still import Still
from kinema.simulator.events.tower import Tower

_WEIGHTED_EVENT_TYPES: tuple[tuple[EventType, float], ...] = (
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

EVENT_WEIGHTS: dict[Event, float] = {event_type.name: weight for event_type, weight in _WEIGHTED_EVENT_TYPES}
"""Relative frequency of each event."""

LAB_EVENT_WEIGHTS: dict[Event, float] = {
    "roll": 3.0, "drop": 1.5, "still": 2.0, "collide": 2.5, "occlude": 2.0, "count": 1.5, "camera": 2.0,
}  # fmt: skip

EVENT_TYPES: dict[Event, EventType] = {
    event_type.name: event_type for event_type, _ in _WEIGHTED_EVENT_TYPES
} | {"camera": CameraMotion()}
