"""Facts on disk: a line of JSON for what is said, arrays for what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields

import numpy as np

from kinema.world.facts import Caption, Claim, ClipFacts, Contact, EntityFacts, Setting, Tracks

TRACKS = tuple(field.name for field in fields(Tracks))


def facts_json(facts: ClipFacts) -> str:
    """Everything but the arrays, keys sorted: the same facts are the same text."""
    plain = {
        field.name: getattr(facts, field.name)
        for field in fields(ClipFacts)
        if field.name not in ("tracks", "cameras", "entities", "contacts", "claims", "setting")
    }
    plain["entities"] = [asdict(entity) for entity in facts.entities]
    plain["contacts"] = [asdict(contact) for contact in facts.contacts]
    plain["claims"] = [asdict(claim) for claim in facts.claims]
    plain["setting"] = asdict(facts.setting)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_number)


def _number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in facts")


def facts_arrays(facts: ClipFacts) -> dict[str, np.ndarray]:
    """The tracks and cameras by name; numbers with fractions in float32."""
    arrays = {name: np.asarray(getattr(facts.tracks, name)) for name in TRACKS}
    arrays["cameras"] = np.asarray(facts.cameras)
    return {
        name: np.ascontiguousarray(array, dtype=np.float32 if array.dtype.kind == "f" else np.int32)
        for name, array in arrays.items()
    }


def facts_of(text: str, arrays: Mapping[str, np.ndarray]) -> ClipFacts:
    """The facts that `facts_json` and `facts_arrays` wrote."""
    plain = json.loads(text)
    plain["entities"] = tuple(EntityFacts(**entity) for entity in plain["entities"])
    plain["contacts"] = tuple(Contact(**contact) for contact in plain["contacts"])
    plain["claims"] = tuple(Claim(**claim) for claim in plain["claims"])
    plain["setting"] = Setting(**plain["setting"])
    plain["tracks"] = Tracks(**{name: arrays[name] for name in TRACKS})
    plain["cameras"] = arrays["cameras"]
    return ClipFacts(**plain)


def captions_json(told: tuple[Caption, ...]) -> str:
    """All wordings of a clip with their styles and claims."""
    return json.dumps([asdict(caption) for caption in told], ensure_ascii=False, separators=(",", ":"))


def captions_of(text: str) -> tuple[Caption, ...]:
    """What `captions_json` wrote."""
    return tuple(
        Caption(style=c["style"], text=c["text"], claims=tuple(c["claims"])) for c in json.loads(text)
    )
