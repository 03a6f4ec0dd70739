"""Several films of one shape in one batch of the transformer, for those who make many: a GPU that one small
film leaves idle is filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from kinema import sampling
from kinema.errors import UserError
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.pipeline.denoiser import ExpertDenoiser, PromptEmbeddings
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.resolve import ResolvedRequest, resolve_request


def generate_batch(
    pipeline: Pipeline, video_requests: Sequence[VideoRequest]
) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
    """The frames of each film, in the order of the wishes.

    The noise of each comes from its own seed, so a film is what it is alone but for rounding: a batch's
    products may be summed in another order. Memory grows with the batch in the transformer; films are
    decoded one after the other.

    Args:
        pipeline: the model.
        video_requests: films from words alone, with one size, length, number of steps, guidance and shift.

    Raises:
        UserError: a film can't be made, or can't be made together with the first.
    """
    requests = [resolve_request(pipeline.model, wish) for wish in video_requests]
    if not requests:
        return
    first = requests[0]
    for request in requests:
        _check_batchable(first, request)
    spoken = _encode_batch_prompts(pipeline, requests)
    velocity = ExpertDenoiser(
        pipeline._dits,
        spoken,
        guidance_scale=first.guidance_scale,
        boundary=pipeline.model.sampling_defaults.boundary_ratio,
        concat_channels=None,
        keep_loaded=pipeline.policy.keep_loaded,
    )
    latents = torch.cat([pipeline._initial_noise(request) for request in requests])
    schedule = pipeline._schedule(first, first.segments[0])
    recipe = pipeline.model.sampling_defaults
    ancestral = sampling.AncestralNoise(
        eta=recipe.eta, seeds=tuple((request.seed, 0) for request in requests)
    )
    for step in sampling.sample(velocity, latents, schedule, solver=recipe.solver, ancestral=ancestral):
        latents = step.latents
    for one in latents.split(1):
        yield np.concatenate([frames for _, frames in pipeline._decode(one)])


def _encode_batch_prompts(pipeline: Pipeline, requests: Sequence[ResolvedRequest]) -> list[PromptEmbeddings]:
    """What is said in each film, all of it read at once: the text encoder may be loaded for this alone."""
    texts = [
        [*(line.prompt for line in request.conditioning.prompts), request.conditioning.negative_prompt]
        for request in requests
    ]
    with pipeline._text.use() as encoder:
        states = encoder.encode([text for own in texts for text in own])
    counts = [len(own) for own in texts]
    each = zip(requests, states.hidden_states.split(counts), states.lengths.split(counts), strict=True)
    return [
        pipeline._prompt_embeddings(
            request, 0, request.conditioning, TextEmbeddings(hidden_states=rows, lengths=lengths)
        )
        for request, rows, lengths in each
    ]


def _check_batchable(first: ResolvedRequest, resolved: ResolvedRequest) -> None:
    """Whether the two can be made in one batch."""
    take = resolved.segments[0]
    if (
        len(resolved.segments) > 1
        or take.conditioning.num_encodes
        or take.conditioning.latents
        or len(resolved.timeline.frames)
    ):
        raise UserError("films made together are of words alone and of one take; make this one by itself")
    for name, one, other in (
        ("size and length", _describe_shape(first), _describe_shape(resolved)),
        ("number of steps", first.num_inference_steps, resolved.num_inference_steps),
        ("guidance", first.guidance_scale, resolved.guidance_scale),
        ("shift", first.flow_shift, resolved.flow_shift),
    ):
        if one != other:
            raise UserError(f"films made together have the same {name}, unlike {one} and {other}")


def _describe_shape(resolved: ResolvedRequest) -> str:
    film = resolved.video_shape
    return f"{film.width}x{film.height} of {film.frames} frames"
