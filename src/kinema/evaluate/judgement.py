"""Everything the judge says about one film, and the smoke test's short form of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from kinema.evaluate.binding import binding, on_right_side
from kinema.evaluate.camera import camera
from kinema.evaluate.cause import Meeting, meeting
from kinema.evaluate.direction import direction, frozen
from kinema.evaluate.flicker import Flicker, flicker
from kinema.evaluate.identity import identity, survival
from kinema.evaluate.laws import Laws, laws
from kinema.evaluate.meaning import Meaning
from kinema.evaluate.permanence import Permanence, permanence
from kinema.evaluate.scene import scene_of
from kinema.evaluate.tracks import Parsed, parse

Measure = Literal[
    "colour", "shape", "binding", "left/right", "direction", "camera", "permanence", "cause", "laws",
    "identity",
]  # fmt: skip
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """One film judged. None where the prompt does not ask for a measure."""

    parsed: bool
    """False: nothing was found that could be judged; everything asked for then counts as wrong."""
    colour: bool
    shape: bool
    binding: bool
    left_right: bool | None
    direction: bool | None
    camera: bool | None
    frozen: bool | None
    permanence: Permanence
    meeting: Meeting | None
    laws: Laws | None
    survival: float
    """Seconds up to which everything stayed the same; see `identity`."""
    same: bool
    flicker: Flicker
    film: Parsed

    def verdict(self, measure: Measure) -> bool | None:
        """Right, wrong, or not asked."""
        match measure:
            case "colour":
                return self.colour
            case "shape":
                return self.shape
            case "binding":
                return self.binding
            case "left/right":
                return self.left_right
            case "direction":
                return self.direction
            case "camera":
                return self.camera
            case "permanence":
                return None if self.camera is not None else self.parsed and not self.permanence.faults
            case "cause":
                # A thing that never sets out can't fail to miss another one.
                return None if self.meeting is None else self.meeting.right() and not self.frozen
            case "laws":
                return None if self.laws is None else self.laws.right
            case "identity":
                return None if self.camera is not None else self.same


def judgement(meaning: Meaning, frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> Judgement:
    """Judge a film against the meaning of its prompt: all measures at once."""
    film = parse(frames, fps)
    scene = scene_of(meaning, film)
    bound = binding(scene)
    lasting = permanence(film)
    chunks = identity(film, grounded=meaning.story != "falls", lost=lasting.lost)
    return Judgement(
        parsed=bool(film.tracks),
        colour=bound.right(bound.colour),
        shape=bound.right(bound.shape),
        binding=bound.right(bound.pairs),
        left_right=on_right_side(scene),
        direction=direction(scene),
        camera=camera(scene),
        frozen=frozen(scene),
        permanence=lasting,
        meeting=meeting(scene),
        laws=laws(scene),
        survival=survival(chunks, film.frames / fps),
        same=all(chunk.same for chunk in chunks),
        flicker=flicker(frames, film),
        film=film,
    )
