"""Parser of lab prompts: which objects, which event, and what can be checked of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from kinema.errors import UserError
from kinema.evaluation.palette import COLOURS
from kinema.simulator.annotations import CameraMove, Colour
from kinema.simulator.captions.lexicon import NUMBERS, pluralize

LabShape = Literal["ball", "cube", "cylinder", "cone", "screen"]
SHAPES: tuple[LabShape, ...] = get_args(LabShape)
Direction = Literal["left", "right", "away", "toward", "down"]
Side = Literal["left of", "right of"]
EventKind = Literal["moves", "stands", "falls", "meets", "hides", "camera"]
Outcome = Literal[
    "", "stops", "hits", "tips over", "misses", "short of", "bounces high", "bounces a little", "no bounce",
    "lands on", "falls beside", "re-emerges", "stays hidden", "in front",
]  # fmt: skip

DIRECTION_PHRASES: dict[Direction, str] = {
    "left": "to the left",
    "right": "to the right",
    "away": "away from the camera",
    "toward": "toward the camera",
}
CAMERA_PHRASES: dict[CameraMove, str] = {
    "pan left": "pans left",
    "pan right": "pans right",
    "tilt up": "tilts up",
    "tilt down": "tilts down",
    "zoom in": "zooms in",
    "zoom out": "zooms out",
    "orbit left": "circles to the left",
    "orbit right": "circles to the right",
    "static": "stays still",
}
"""What the camera does in prompts of the lab."""


@dataclass(frozen=True, kw_only=True)
class ObjectSpec:
    """An object that the prompt names, and how many of it."""

    colour: Colour
    shape: LabShape
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class PromptSpec:
    """The checkable content of a prompt."""

    objects: tuple[ObjectSpec, ...]
    """In the order of the prompt; the first one acts."""
    event: EventKind
    direction: Direction | None = None
    """In which direction the first object moves."""
    side: Side | None = None
    """On which side of the second object the first one stands."""
    outcome: Outcome = ""
    camera_move: CameraMove = "static"

    @property
    def colours(self) -> tuple[Colour, ...]:
        """The colours of all objects, sorted: a multiset."""
        return tuple(sorted(spec.colour for spec in self.objects for _ in range(spec.count)))

    @property
    def shapes(self) -> tuple[LabShape, ...]:
        """The shapes of all objects, sorted: a multiset."""
        return tuple(sorted(spec.shape for spec in self.objects for _ in range(spec.count)))

    @property
    def expects_contact(self) -> bool:
        """Whether the first object should touch the second."""
        return self.outcome in ("hits", "tips over")


_COLOURS: dict[str, Colour] = {colour: colour for colour in COLOURS}
_SHAPE_NOUNS: dict[str, LabShape] = {shape: shape for shape in SHAPES} | {
    pluralize(shape): shape for shape in SHAPES
}
_COUNT_WORDS = {"a": 1, "an": 1, "another": 1} | {
    word: number for number, word in enumerate(NUMBERS) if number
}
_OBJECT_PATTERN = re.compile(
    rf"\b({'|'.join(_COUNT_WORDS)}) (?:(?:small|large|plastic|rubber) )*({'|'.join(_COLOURS)}) "
    rf"(?:(?:plastic|rubber) )?({'|'.join(sorted(_SHAPE_NOUNS, key=len, reverse=True))})\b"
)
_WAYS: dict[str, Direction] = {"from left to right": "right", "from right to left": "left"}
_DEPTH_PATTERN = re.compile("(away from|toward) the camera")
_SIDES: tuple[Side, ...] = get_args(Side)
_CAMERA_MOVES: dict[str, CameraMove] = {phrase: move for move, phrase in CAMERA_PHRASES.items()} | {
    "moves closer": "dolly in",
    "pulls back": "dolly out",
    "slides left": "truck left",
    "slides right": "truck right",
    "rises": "crane up",
    "sinks down": "crane down",
    "does not move": "static",
}
_OUTCOMES: dict[str, Outcome] = {
    "tips over": "tips over",
    "stops before reaching": "short of",
    "misses": "misses",
    "hits": "hits",
    "bounces high": "bounces high",
    "bounces a little": "bounces a little",
    "without bouncing": "no bounce",
    "lands on": "lands on",
    "lands beside": "falls beside",
    "reappears": "re-emerges",
    "stays hidden": "stays hidden",
    "in front of": "in front",
    "stops": "stops",
}
"""In order of precedence: 'hits ..., which tips over' is 'tips over'."""


def parse_prompt(prompt: str) -> PromptSpec:
    """Parse a plain lab prompt such as 'a red ball rolls to the left and hits a blue cube'.

    Raises:
        UserError: it names no lab object, or says nothing that can be checked.
    """
    text = " ".join(prompt.lower().replace(".", " ").split())
    for phrase, way in _WAYS.items():
        text = text.replace(phrase, DIRECTION_PHRASES[way])
    text, _, camera_clause = text.partition(" as the camera ")
    if not camera_clause:
        text, _, camera_clause = text.partition(" while the camera ")
    if not camera_clause and not _DEPTH_PATTERN.search(text):
        text, _, camera_clause = text.partition("the camera ")
    objects = tuple(
        ObjectSpec(colour=_COLOURS[colour], shape=_SHAPE_NOUNS[noun], count=_COUNT_WORDS[count])
        for count, colour, noun in _OBJECT_PATTERN.findall(text)
    )
    if not objects:
        raise UserError(
            f"the evaluator cannot parse {prompt!r}; it needs a lab prompt such as "
            "'a red ball rolls to the left and hits a blue cube'"
        )
    camera_move = next(
        (move for phrase, move in _CAMERA_MOVES.items() if camera_clause.startswith(phrase)), None
    )
    side = next((side for side in _SIDES if f"stands to the {side}" in text), None)
    outcome: Outcome = next((outcome for phrase, outcome in _OUTCOMES.items() if phrase in text), "")
    if camera_move:
        return PromptSpec(objects=objects, event="camera", camera_move=camera_move, side=side)
    if " falls down" in text:
        return PromptSpec(objects=objects, event="falls", direction="down", outcome=outcome)
    if re.search(r"\b(stands?|is|are|rests?)\b", text):
        return PromptSpec(objects=objects, event="stands", side=side)
    mentions = [(text.find(phrase), way) for way, phrase in DIRECTION_PHRASES.items() if phrase in text]
    if not mentions:
        raise UserError(
            f"the evaluator finds nothing to check in {prompt!r}; say where an object moves or stands, "
            "for example 'a red ball rolls to the left'"
        )
    event: EventKind = "moves"
    if "behind" in text or outcome == "in front":
        event = "hides"
    elif outcome in ("hits", "tips over", "misses", "short of"):
        event = "meets"
    return PromptSpec(objects=objects, event=event, direction=min(mentions)[1], outcome=outcome)
