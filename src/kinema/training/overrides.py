"""Change single settings of a frozen configuration by dotted names, such as `dit.batch_size=16`."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from kinema.errors import UserError, did_you_mean
from kinema.models.formats.serialization import coerce, to_json

Config = TypeVar("Config")


def to_plain(config: object) -> Any:
    """Convert a configuration to JSON values."""
    return json.loads(to_json(config))


def apply_overrides(config: Config, assignments: Iterable[str]) -> Config:
    """Return `config` with some settings replaced.

    Args:
        config: a frozen dataclass of plain values and other such dataclasses.
        assignments: texts of the form `name.of.setting=value`. A value is JSON; what is not JSON is a string.

    Raises:
        UserError: a text has no `=`, a setting does not exist, or a value has the wrong type.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"{assignment!r} has no value; write name.of.setting=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        config = _replace_at_path(config, path.strip().split("."), value, path)
    return config


def _replace_at_path(config: Any, path: list[str], value: object, full_path: str) -> Any:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise UserError(f"{full_path!r} names a part of a plain value; leave out the last name")
    names = [f.name for f in dataclasses.fields(config)]
    head, *rest = path
    if head not in names:
        raise UserError(
            f"there is no setting {full_path!r}{did_you_mean(head, names)}; possible here: {', '.join(names)}"
        )
    if rest:
        return dataclasses.replace(
            config, **{head: _replace_at_path(getattr(config, head), rest, value, full_path)}
        )
    hint = typing.get_type_hints(type(config))[head]
    return dataclasses.replace(config, **{head: coerce(hint, value, full_path)})
