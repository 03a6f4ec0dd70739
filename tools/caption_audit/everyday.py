"""Checks every statement of an everyday caption against the measurements of its clip.

`event_checks` checks statements about events. Those about attributes, numbers and the environment are checked
here, from the entities, the tracks and the environment of the clip.
"""

from __future__ import annotations

import numpy as np

from kinema.simulator.annotations import ClipAnnotations, EntityAnnotation
from kinema.simulator.captions.everyday import RealizedCaption, Statement
from tools.caption_audit import parser
from tools.caption_audit.event_checks import check_statement

OWN_KINDS = (
    "shape",
    "colour",
    "second colour",
    "pattern",
    "material",
    "size",
    "weight",
    "count",
    "next to",
    "turns",
    "turns round",
    "part falls",
    "sky",
    "floor",
    "background",
    "wall",
)
"""Kinds of statements that are checked here."""
_NEAR = 2.6
"""Largest distance between the centres of two objects next to each other, metres."""


def find_false_statements(annotations: ClipAnnotations, caption: RealizedCaption) -> tuple[Statement, ...]:
    """The statements that are false or that the measurements cannot confirm."""
    return tuple(statement for statement in caption.statements if not statement_holds(annotations, statement))


def statement_holds(annotations: ClipAnnotations, statement: Statement) -> bool:
    """Whether the measurements confirm a statement."""
    if statement.kind in OWN_KINDS:
        return _check_own_kind(annotations, statement)
    parsed = parser.Statement(
        kind=statement.kind,
        subject=statement.subject,
        object=statement.object,
        value=statement.value,
        number=statement.number,
    )
    return check_statement(annotations, parsed) is True


def _subject_entities(annotations: ClipAnnotations, statement: Statement) -> list[EntityAnnotation]:
    if isinstance(statement.subject, int):
        return [annotations.entities[statement.subject]]
    return [entity for entity in annotations.entities if entity.group and entity.group == statement.subject]


def _check_own_kind(annotations: ClipAnnotations, statement: Statement) -> bool:
    entities, tracks = _subject_entities(annotations, statement), annotations.tracks
    match statement.kind:
        case "shape":
            return bool(entities) and all(e.shape == statement.value for e in entities)
        case "colour":
            return bool(entities) and all(e.colour == statement.value for e in entities)
        case "second colour":
            return bool(entities) and all(e.second_colour == statement.value for e in entities)
        case "pattern":
            return bool(entities) and all(e.pattern == statement.value for e in entities)
        case "material":
            return bool(entities) and all(e.material == statement.value for e in entities)
        case "size":
            return bool(entities) and all(e.size == statement.value for e in entities)
        case "weight":
            return annotations.cause == statement.value and all(e.role == "main" for e in entities)
        case "count":
            return len(entities) == statement.number and all(
                tracks.pixels[:, e.index].max() > 0 for e in entities
            )
        case "next to":
            if not isinstance(statement.subject, int) or not isinstance(statement.object, int):
                return False
            apart = tracks.position[:, statement.subject] - tracks.position[:, statement.object]
            return bool((np.linalg.norm(apart[:, :2], axis=1) < _NEAR).all())
        case "turns":
            return bool(entities) and _total_rotation(tracks.rotation[:, entities[0].index]) > 0.8
        case "turns round":
            if not isinstance(statement.subject, int) or not isinstance(statement.object, int):
                return False
            apart = tracks.position[:, statement.subject] - tracks.position[:, statement.object]
            angle = np.unwrap(np.arctan2(apart[:, 1], apart[:, 0]))
            return abs(float(angle[-1] - angle[0])) > 1.0
        case "part falls":
            height = tracks.position[:, [e.index for e in entities], 2]
            tilt = tracks.upright[-1, [e.index for e in entities]]
            fell = int(((tilt < 0.8) | (height[-1] < height[0] - 0.1)).sum())
            return 0 < fell < len(entities)
        case "wall":
            return (
                annotations.environment.background == "wall"
                and annotations.environment.wall == statement.value
            )
        case _:
            return getattr(annotations.environment, statement.kind) == statement.value


def _total_rotation(rotation: np.ndarray) -> float:
    """Sum of the rotation angles from frame to frame, radians."""
    trace = np.einsum("fij,fij->f", rotation[1:], rotation[:-1])
    return float(np.arccos(np.clip((trace - 1) / 2, -1, 1)).sum())
