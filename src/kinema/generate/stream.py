"""Films of any length in constant memory: made block by block, decoded and handed on while the next is made.

A block is a few latent frames. They are carried from noise to data in the sight of the finished frames before
them, of which a fixed number is kept, in one of two ways:

- `cache`: as keys and values in the transformer (`DitCache`): the film's first frames, which anchor it
  (attention sinks, arXiv 2309.17453), and the last ones. Each block costs its own tokens only. It wants a
  network trained under block-causal masks (causal diffusion forcing, arXiv 2407.01392, 2412.07772).
- `windows`: as given frames in front of the new ones, all seeing all. It wants a network with a noise level
  for each latent frame, and computes the given frames again at every step.

Both count positions from the oldest frame that is kept, so that they never leave what the network has seen.
A little noise on the finished frames keeps small faults from being copied and growing (arXiv 2408.14837).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema import flow
from kinema.errors import UserError
from kinema.generate import condition as conditions
from kinema.generate.condition import Condition, Given
from kinema.generate.film import to_uint8
from kinema.generate.network import Spoken
from kinema.generate.pipeline import Pipeline, Stage, Step
from kinema.generate.plan import CHUNK_PIXELS
from kinema.generate.preview import Preview
from kinema.generate.request import Request
from kinema.models.dit import Dit
from kinema.models.dit_cache import DitCache
from kinema.models.dit_context import TextContext
from kinema.models.source import ModelFolder
from kinema.models.text import TextStates
from kinema.models.vae import VaeCache, VideoVae
from kinema.shapes import LatentShape, VideoShape

Way = Literal["cache", "windows"]


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """How a film is cut into blocks, and what a block sees of those before it. All counts are latent frames.

    Attributes:
        way: see the module.
        first: in the first block.
        block: in each later block.
        window: last finished frames that a block sees.
        sink: first frames of the film that a block sees besides; with `cache` only.
        noise: the level, 0 to below 1, at which finished frames are seen.
    """

    way: Way = "windows"
    first: int = 5
    block: int = 3
    window: int = 2
    sink: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if min(self.first, self.block, self.window) < 1 or self.sink < 0:
            raise UserError(
                f"blocks of {self.first} and {self.block} latent frames that see {self.window} and "
                f"{self.sink} before them make no film; give at least 1, and 0 or more for the sink"
            )
        if not 0 <= self.noise < 1:
            raise UserError(f"context noise of {self.noise} is out of range; give 0 up to below 1")
        if self.sink and self.way != "cache":
            raise UserError("only a cache has sink frames; leave sink at 0, or take the way 'cache'")

    def blocks(self, frames: int) -> Iterator[range]:
        """The latent frames of each block of a film of `frames`."""
        start, stop = 0, min(self.first, frames)
        while start < stop:
            yield range(start, stop)
            start, stop = stop, min(stop + self.block, frames)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """The next frames of the film are finished.

    Attributes:
        images: the frames.
        done: how many there are with these.
        of: how many there will be.
    """

    images: UInt8[np.ndarray, "f h w 3"]
    done: int
    of: int


def is_long(model: ModelFolder, film: VideoShape) -> bool:
    """Whether a film is longer than the model was trained for, and so better made as a stream."""
    return film.frames > model.recipe.frames


def streaming_of(model: ModelFolder) -> Streaming:
    """How this model makes long films: never more frames in sight than it was trained with.

    Raises:
        UserError: it can't; the message says how long its films can be.
    """
    recipe = model.recipe
    if recipe.pictures != "frames" or recipe.experts > 1:
        raise UserError(
            f"{model.name} can't go on from finished frames, so its films end after {recipe.frames} frames "
            f"({recipe.frames / recipe.fps:.1f} s); for longer ones take a model with a noise level for each "
            "latent frame (world, Wan 2.2 TI2V-5B)"
        )
    film = VideoShape(frames=recipe.frames, height=recipe.size[1], width=recipe.size[0])
    trained = LatentShape.of(film, model.vae.stride).frames
    if recipe.long_films == "cache":
        sink, block = min(1, trained - 1), 1
        return Streaming(
            way="cache", first=trained, block=block, window=max(1, trained - sink - block), sink=sink
        )
    window = max(1, trained // 2)
    return Streaming(way="windows", first=trained, block=max(1, trained - window), window=window)


def stream(
    pipeline: Pipeline, request: Request, streaming: Streaming | None = None
) -> Iterator[Stage | Step | Frames]:
    """Make a film of any length and hand its frames on as they are made. Stop reading to cancel.

    Steps count through all blocks; their latents are those of the block under way (with `windows`, behind
    the frames it sees). The noise is drawn frame by frame, so it does not depend on the blocks. A picture
    is seen from its block on, not before.

    Args:
        pipeline: whose transformer and autoencoder stay in memory meanwhile, also with memory low.
        request: the film; its length does not matter for memory.
        streaming: None: as the model's recipe says.

    Raises:
        UserError: the model can't make long films.
    """
    streaming = streaming or streaming_of(pipeline.model)
    spoken = pipeline._spoken(request)
    yield Stage(name="text", done=1, of=1)
    vae, dit = pipeline.vae, pipeline._dits[0].get()
    shape = LatentShape.of(request.film, pipeline.model.vae.stride)
    blocks = list(streaming.blocks(shape.frames))
    maker = _Maker(dit, spoken, request, pipeline, streaming)
    decoder = _Decoder(vae)
    noise = _Noise(pipeline, request, shape)
    preview = Preview(pipeline._vae)
    past = _Past.nothing(streaming)
    for number, block in enumerate(blocks):
        given = _given(request.condition, block, shape, vae, pipeline.device)
        if (given.level < 1).any():
            yield Stage(name="pictures", done=number + 1, of=len(blocks))
        latents = given.latents
        for step in maker.steps(block, noise.next(len(block)), given, past):
            latents = step.latents
            yield Step(
                index=number * step.of + step.index,
                of=len(blocks) * step.of,
                time=step.time,
                latents=step.latents,
                clean=step.clean,
                _preview=preview,
            )
        latents = given.settled(latents[:, :, -len(block) :])
        if number + 1 < len(blocks):
            past = maker.remembered(block, latents, past, noise)
        for images in decoder.frames(latents):
            yield Frames(images=images, done=decoder.done, of=request.film.frames)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Past:
    """What the next block sees of the finished frames: a cache, or the last latents as they are seen."""

    cache: DitCache
    latents: Float[Tensor, "1 c f h w"] | None = None

    @classmethod
    def nothing(cls, streaming: Streaming) -> _Past:
        return cls(cache=DitCache(sink=streaming.sink, window=streaming.window))


class _Noise:
    """Standard normal noise from the CPU's generator, or the request's, frame by frame."""

    def __init__(self, pipeline: Pipeline, request: Request, shape: LatentShape) -> None:
        self._shape = (1, pipeline.model.vae.z_dim, 1, shape.height, shape.width)
        self._device = pipeline.device
        self._generator = torch.Generator("cpu").manual_seed(request.seed)
        # Of its own, so that noise on the context does not change what the seed means.
        self._beside = torch.Generator("cpu").manual_seed((request.seed + 1) % 2**63)
        self._given = None if request.noise is None else pipeline._noise(request)
        self._at = 0

    def next(self, frames: int) -> Float[Tensor, "1 c f h w"]:
        """For the next frames."""
        start, self._at = self._at, self._at + frames
        if self._given is not None:
            return self._given[:, :, start : self._at]
        return self._drawn(frames, self._generator)

    def beside(self, frames: int) -> Float[Tensor, "1 c f h w"]:
        """For the context."""
        return self._drawn(frames, self._beside)

    def _drawn(self, frames: int, generator: torch.Generator) -> Tensor:
        drawn = [torch.randn(self._shape, generator=generator) for _ in range(frames)]
        return torch.cat(drawn, dim=2).to(self._device)


class _Network:
    """A transformer under its prompts, behind its cache."""

    def __init__(self, dit: Dit, context: TextContext, cache: DitCache) -> None:
        self.dit, self.context, self.cache = dit, context, cache

    def __call__(self, latents: Tensor, time: Tensor, *, both: bool) -> Tensor:  # noqa: ARG002 - as Prompted
        with torch.no_grad():
            return self.dit(latents, time, self.context, cache=self.cache)


class _Maker:
    """Blocks of a film, one after the other."""

    def __init__(
        self, dit: Dit, spoken: Spoken, request: Request, pipeline: Pipeline, streaming: Streaming
    ) -> None:
        recipe = pipeline.model.recipe
        self._dit, self._spoken, self._streaming = dit, spoken, streaming
        self._scale, self._solver = request.guidance[0], recipe.solver
        levels = flow.wan_schedule if recipe.schedule == "wan" else flow.linear_schedule
        self._schedule = levels(request.steps, request.shift)
        self._said: tuple[tuple[int, ...], TextContext] | None = None

    def steps(
        self, block: range, noise: Float[Tensor, "1 c f h w"], given: Given, past: _Past
    ) -> Iterator[flow.Step]:
        """The solver's steps of a block."""
        held = given.held(noise)
        seen = past.latents
        cache = past.cache
        if seen is not None:
            front = seen.shape[2]
            cache = DitCache(seen=block.start - front)
            noise = torch.cat([seen, noise], dim=2)
            inside = held or flow.Held(frames=given.level < 1, latents=given.latents, time=given.level)
            held = flow.Held(
                frames=torch.cat([torch.ones(front, dtype=torch.bool), inside.frames]),
                latents=torch.cat([seen, inside.latents.to(seen)], dim=2),
                time=torch.cat([torch.full((front,), self._streaming.noise), inside.time]),
            )
            block = range(block.start - front, block.stop)
        network = _Network(self._dit, self._context(block), cache)
        velocity = flow.guided(network, flow.Guidance(scale=self._scale))
        yield from flow.solve(velocity, noise, self._schedule, solver=self._solver, held=held)

    def remembered(
        self, block: range, latents: Float[Tensor, "1 c f h w"], past: _Past, noise: _Noise
    ) -> _Past:
        """The past with these finished frames."""
        streaming = self._streaming
        level, frames = streaming.noise, len(block)
        if level:
            latents = flow.noised(latents, noise.beside(frames), level)
        if streaming.way == "windows":
            joined = latents if past.latents is None else torch.cat([past.latents, latents], dim=2)
            return _Past(cache=past.cache, latents=joined[:, :, -streaming.window :].clone())
        times = torch.full((1, frames), level, dtype=torch.float64)
        with torch.no_grad():
            cache = self._dit.remember(latents, times, self._context(block), past.cache)
        return _Past(cache=cache)

    def _context(self, block: range) -> TextContext:
        """Keys and values of the lines that speak in these frames; kept while the same ones go on."""
        speaks = self._spoken.speaks[block.start : block.stop]
        if len(set(speaks)) == 1:
            speaks = speaks[:1]
        if self._said is None or self._said[0] != speaks:
            told = _told(self._spoken, speaks)
            with torch.no_grad():
                self._said = (speaks, told.context(self._dit, negative=self._scale != 1))
        return self._said[1]


def _told(spoken: Spoken, speaks: tuple[int, ...]) -> Spoken:
    """The lines of `speaks` alone, with the negative prompt behind them."""
    used = sorted(set(speaks))
    rows = torch.tensor([*used, len(spoken.states.lengths) - 1])
    states = TextStates(
        states=spoken.states.states[rows.to(spoken.states.states.device)], lengths=spoken.states.lengths[rows]
    )
    return Spoken(states=states, image=spoken.image, speaks=tuple(used.index(line) for line in speaks))


def _given(
    condition: Condition, block: range, shape: LatentShape, vae: VideoVae, device: torch.device
) -> Given:
    """What is given in a block: as `conditions.hold` has it on the whole film's grid, without that grid."""
    stride, channels = vae.stride, vae.config.z_dim
    # Latent frames behind the first stand for whole groups; so a later block is laid behind a first frame
    # that is cut off again.
    before = 1 if block.start else 0
    part = LatentShape(frames=before + len(block), height=shape.height, width=shape.width)
    start = block.start - before
    pictures = tuple(
        dataclasses.replace(picture, frame=picture.frame - start * stride.temporal)
        for picture in condition.pictures
        if shape.latent_frame_of(picture.frame, stride) in block
    )
    latents = []
    for one in condition.latents:
        first = one.frame + shape.frames if one.frame < 0 else one.frame
        a, b = max(first, block.start), min(first + one.latents.shape[2], block.stop)
        if a < b:
            cut = one.latents[:, :, a - first : b - first]
            latents.append(dataclasses.replace(one, latents=cut, frame=a - start))
    if not pictures and not latents:
        return Given.nothing(channels, LatentShape(frames=len(block), height=shape.height, width=shape.width))

    def encode(frames: Tensor) -> Tensor:
        with torch.no_grad():
            return vae.encode(frames.to(device)).cpu()

    held = conditions.hold(
        dataclasses.replace(condition, pictures=pictures, latents=tuple(latents)),
        part, stride, channels, encode,
    )  # fmt: skip
    return Given(latents=held.latents[:, :, before:], level=held.level[before:])


class _Decoder:
    """Latents to frames, as a stream."""

    def __init__(self, vae: VideoVae) -> None:
        self._vae = vae
        self._cache: VaeCache | None = None
        self.done = 0
        """Frames so far."""

    def frames(self, latents: Float[Tensor, "1 c f h w"]) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
        """The frames of the next latents, a few at a time."""
        stride = self._vae.stride
        pixels = latents.shape[3] * latents.shape[4] * stride.spatial**2 * stride.temporal
        for part in latents.split(max(1, CHUNK_PIXELS // pixels), dim=2):
            with torch.no_grad():
                frames, self._cache = self._vae.decode_chunk(part, self._cache)
            images = to_uint8(frames)
            self.done += len(images)
            yield images
