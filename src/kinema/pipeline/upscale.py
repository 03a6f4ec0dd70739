"""Upscaling with the model itself: detail from what it learned, not from an interpolation.

A finished video is enlarged, encoded, noised part of the way and denoised from there by the same transformer
(SDEdit, arXiv 2108.01073). The noise replaces what the enlargement lacks, detail, and keeps what it has, the
scene. A video larger than the model was trained for is denoised in tiles. Each doubling is one pass.
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
from torch.nn import functional

from kinema import sampling
from kinema.errors import UserError
from kinema.frames import to_frames, to_model_range
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.super_resolution import FACTORS, enlarge_bicubic
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.tiling import encode_tiled
from kinema.pipeline.components import ModelComponents
from kinema.pipeline.conditioning import (
    Conditioning,
    EncodedEdit,
    LatentConditioning,
    TimedPrompt,
    encode_conditions,
)
from kinema.pipeline.decoder import StreamingDecoder, choose_tiling
from kinema.pipeline.denoiser import FrameRangeDenoiser
from kinema.pipeline.images import resize_and_crop
from kinema.pipeline.latent_preview import LatentPreviewer
from kinema.pipeline.multidiffusion import Tile, multidiffusion, tile_grid
from kinema.pipeline.progress import Event, Finished, FrameChunk, StageProgress
from kinema.pipeline.prompts import encode_prompts
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.sampler import sample, seeded_noise
from kinema.shapes import LatentShape, Stride, VideoShape

BACK_PROJECTION_ROUNDS = 3
"""An enlarged error is not the error; what is left is corrected in the next round. After three rounds nothing
changes (4 videos: 0.3 dB more than after one)."""


@dataclass(frozen=True, kw_only=True)
class UpscaleConfig:
    """How a video is upscaled.

    Attributes:
        sigma: the noise level it is noised to, between 0 and 1: low keeps the enlargement, high invents.
        upsample: what is enlarged by bicubic interpolation: the video's `pixels`, or its `latents`.
        tiled: denoise tiles of the trained size (True) or the whole frame at once (False). None: at once
            where positions are fractions of the frame (`DitConfig.rope_grid`); an earlier 64 x 64 model came
            1 dB nearer to the true video that way.
        overlap: share of a side that neighbouring tiles have in common.
        back_projection: keep the mean of every square of pixels that was one pixel (Irani and Peleg 1991), so
            that colours and positions stay the video's and only detail is new.
    """

    sigma: float = 0.4
    upsample: Literal["pixels", "latents"] = "pixels"
    tiled: bool | None = None
    overlap: float = 0.5
    back_projection: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.sigma < 1 or not 0 <= self.overlap < 1:
            raise UserError(
                f"can't upscale from sigma {self.sigma} with tiles that overlap by {self.overlap}; sigma is "
                "above 0 and below 1 (usually 0.3 to 0.6), the overlap 0 up to below 1"
            )


def check_upscale(model: ModelCheckpoint, factor: int, sigma: float = UpscaleConfig.sigma) -> None:
    """Refuse factors and models that can't be used.

    Raises:
        UserError: the model can't upscale, or not by this factor.
    """
    defaults = model.sampling_defaults
    if factor not in FACTORS:
        raise UserError(f"videos are upscaled by 2 or 4, not by {factor}; give 2 or 4")
    if defaults.image_conditioning in ("channels", "control", "control_channels"):
        raise UserError(
            f"{model.name} reads known frames in every step and can't upscale; use a model that "
            "generates from text or from clean frames (world, Wan T2V, Wan 2.2 TI2V-5B)"
        )
    if defaults.boundary_ratio is not None and sigma >= defaults.boundary_ratio:
        raise UserError(
            f"{model.name} upscales with its low-noise expert; give a sigma below {defaults.boundary_ratio}"
        )


def upscale(
    components: ModelComponents,
    resolved: ResolvedRequest,
    video: UInt8[np.ndarray, "f h w 3"],
    factor: int,
    config: UpscaleConfig | None = None,
) -> Iterator[Event]:
    """Make a finished video 2 or 4 times as large. Steps are counted from 0; frames come last, in order.

    Args:
        components: the model that upscales; usually the one that generated the video.
        resolved: the request: its prompts, images, guidance, steps and seed are used again. Only steps below
            the noise level of `config` are done.
        video: the frames.
        factor: 2, or 4 in two passes.
        config: None: the defaults.

    Raises:
        UserError: the model can't upscale.
    """
    config = config or UpscaleConfig()
    model = components.model
    check_upscale(model, factor, config.sigma)
    num_frames, stride = len(video), model.vae.stride
    missing = -(num_frames - 1) % stride.temporal
    # Whole groups of frames: the last frame is repeated until its group is full.
    video = np.concatenate([video, np.repeat(video[-1:], missing, axis=0)])
    shape = VideoShape(frames=len(video), height=video.shape[1], width=video.shape[2])
    conditioning = finished_conditioning(resolved, stride, shape)
    prompts = encode_prompts(components, [conditioning], [LatentShape.of(shape, stride)])[0]
    yield StageProgress(name="text", done=1, total=1)
    dit = components.transformers[model.sampling_defaults.num_experts - 1].get()
    denoiser = FrameRangeDenoiser(
        dit, prompts, guidance_scale=resolved.guidance_scale[-1], execution=components.execution
    )
    vae, previewer = components.vae.get(), LatentPreviewer(components.vae, components.preview_decoder)
    sampler_config = dataclasses.replace(resolved.sampler_config(), eta=0.0)
    passes = factor.bit_length() - 1
    for index in range(passes):
        clean, known = _encode_upsampled(components, vae, conditioning, video, config)
        yield StageProgress(name="images", done=index + 1, total=passes)
        latents = clean
        for step in sample(
            _tiled_denoiser(components, denoiser, clean, config),
            # Another seed: the noise of the video must not come back in its upscaling.
            seeded_noise(clean.shape, resolved.seed ^ (1 << 61) ^ index, clean.device),
            sampler_config,
            seeds=((resolved.seed, index),),
            conditioning=known,
            edit=EncodedEdit(latents=clean, sigma=config.sigma, mask=None),
            previewer=previewer,
        ):
            latents = step.latents
            yield dataclasses.replace(
                step, index=index * step.total + step.index, total=passes * step.total, resumable=False
            )
        chunks = StreamingDecoder(vae, total=len(video), processes=components.row_group).decode(latents)
        if config.back_projection:
            chunks = _back_project(chunks, video)
        if index + 1 == passes:
            yield from _first_frames(chunks, num_frames)
        else:
            video = np.concatenate([chunk.frames for chunk in chunks])
    yield Finished(num_frames=num_frames)


def finished_conditioning(resolved: ResolvedRequest, stride: Stride, shape: VideoShape) -> Conditioning:
    """The conditioning of a finished video: its prompts by frame, and the images of its first segment.

    Args:
        resolved: the request.
        stride: of the autoencoder.
        shape: of the finished video.
    """
    prompts: list[TimedPrompt] = []
    start = 0
    whole_segments = not len(resolved.timeline.frames) and all(
        segment.join_mode in ("cut", "continue") and segment.conditioning.edit_source is None
        for segment in resolved.segments
    )
    if whole_segments and resolved.target_video is None:
        for segment in resolved.segments:
            begin = start - (stride.frames(segment.overlap_before) if segment.join_mode == "continue" else 0)
            for prompt in segment.conditioning.prompts:
                hidden = sum(frame < prompt.frame for frame in segment.dropped_frames)
                frame = max(begin + prompt.frame - hidden, start if segment.join_mode == "continue" else 0)
                is_new = not prompts or (prompts[-1].frame < frame and prompts[-1].prompt != prompt.prompt)
                if frame < shape.frames and is_new:
                    prompts.append(TimedPrompt(prompt=prompt.prompt, frame=frame))
            start = begin + segment.video_shape.frames - len(segment.dropped_frames)
    first = resolved.conditioning
    # Where segments join, a group of frames holds both sides; images there are left to the video itself.
    images = tuple(image for image in first.images if 0 <= image.frame < shape.frames)
    if not prompts:
        prompts, images = [TimedPrompt(prompt=first.prompts[0].prompt)], ()
    return Conditioning(prompts=tuple(prompts), negative_prompt=first.negative_prompt, images=images)


def _tiled_denoiser(
    components: ModelComponents,
    denoiser: FrameRangeDenoiser,
    latents: Float[Tensor, "1 c f h w"],
    config: UpscaleConfig,
) -> sampling.Denoiser:
    """The denoiser of an enlarged video, in tiles of at most the trained length and, if tiled, size."""
    shape = LatentShape(frames=latents.shape[2], height=latents.shape[3], width=latents.shape[4])
    tiles = denoised_tiles(components.model, shape, config)

    def for_tile(tile: Tile) -> sampling.Denoiser:
        return denoiser.for_frames(tile.frames)

    return multidiffusion(for_tile, tiles)


def denoised_tiles(
    model: ModelCheckpoint, shape: LatentShape, config: UpscaleConfig | None = None
) -> tuple[Tile, ...]:
    """The tiles in which an enlarged video is denoised."""
    config, defaults = config or UpscaleConfig(), model.sampling_defaults
    trained = LatentShape.of(
        VideoShape(frames=defaults.num_frames, height=defaults.size[1], width=defaults.size[0]),
        model.vae.stride,
    )
    tiled = model.dit.rope_grid is None if config.tiled is None else config.tiled
    if not tiled:
        trained = dataclasses.replace(trained, height=shape.height, width=shape.width)
    return tile_grid(shape, trained, overlap=config.overlap, patch=model.dit.patch_size)


def _encode_upsampled(
    components: ModelComponents,
    vae: VideoVae,
    conditioning: Conditioning,
    video: UInt8[np.ndarray, "f h w 3"],
    config: UpscaleConfig,
) -> tuple[Float[Tensor, "1 z f2 h2 w2"], LatentConditioning]:
    """Latents of the video at twice its size, and its image conditions at that size."""
    size = (2 * video.shape[2], 2 * video.shape[1])
    stride, spatial = vae.stride, vae.stride.spatial
    tiling = choose_tiling(spatial, max(size))

    def encode(frames: Tensor) -> Tensor:
        with torch.no_grad():
            frames = frames.to(components.device)
            return vae.encode(frames) if tiling is None else encode_tiled(vae, frames, tiling)

    if config.upsample == "pixels":
        groups = [video[:1], *np.split(video[1:], range(stride.temporal, len(video) - 1, stride.temporal))]
        with torch.no_grad():
            parts = (
                _upsample_2x(to_model_range(group).to(components.device)) for group in groups if len(group)
            )
            if tiling is None:
                latents = torch.cat(list(vae.encode_stream(parts)), dim=2)
            else:
                latents = encode_tiled(vae, torch.cat(list(parts), dim=2), tiling)
    else:
        latents = _upsample_2x(encode(to_model_range(video)))
    shape = LatentShape(frames=latents.shape[2], height=latents.shape[3], width=latents.shape[4])
    images = tuple(
        dataclasses.replace(
            image, image=resize_and_crop(image.image if image.original is None else image.original, size)
        )
        for image in conditioning.images
    )
    if not images:
        return latents, LatentConditioning.empty(vae.config.z_dim, shape)
    larger = dataclasses.replace(conditioning, images=images, latents=(), videos=())
    known = encode_conditions(larger, shape, stride, vae.config.z_dim, lambda x: encode(x).cpu())
    return latents, known


def _upsample_2x(video: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h2 w2"]:
    """Twice as high and wide, by bicubic interpolation."""
    return enlarge_bicubic(video[0].transpose(0, 1), 2).transpose(0, 1)[None]


def _back_project(chunks: Iterator[FrameChunk], video: UInt8[np.ndarray, "f h w 3"]) -> Iterator[FrameChunk]:
    """Frames whose squares of 2 x 2 pixels have the means that the pixels of `video` are."""
    for chunk in chunks:
        upscaled = to_model_range(chunk.frames)
        target = to_model_range(video[chunk.done - len(chunk.frames) : chunk.done])
        for _ in range(BACK_PROJECTION_ROUNDS):
            upscaled = upscaled + _upsample_2x(target - functional.avg_pool3d(upscaled, (1, 2, 2)))
        yield dataclasses.replace(chunk, frames=to_frames(upscaled))


def _first_frames(chunks: Iterator[FrameChunk], count: int) -> Iterator[FrameChunk]:
    """The first `count` frames."""
    for chunk in chunks:
        start = chunk.done - len(chunk.frames)
        if start < count:
            yield FrameChunk(frames=chunk.frames[: count - start], done=min(chunk.done, count), total=count)
