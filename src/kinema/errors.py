"""The error whose message is meant for users."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator
from importlib import metadata


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


def missing_extra(what: str, extra: str) -> UserError:
    """The error for a feature whose optional packages are not installed.

    The message has a command that works however Kinema was installed: it names the packages themselves.

    Args:
        what: the feature, as the start of a sentence, for example `serving`.
        extra: the name of the extra in Kinema's own requirements.
    """
    packages = shlex.join(dict.fromkeys(_requirements(extra)))
    return UserError(
        f"{what} needs packages that are not installed; install them with: pip install {packages}"
    )


def _requirements(extra: str) -> Iterator[str]:
    """The requirements of an extra, with those of the extras that it includes."""
    for line in metadata.requires("kinema") or ():
        requirement, _, marker = line.partition(";")
        if f"extra == {extra!r}" not in marker.replace('"', "'"):
            continue
        included = re.fullmatch(r"kinema\[(.+)\]", requirement.strip())
        if included:
            for name in included[1].split(","):
                yield from _requirements(name.strip())
        else:
            yield requirement.strip()
