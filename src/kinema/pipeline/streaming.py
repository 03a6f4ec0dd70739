"""Autoregressive streaming: videos of any length in constant memory, sampled block by block.

A block is a few latent frames. Its frames are denoised in the context of finished frames before them, of
which a fixed number is kept, in one of two ways:

- `cache`: keys and values in the transformer (`KvCache`): the video's first frames (attention sinks,
  arXiv 2309.17453) and the last ones. Each block costs its own tokens only. The network has to be trained
  under block-causal masks (diffusion forcing, arXiv 2407.01392, 2412.07772).
- `windows`: clamped frames in front of the new ones with full attention. The network needs one noise level
  per latent frame, and computes the context again at every step.

Both count positions from the oldest frame that is kept, so positions stay in the trained range. A little
noise on the context keeps small errors from being copied and growing (arXiv 2408.14837).
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
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.vae.autoencoder import VideoVae
from kinema.pipeline.components import ModelComponents
from kinema.pipeline.conditioning import Conditioning, LatentCondition, LatentConditioning, encode_conditions
from kinema.pipeline.decoder import StreamingDecoder
from kinema.pipeline.denoiser import FrameRangeDenoiser
from kinema.pipeline.latent_preview import LatentPreviewer
from kinema.pipeline.progress import Event, Finished, FrameChunk, StageProgress
from kinema.pipeline.prompts import encode_prompts
from kinema.pipeline.request_checks import require_streaming
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.sampler import ContextFrames, sample
from kinema.shapes import LatentShape, VideoShape

ContextMode = Literal["cache", "windows"]
Encode = Callable[[Float[Tensor, "1 3 f h w"]], Float[Tensor, "1 c f2 h2 w2"]]

CACHE_CONTEXT_SIGMA = 0.1
"""Noise on the context in `cache` mode. With it the last 5 of 20 s were at most 1.09 times as sharp as the
first, without 1.17 (an earlier 64 x 64 model, three videos)."""


@dataclass(frozen=True, kw_only=True)
class StreamingConfig:
    """How a video is cut into blocks, and which finished frames a block attends to. Counts are latent frames.

    Attributes:
        context_mode: see the module.
        first: frames of the first block.
        block: frames of each later block.
        window: last finished frames that a block attends to.
        sink: first frames of the video that a block attends to as well; `cache` mode only.
        context_sigma: noise level of the context, 0 to below 1.
    """

    context_mode: ContextMode = "windows"
    first: int = 5
    block: int = 3
    window: int = 2
    sink: int = 0
    context_sigma: float = 0.0

    def __post_init__(self) -> None:
        if min(self.first, self.block, self.window) < 1 or self.sink < 0:
            raise UserError(
                f"blocks of {self.first} and {self.block} latent frames with a context of {self.window} and "
                f"{self.sink} are not possible; give at least 1, and 0 or more for the sink"
            )
        if not 0 <= self.context_sigma < 1:
            raise UserError(f"context noise of {self.context_sigma} is out of range; give 0 up to below 1")
        if self.sink and self.context_mode != "cache":
            raise UserError("only a cache has sink frames; leave sink at 0, or use the context mode 'cache'")

    def blocks(self, num_frames: int) -> Iterator[range]:
        """The latent frames of each block of `num_frames`."""
        start, stop = 0, min(self.first, num_frames)
        while start < stop:
            yield range(start, stop)
            start, stop = stop, min(stop + self.block, num_frames)


def default_streaming_config(model: ModelCheckpoint) -> StreamingConfig:
    """Blocks and context of a model: together never more frames than it was trained with.

    Raises:
        UserError: the model can't stream; the message says how long its videos can be.
    """
    defaults = model.sampling_defaults
    require_streaming(model)
    video = VideoShape(frames=defaults.num_frames, height=defaults.size[1], width=defaults.size[0])
    trained = LatentShape.of(video, model.vae.stride).frames
    if defaults.block_frames is not None:
        block, sink = defaults.block_frames, defaults.sink_frames or 0
        return StreamingConfig(
            context_mode="cache",
            first=block,
            block=block,
            window=defaults.context_frames or max(1, trained - sink - block),
            sink=sink,
            context_sigma=defaults.context_sigma or 0.0,
        )
    if defaults.streaming_mode == "cache":
        sink, block = min(1, trained - 1), 1
        return StreamingConfig(
            context_mode="cache",
            first=trained,
            block=block,
            window=max(1, trained - sink - block),
            sink=sink,
            context_sigma=CACHE_CONTEXT_SIGMA,
        )
    window = defaults.context_frames or max(1, trained // 2)
    return StreamingConfig(
        context_mode="windows",
        first=trained,
        block=max(1, trained - window),
        window=window,
        context_sigma=defaults.context_sigma or 0.0,
    )


def stream_segments(
    components: ModelComponents, resolved: ResolvedRequest, config: StreamingConfig | None = None
) -> Iterator[Event]:
    """Sample every segment block by block and yield frames as soon as they are decoded.

    Steps count through all blocks; their latents are those of the current block. Noise is drawn frame by
    frame, so it does not depend on the block size. An image condition acts from its block on, not before.

    Args:
        components: transformer and autoencoder stay in memory meanwhile, also with low memory.
        resolved: segments that begin with a cut; their length does not matter for memory.
        config: None: `default_streaming_config`.

    Raises:
        UserError: the model can't stream, or the noise of the request has the wrong shape.
    """
    config = config or default_streaming_config(components.model)
    segments = resolved.segments
    stride = components.model.vae.stride
    shapes = [LatentShape.of(segment.video_shape, stride) for segment in segments]
    conditionings = [segment.conditioning for segment in segments]
    prompts = encode_prompts(components, conditionings, shapes, fps=resolved.fps)
    yield StageProgress(name="text", done=1, total=1)
    vae, dit = components.vae.get(), components.transformers[0].get()
    sampler_config = resolved.sampler_config()
    noise = _NoiseSource(components, resolved, shapes[0], num_frames=sum(shape.frames for shape in shapes))
    previewer = LatentPreviewer(components.vae, components.preview_decoder)
    num_blocks = sum(len(list(config.blocks(shape.frames))) for shape in shapes)
    finished = 0  # blocks
    shown = 0  # frames
    tail = None

    def encode(frames: Tensor) -> Tensor:
        with torch.no_grad():
            return vae.encode(frames.to(components.device)).cpu()

    for segment, shape, embeddings in zip(segments, shapes, prompts, strict=True):
        denoiser = FrameRangeDenoiser(
            dit,
            embeddings,
            guidance_scale=resolved.guidance_scale[0],
            execution=components.execution,
        )
        decoder = StreamingDecoder(vae, total=segment.video_shape.frames, processes=components.row_group)
        conditioning = _encode_videos(segment.conditioning, shape, vae, encode)
        context = StreamContext.empty(config)
        for block in config.blocks(shape.frames):
            known = _block_conditioning(conditioning, block, shape, vae, encode)
            if (known.sigmas < 1).any():
                yield StageProgress(name="images", done=finished + 1, total=num_blocks)
            latents = known.latents
            for step in sample(
                context.denoiser(denoiser, block),
                noise.next(len(block)),
                sampler_config,
                seeds=((resolved.seed, finished),),
                conditioning=known,
                context=context.frames(),
                previewer=previewer,
            ):
                latents = step.latents
                yield dataclasses.replace(
                    step,
                    index=finished * step.total + step.index,
                    total=num_blocks * step.total,
                    resumable=False,
                )
            if block.stop < shape.frames:
                context = context.extended(denoiser, block, latents, noise.context_noise(len(block)))
            tail = _append_tail(tail, latents, is_start=not block.start)
            for chunk in decoder.decode(latents):
                first = chunk.done - len(chunk.frames)
                visible = [
                    index for index in range(len(chunk.frames)) if first + index not in segment.dropped_frames
                ]
                if visible:
                    shown += len(visible)
                    frames = chunk.frames if len(visible) == len(chunk.frames) else chunk.frames[visible]
                    yield FrameChunk(frames=frames, done=shown, total=resolved.num_frames)
            finished += 1
    last = segments[-1]
    ends_visible = last.video_shape.frames - 1 not in last.dropped_frames
    yield Finished(num_frames=shown, tail_latents=tail if ends_visible else None)


def _append_tail(tail: Tensor | None, latents: Tensor, *, is_start: bool) -> Tensor | None:
    """The last groups of latent frames so far; the first latent frame of a segment is no group."""
    groups = latents[:, :, 1:] if is_start else latents
    if not groups.shape[2]:
        return tail if not is_start else None
    joined = groups.cpu() if is_start or tail is None else torch.cat([tail, groups.cpu()], dim=2)
    return joined[:, :, -_TAIL_GROUPS:]


_TAIL_GROUPS = 4
"""Latent groups kept for extensions: at least the overlap of any model here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamContext:
    """What the next block attends to: a cache, or the last latents at the context's noise level."""

    config: StreamingConfig
    cache: KvCache
    latents: Float[Tensor, "1 c f h w"] | None = None

    @classmethod
    def empty(cls, config: StreamingConfig) -> StreamContext:
        """A context without frames."""
        return cls(config=config, cache=KvCache(sink_frames=config.sink, window_frames=config.window))

    def at(self, position: int) -> StreamContext:
        """The context of the block that begins at a latent frame, where frames before it were left out."""
        return dataclasses.replace(self, cache=dataclasses.replace(self.cache, total_frames=position))

    def denoiser(self, denoiser: FrameRangeDenoiser, block: range) -> sampling.Denoiser:
        """The denoiser of a block, with the context frames in front in `windows` mode."""
        if self.config.context_mode == "cache":
            return denoiser.for_frames(block, self.cache)
        front = 0 if self.latents is None else self.latents.shape[2]
        return denoiser.for_frames(range(block.start - front, block.stop))

    def frames(self) -> ContextFrames | None:
        """Context frames for the sampler."""
        if self.latents is None:
            return None
        return ContextFrames(latents=self.latents, sigma=self.config.context_sigma)

    def extended(
        self,
        denoiser: FrameRangeDenoiser,
        block: range,
        latents: Float[Tensor, "1 c f h w"],
        noise: Float[Tensor, "1 c f h w"],
    ) -> StreamContext:
        """The context with a finished block; `noise` brings it to the context's noise level."""
        sigma = self.config.context_sigma
        if sigma:
            latents = sampling.add_noise(latents, noise, sigma)
        if self.config.context_mode == "cache":
            return dataclasses.replace(self, cache=denoiser.update_cache(latents, sigma, block, self.cache))
        joined = latents if self.latents is None else torch.cat([self.latents, latents], dim=2)
        return dataclasses.replace(self, latents=joined[:, :, -self.config.window :].clone())


class _NoiseSource:
    """Standard normal noise, frame by frame, from the CPU's generator or from the request."""

    def __init__(
        self, components: ModelComponents, resolved: ResolvedRequest, shape: LatentShape, *, num_frames: int
    ) -> None:
        self._shape = (1, components.model.vae.z_dim, 1, shape.height, shape.width)
        self._device = components.device
        self._generator = torch.Generator("cpu").manual_seed(resolved.seed)
        # A second generator, so that noise on the context does not change what the seed means.
        self._context_generator = torch.Generator("cpu").manual_seed(resolved.seed ^ (1 << 62))
        expected = (*self._shape[:2], num_frames, *self._shape[3:])
        if resolved.noise is not None and resolved.noise.shape != expected:
            raise UserError(f"the noise is of {tuple(resolved.noise.shape)} and must be of {expected} here")
        self._provided = resolved.noise
        self._position = 0

    def next(self, num_frames: int) -> Float[Tensor, "1 c f h w"]:
        """Noise of the next frames."""
        start, self._position = self._position, self._position + num_frames
        if self._provided is not None:
            return self._provided[:, :, start : self._position].to(self._device)
        return self._draw(num_frames, self._generator)

    def context_noise(self, num_frames: int) -> Float[Tensor, "1 c f h w"]:
        """Noise for finished frames."""
        return self._draw(num_frames, self._context_generator)

    def _draw(self, num_frames: int, generator: torch.Generator) -> Tensor:
        frames = [torch.randn(self._shape, generator=generator) for _ in range(num_frames)]
        return torch.cat(frames, dim=2).to(self._device)


def _encode_videos(
    conditioning: Conditioning, shape: LatentShape, vae: VideoVae, encode: Encode
) -> Conditioning:
    """Video conditions as latents, so that blocks can be cut from them."""
    latents = list(conditioning.latents)
    for clip in conditioning.videos:
        alone = dataclasses.replace(conditioning, images=(), latents=(), videos=(clip,))
        encoded = encode_conditions(alone, shape, vae.stride, vae.config.z_dim, encode)
        frames = encoded.sigmas.lt(1).nonzero()
        first, last = int(frames[0]), int(frames[-1]) + 1
        # A copy, so that the grid of the whole video is freed.
        latents.append(LatentCondition(latents=encoded.latents[:, :, first:last].clone(), frame=first))
    return dataclasses.replace(conditioning, latents=tuple(latents), videos=())


def _block_conditioning(
    conditioning: Conditioning, block: range, shape: LatentShape, vae: VideoVae, encode: Encode
) -> LatentConditioning:
    """The part of `encode_conditions` that lies in a block, without the grid of the whole video."""
    stride, channels = vae.stride, vae.config.z_dim
    # Latent frames after the first stand for whole groups. A later block is therefore encoded behind a first
    # frame that is cut off again.
    before = 1 if block.start else 0
    part = LatentShape(frames=before + len(block), height=shape.height, width=shape.width)
    start = block.start - before
    images = tuple(
        dataclasses.replace(image, frame=image.frame - start * stride.temporal)
        for image in conditioning.images
        if shape.latent_frame_index(image.frame, stride) in block
    )
    latents = []
    for known in conditioning.latents:
        first = known.frame + shape.frames if known.frame < 0 else known.frame
        a, b = max(first, block.start), min(first + known.latents.shape[2], block.stop)
        if a < b:
            cut = known.latents[:, :, a - first : b - first]
            latents.append(dataclasses.replace(known, latents=cut, frame=a - start))
    if not images and not latents:
        return LatentConditioning.empty(
            channels, LatentShape(frames=len(block), height=shape.height, width=shape.width)
        )
    encoded = encode_conditions(
        dataclasses.replace(conditioning, images=images, latents=tuple(latents)),
        part,
        stride,
        channels,
        encode,
    )
    return LatentConditioning(latents=encoded.latents[:, :, before:], sigmas=encoded.sigmas[before:])
