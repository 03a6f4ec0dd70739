"""Several films of one shape in one batch of the transformer, for those who make many: a GPU that one small
film leaves idle is filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from kinema import flow
from kinema.errors import UserError
from kinema.generate.network import Experts, Spoken
from kinema.generate.pipeline import Pipeline
from kinema.generate.request import Request, decide
from kinema.generate.wish import Wish
from kinema.models.text import TextStates


def films_together(pipeline: Pipeline, wishes: Sequence[Wish]) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
    """The frames of each film, in the order of the wishes.

    The noise of each comes from its own seed, so a film is what it is alone but for rounding: a batch's
    products may be summed in another order. Memory grows with the batch in the transformer; films are
    decoded one after the other.

    Args:
        pipeline: the model.
        wishes: films from words alone, with one size, length, number of steps, guidance and shift.

    Raises:
        UserError: a film can't be made, or can't be made together with the first.
    """
    requests = [decide(pipeline.model, wish) for wish in wishes]
    if not requests:
        return
    first = requests[0]
    for request in requests:
        _check_alike(first, request)
    spoken = _spoken(pipeline, requests)
    velocity = Experts(
        pipeline._dits,
        spoken,
        guidance=first.guidance,
        boundary=pipeline.model.recipe.boundary,
        channels=None,
        keep=pipeline.choice.keep,
    )
    latents = torch.cat([pipeline._noise(request) for request in requests])
    schedule = pipeline._schedule(first, first.takes[0])
    recipe = pipeline.model.recipe
    ancestral = flow.Ancestral(eta=recipe.eta, seeds=tuple((request.seed, 0) for request in requests))
    for step in flow.solve(velocity, latents, schedule, solver=recipe.solver, ancestral=ancestral):
        latents = step.latents
    for one in latents.split(1):
        yield np.concatenate([frames for _, frames in pipeline._decode(one)])


def _spoken(pipeline: Pipeline, requests: Sequence[Request]) -> list[Spoken]:
    """What is said in each film, all of it read at once: the text encoder may be loaded for this alone."""
    texts = [
        [*(line.prompt for line in request.condition.lines), request.condition.negative]
        for request in requests
    ]
    with pipeline._text.use() as encoder:
        states = encoder.encode([text for own in texts for text in own])
    counts = [len(own) for own in texts]
    each = zip(requests, states.states.split(counts), states.lengths.split(counts), strict=True)
    return [
        pipeline._said(request, 0, request.condition, TextStates(states=rows, lengths=lengths))
        for request, rows, lengths in each
    ]


def _check_alike(first: Request, request: Request) -> None:
    """Whether the two can be made in one batch."""
    take = request.takes[0]
    if len(request.takes) > 1 or take.condition.given or take.condition.latents or len(request.reel.frames):
        raise UserError("films made together are of words alone and of one take; make this one by itself")
    for name, one, other in (
        ("size and length", _shape(first), _shape(request)),
        ("number of steps", first.steps, request.steps),
        ("guidance", first.guidance, request.guidance),
        ("shift", first.shift, request.shift),
    ):
        if one != other:
            raise UserError(f"films made together have the same {name}, unlike {one} and {other}")


def _shape(request: Request) -> str:
    film = request.film
    return f"{film.width}x{film.height} of {film.frames} frames"
