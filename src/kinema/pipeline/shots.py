"""A request as passages: stretches of film without a cut, whose frames a stream makes one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kinema.models.text_encoders.base import TextEmbeddings
from kinema.pipeline.conditioning import Conditioning, ImageCondition, TimedPrompt
from kinema.pipeline.denoiser import PromptEmbeddings
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.resolve import ResolvedRequest
from kinema.pipeline.segments import Segment
from kinema.shapes import LatentShape, Stride, VideoShape


@dataclass(frozen=True, kw_only=True, eq=False)
class ContinuousShot:
    """A stretch of film without a cut.

    Attributes:
        conditioning: what it is made from; frames are counted from the passage's beginning.
        video_shape: its shape.
        dropped_frames: frames that are made and not shown.
    """

    conditioning: Conditioning
    video_shape: VideoShape
    dropped_frames: tuple[int, ...] = ()


def split_into_shots(resolved: ResolvedRequest, stride: Stride) -> tuple[ContinuousShot, ...]:
    """The passages of a film that is made from words and pictures; none for films made from other films.

    Takes that go on from each other are one passage: a stream has its own way to go on.
    """
    if len(resolved.timeline.frames) or resolved.target_video is not None:
        return ()
    chains: list[list[Segment]] = []
    for take in resolved.segments:
        if take.conditioning.edit_source is not None or take.join_mode not in ("cut", "after"):
            return ()
        if take.join_mode == "cut":
            chains.append([take])
        else:
            chains[-1].append(take)
    return tuple(_merge_segments(chain, stride) for chain in chains)


def _merge_segments(segments: Sequence[Segment], stride: Stride) -> ContinuousShot:
    """Takes that share frames where they meet as one passage."""
    lines: list[TimedPrompt] = []
    pictures: list[ImageCondition] = []
    hidden: set[int] = set()
    stop = 0
    for take in segments:
        start = stop - stride.frames(take.overlap_before) if stop else 0
        stop = start + take.video_shape.frames
        for line in take.conditioning.prompts:
            frame = start + line.frame
            # A take begins with the line that speaks already.
            if not lines or (frame > lines[-1].frame and line.prompt != lines[-1].prompt):
                lines.append(dataclasses.replace(line, frame=frame))
        pictures += [
            dataclasses.replace(picture, frame=start + picture.frame % take.video_shape.frames)
            for picture in take.conditioning.images
        ]
        hidden |= {start + frame for frame in take.dropped_frames}
    first = segments[0]
    condition = dataclasses.replace(first.conditioning, prompts=tuple(lines), images=tuple(pictures))
    return ContinuousShot(
        conditioning=condition,
        video_shape=dataclasses.replace(first.video_shape, frames=stop),
        dropped_frames=tuple(sorted(hidden)),
    )


def as_single_shot(resolved: ResolvedRequest, stride: Stride, video_shape: VideoShape) -> ContinuousShot:
    """A finished film as one passage: who speaks when, and the pictures of its first take.

    Args:
        resolved: that it was made from.
        stride: of the autoencoder.
        video_shape: as it is shown.
    """
    lines: list[TimedPrompt] = []
    start = 0
    for part in split_into_shots(resolved, stride):
        for line in part.conditioning.prompts:
            shown = line.frame - sum(frame < line.frame for frame in part.dropped_frames)
            if start + shown < video_shape.frames and (not lines or lines[-1].frame < start + shown):
                lines.append(TimedPrompt(prompt=line.prompt, frame=start + shown))
        start += part.video_shape.frames - len(part.dropped_frames)
    first = resolved.conditioning
    # Where passages join, a group of frames would hold both sides of the cut; there pictures are left to the
    # film, which shows them already.
    pictures = tuple(picture for picture in first.images if 0 <= picture.frame < video_shape.frames)
    if not lines:
        lines, pictures = [TimedPrompt(prompt=first.prompts[0].prompt)], ()
    condition = Conditioning(prompts=tuple(lines), negative_prompt=first.negative_prompt, images=pictures)
    return ContinuousShot(conditioning=condition, video_shape=video_shape)


def encode_prompts(
    pipeline: Pipeline, shots: Sequence[ContinuousShot], negative_prompt: str
) -> tuple[PromptEmbeddings, ...]:
    """What is said in each passage, every prompt read once."""
    texts = [[line.prompt for line in part.conditioning.prompts] for part in shots]
    every = list(dict.fromkeys(text for lines in texts for text in lines))
    with pipeline._text.use() as encoder:
        states = encoder.encode([*every, negative_prompt])
    spoken = []
    for part, lines in zip(shots, texts, strict=True):
        rows = torch.tensor([*(every.index(text) for text in lines), len(every)])
        shape = LatentShape.of(part.video_shape, pipeline.model.vae.stride)
        spoken.append(
            PromptEmbeddings(
                text_embeddings=TextEmbeddings(
                    hidden_states=states.hidden_states[rows.to(states.hidden_states.device)],
                    lengths=states.lengths[rows],
                ),
                image_embeddings=None,
                prompt_index=part.conditioning.prompt_index_per_frame(shape, pipeline.model.vae.stride),
            )
        )
    return tuple(spoken)
