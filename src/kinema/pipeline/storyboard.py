"""Storyboards as TOML files: shots with times, prompts and images.

seconds = 6                  # length of the video; without it the last shot has the model's default length

[[shot]]
prompt = "a red ball rolls to the left"

[[shot]]
at = 2.5                     # seconds from the beginning; the first shot begins at 0
prompt = "a blue cube falls down"
image = "cube.png"           # the first frame of the shot; relative to the storyboard's folder
transition = "cut"           # or "blend": the prompt changes within the shot before
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.errors import UserError, did_you_mean
from kinema.pipeline.request import Shot, Transition

_STORYBOARD_KEYS = ("seconds", "shot")
_SHOT_KEYS = ("at", "prompt", "image", "transition")


@dataclass(frozen=True, kw_only=True)
class Storyboard:
    """Shots by time, and the length of the video; None: the last shot has the model's default length."""

    shots: tuple[Shot, ...]
    seconds: float | None = None


def read_storyboard(path: str | os.PathLike[str]) -> Storyboard:
    """A storyboard from a file.

    Raises:
        UserError: the file can't be read or is not valid; the message names the line.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"the storyboard {source} can't be read: {error.strerror}; check the name") from None
    except UnicodeDecodeError:
        raise UserError(f"the storyboard {source} is not text; write TOML in UTF-8") from None
    return parse_storyboard(text, name=source.name, base_dir=source.parent)


def parse_storyboard(text: str, *, name: str, base_dir: Path) -> Storyboard:
    """A storyboard from its text.

    Args:
        text: TOML.
        name: of the file, for messages.
        base_dir: the folder that image paths are relative to.

    Raises:
        UserError: it is not valid; the message names the line.
    """
    try:
        board = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error).replace("\n", " ")
        raise UserError(
            f"{name} is not TOML: {message}; see the guide on storyboards for the format"
        ) from None
    lines = _LineIndex(text)

    def fail(line: int, message: str) -> UserError:
        return UserError(f"{name}, line {line}: {message}")

    for key in board:
        if key not in _STORYBOARD_KEYS:
            raise fail(
                lines.line_of_key(key, 0, None),
                f"{key!r} is not a setting of a storyboard{did_you_mean(key, _STORYBOARD_KEYS)}",
            )
    entries = board.get("shot")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise UserError(f"{name} has no shots; begin each with a line [[shot]]")
    shots: list[Shot] = []
    for number, entry in enumerate(entries):
        shots.append(_parse_shot(entry, number, shots, base_dir, lines, fail))
    seconds = board.get("seconds")
    if seconds is not None:
        line = lines.line_of_key("seconds", 0, None)
        if not _is_number(seconds) or not seconds > shots[-1].seconds:
            raise fail(
                line,
                f"the video ends at {seconds!r} s and its last shot begins at {shots[-1].seconds:g} s; "
                "give more seconds",
            )
    return Storyboard(shots=tuple(shots), seconds=None if seconds is None else float(seconds))


def _parse_shot(
    entry: dict[str, Any], number: int, previous: list[Shot], base_dir: Path, lines: _LineIndex, fail: Any
) -> Shot:
    header = lines.line_of_shot(number)

    def at(key: str) -> int:
        return lines.line_of_key(key, header, lines.line_of_shot(number + 1)) if key in entry else header

    for key in entry:
        if key not in _SHOT_KEYS:
            raise fail(at(key), f"{key!r} is not a setting of a shot{did_you_mean(key, _SHOT_KEYS)}")
    prompt = entry.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise fail(at("prompt"), 'a shot needs a prompt; write prompt = "what it shows"')
    begins = entry.get("at", None if number else 0.0)
    if begins is None:
        raise fail(header, f"shot {number + 1} needs its time; write at = seconds from the beginning")
    if not _is_number(begins) or begins < 0:
        raise fail(at("at"), f"a shot can't begin at {begins!r}; give seconds, 0 or more")
    if not number and begins:
        raise fail(at("at"), f"the first shot begins at {begins:g} s; it begins at 0")
    if number and begins <= previous[-1].seconds:
        raise fail(
            at("at"),
            f"shot {number + 1} begins at {begins:g} s, not after shot {number} at "
            f"{previous[-1].seconds:g} s; order shots by time",
        )
    image = entry.get("image")
    if image is not None and (not isinstance(image, str) or not (base_dir / image).is_file()):
        raise fail(
            at("image"), f"there is no image {image!r} in the folder of the storyboard; check the name"
        )
    transition = entry.get("transition", "cut")
    known: tuple[Transition, ...] = ("cut", "blend")
    chosen = next((name for name in known if name == transition), None)
    if chosen is None:
        raise fail(at("transition"), f"{transition!r} is not a transition; give 'cut' or 'blend'")
    if not number and chosen == "blend":
        raise fail(at("transition"), "the first shot has nothing to blend from; leave out transition")
    return Shot(
        prompt=prompt,
        seconds=float(begins),
        image=None if image is None else base_dir / image,
        transition=chosen,
    )


def _is_number(value: object) -> bool:
    """A finite number; TOML also has nan, inf and booleans."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class _LineIndex:
    """Line numbers of keys, from 1.

    The TOML parser keeps no line numbers. A line that looks like a header or a key is one if the text before
    it
    is a complete document: within a multi-line string it is not.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._shots = self._find(re.compile(r"\s*\[\[\s*(shot|\"shot\"|'shot')\s*\]\]"), 0, None)

    def line_of_shot(self, number: int) -> int:
        """The line of a shot's header; the end of the text if there is none (for example inline tables)."""
        return self._shots[number] if number < len(self._shots) else len(self._lines)

    def line_of_key(self, key: str, start: int, stop: int | None) -> int:
        """The line of a key after line `start`; `start` if it can't be found."""
        name = re.escape(key)
        pattern = re.compile(rf"\s*(\[+\s*)?({name}|\"{name}\"|'{name}')\s*[\].=]")
        found = self._find(pattern, start, stop)
        return found[0] if found else max(1, start)

    def _find(self, pattern: re.Pattern[str], start: int, stop: int | None) -> list[int]:
        found = []
        for number, line in enumerate(self._lines[start:stop], start + 1):
            if pattern.match(line):
                try:
                    tomllib.loads("\n".join(self._lines[: number - 1]))
                except tomllib.TOMLDecodeError:
                    continue
                found.append(number)
        return found
