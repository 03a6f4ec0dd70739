"""Statements that a caption makes about a clip, and the situations that it can describe."""

from __future__ import annotations

from dataclasses import dataclass, field

EntityRef = int | str
"""The index of an entity, or the name of a group."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a caption. The caption audit checks it against the annotations."""

    kind: str
    """A kind that the audit knows: those of claims, and attributes such as 'colour' or 'count'."""
    subject: EntityRef | None = None
    object: EntityRef | None = None
    value: str = ""
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value for a slot of a pattern, and the statements that the slot adds."""

    value: str
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One thing that a caption can describe: its roles and the values for the slots."""

    key: str
    """A key of `patterns.MAINS`."""
    roles: dict[str, EntityRef]
    statements: tuple[Statement, ...] = ()
    """Statements of every pattern of the situation."""
    values: dict[str, Value] = field(default_factory=dict)
    endings: tuple[tuple[str, tuple[Statement, ...]], ...] = ()
    """Keys of `patterns.ENDINGS` that can follow, with their statements."""
    weight: float = 1.0
    """Relative probability of the situation among those of the clip."""
