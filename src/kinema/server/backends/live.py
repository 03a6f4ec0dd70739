"""What makes the frames of a live session: a model, or the test card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float, UInt8

from kinema.pipeline.request import Transition, VideoRequest

if TYPE_CHECKING:
    from kinema.pipeline.pipeline import Pipeline

TAIL_FRAMES = 4
"""Latent frames kept for extensions of a saved video."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveChunk:
    """A latent frame and what it shows.

    Attributes:
        latents: from which the video can go on.
        frames: one frame after a cut, else a group.
        position: number of latent frames since the last cut before this one.
        is_block: whether it took a run of the solver, and not the decoder alone.
    """

    latents: Float[np.ndarray, "c h w"]
    frames: UInt8[np.ndarray, "n h2 w2 3"]
    position: int
    is_block: bool


class LiveSource(Protocol):
    """A video without end.

    Attributes:
        fps: frames per second.
        size: width and height.
        max_steps: solver steps beyond which nothing gets better.
        has_fixed_steps: whether the steps can't be chosen.
        latent_shape: channels, height and width.
        num_first: latents since the last cut that `go_on` needs.
        num_last: latents at the end that `go_on` needs.
    """

    fps: float
    size: tuple[int, int]
    max_steps: int
    has_fixed_steps: bool
    latent_shape: tuple[int, int, int]
    num_first: int
    num_last: int

    def begin(self, prompt: str) -> None:
        """Begin the video."""
        ...

    def change_prompt(self, prompt: str, transition: Transition) -> None:
        """Change the prompt from the next frames on."""
        ...

    def go_on(
        self,
        first: Float[np.ndarray, "s c h w"],
        last: Float[np.ndarray, "n c h w"],
        position: int,
        *,
        prompt: str,
        branch: int,
    ) -> None:
        """Go on from a point of the past, as another branch."""
        ...

    @property
    def needs_block(self) -> bool:
        """Whether the next chunk takes a run of the solver."""
        ...

    def next_chunk(self, num_inference_steps: int | None) -> LiveChunk:
        """Make what comes next."""
        ...

    def write(
        self,
        request: VideoRequest,
        frames: Iterator[UInt8[np.ndarray, "f h w 3"]],
        tail: Float[np.ndarray, "n c h w"],
        output: Path,
    ) -> None:
        """Write a part of the video as a file whose metadata is `request`."""
        ...


class PipelineLiveSource:
    """A model's live video; see `LiveSource`.

    Args:
        pipeline: the model.
        request: size, guidance, seed and negative prompt.

    Raises:
        UserError: the model can't stream.
    """

    def __init__(self, pipeline: Pipeline, request: VideoRequest) -> None:
        self._pipeline = pipeline
        self._sampler = pipeline.live(request)
        shape = self._sampler.latent_shape
        self.fps, self.size = self._sampler.fps, self._sampler.size
        self.max_steps, self.has_fixed_steps = self._sampler.max_steps, self._sampler.has_fixed_steps
        self.latent_shape = (self._sampler.latent_channels, shape.height, shape.width)
        self.num_first, self.num_last = self._sampler.config.sink, self._sampler.num_kept
        self._state = None

    def begin(self, prompt: str) -> None:
        """See `LiveSource.begin`."""
        self._state = self._sampler.begin(self._sampler.encode_prompt(prompt))

    def change_prompt(self, prompt: str, transition: Transition) -> None:
        """See `LiveSource.change_prompt`."""
        assert self._state is not None
        self._state = self._sampler.change_prompt(
            self._state, self._sampler.encode_prompt(prompt, is_first=transition == "cut"), transition
        )

    def go_on(
        self,
        first: Float[np.ndarray, "s c h w"],
        last: Float[np.ndarray, "n c h w"],
        position: int,
        *,
        prompt: str,
        branch: int,
    ) -> None:
        """See `LiveSource.go_on`."""
        import torch

        from kinema.pipeline.live import LivePast

        first_latents, last_latents = (
            torch.from_numpy(values).movedim(0, 1)[None].contiguous() for values in (first, last)
        )
        self._state = self._sampler.go_on(
            LivePast(first=first_latents, last=last_latents, position=position),
            self._sampler.encode_prompt(prompt, is_first=False),
            branch=branch,
        )

    @property
    def needs_block(self) -> bool:
        """See `LiveSource.needs_block`."""
        assert self._state is not None
        block = self._state.block
        return block is None or self._state.shown == block.shape[2]

    def next_chunk(self, num_inference_steps: int | None) -> LiveChunk:
        """See `LiveSource.next_chunk`."""
        assert self._state is not None
        is_block, position = self.needs_block, self._state.position
        self._state, output = self._sampler.next_frames(self._state, num_inference_steps=num_inference_steps)
        return LiveChunk(
            latents=output.latents[0, :, 0].float().numpy(),
            frames=output.frames,
            position=position,
            is_block=is_block,
        )

    def write(
        self,
        request: VideoRequest,
        frames: Iterator[UInt8[np.ndarray, "f h w 3"]],
        tail: Float[np.ndarray, "n c h w"],
        output: Path,
    ) -> None:
        """See `LiveSource.write`."""
        import torch

        from kinema.pipeline.progress import Event, Finished, FrameChunk
        from kinema.pipeline.video import write_events

        resolved = self._pipeline.resolve(request)

        def events() -> Iterator[Event]:
            done, total = 0, resolved.num_frames
            for part in frames:
                done += len(part)
                yield FrameChunk(frames=part, done=done, total=total)
            latents = torch.from_numpy(tail).movedim(0, 1)[None].contiguous() if len(tail) else None
            yield Finished(num_frames=done, tail_latents=latents)

        for _ in write_events(
            events(), output, resolved=resolved, metadata=lambda _: self._pipeline.metadata(resolved)
        ):
            pass


class TestCardLiveSource:
    """Colour bars that move, in colours of the prompt; see `LiveSource`.

    Args:
        request: size and seed.
        fps: frames per second.
        bars: colours.
    """

    __test__ = False  # pytest would take the class for a test.

    def __init__(self, request: VideoRequest, *, fps: float, bars: UInt8[np.ndarray, "k 3"]) -> None:
        self.fps, self.size = fps, request.size or (64, 64)
        self.max_steps, self.has_fixed_steps = 10, False
        self.latent_shape, self.num_first, self.num_last = (1, 1, 1), 1, 2
        self._bars, self._prompt = bars, ""
        self._number = self._position = 0

    def begin(self, prompt: str) -> None:
        """See `LiveSource.begin`."""
        self._prompt, self._position = prompt, 0

    def change_prompt(self, prompt: str, transition: Transition) -> None:
        """See `LiveSource.change_prompt`."""
        self._prompt = prompt
        self._position = 0 if transition == "cut" else self._position

    def go_on(
        self,
        first: Float[np.ndarray, "s c h w"],
        last: Float[np.ndarray, "n c h w"],
        position: int,
        *,
        prompt: str,
        branch: int,
    ) -> None:
        """See `LiveSource.go_on`; a latent is the number of the frame."""
        del first, branch
        self._prompt, self._position, self._number = prompt, position, int(last[-1, 0, 0, 0]) + 1

    @property
    def needs_block(self) -> bool:
        """See `LiveSource.needs_block`."""
        return True

    def next_chunk(self, num_inference_steps: int | None) -> LiveChunk:
        """See `LiveSource.next_chunk`."""
        del num_inference_steps
        width, height = self.size
        salt = hashlib.sha256(self._prompt.encode()).digest()[0]
        columns = np.arange(width) * len(self._bars) // width
        count = 4 if self._position else 1
        frames = np.empty((count, height, width, 3), np.uint8)
        frames[:] = self._bars[(columns + self._number + salt) % len(self._bars)]
        latents = np.full((1, 1, 1), self._number, np.float32)
        chunk = LiveChunk(latents=latents, frames=frames, position=self._position, is_block=True)
        self._number, self._position = self._number + 1, self._position + 1
        return chunk

    def write(
        self,
        request: VideoRequest,
        frames: Iterator[UInt8[np.ndarray, "f h w 3"]],
        tail: Float[np.ndarray, "n c h w"],
        output: Path,
    ) -> None:
        """See `LiveSource.write`; the test card has no metadata."""
        from kinema.media.write import open_writer

        del tail
        with open_writer(output, fps=request.fps or self.fps, size=self.size) as writer:
            for part in frames:
                writer.write(part)
