"""A request as passages: stretches of film without a cut, whose frames a stream makes one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kinema.generate.condition import Condition, Line, Picture
from kinema.generate.network import Spoken
from kinema.generate.pipeline import Pipeline
from kinema.generate.request import Request
from kinema.generate.takes import Take
from kinema.models.text import TextStates
from kinema.shapes import LatentShape, Stride, VideoShape


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


def passages(request: Request, stride: Stride) -> tuple[Passage, ...]:
    """The passages of a film that is made from words and pictures; none for films made from other films.

    Takes that go on from each other are one passage: a stream has its own way to go on.
    """
    if len(request.reel.frames) or request.goal is not None:
        return ()
    chains: list[list[Take]] = []
    for take in request.takes:
        if take.condition.base is not None or take.joint not in ("cut", "after"):
            return ()
        if take.joint == "cut":
            chains.append([take])
        else:
            chains[-1].append(take)
    return tuple(_joined(chain, stride) for chain in chains)


def _joined(chain: Sequence[Take], stride: Stride) -> Passage:
    """Takes that share frames where they meet as one passage."""
    lines: list[Line] = []
    pictures: list[Picture] = []
    hidden: set[int] = set()
    stop = 0
    for take in chain:
        start = stop - stride.frames(take.carried) if stop else 0
        stop = start + take.film.frames
        for line in take.condition.lines:
            frame = start + line.frame
            # A take begins with the line that speaks already.
            if not lines or (frame > lines[-1].frame and line.prompt != lines[-1].prompt):
                lines.append(dataclasses.replace(line, frame=frame))
        pictures += [
            dataclasses.replace(picture, frame=start + picture.frame % take.film.frames)
            for picture in take.condition.pictures
        ]
        hidden |= {start + frame for frame in take.hidden}
    first = chain[0]
    condition = dataclasses.replace(first.condition, lines=tuple(lines), pictures=tuple(pictures))
    return Passage(
        condition=condition,
        film=dataclasses.replace(first.film, frames=stop),
        hidden=tuple(sorted(hidden)),
    )


def whole(request: Request, stride: Stride, film: VideoShape) -> Passage:
    """A finished film as one passage: who speaks when, and the pictures of its first take.

    Args:
        request: that it was made from.
        stride: of the autoencoder.
        film: as it is shown.
    """
    lines: list[Line] = []
    start = 0
    for part in passages(request, stride):
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
