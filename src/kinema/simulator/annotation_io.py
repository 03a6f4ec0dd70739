"""Annotations and captions on disk: JSON for the discrete values, arrays for the measurements."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields

import numpy as np

from kinema.simulator.annotations import (
    Caption,
    Claim,
    ClipAnnotations,
    Contact,
    EntityAnnotation,
    Environment,
    Tracks,
)

TRACK_NAMES = tuple(field.name for field in fields(Tracks))


def annotations_to_json(annotations: ClipAnnotations) -> str:
    """Serialise everything except the arrays. Keys are sorted, so equal annotations give equal text."""
    plain = {
        field.name: getattr(annotations, field.name)
        for field in fields(ClipAnnotations)
        if field.name not in ("tracks", "cameras", "entities", "contacts", "claims", "environment")
    }
    plain["entities"] = [asdict(entity) for entity in annotations.entities]
    plain["contacts"] = [asdict(contact) for contact in annotations.contacts]
    plain["claims"] = [asdict(claim) for claim in annotations.claims]
    plain["environment"] = asdict(annotations.environment)
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_to_builtin_number
    )


def _to_builtin_number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored in annotations")


def annotations_to_arrays(annotations: ClipAnnotations) -> dict[str, np.ndarray]:
    """The tracks and cameras by name, as float32 or int32 arrays."""
    arrays = {name: np.asarray(getattr(annotations.tracks, name)) for name in TRACK_NAMES}
    arrays["cameras"] = np.asarray(annotations.cameras)
    return {
        name: np.ascontiguousarray(array, dtype=np.float32 if array.dtype.kind == "f" else np.int32)
        for name, array in arrays.items()
    }


def annotations_from_json(text: str, arrays: Mapping[str, np.ndarray]) -> ClipAnnotations:
    """Read annotations written by `annotations_to_json` and `annotations_to_arrays`."""
    plain = json.loads(text)
    plain["entities"] = tuple(EntityAnnotation(**entity) for entity in plain["entities"])
    plain["contacts"] = tuple(Contact(**contact) for contact in plain["contacts"])
    plain["claims"] = tuple(Claim(**claim) for claim in plain["claims"])
    plain["environment"] = Environment(**plain["environment"])
    plain["tracks"] = Tracks(**{name: arrays[name] for name in TRACK_NAMES})
    plain["cameras"] = arrays["cameras"]
    return ClipAnnotations(**plain)


def captions_to_json(captions: tuple[Caption, ...]) -> str:
    """Serialise the captions of a clip with their styles and claims."""
    return json.dumps([asdict(caption) for caption in captions], ensure_ascii=False, separators=(",", ":"))


def captions_from_json(text: str) -> tuple[Caption, ...]:
    """Read captions written by `captions_to_json`."""
    return tuple(
        Caption(style=c["style"], text=c["text"], claims=tuple(c["claims"])) for c in json.loads(text)
    )
