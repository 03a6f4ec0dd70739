"""Change single settings of a frozen configuration by dotted names, such as `dit.batch_size=16`."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from kinema.errors import UserError, did_you_mean
from kinema.models.formats.serialization import coerce, to_json

Config = TypeVar("Config")


def to_plain(config: object) -> Any:
    """Convert a configuration to JSON values."""
    return json.loads(to_json(config))


def apply_overrides(config: Config, assignments: Iterable[str]) -> Config:
    """Return `config` with some settings replaced in one step, so that they may depend on each other.

    Args:
        config: a frozen dataclass of plain values and other such dataclasses.
        assignments: texts of the form `name.of.setting=value`. A value is JSON; what is not JSON is a string.
            Of two for the same setting the last counts.

    Raises:
        UserError: a text has no `=`, a setting does not exist, a value has the wrong type, or the settings do
            not fit together.
    """
    changes = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"{assignment!r} has no value; write name.of.setting=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        path = path.strip()
        changes.append(_Change(path=tuple(path.split(".")), value=value, full_path=path))
    return _replace(config, changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Change:
    """A new value for the setting at a path; `full_path` is the text of the person."""

    path: tuple[str, ...]
    value: object
    full_path: str


def _replace(config: Any, changes: Sequence[_Change]) -> Any:
    """Return `config` with the changes, which are relative to it, made in one step."""
    if not changes:
        return config
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise UserError(f"{changes[0].full_path!r} names a part of a plain value; leave out the last name")
    names = [f.name for f in dataclasses.fields(config)]
    by_name: dict[str, list[_Change]] = {}
    for change in changes:
        head, *rest = change.path
        if head not in names:
            raise UserError(
                f"there is no setting {change.full_path!r}{did_you_mean(head, names)}; possible here: "
                f"{', '.join(names)}"
            )
        by_name.setdefault(head, []).append(dataclasses.replace(change, path=tuple(rest)))
    hints = typing.get_type_hints(type(config))
    values = {name: _new_value(getattr(config, name), hints[name], own) for name, own in by_name.items()}
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:
        raise UserError(f"{', '.join(change.full_path for change in changes)}: {error}") from None


def _new_value(value: Any, hint: Any, changes: Sequence[_Change]) -> Any:
    """Return a setting after its changes in their order: of the whole setting, or of its parts."""
    parts: list[_Change] = []
    for change in changes:
        if change.path:
            parts.append(change)
        else:
            try:
                value, parts = coerce(hint, change.value, change.full_path), []
            except ValueError as error:
                raise UserError(f"{change.full_path}: {error}") from None
    return _replace(value, parts)
