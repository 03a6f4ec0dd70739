"""Upscaling with a super-resolution network, frame by frame while a video is decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import UInt8

from kinema.frames import FrameArray, to_frames, to_model_range
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.super_resolution import SuperResolution
from kinema.pipeline.lazy_module import LazyModule
from kinema.pipeline.progress import Event, Finished, FrameChunk, SamplingStep


def super_resolution_of(model: ModelCheckpoint, device: torch.device) -> LazyModule[SuperResolution] | None:
    """The super-resolution network of a model; None for a model without one."""
    if not isinstance(model, KinemaCheckpoint) or not model.has_super_resolution:
        return None
    return LazyModule(lambda: model.load_super_resolution(device=device), keep_loaded=True)


def enlarge_events(
    network: SuperResolution, events: Iterator[Event], factor: int, device: torch.device
) -> Iterator[Event]:
    """The events of a video with its frames enlarged. A frame waits for the next one, which it is read with.

    Args:
        network: enlarges the frames.
        events: of the video.
        factor: 2 or 4.
        device: of the network.
    """
    frames: FrameArray | None = None
    num_enlarged = 0
    for event in events:
        match event:
            case FrameChunk():
                frames = event.frames if frames is None else np.concatenate([frames, event.frames])
                first = event.done - len(frames)
                end = len(frames) if event.done == event.total else len(frames) - 1
                indices = range(num_enlarged - first, end)
                if indices:
                    num_enlarged = first + end
                    enlarged = _enlarge(network, frames, indices, factor, device)
                    yield FrameChunk(frames=enlarged, done=num_enlarged, total=event.total)
                    frames = frames[end - 1 :]
            case SamplingStep():
                yield dataclasses.replace(event, resumable=False)
            case Finished():
                # The latents are those of the smaller video.
                yield Finished(num_frames=event.num_frames)
            case _:
                yield event


@torch.inference_mode()
def _enlarge(
    network: SuperResolution, frames: FrameArray, indices: range, factor: int, device: torch.device
) -> UInt8[np.ndarray, "n h2 w2 3"]:
    video = to_model_range(frames).to(device)
    enlarged = [
        to_frames(network(network.neighbours(video, index), factors=(factor,))[factor][:, :, None])
        for index in indices
    ]
    return np.concatenate(enlarged)
