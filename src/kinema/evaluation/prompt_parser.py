"""What a lab prompt asks for, read from its words alone."""

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
EventKind = Literal["moves", "stands", "falls", "meets", "hides", "camera"]
Outcome = Literal[
    "", "stops", "hits", "stays", "tips over", "misses", "short of", "bounces high", "bounces a little",
    "no bounce", "lands on", "falls beside", "re-emerges", "stays hidden", "in front",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ObjectSpec:
    """A thing that the prompt names, as often as it wants it."""

    colour: Colour
    shape: LabShape
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class PromptSpec:
    """The checkable content of a prompt."""

    objects: tuple[ObjectSpec, ...]
    """In the order of their mention: the first one acts."""
    event: EventKind
    direction: Direction | None = None
    """Where the first thing goes."""
    side: Literal["left of", "right of"] | None = None
    """How the first thing stands to the second."""
    outcome: Outcome = ""
    reappears_on: Literal["left", "right"] | None = None
    """On which side of the occluder the first thing is seen again."""
    camera_move: CameraMove = "static"

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Every wanted thing's colour, sorted: a multiset."""
        return tuple(sorted(thing.colour for thing in self.objects for _ in range(thing.count)))

    @property
    def shapes(self) -> tuple[LabShape, ...]:
        """Every wanted thing's shape, sorted: a multiset."""
        return tuple(sorted(thing.shape for thing in self.objects for _ in range(thing.count)))

    @property
    def expects_contact(self) -> bool:
        """Whether the first thing is to touch the second."""
        return self.outcome in ("hits", "tips over")


_SHAPE_NOUNS = {shape: shape for shape in SHAPES} | {pluralize(shape): shape for shape in SHAPES}
_COUNT_WORDS = {"a": 1, "an": 1, "another": 1} | {
    word: number for number, word in enumerate(NUMBERS) if number
}
_OBJECT_PATTERN = re.compile(
    rf"\b({'|'.join(_COUNT_WORDS)}) (?:(?:small|large|plastic|rubber) )*({'|'.join(COLOURS)}) "
    rf"(?:(?:plastic|rubber) )?({'|'.join(sorted(_SHAPE_NOUNS, key=len, reverse=True))})\b"
)
_DEPTH_PATTERN = re.compile("(away from|toward) the camera")
_DIRECTION_PHRASES: tuple[tuple[str, Direction], ...] = (
    ("away from the camera", "away"),
    ("toward the camera", "toward"),
    ("to the left", "left"),
    ("to the right", "right"),
)
_CAMERA_PHRASES: dict[str, CameraMove] = {
    "pans left": "pan left", "pans right": "pan right", "tilts up": "tilt up", "tilts down": "tilt down",
    "zooms in": "zoom in", "zooms out": "zoom out", "circles to the left": "orbit left",
    "circles to the right": "orbit right", "moves closer": "dolly in", "pulls back": "dolly out",
    "slides left": "truck left", "slides right": "truck right", "rises": "crane up",
    "sinks down": "crane down", "does not move": "static", "stays still": "static",
}  # fmt: skip
_OUTCOME_PHRASES: tuple[tuple[str, Outcome], ...] = (
    ("tips over", "tips over"),
    ("stops before reaching", "short of"),
    ("misses", "misses"),
    ("hits", "hits"),
    ("bounces high", "bounces high"),
    ("bounces a little", "bounces a little"),
    ("without bouncing", "no bounce"),
    ("lands on", "lands on"),
    ("lands beside", "falls beside"),
    ("reappears", "re-emerges"),
    ("stays hidden", "stays hidden"),
    ("in front of", "in front"),
    ("stops", "stops"),
)


def parse_prompt(prompt: str) -> PromptSpec:
    """The meaning of a plain lab prompt ('a red ball rolls to the left and hits a blue cube').

    Raises:
        UserError: it names nothing of the lab, or says nothing that can be checked.
    """
    text = " ".join(prompt.lower().replace(".", " ").split())
    text, _, filming = text.partition(" as the camera ")
    if not filming:
        text, _, filming = text.partition(" while the camera ")
    if not filming and not _DEPTH_PATTERN.search(text):
        text, _, filming = text.partition("the camera ")
    things = tuple(
        ObjectSpec(colour=colour, shape=_SHAPE_NOUNS[noun], count=_COUNT_WORDS[count])  # pyrefly: ignore
        for count, colour, noun in _OBJECT_PATTERN.findall(text)
    )
    if not things:
        raise UserError(
            f"the judge can't read {prompt!r}; it knows prompts of the lab such as "
            "'a red ball rolls to the left and hits a blue cube'"
        )
    camera = next((move for words, move in _CAMERA_PHRASES.items() if filming.startswith(words)), None)
    ending: Outcome = next((value for words, value in _OUTCOME_PHRASES if words in text), "")
    side = next((f"{way} of" for way in ("left", "right") if f"stands to the {way} of" in text), None)
    if camera:
        return PromptSpec(objects=things, event="camera", camera_move=camera, side=side)  # pyrefly: ignore
    if " falls down" in text:
        return PromptSpec(objects=things, event="falls", direction="down", outcome=ending)
    if re.search(r"\b(stands?|is|are|rests?)\b", text):
        return PromptSpec(objects=things, event="stands", side=side)  # pyrefly: ignore
    first = [(text.find(words), way) for words, way in _DIRECTION_PHRASES if words in text]
    direction = min(first)[1] if first else None
    if direction is None:
        raise UserError(
            f"the judge finds nothing to check in {prompt!r}; say where a thing goes or stands, for example "
            "'a red ball rolls to the left'"
        )
    emerges = next((way for way in ("left", "right") if f"reappears on the {way}" in text), None)
    story: EventKind = "moves"
    if "behind" in text or ending == "in front":
        story = "hides"
    elif ending in ("hits", "tips over", "misses", "short of"):
        story = "meets"
    return PromptSpec(objects=things, event=story, direction=direction, outcome=ending, reappears_on=emerges)  # pyrefly: ignore
