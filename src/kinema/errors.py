"""The one kind of error a person is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the caller can put right.

    The message is one line: what is wrong, what is allowed, what to do. The command line prints it
    after `kinema: ` and exits with 2; the HTTP API answers 400 with it. Never a traceback.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known name nearest to a mistyped one, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
