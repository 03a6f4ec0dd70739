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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import flow
from kinema.errors import UserError
from kinema.generate import condition as conditions
from kinema.generate.condition import Condition, Given, Latents
from kinema.generate.frames import Decoder, Frames
from kinema.generate.network import Spoken
from kinema.generate.passage import passages, said
from kinema.generate.pipeline import Pipeline
from kinema.generate.preview import Preview
from kinema.generate.progress import Stage, Step
from kinema.generate.request import Request
from kinema.generate.stretch import Stretches
from kinema.models.dit import Dit
from kinema.models.dit_cache import DitCache
from kinema.models.source import ModelFolder
from kinema.models.vae import VideoVae
from kinema.shapes import LatentShape, VideoShape

Way = Literal["cache", "windows"]

CONTEXT_NOISE = 0.1
"""Behind a cache. With it the last 5 of 20 s were at most 1.09 times as sharp as the first, without 1.17
(the shipped 64 x 64 preview, three films)."""


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


def is_long(model: ModelFolder, request: Request) -> bool:
    """Whether a film is longer than the model was trained for, and so is made as a stream.

    Films that are changed, go on from another or lead up to one are not: they are there to be seen. Models
    that can't stream make somewhat longer films in one piece, as well as they can; beyond twice their length
    these fall apart.
    """
    longest = max((passage.film.frames for passage in passages(request, model.vae.stride)), default=0)
    return longest > model.recipe.frames * (1 if _goes_on(model) else 2)


def _goes_on(model: ModelFolder) -> bool:
    """Whether it can see finished frames beside those it makes."""
    return model.recipe.pictures == "frames" and model.recipe.experts == 1


def streaming_of(model: ModelFolder) -> Streaming:
    """How this model makes long films: never more frames in sight than it was trained with.

    Raises:
        UserError: it can't; the message says how long its films can be.
    """
    recipe = model.recipe
    if not _goes_on(model):
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
            way="cache",
            first=trained,
            block=block,
            window=max(1, trained - sink - block),
            sink=sink,
            noise=CONTEXT_NOISE,
        )
    window = max(1, trained // 2)
    return Streaming(way="windows", first=trained, block=max(1, trained - window), window=window)


def stream(
    pipeline: Pipeline, request: Request, streaming: Streaming | None = None
) -> Iterator[Stage | Step | Frames]:
    """Make a film of any length and hand its frames on as they are made. Stop reading to cancel.

    Steps count through all blocks; their latents are those of the block under way. The noise is drawn frame
    by frame, so it does not depend on the blocks. A picture is seen from its block on, not before.

    Args:
        pipeline: whose transformer and autoencoder stay in memory meanwhile, also with memory low.
        request: the film; its length does not matter for memory.
        streaming: None: as the model's recipe says.

    Raises:
        UserError: the model can't make long films, or this film is none of those.
    """
    streaming = streaming or streaming_of(pipeline.model)
    parts = passages(request, pipeline.model.vae.stride)
    if not parts:
        raise UserError("this film is made from another, which a stream does not see; make it shorter")
    spoken = said(pipeline, parts, request.condition.negative)
    yield Stage(name="text", done=1, of=1)
    vae, dit = pipeline.vae, pipeline._dits[0].get()
    stride = vae.stride
    shapes = [LatentShape.of(passage.film, stride) for passage in parts]
    blocks = [list(streaming.blocks(shape.frames)) for shape in shapes]
    noise = _Noise(pipeline, request, shapes[0], frames=sum(shape.frames for shape in shapes))
    preview = Preview(pipeline._vae)
    shown = _Shown(of=sum(passage.film.frames - len(passage.hidden) for passage in parts))

    def encode(frames: Tensor) -> Tensor:
        with torch.no_grad():
            return vae.encode(frames.to(pipeline.device)).cpu()

    made = 0
    for passage, shape, told, cuts in zip(parts, shapes, spoken, blocks, strict=True):
        maker = _Maker(dit, told, request, pipeline, streaming)
        decoder = Decoder(vae, of=passage.film.frames)
        condition = _encoded(passage.condition, shape, vae, encode)
        past = _Past.nothing(streaming)
        for block in cuts:
            given = _given(condition, block, shape, vae, encode)
            if (given.level < 1).any():
                yield Stage(name="pictures", done=made + 1, of=sum(map(len, blocks)))
            latents = given.latents
            for step in maker.steps(block, noise.next(len(block)), given, past, seed=(request.seed, made)):
                latents = step.latents[:, :, -len(block) :]
                yield Step(
                    index=made * step.of + step.index,
                    of=sum(map(len, blocks)) * step.of,
                    time=step.time,
                    latents=latents,
                    clean=step.clean[:, :, -len(block) :],
                    _preview=preview,
                )
            latents = given.settled(latents)
            if block.stop < shape.frames:
                past = maker.remembered(block, latents, past, noise)
            for frames in decoder.frames(latents):
                yield from shown.of_passage(frames, passage.hidden)
            made += 1


class _Shown:
    """Counts what is shown of the frames that are made."""

    def __init__(self, *, of: int) -> None:
        self._done, self._of = 0, of

    def of_passage(self, frames: Frames, hidden: tuple[int, ...]) -> Iterator[Frames]:
        """Frames of a passage without the hidden ones."""
        first = frames.done - len(frames.images)
        kept = [index for index in range(len(frames.images)) if first + index not in hidden]
        if kept:
            self._done += len(kept)
            images = frames.images if len(kept) == len(frames.images) else frames.images[kept]
            yield Frames(images=images, done=self._done, of=self._of)


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

    def __init__(self, pipeline: Pipeline, request: Request, shape: LatentShape, *, frames: int) -> None:
        self._shape = (1, pipeline.model.vae.z_dim, 1, shape.height, shape.width)
        self._device = pipeline.device
        self._generator = torch.Generator("cpu").manual_seed(request.seed)
        # Of its own, so that noise on the context does not change what the seed means.
        self._beside = torch.Generator("cpu").manual_seed(request.seed ^ (1 << 62))
        expected = (*self._shape[:2], frames, *self._shape[3:])
        if request.noise is not None and request.noise.shape != expected:
            raise UserError(f"the noise is of {tuple(request.noise.shape)} and must be of {expected} here")
        self._given = request.noise
        self._at = 0

    def next(self, frames: int) -> Float[Tensor, "1 c f h w"]:
        """For the next frames."""
        start, self._at = self._at, self._at + frames
        if self._given is not None:
            return self._given[:, :, start : self._at].to(self._device)
        return self._drawn(frames, self._generator)

    def beside(self, frames: int) -> Float[Tensor, "1 c f h w"]:
        """For the context."""
        return self._drawn(frames, self._beside)

    def _drawn(self, frames: int, generator: torch.Generator) -> Tensor:
        drawn = [torch.randn(self._shape, generator=generator) for _ in range(frames)]
        return torch.cat(drawn, dim=2).to(self._device)


class _Maker:
    """Blocks of a film, one after the other."""

    def __init__(
        self, dit: Dit, spoken: Spoken, request: Request, pipeline: Pipeline, streaming: Streaming
    ) -> None:
        recipe = pipeline.model.recipe
        self._dit, self._streaming, self._solver, self._eta = dit, streaming, recipe.solver, recipe.eta
        self._stretches = Stretches(dit, spoken, guidance=request.guidance[0])
        levels = flow.wan_schedule if recipe.schedule == "wan" else flow.linear_schedule
        self._schedule = levels(request.steps, request.shift)

    def steps(
        self,
        block: range,
        noise: Float[Tensor, "1 c f h w"],
        given: Given,
        past: _Past,
        *,
        seed: tuple[int, ...],
    ) -> Iterator[flow.Step]:
        """The solver's steps of a block; the seed is of noise that is drawn anew."""
        held = given.held(noise)
        seen = past.latents
        cache: DitCache | None = past.cache
        if self._streaming.way == "windows":
            cache = None
        if seen is not None:
            front = seen.shape[2]
            noise = torch.cat([seen, noise], dim=2)
            inside = held or flow.Held(frames=given.level < 1, latents=given.latents, time=given.level)
            held = flow.Held(
                frames=torch.cat([torch.ones(front, dtype=torch.bool), inside.frames]),
                latents=torch.cat([seen, inside.latents.to(seen)], dim=2),
                time=torch.cat([torch.full((front,), self._streaming.noise), inside.time]),
            )
            block = range(block.start - front, block.stop)
        velocity = self._stretches.velocity(block, cache)
        ancestral = flow.Ancestral(eta=self._eta, seeds=(seed,))
        yield from flow.solve(
            velocity, noise, self._schedule, solver=self._solver, held=held, ancestral=ancestral
        )

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
            cache = self._dit.remember(latents, times, self._stretches.context(block), past.cache)
        return _Past(cache=cache)


Encode = Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]]


def _encoded(condition: Condition, shape: LatentShape, vae: VideoVae, encode: Encode) -> Condition:
    """With clips as the latents they stand for, so that blocks can be cut from them."""
    latents = list(condition.latents)
    for clip in condition.clips:
        alone = dataclasses.replace(condition, pictures=(), latents=(), clips=(clip,))
        held = conditions.hold(alone, shape, vae.stride, vae.config.z_dim, encode)
        places = held.level.lt(1).nonzero()
        first, last = int(places[0]), int(places[-1]) + 1
        # A copy, so that the grid of the whole film is let go.
        latents.append(Latents(latents=held.latents[:, :, first:last].clone(), frame=first))
    return dataclasses.replace(condition, latents=tuple(latents), clips=())


def _given(condition: Condition, block: range, shape: LatentShape, vae: VideoVae, encode: Encode) -> Given:
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
    held = conditions.hold(
        dataclasses.replace(condition, pictures=pictures, latents=tuple(latents)),
        part, stride, channels, encode,
    )  # fmt: skip
    return Given(latents=held.latents[:, :, before:], level=held.level[before:])
