"""Presets and overrides: configuration as frozen dataclasses, changed only by names that exist."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from kinema.errors import UserError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def plain(config: object) -> Any:
    """A configuration as JSON values: dataclasses become objects, tuples become lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple | list):
        return [plain(value) for value in config]
    return config


def restored(kind: type[Config], values: Mapping[str, object]) -> Config:
    """The inverse of `plain` for a dataclass `kind`.

    Raises:
        UserError: a key the dataclass does not have (the nearest one is named), or a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}
    for name in values:
        if name not in names:
            raise UserError(
                f"{kind.__name__} has no setting {name!r}{nearest(name, names)}; it has {sorted(names)}"
            )
    return kind(**{name: _typed(hints[name], value, name) for name, value in values.items()})


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`config` with settings changed by `a.b=value` texts; values are JSON, or text where JSON fails.

    Raises:
        UserError: the text has no `=`, names no setting (the nearest is named), or a value is of the wrong
            type.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"{assignment!r} sets nothing; write name.of.setting=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        config = _replaced(config, path.strip().split("."), value, path)
    return config


def _replaced(config: Config, path: list[str], value: object, whole: str) -> Config:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise UserError(f"{whole!r} goes deeper than the settings do; leave out the last name")
    names = [f.name for f in dataclasses.fields(config)]
    head, *rest = path
    if head not in names:
        raise UserError(
            f"there is no setting {whole!r}{nearest(head, names)}; here one can set {', '.join(names)}"
        )
    if rest:
        return dataclasses.replace(config, **{head: _replaced(getattr(config, head), rest, value, whole)})
    hint = typing.get_type_hints(type(config))[head]
    return dataclasses.replace(config, **{head: _typed(hint, value, whole)})


def _typed(hint: Any, value: object, name: str) -> Any:
    """`value`, read from JSON, as the type a field declares."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return restored(hint, value)
    elif origin in (types.UnionType, typing.Union):
        for option in arguments:
            try:
                return _typed(option, value, name)
            except UserError:
                continue
    elif origin is tuple:
        if isinstance(value, list | tuple):
            inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
            if len(inner) == len(value):
                return tuple(_typed(kind, item, name) for kind, item in zip(inner, value, strict=True))
    elif origin is typing.Literal:
        if value in arguments:
            return value
        raise UserError(
            f"{name} can't be {value!r}{nearest(str(value), map(str, arguments))}; it is one of {arguments}"
        )
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is type(None):
        if value is None:
            return None
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    shown = hint.__name__ if isinstance(hint, type) else str(hint)
    raise UserError(f"{name} can't be {value!r}; it takes {shown}")
