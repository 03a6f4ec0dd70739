"""A request as passages: stretches of film without a cut, whose frames a stream makes one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kinema.generate.condition import Condition, Line
from kinema.generate.network import Spoken
from kinema.generate.pipeline import Pipeline
from kinema.generate.request import Request
from kinema.models.source import ModelFolder
from kinema.models.text import TextStates
from kinema.shapes import LatentShape, VideoShape


@dataclass(frozen=True, kw_only=True, eq=False)
class Passage:
    """A stretch of film without a cut.

    Attributes:
        condition: what it is made from; frames are counted from the passage's beginning.
        film: its shape.
        hidden: frames that are made and not shown.
    """

    condition: Condition
    film: VideoShape
    hidden: tuple[int, ...] = ()


def passages(model: ModelFolder, request: Request) -> tuple[Passage, ...]:  # noqa: ARG001
    """The passages of a film that is made from words and pictures; none for films made from other films."""
    if request.condition.base is not None:
        return ()
    return (Passage(condition=request.condition, film=request.film),)


def whole(model: ModelFolder, request: Request, film: VideoShape) -> Passage:
    """A finished film as one passage: who speaks when, and the pictures of its first passage.

    Args:
        model: that made it.
        request: that it was made from.
        film: as it is shown.
    """
    lines: list[Line] = []
    start = 0
    for part in passages(model, request):
        for line in part.condition.lines:
            shown = line.frame - sum(frame < line.frame for frame in part.hidden)
            if start + shown < film.frames and (not lines or lines[-1].frame < start + shown):
                lines.append(Line(prompt=line.prompt, frame=start + shown))
        start += part.film.frames - len(part.hidden)
    first = request.condition
    # Where passages join, a group of frames would hold both sides of the cut; there pictures are left to the
    # film, which shows them already.
    pictures = tuple(picture for picture in first.pictures if 0 <= picture.frame < film.frames)
    if not lines:
        lines, pictures = [Line(prompt=first.lines[0].prompt)], ()
    condition = Condition(lines=tuple(lines), negative=first.negative, pictures=pictures)
    return Passage(condition=condition, film=film)


def said(pipeline: Pipeline, parts: Sequence[Passage], negative: str) -> tuple[Spoken, ...]:
    """What is said in each passage, every prompt read once."""
    texts = [[line.prompt for line in part.condition.lines] for part in parts]
    every = list(dict.fromkeys(text for lines in texts for text in lines))
    with pipeline._text.use() as encoder:
        states = encoder.encode([*every, negative])
    spoken = []
    for part, lines in zip(parts, texts, strict=True):
        rows = torch.tensor([*(every.index(text) for text in lines), len(every)])
        shape = LatentShape.of(part.film, pipeline.model.vae.stride)
        spoken.append(
            Spoken(
                states=TextStates(
                    states=states.states[rows.to(states.states.device)], lengths=states.lengths[rows]
                ),
                image=None,
                speaks=part.condition.speaking(shape, pipeline.model.vae.stride),
            )
        )
    return tuple(spoken)
