"""The error whose message is meant for users."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user.

    The message is one line: what is wrong, what is allowed, what to do. The command line prints it
    after `kinema: ` and exits with 2; the HTTP API answers with a 4xx status.
    """


class ModelOutputError(UserError):
    """A model's output can't be used: it holds values that are not numbers. No request causes this."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` with the known name closest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
