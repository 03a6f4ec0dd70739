"""Settings to JSON and back: frozen dataclasses of plain values, read strictly."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Literal, TypeVar, Union, cast

from kinema.errors import UserError, did_you_mean

T = TypeVar("T")


def to_json(config: object) -> str:
    """A dataclass as a JSON object, one name for each field."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"{config!r} is no dataclass")
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(cls: type[T], text: str, *, source: str) -> T:
    """The dataclass that `to_json` wrote; fields that are left out keep their defaults.

    Args:
        cls: the dataclass. Its fields are numbers, strings, booleans, None, Literals, tuples and
            dataclasses of these.
        text: a JSON object.
        source: what it is called in messages.

    Raises:
        UserError: the text is no JSON object, a name is no field, or a value is of another type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{source} is not JSON ({error}); write a JSON object") from None
    return from_dict(cls, values, source=source)


def from_dict(cls: type[T], values: object, *, source: str) -> T:
    """The same from the parsed object."""
    if not isinstance(values, dict):
        raise UserError(f"{source} is not a JSON object; write {{...}} with named values")
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls))}
    types_of = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            raise UserError(f"{source} has no setting {name!r}{did_you_mean(str(name), fields)}")
    given = {name: coerce(types_of[name], value, f"{source}: {name}") for name, value in values.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise UserError(f"{source} lacks the setting {name!r}")
    try:
        return cls(**given)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None


def coerce(annotation: Any, value: object, source: str) -> object:
    """`value`, read from JSON, as a field of type `annotation`.

    Raises:
        UserError: it is of another type; the line begins with `source`.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return coerce(next(one for one in inner if one is not type(None)), value, source)
    if origin is Literal:
        if value not in inner:
            allowed = ", ".join(repr(one) for one in inner)
            raise UserError(
                f"{source} is {value!r} and must be one of {allowed}{did_you_mean(str(value), map(str, inner))}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{source} is {value!r} and must be a list")
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(coerce(inner[0], item, source) for item in value)
        if len(value) != len(inner):
            raise UserError(f"{source} has {len(value)} entries and must have {len(inner)}")
        return tuple(coerce(one, item, source) for one, item in zip(inner, value, strict=True))
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return from_dict(annotation, value, source=source)
    # JSON has one kind of number: 3 is a float where a float is meant. True is no number.
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, annotation) or (annotation is not bool and isinstance(value, bool)):
        raise UserError(f"{source} is {value!r} and must be of type {annotation.__name__}")
    return value
