"""Overrides: a frozen configuration changed from the command line, only by names that exist."""

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
    """A configuration as JSON values, as it looks when read back from a file."""
    return json.loads(to_json(config))


def apply_overrides(config: Config, assignments: Iterable[str]) -> Config:
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
        config = _replace_at_path(config, path.strip().split("."), value, path)
    return config


def _replace_at_path(config: Any, path: list[str], value: object, full_path: str) -> Any:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise UserError(f"{full_path!r} goes deeper than the settings do; leave out the last name")
    names = [f.name for f in dataclasses.fields(config)]
    head, *rest = path
    if head not in names:
        raise UserError(
            f"there is no setting {full_path!r}{did_you_mean(head, names)}; here one can set {', '.join(names)}"
        )
    if rest:
        return dataclasses.replace(
            config, **{head: _replace_at_path(getattr(config, head), rest, value, full_path)}
        )
    hint = typing.get_type_hints(type(config))[head]
    return dataclasses.replace(config, **{head: coerce(hint, value, full_path)})
