"""Frozen dataclasses of plain values to JSON and back, read strictly."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, Union, cast

from kinema.errors import UserError, did_you_mean

T = TypeVar("T")

_SCALAR_NAMES = {str: "a string", bool: "true or false", int: "an integer", float: "a number"}


def to_json(config: object) -> str:
    """A dataclass as a JSON object, one name for each field."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"{config!r} is not a dataclass")
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(cls: type[T], text: str, *, source: str) -> T:
    """The dataclass that `to_json` wrote; fields that are left out keep their defaults.

    Args:
        cls: the dataclass. Its fields are numbers, strings, booleans, None, Literals, tuples, dataclasses
            and unions of these.
        text: a JSON object.
        source: what the text is called in error messages.

    Raises:
        UserError: the text is not a JSON object, a name is not a field, or a value has the wrong type.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{source} is not JSON ({reason}); write a JSON object") from None
    return from_values(cls, values, source=source)


def from_values(cls: type[T], values: object, *, source: str) -> T:
    """The dataclass from a parsed JSON object; otherwise as `from_json`."""
    if not isinstance(values, dict):
        raise UserError(f"{source} is not a JSON object; write {{...}} with named values")
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls))}
    hints = _type_hints(cls)
    for name in values:
        if name not in fields:
            raise UserError(f"{source} has no setting {name!r}{did_you_mean(str(name), fields)}")
    arguments = {name: coerce(hints[name], value, f"{source}: {name}") for name, value in values.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in arguments:
            raise UserError(f"{source} lacks the setting {name!r}")
    try:
        return cls(**arguments)
    except (ValueError, ArithmeticError) as error:
        raise UserError(f"{source}: {error}") from None


def coerce(annotation: Any, value: object, source: str) -> object:
    """`value`, read from JSON, as a field of type `annotation`.

    A union takes the member that the kind of JSON value selects: null, an object, a list or a scalar.
    Members that JSON can't hold, such as arrays, are ignored. Dataclasses of a union are distinguished by
    their field `kind`, a Literal.

    Args:
        annotation: the type, as `typing.get_type_hints` returns it.
        value: what `json.loads` returned.
        source: the start of error messages.

    Raises:
        UserError: the value is of another type.
    """
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return _coerce_union(members, value, source)
    if origin is Literal:
        # True == 1, so that the types are compared too.
        if not any(type(one) is type(value) and one == value for one in members):
            allowed = ", ".join(repr(one) for one in members)
            hint = did_you_mean(str(value), map(str, members))
            raise UserError(f"{source} is {value!r} and must be one of {allowed}{hint}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{source} is {value!r} and must be a list")
        if len(members) == 2 and members[1] is Ellipsis:
            return tuple(coerce(members[0], item, source) for item in value)
        if len(value) != len(members):
            raise UserError(f"{source} has {len(value)} entries and must have {len(members)}")
        return tuple(coerce(one, item, source) for one, item in zip(members, value, strict=True))
    if _is_dataclass_type(annotation):
        return from_values(annotation, value, source=source)
    # JSON has one kind of number, so an integer is a valid float. A bool is not a number.
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UserError(f"{source} is too large for a floating-point number") from None
    if not isinstance(value, annotation) or (annotation is not bool and isinstance(value, bool)):
        raise UserError(f"{source} is {value!r} and must be of type {annotation.__name__}")
    return value


def _coerce_union(members: Sequence[Any], value: object, source: str) -> object:
    if value is None and type(None) in members:
        return None
    readable = [one for one in members if _is_json_type(one)]
    if len(readable) == 1:
        return coerce(readable[0], value, source)
    fitting = [one for one in readable if _fits(one, value)]
    if not fitting:
        allowed = " or ".join(dict.fromkeys(_describe(one) for one in readable))
        raise UserError(f"{source} is {value!r} and must be {allowed}")
    if isinstance(value, dict) and len(fitting) > 1:
        return from_values(_select_by_kind(fitting, value, source), value, source=source)
    for one in fitting[:-1]:
        try:
            return coerce(one, value, source)
        except UserError:
            continue
    return coerce(fitting[-1], value, source)


def _select_by_kind(dataclasses_: Sequence[Any], value: dict[Any, Any], source: str) -> Any:
    """The dataclass whose Literal field `kind` has the value's `kind`."""
    by_kind = {kind: one for one in dataclasses_ for kind in typing.get_args(_type_hints(one)["kind"])}
    allowed = ", ".join(map(repr, by_kind))
    if "kind" not in value:
        raise UserError(f"{source} lacks the setting 'kind', one of {allowed}")
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in by_kind:
        hint = did_you_mean(str(kind), by_kind)
        raise UserError(f"{source}: kind is {kind!r} and must be one of {allowed}{hint}")
    return by_kind[kind]


@functools.cache
def _type_hints(cls: type) -> dict[str, Any]:
    """Types of the fields; Python compiles the annotations again on each call."""
    return typing.get_type_hints(cls)


def _is_dataclass_type(annotation: Any) -> bool:
    return dataclasses.is_dataclass(annotation) and isinstance(annotation, type)


def _is_json_type(annotation: Any) -> bool:
    return (
        annotation in _SCALAR_NAMES
        or typing.get_origin(annotation) in (Literal, tuple)
        or _is_dataclass_type(annotation)
    )


def _fits(annotation: Any, value: object) -> bool:
    """Whether a value is the kind of JSON value that the annotation is written as."""
    if isinstance(value, dict):
        return _is_dataclass_type(annotation)
    if isinstance(value, list):
        return typing.get_origin(annotation) is tuple
    if typing.get_origin(annotation) is Literal:
        return any(type(one) is type(value) for one in typing.get_args(annotation))
    return type(value) is annotation or (annotation is float and type(value) is int)


def _describe(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(annotation)))
    if typing.get_origin(annotation) is tuple:
        return "a list"
    return _SCALAR_NAMES.get(annotation, "an object")
