"""Which prompts of a request are rewritten by the model's prompt rewriter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kinema.pipeline.prompt_rewriter import PromptRewriter
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.segments import Segment


def rewrite_prompts(rewriter: PromptRewriter | None, resolved: ResolvedRequest) -> ResolvedRequest:
    """The request with the prompts of its segments rewritten; `rewritten_prompts` has what was changed.

    Where frames are known, from an image, a source or the shot before, a prompt that leaves something open
    stays as it is: the known frames decide that.
    """
    if rewriter is None or not resolved.request.allows_rewriting:
        return resolved
    written: dict[str, str] = {}
    for segment in resolved.segments:
        for number, prompt in enumerate(segment.conditioning.prompts):
            if prompt.prompt not in written:
                chooses = number == 0 and not _has_known_frames(segment)
                written[prompt.prompt] = rewriter.rewrite(prompt.prompt, seed=resolved.seed, chooses=chooses)
    return dataclasses.replace(
        resolved,
        segments=tuple(_replace_prompts(resolved.segments, written)),
        rewritten_prompts={before: after for before, after in written.items() if before != after},
    )


def _has_known_frames(segment: Segment) -> bool:
    conditioning = segment.conditioning
    known = (conditioning.images, conditioning.videos, conditioning.latents, conditioning.references)
    return segment.join_mode != "cut" or any(known) or conditioning.edit_source is not None


def _replace_prompts(segments: tuple[Segment, ...], written: dict[str, str]) -> Iterator[Segment]:
    for segment in segments:
        prompts = tuple(
            dataclasses.replace(prompt, prompt=written[prompt.prompt])
            for prompt in segment.conditioning.prompts
        )
        yield dataclasses.replace(
            segment, conditioning=dataclasses.replace(segment.conditioning, prompts=prompts)
        )
