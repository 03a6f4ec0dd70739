"""Errors of the command line as one line: what is wrong, what is allowed, and the nearest word."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from kinema.errors import UserError, did_you_mean

_EXAMPLES = {"seconds": "4", "fps": "12", "num-frames": "17", "size": "832x480", "port": "8000"}
"""Values for messages; other numbers are shown as 2 and 0.5."""
_RULE = re.compile(r"[─-]{4,}")
_BORDER = " |│+╭╮╰╯─"
"""Characters of the parser's box, with and without a terminal that shows Unicode."""


@contextlib.contextmanager
def one_line_errors(arguments: Sequence[str], load_commands: Callable[[], Any]) -> Iterator[None]:
    """Turn a parser's error into a `UserError`; help is printed as it is.

    Args:
        arguments: of the command line.
        load_commands: returns a union of `Annotated[dataclass, subcommand(name)]`.

    Raises:
        UserError: the parser refused the arguments.
    """
    captured = io.StringIO()
    columns = os.environ.get("COLUMNS")
    # The parser wraps its messages to the terminal, which would cut names apart.
    if "--help" not in arguments and "-h" not in arguments:
        os.environ["COLUMNS"] = "10000"
    try:
        with contextlib.redirect_stderr(captured):
            yield
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise UserError(_describe(captured.getvalue(), arguments, load_commands())) from None
    finally:
        if columns is None:
            os.environ.pop("COLUMNS", None)
        else:
            os.environ["COLUMNS"] = columns


def _describe(text: str, arguments: Sequence[str], commands: Any) -> str:
    # A box, or plain text where the terminal has no Unicode: a title, then sections between rules.
    lines: list[str] = []
    for raw in text.splitlines()[1:]:
        if _RULE.search(raw):
            if lines:
                break
            continue
        if line := raw.strip(_BORDER):
            lines.append(line)
    first = lines[0] if lines else ""
    command, known, chosen = _resolve_command(arguments, commands)
    if first.startswith("Unrecognized options:"):
        words = [word.strip() for word in first.partition(":")[2].split(",")]
        return _describe_unknown(words[0], command, known, chosen)
    if found := re.match(r"Error parsing (?:--)?([\w-]+): (.*)", first):
        return _describe_value(found[1], " ".join([found[2], *lines[1:]]))
    if found := re.match(r"invalid choice '(.*)' for argument '(.*)'. Expected one of \((.*)\)", first):
        choices = ", ".join(word.strip().strip("'") for word in found[3].split(",") if word.strip())
        return f"{found[2]} can't be {found[1]!r}; give one of {choices}"
    if found := re.match(r"Missing value for argument '(.*?)'", first):
        return f"{found[1]} needs a value; see {command} --help"
    if first.startswith("Missing from"):
        return _describe_missing(lines[1:], command)
    return f"{' '.join(lines)}; see {command} --help"


def _resolve_command(arguments: Sequence[str], commands: Any) -> tuple[str, dict[str, Any], Any]:
    """The command as typed so far, the subcommands that may follow, and the dataclass that was reached."""
    typed, known, chosen = ["kinema"], _subcommands(commands), None
    for word in arguments:
        if word not in known:
            if word.startswith("-"):
                continue
            break
        typed.append(word)
        chosen = known[word]
        known = {}
        for field in dataclasses.fields(chosen) if dataclasses.is_dataclass(chosen) else ():
            known |= _subcommands(_resolved_type(chosen, field.name))
    return " ".join(typed), known, chosen


def _resolved_type(owner: Any, name: str) -> Any:
    try:
        return get_type_hints(owner, vars(sys.modules[owner.__module__]), include_extras=True)[name]
    except (NameError, KeyError, TypeError):
        # Types that are imported for checking only are never subcommands.
        return None


def _subcommands(commands: Any) -> dict[str, Any]:
    """Subcommand name -> dataclass, of a union of annotated dataclasses, which may be annotated itself."""
    if get_origin(commands) is Annotated:
        commands = commands.__origin__
    found = {}
    for member in get_args(commands):
        for note in getattr(member, "__metadata__", ()):
            name = getattr(note, "name", None)
            if name and dataclasses.is_dataclass(member.__origin__):
                found[name] = member.__origin__
    return found


def _describe_unknown(word: str, command: str, known: dict[str, Any], chosen: Any) -> str:
    if not word.startswith("-"):
        if known:
            hint = did_you_mean(word, known) or f"; the commands are {', '.join(known)}"
            return f"there is no command {f'{command} {word}'.removeprefix('kinema ')!r}{hint}"
        return f"{word!r} is one argument too many; put text with spaces in quotes; see {command} --help"
    names = [_flag(field.name) for field in dataclasses.fields(chosen)] if chosen is not None else []
    hint = did_you_mean(word.partition("=")[0], names) or f"; see {command} --help"
    return f"{command} has no option {word}{hint}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _describe_value(name: str, reason: str) -> str:
    values = re.findall(r"'([^']*)'", reason)
    value = next((text for text in reversed(values) if text != "None"), "")
    if "INT" in reason or "int()" in reason or "<class 'int'>" in reason:
        return f"--{name} {value}: not a whole number; for example {_EXAMPLES.get(name, '2')}"
    if "FLOAT" in reason or "float" in reason:
        return f"--{name} {value}: not a number; for example {_EXAMPLES.get(name, '0.5')}"
    return f"--{name} {value}: {reason}"


def _describe_missing(lines: Sequence[str], command: str) -> str:
    # An argument and its description take turns; descriptions end with '(required)'.
    names, texts = [], []
    for line in lines:
        if line.endswith("(required)"):
            texts.append(line.removesuffix("(required)").strip().rstrip("."))
        elif re.match(r"(--[\w-]+ )?[A-Z{]", line):
            names.append(line)
    pairs = zip(names, texts, strict=False)
    what = [
        f"{name.split()[0]} ({text})" if name.startswith("--") else f"an argument ({text})"
        for name, text in pairs
    ]
    return f"{command} needs {' and '.join(what) or 'more arguments'}; see {command} --help"
