"""Films of any length in constant memory: made block by block, decoded and handed on while the next is made.

A block is a few latent frames. They are carried from noise to data in the sight of the finished frames before
them, of which a fixed number is kept, in one of two ways:

- `cache`: as keys and values in the transformer (`KvCache`): the film's first frames, which anchor it
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

from kinema import sampling
from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.vae.autoencoder import VideoVae
from kinema.pipeline import conditioning as conditions
from kinema.pipeline.conditioning import Conditioning, LatentCondition, LatentConditioning
from kinema.pipeline.decoder import FrameChunk, StreamingDecoder
from kinema.pipeline.denoiser import PromptEmbeddings
from kinema.pipeline.latent_preview import LatentPreviewer
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.progress import SamplingStep, StageProgress
from kinema.pipeline.resolve import ResolvedRequest
from kinema.pipeline.segment_denoiser import SegmentDenoiser
from kinema.pipeline.shots import encode_prompts, split_into_shots
from kinema.shapes import LatentShape, VideoShape

ContextMode = Literal["cache", "windows"]

CONTEXT_SIGMA = 0.1
"""Behind a cache. With it the last 5 of 20 s were at most 1.09 times as sharp as the first, without 1.17
(the shipped 64 x 64 preview, three films)."""


@dataclass(frozen=True, kw_only=True)
class StreamingConfig:
    """How a film is cut into blocks, and what a block sees of those before it. All counts are latent frames.

    Attributes:
        context_mode: see the module.
        first_block: in the first block.
        block: in each later block.
        window: last finished frames that a block sees.
        sink: first frames of the film that a block sees besides; with `cache` only.
        context_sigma: the level, 0 to below 1, at which finished frames are seen.
    """

    context_mode: ContextMode = "windows"
    first_block: int = 5
    block: int = 3
    window: int = 2
    sink: int = 0
    context_sigma: float = 0.0

    def __post_init__(self) -> None:
        if min(self.first_block, self.block, self.window) < 1 or self.sink < 0:
            raise UserError(
                f"blocks of {self.first_block} and {self.block} latent frames that see {self.window} and "
                f"{self.sink} before them make no film; give at least 1, and 0 or more for the sink"
            )
        if not 0 <= self.context_sigma < 1:
            raise UserError(f"context noise of {self.context_sigma} is out of range; give 0 up to below 1")
        if self.sink and self.context_mode != "cache":
            raise UserError("only a cache has sink frames; leave sink at 0, or take the way 'cache'")

    def blocks(self, frames: int) -> Iterator[range]:
        """The latent frames of each block of a film of `chunk`."""
        start, stop = 0, min(self.first_block, frames)
        while start < stop:
            yield range(start, stop)
            start, stop = stop, min(stop + self.block, frames)


def needs_streaming(model: ModelCheckpoint, resolved: ResolvedRequest) -> bool:
    """Whether a film is longer than the model was trained for, and so is made as a stream.

    Films that are changed, go on from another or lead up to one are not: they are there to be seen. Models
    that can't stream make somewhat longer films in one piece, as well as they can; beyond twice their length
    these fall apart.
    """
    longest = max(
        (passage.video_shape.frames for passage in split_into_shots(resolved, model.vae.stride)), default=0
    )
    return longest > model.sampling_defaults.num_frames * (1 if _can_continue(model) else 2)


def _can_continue(model: ModelCheckpoint) -> bool:
    """Whether it can see finished frames beside those it makes."""
    return model.sampling_defaults.image_conditioning == "frames" and model.sampling_defaults.num_experts == 1


def default_streaming_config(model: ModelCheckpoint) -> StreamingConfig:
    """How this model makes long films: never more frames in sight than it was trained with.

    Raises:
        UserError: it can't; the message says how long its films can be.
    """
    recipe = model.sampling_defaults
    if not _can_continue(model):
        raise UserError(
            f"{model.name} can't go on from finished frames, so its films end after {recipe.num_frames} frames "
            f"({recipe.num_frames / recipe.fps:.1f} s); for longer ones take a model with a noise level for each "
            "latent frame (world, Wan 2.2 TI2V-5B)"
        )
    film = VideoShape(frames=recipe.num_frames, height=recipe.size[1], width=recipe.size[0])
    trained = LatentShape.of(film, model.vae.stride).frames
    if recipe.streaming_mode == "cache":
        sink, block = min(1, trained - 1), 1
        return StreamingConfig(
            context_mode="cache",
            first_block=trained,
            block=block,
            window=max(1, trained - sink - block),
            sink=sink,
            context_sigma=CONTEXT_SIGMA,
        )
    window = max(1, trained // 2)
    return StreamingConfig(
        context_mode="windows", first_block=trained, block=max(1, trained - window), window=window
    )


def stream_blocks(
    pipeline: Pipeline, resolved: ResolvedRequest, streaming: StreamingConfig | None = None
) -> Iterator[StageProgress | SamplingStep | FrameChunk]:
    """Make a film of any length and hand its frames on as they are made. Stop reading to cancel.

    Steps count through all blocks; their latents are those of the block under way. The noise is drawn frame
    by frame, so it does not depend on the blocks. A picture is seen from its block on, not before.

    Args:
        pipeline: whose transformer and autoencoder stay in memory meanwhile, also with memory low.
        resolved: the film; its length does not matter for memory.
        streaming: None: as the model's recipe says.

    Raises:
        UserError: the model can't make long films, or this film is none of those.
    """
    streaming = streaming or default_streaming_config(pipeline.model)
    parts = split_into_shots(resolved, pipeline.model.vae.stride)
    if not parts:
        raise UserError("this film is made from another, which a stream does not see; make it shorter")
    spoken = encode_prompts(pipeline, parts, resolved.conditioning.negative_prompt)
    yield StageProgress(name="text", done=1, total=1)
    vae, dit = pipeline.vae, pipeline._dits[0].get()
    stride = vae.stride
    shapes = [LatentShape.of(passage.video_shape, stride) for passage in parts]
    blocks = [list(streaming.blocks(shape.frames)) for shape in shapes]
    noise = _NoiseSource(pipeline, resolved, shapes[0], frames=sum(shape.frames for shape in shapes))
    preview = LatentPreviewer(pipeline._vae)
    shown = _FrameCounter(
        total=sum(passage.video_shape.frames - len(passage.dropped_frames) for passage in parts)
    )

    def encode(frames: Tensor) -> Tensor:
        with torch.no_grad():
            return vae.encode(frames.to(pipeline.device)).cpu()

    made = 0
    for passage, shape, told, cuts in zip(parts, shapes, spoken, blocks, strict=True):
        maker = _BlockSampler(dit, told, resolved, pipeline, streaming)
        decoder = StreamingDecoder(vae, total=passage.video_shape.frames)
        condition = _encode_videos(passage.conditioning, shape, vae, encode)
        past = _StreamContext.empty(streaming)
        for block in cuts:
            given = _block_conditioning(condition, block, shape, vae, encode)
            if (given.sigmas < 1).any():
                yield StageProgress(name="pictures", done=made + 1, total=sum(map(len, blocks)))
            latents = given.latents
            for step in maker.sample(block, noise.next(len(block)), given, past, seed=(resolved.seed, made)):
                latents = step.latents[:, :, -len(block) :]
                yield SamplingStep(
                    index=made * step.total + step.index,
                    total=sum(map(len, blocks)) * step.total,
                    sigma=step.sigma,
                    latents=latents,
                    clean=step.clean[:, :, -len(block) :],
                    _previewer=preview,
                )
            latents = given.restore_conditioning(latents)
            if block.stop < shape.frames:
                past = maker.update_context(block, latents, past, noise)
            for frames in decoder.decode(latents):
                yield from shown.drop_frames(frames, passage.dropped_frames)
            made += 1


class _FrameCounter:
    """Counts what is shown of the frames that are made."""

    def __init__(self, *, total: int) -> None:
        self._done, self._total = 0, total

    def drop_frames(self, chunk: FrameChunk, dropped_frames: tuple[int, ...]) -> Iterator[FrameChunk]:
        """Frames of a passage without the hidden ones."""
        first = chunk.done - len(chunk.frames)
        kept = [index for index in range(len(chunk.frames)) if first + index not in dropped_frames]
        if kept:
            self._done += len(kept)
            images = chunk.frames if len(kept) == len(chunk.frames) else chunk.frames[kept]
            yield FrameChunk(frames=images, done=self._done, total=self._total)


@dataclass(frozen=True, kw_only=True, eq=False)
class _StreamContext:
    """What the next block sees of the finished frames: a cache, or the last latents as they are seen."""

    cache: KvCache
    latents: Float[Tensor, "1 c f h w"] | None = None

    @classmethod
    def empty(cls, streaming: StreamingConfig) -> _StreamContext:
        return cls(cache=KvCache(sink_frames=streaming.sink, window_frames=streaming.window))


class _NoiseSource:
    """Standard normal noise from the CPU's generator, or the request's, frame by frame."""

    def __init__(
        self, pipeline: Pipeline, resolved: ResolvedRequest, shape: LatentShape, *, frames: int
    ) -> None:
        self._shape = (1, pipeline.model.vae.z_dim, 1, shape.height, shape.width)
        self._device = pipeline.device
        self._generator = torch.Generator("cpu").manual_seed(resolved.seed)
        # Of its own, so that noise on the context does not change what the seed means.
        self._context_generator = torch.Generator("cpu").manual_seed(resolved.seed ^ (1 << 62))
        expected = (*self._shape[:2], frames, *self._shape[3:])
        if resolved.noise is not None and resolved.noise.shape != expected:
            raise UserError(f"the noise is of {tuple(resolved.noise.shape)} and must be of {expected} here")
        self._provided = resolved.noise
        self._position = 0

    def next(self, frames: int) -> Float[Tensor, "1 c f h w"]:
        """For the next frames."""
        start, self._position = self._position, self._position + frames
        if self._provided is not None:
            return self._provided[:, :, start : self._position].to(self._device)
        return self._draw(frames, self._generator)

    def context_noise(self, frames: int) -> Float[Tensor, "1 c f h w"]:
        """For the context."""
        return self._draw(frames, self._context_generator)

    def _draw(self, frames: int, generator: torch.Generator) -> Tensor:
        drawn = [torch.randn(self._shape, generator=generator) for _ in range(frames)]
        return torch.cat(drawn, dim=2).to(self._device)


class _BlockSampler:
    """Blocks of a film, one after the other."""

    def __init__(
        self,
        dit: Dit,
        prompt_embeddings: PromptEmbeddings,
        resolved: ResolvedRequest,
        pipeline: Pipeline,
        streaming: StreamingConfig,
    ) -> None:
        recipe = pipeline.model.sampling_defaults
        self._dit, self._streaming, self._solver, self._eta = dit, streaming, recipe.solver, recipe.eta
        self._denoiser = SegmentDenoiser(dit, prompt_embeddings, guidance_scale=resolved.guidance_scale[0])
        levels = sampling.wan_schedule if recipe.schedule == "wan" else sampling.linear_schedule
        self._schedule = levels(resolved.num_inference_steps, resolved.flow_shift)

    def sample(
        self,
        block: range,
        noise: Float[Tensor, "1 c f h w"],
        latent_conditioning: LatentConditioning,
        context: _StreamContext,
        *,
        seed: tuple[int, ...],
    ) -> Iterator[sampling.Step]:
        """The solver's steps of a block; the seed is of noise that is drawn anew."""
        held = latent_conditioning.to_clamp(noise)
        seen = context.latents
        cache: KvCache | None = context.cache
        if self._streaming.context_mode == "windows":
            cache = None
        if seen is not None:
            front = seen.shape[2]
            noise = torch.cat([seen, noise], dim=2)
            inside = held or sampling.FrameClamp(
                frames=latent_conditioning.sigmas < 1,
                latents=latent_conditioning.latents,
                sigmas=latent_conditioning.sigmas,
            )
            held = sampling.FrameClamp(
                frames=torch.cat([torch.ones(front, dtype=torch.bool), inside.frames]),
                latents=torch.cat([seen, inside.latents.to(seen)], dim=2),
                sigmas=torch.cat([torch.full((front,), self._streaming.context_sigma), inside.sigmas]),
            )
            block = range(block.start - front, block.stop)
        velocity = self._denoiser.denoiser_for(block, cache)
        ancestral = sampling.AncestralNoise(eta=self._eta, seeds=(seed,))
        yield from sampling.sample(
            velocity, noise, self._schedule, solver=self._solver, clamp=held, ancestral=ancestral
        )

    def update_context(
        self, block: range, latents: Float[Tensor, "1 c f h w"], context: _StreamContext, noise: _NoiseSource
    ) -> _StreamContext:
        """The past with these finished frames."""
        streaming = self._streaming
        level, frames = streaming.context_sigma, len(block)
        if level:
            latents = sampling.add_noise(latents, noise.context_noise(frames), level)
        if streaming.context_mode == "windows":
            joined = latents if context.latents is None else torch.cat([context.latents, latents], dim=2)
            return _StreamContext(cache=context.cache, latents=joined[:, :, -streaming.window :].clone())
        times = torch.full((1, frames), level, dtype=torch.float64)
        with torch.no_grad():
            cache = self._dit.update_cache(latents, times, self._denoiser.context(block), context.cache)
        return _StreamContext(cache=cache)


EncodeFn = Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]]


def _encode_videos(
    conditioning: Conditioning, shape: LatentShape, vae: VideoVae, encode: EncodeFn
) -> Conditioning:
    """With clips as the latents they stand for, so that blocks can be cut from them."""
    latents = list(conditioning.latents)
    for clip in conditioning.videos:
        alone = dataclasses.replace(conditioning, images=(), latents=(), videos=(clip,))
        held = conditions.encode_conditions(alone, shape, vae.stride, vae.config.z_dim, encode)
        places = held.sigmas.lt(1).nonzero()
        first, last = int(places[0]), int(places[-1]) + 1
        # A copy, so that the grid of the whole film is let go.
        latents.append(LatentCondition(latents=held.latents[:, :, first:last].clone(), frame=first))
    return dataclasses.replace(conditioning, latents=tuple(latents), videos=())


def _block_conditioning(
    conditioning: Conditioning, block: range, shape: LatentShape, vae: VideoVae, encode: EncodeFn
) -> LatentConditioning:
    """What is given in a block: as `conditions.hold` has it on the whole film's grid, without that grid."""
    stride, channels = vae.stride, vae.config.z_dim
    # Latent frames behind the first stand for whole groups; so a later block is laid behind a first frame
    # that is cut off again.
    before = 1 if block.start else 0
    part = LatentShape(frames=before + len(block), height=shape.height, width=shape.width)
    start = block.start - before
    pictures = tuple(
        dataclasses.replace(picture, frame=picture.frame - start * stride.temporal)
        for picture in conditioning.images
        if shape.latent_frame_index(picture.frame, stride) in block
    )
    latents = []
    for one in conditioning.latents:
        first = one.frame + shape.frames if one.frame < 0 else one.frame
        a, b = max(first, block.start), min(first + one.latents.shape[2], block.stop)
        if a < b:
            cut = one.latents[:, :, a - first : b - first]
            latents.append(dataclasses.replace(one, latents=cut, frame=a - start))
    if not pictures and not latents:
        return LatentConditioning.empty(
            channels, LatentShape(frames=len(block), height=shape.height, width=shape.width)
        )
    held = conditions.encode_conditions(
        dataclasses.replace(conditioning, images=pictures, latents=tuple(latents)),
        part, stride, channels, encode,
    )  # fmt: skip
    return LatentConditioning(latents=held.latents[:, :, before:], sigmas=held.sigmas[before:])
