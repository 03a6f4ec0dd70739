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


def from_json(kind: type[T], text: str, *, what: str) -> T:
    """The dataclass that `to_json` wrote; fields that are left out keep their defaults.

    Args:
        kind: the dataclass. Its fields are numbers, strings, booleans, None, Literals, tuples and
            dataclasses of these.
        text: a JSON object.
        what: what it is called in messages.

    Raises:
        UserError: the text is no JSON object, a name is no field, or a value is of another type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{what} is not JSON ({error}); write a JSON object") from None
    return from_values(kind, values, what=what)


def from_values(kind: type[T], values: object, *, what: str) -> T:
    """The same from the parsed object."""
    if not isinstance(values, dict):
        raise UserError(f"{what} is not a JSON object; write {{...}} with named values")
    fields = {field.name: field for field in dataclasses.fields(cast(Any, kind))}
    types_of = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            raise UserError(f"{what} has no setting {name!r}{did_you_mean(str(name), fields)}")
    given = {name: typed(types_of[name], value, f"{what}: {name}") for name, value in values.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise UserError(f"{what} lacks the setting {name!r}")
    try:
        return kind(**given)
    except ValueError as error:
        raise UserError(f"{what}: {error}") from None


def typed(kind: Any, value: object, what: str) -> object:
    """`value`, read from JSON, as a field of type `kind`.

    Raises:
        UserError: it is of another type; the line begins with `what`.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return typed(next(one for one in inner if one is not type(None)), value, what)
    if origin is Literal:
        if value not in inner:
            allowed = ", ".join(repr(one) for one in inner)
            raise UserError(
                f"{what} is {value!r} and must be one of {allowed}{did_you_mean(str(value), map(str, inner))}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{what} is {value!r} and must be a list")
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(typed(inner[0], item, what) for item in value)
        if len(value) != len(inner):
            raise UserError(f"{what} has {len(value)} entries and must have {len(inner)}")
        return tuple(typed(one, item, what) for one, item in zip(inner, value, strict=True))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_values(kind, value, what=what)
    # JSON has one kind of number: 3 is a float where a float is meant. True is no number.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise UserError(f"{what} is {value!r} and must be of type {kind.__name__}")
    return value
