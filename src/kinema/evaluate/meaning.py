"""What a lab prompt asks for, read from its words alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from kinema.errors import UserError
from kinema.evaluate.palette import COLOURS
from kinema.world.captions.lexicon import NUMBERS, plural
from kinema.world.facts import CameraMove, Colour

LabShape = Literal["ball", "cube", "cylinder", "cone", "screen"]
SHAPES: tuple[LabShape, ...] = get_args(LabShape)
Direction = Literal["left", "right", "away", "toward", "down"]
Story = Literal["moves", "stands", "falls", "meets", "hides", "camera"]
Ending = Literal[
    "", "stops", "hits", "stays", "tips over", "misses", "short of", "bounces high", "bounces a little",
    "no bounce", "lands on", "falls beside", "re-emerges", "stays hidden", "in front",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A thing that the prompt names, as often as it wants it."""

    colour: Colour
    shape: LabShape
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """The checkable content of a prompt."""

    things: tuple[Thing, ...]
    """In the order of their mention: the first one acts."""
    story: Story
    direction: Direction | None = None
    """Where the first thing goes."""
    side: Literal["left of", "right of"] | None = None
    """How the first thing stands to the second."""
    ending: Ending = ""
    emerges: Literal["left", "right"] | None = None
    """On which side of the occluder the first thing is seen again."""
    camera: CameraMove = "static"

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Every wanted thing's colour, sorted: a multiset."""
        return tuple(sorted(thing.colour for thing in self.things for _ in range(thing.count)))

    @property
    def shapes(self) -> tuple[LabShape, ...]:
        """Every wanted thing's shape, sorted: a multiset."""
        return tuple(sorted(thing.shape for thing in self.things for _ in range(thing.count)))

    @property
    def strikes(self) -> bool:
        """Whether the first thing is to touch the second."""
        return self.ending in ("hits", "tips over")


_NOUNS = {shape: shape for shape in SHAPES} | {plural(shape): shape for shape in SHAPES}
_COUNTS = {"a": 1, "an": 1, "another": 1} | {word: number for number, word in enumerate(NUMBERS) if number}
_THING = re.compile(
    rf"\b({'|'.join(_COUNTS)}) (?:(?:small|large|plastic|rubber) )*({'|'.join(COLOURS)}) "
    rf"(?:(?:plastic|rubber) )?({'|'.join(sorted(_NOUNS, key=len, reverse=True))})\b"
)
_DEPTH = re.compile("(away from|toward) the camera")
_DIRECTIONS: tuple[tuple[str, Direction], ...] = (
    ("away from the camera", "away"),
    ("toward the camera", "toward"),
    ("to the left", "left"),
    ("to the right", "right"),
)
_CAMERA: dict[str, CameraMove] = {
    "pans left": "pan left", "pans right": "pan right", "tilts up": "tilt up", "tilts down": "tilt down",
    "zooms in": "zoom in", "zooms out": "zoom out", "circles to the left": "orbit left",
    "circles to the right": "orbit right", "moves closer": "dolly in", "pulls back": "dolly out",
    "slides left": "truck left", "slides right": "truck right", "rises": "crane up",
    "sinks down": "crane down", "does not move": "static", "stays still": "static",
}  # fmt: skip
_ENDINGS: tuple[tuple[str, Ending], ...] = (
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


def read(prompt: str) -> Meaning:
    """The meaning of a plain lab prompt ('a red ball rolls to the left and hits a blue cube').

    Raises:
        UserError: it names nothing of the lab, or says nothing that can be checked.
    """
    text = " ".join(prompt.lower().replace(".", " ").split())
    text, _, filming = text.partition(" as the camera ")
    if not filming:
        text, _, filming = text.partition(" while the camera ")
    if not filming and not _DEPTH.search(text):
        text, _, filming = text.partition("the camera ")
    things = tuple(
        Thing(colour=colour, shape=_NOUNS[noun], count=_COUNTS[count])  # pyrefly: ignore
        for count, colour, noun in _THING.findall(text)
    )
    if not things:
        raise UserError(
            f"the judge can't read {prompt!r}; it knows prompts of the lab such as "
            "'a red ball rolls to the left and hits a blue cube'"
        )
    camera = next((move for words, move in _CAMERA.items() if filming.startswith(words)), None)
    ending: Ending = next((value for words, value in _ENDINGS if words in text), "")
    side = next((f"{way} of" for way in ("left", "right") if f"stands to the {way} of" in text), None)
    if camera:
        return Meaning(things=things, story="camera", camera=camera, side=side)  # pyrefly: ignore
    if " falls down" in text:
        return Meaning(things=things, story="falls", direction="down", ending=ending)
    if re.search(r"\b(stands?|is|are|rests?)\b", text):
        return Meaning(things=things, story="stands", side=side)  # pyrefly: ignore
    first = [(text.find(words), way) for words, way in _DIRECTIONS if words in text]
    direction = min(first)[1] if first else None
    if direction is None:
        raise UserError(
            f"the judge finds nothing to check in {prompt!r}; say where a thing goes or stands, for example "
            "'a red ball rolls to the left'"
        )
    emerges = next((way for way in ("left", "right") if f"reappears on the {way}" in text), None)
    story: Story = "moves"
    if "behind" in text or ending == "in front":
        story = "hides"
    elif ending in ("hits", "tips over", "misses", "short of"):
        story = "meets"
    return Meaning(things=things, story=story, direction=direction, ending=ending, emerges=emerges)  # pyrefly: ignore
