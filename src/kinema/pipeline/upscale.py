"""Films made larger by the model itself: detail from what it has learned, not from an interpolation.

A finished film is enlarged, encoded, noised part of the way and made again from there by the same
transformer (SDEdit, arXiv 2108.01073). The noise drowns what the enlargement lacks, detail, and leaves
what it has, the scene. Where the larger film goes beyond what the model was trained for it works in
windows. Each doubling is a pass of its own.
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
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.tiling import encode_tiled
from kinema.pipeline import conditioning as conditions
from kinema.pipeline.conditioning import Conditioning, LatentConditioning, to_model_range
from kinema.pipeline.decoder import FrameChunk, StreamingDecoder, choose_tiling
from kinema.pipeline.images import resize_and_crop
from kinema.pipeline.latent_preview import LatentPreviewer
from kinema.pipeline.multidiffusion import Tile, multidiffusion, tile_grid
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.progress import SamplingStep, StageProgress
from kinema.pipeline.resolve import ResolvedRequest
from kinema.pipeline.segment_denoiser import SegmentDenoiser
from kinema.pipeline.shots import as_single_shot, encode_prompts
from kinema.pipeline.video import to_frames
from kinema.shapes import LatentShape, VideoShape

FACTORS = (2, 4)
BACK_PROJECTION_ROUNDS = 3
"""Rounds of back-projection: an enlarged error is not the error, and what is left goes in the next round.
After three nothing changes (4 films: 0.3 dB more than after one)."""


@dataclass(frozen=True, kw_only=True)
class UpscaleConfig:
    """How a film is refined.

    Attributes:
        sigma: how far it is noised, between 0 and 1: low keeps what the enlargement shows, high invents.
        upsample: what is enlarged, by bicubic interpolation: the film's `pixels`, or its `latents`.
        tiled: work in windows of the size the model was trained for, or in the whole picture at once.
            None: at once where positions are fractions of the picture (`DitConfig.rope_grid`); the shipped
            preview came 1 dB nearer to the true film that way.
        overlap: share of a side that neighbouring windows have in common.
        back_projection: keep the mean of every square of pixels that was one pixel (back-projection, Irani and Peleg
            1991), so that colours and places stay the film's and only detail is new.
    """

    sigma: float = 0.4
    upsample: Literal["pixels", "latents"] = "pixels"
    tiled: bool | None = None
    overlap: float = 0.5
    back_projection: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.sigma < 1 or not 0 <= self.overlap < 1:
            raise UserError(
                f"can't refine from noise level {self.sigma} with windows that overlap by {self.overlap}; "
                "the level is above 0 and below 1 (usually 0.3 to 0.6), the overlap 0 up to below 1"
            )


def check_upscale(model: ModelCheckpoint, factor: int, sigma: float = UpscaleConfig.sigma) -> None:
    """Whether the model can refine its films by a factor.

    Raises:
        UserError: it can't, or not by this factor.
    """
    recipe = model.sampling_defaults
    if factor not in FACTORS:
        raise UserError(f"films are refined to 2 or 4 times their size, not {factor}; give 2 or 4")
    if recipe.image_conditioning == "channels":
        raise UserError(
            f"{model.name} looks at its first picture in every step and can't refine; "
            "use a model that makes films from text or from clean frames (world, Wan T2V, Wan 2.2 TI2V-5B)"
        )
    if recipe.boundary_ratio is not None and sigma >= recipe.boundary_ratio:
        raise UserError(
            f"{model.name} refines with its expert for low noise; the level is below {recipe.boundary_ratio}"
        )


def upscale(
    pipeline: Pipeline,
    resolved: ResolvedRequest,
    video: UInt8[np.ndarray, "f h w 3"],
    factor: int,
    config: UpscaleConfig | None = None,
) -> Iterator[StageProgress | SamplingStep | FrameChunk]:
    """Make a finished film 2 or 4 times as large, and say how far it is; frames come last, in order.

    Args:
        pipeline: of the model that refines; usually the one that made the film.
        resolved: what made the film: its prompts, pictures, guidance, steps and seed are used again. Of the
            steps only those below the level are done.
        video: what is to be refined.
        factor: 2, or 4 in two passes.
        config: None: the defaults.

    Raises:
        UserError: the model can't refine.
    """
    config = config or UpscaleConfig()
    check_upscale(pipeline.model, factor, config.sigma)
    shown = len(video)
    stride = pipeline.model.vae.stride
    rest = -(shown - 1) % stride.temporal
    # Whole groups of frames; the last frame stands still until its group is full.
    video = np.concatenate([video, np.repeat(video[-1:], rest, axis=0)])
    size = VideoShape(frames=len(video), height=video.shape[1], width=video.shape[2])
    told = as_single_shot(resolved, stride, size)
    spoken = encode_prompts(pipeline, [told], resolved.conditioning.negative_prompt)[0]
    yield StageProgress(name="text", done=1, total=1)
    scale, expert = resolved.guidance_scale[-1], pipeline.model.sampling_defaults.num_experts - 1
    stretches = SegmentDenoiser(pipeline._dits[expert].get(), spoken, guidance_scale=scale)
    vae, preview = pipeline.vae, LatentPreviewer(pipeline._vae)
    passes = factor.bit_length() - 1
    for index in range(passes):
        latents, given = _encode_upsampled(pipeline, vae, told.conditioning, video, config)
        yield StageProgress(name="pictures", done=index + 1, total=passes)
        for step in _sample_pass(pipeline, resolved, stretches, latents, given, config, index):
            latents = step.latents
            yield SamplingStep(
                index=index * step.total + step.index,
                total=passes * step.total,
                sigma=step.sigma,
                latents=step.latents,
                clean=step.clean,
                _previewer=preview,
            )
        latents = given.restore_conditioning(latents)
        frames = StreamingDecoder(vae, total=len(video)).decode(latents)
        if config.back_projection:
            frames = _back_project(frames, video)
        if index + 1 == passes:
            yield from _first_frames(frames, shown)
        else:
            video = np.concatenate([part.frames for part in frames])


def _back_project(chunks: Iterator[FrameChunk], video: UInt8[np.ndarray, "f h w 3"]) -> Iterator[FrameChunk]:
    """Frames whose squares of 2 x 2 pixels have the means that the pixels of `video` are."""
    for part in chunks:
        made, true = (
            to_model_range(part.frames),
            to_model_range(video[part.done - len(part.frames) : part.done]),
        )
        for _ in range(BACK_PROJECTION_ROUNDS):
            made = made + _upsample_2x(true - functional.avg_pool3d(made, (1, 2, 2)))
        yield dataclasses.replace(part, frames=to_frames(made))


def _first_frames(chunks: Iterator[FrameChunk], count: int) -> Iterator[FrameChunk]:
    """The first frames alone."""
    for part in chunks:
        begun = part.done - len(part.frames)
        if begun < count:
            yield FrameChunk(frames=part.frames[: count - begun], done=min(part.done, count), total=count)


def _sample_pass(
    pipeline: Pipeline,
    resolved: ResolvedRequest,
    denoiser: SegmentDenoiser,
    clean: Float[Tensor, "1 c f h w"],
    latent_conditioning: LatentConditioning,
    config: UpscaleConfig,
    index: int,
) -> Iterator[sampling.Step]:
    """The steps of a pass, from the level down."""
    recipe = pipeline.model.sampling_defaults
    levels = sampling.wan_schedule if recipe.schedule == "wan" else sampling.linear_schedule
    schedule = levels(resolved.num_inference_steps, resolved.flow_shift).truncate(config.sigma)
    shape = LatentShape(frames=clean.shape[2], height=clean.shape[3], width=clean.shape[4])
    trained = LatentShape.of(
        VideoShape(frames=recipe.num_frames, height=recipe.size[1], width=recipe.size[0]),
        pipeline.model.vae.stride,
    )
    windowed = config.tiled
    if windowed is None:
        windowed = pipeline.model.dit.rope_grid is None
    if not windowed:
        trained = dataclasses.replace(trained, height=shape.height, width=shape.width)
    cuts = tile_grid(shape, trained, overlap=config.overlap, patch=pipeline.model.dit.patch_size)

    def denoiser_for(tile: Tile) -> sampling.Denoiser:
        return denoiser.denoiser_for(tile.frames)

    # A generator of its own: the film's noise must not come back in its refinement.
    generator = torch.Generator("cpu").manual_seed(resolved.seed ^ (1 << 61) ^ index)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    return sampling.sample(
        multidiffusion(denoiser_for, cuts),
        sampling.add_noise(clean, noise, schedule.sigmas[0]),
        schedule,
        solver=recipe.solver,
        clamp=latent_conditioning.to_clamp(noise),
    )


def _encode_upsampled(
    pipeline: Pipeline,
    vae: VideoVae,
    conditioning: Conditioning,
    video: UInt8[np.ndarray, "f h w 3"],
    config: UpscaleConfig,
) -> tuple[Float[Tensor, "1 z f2 h2 w2"], LatentConditioning]:
    """Latents of the film at twice its size, and what is given there: pictures in their own detail."""
    size = (2 * video.shape[2], 2 * video.shape[1])
    stride, spatial = vae.stride, vae.stride.spatial
    tiling = choose_tiling(spatial, max(size))

    def encode(frames: Tensor) -> Tensor:
        with torch.no_grad():
            frames = frames.to(pipeline.device)
            return vae.encode(frames) if tiling is None else encode_tiled(vae, frames, tiling)

    if config.upsample == "pixels":
        groups = [video[:1], *np.split(video[1:], range(stride.temporal, len(video) - 1, stride.temporal))]
        with torch.no_grad():
            parts = (_upsample_2x(to_model_range(part).to(pipeline.device)) for part in groups if len(part))
            if tiling is None:
                latents = torch.cat(list(vae.encode_stream(parts)), dim=2)
            else:
                latents = encode_tiled(vae, torch.cat(list(parts), dim=2), tiling)
    else:
        latents = _upsample_2x(encode(to_model_range(video)))
    shape = LatentShape(frames=latents.shape[2], height=latents.shape[3], width=latents.shape[4])
    larger = dataclasses.replace(
        conditioning,
        images=tuple(
            dataclasses.replace(
                picture,
                image=resize_and_crop(picture.image if picture.original is None else picture.original, size),
            )
            for picture in conditioning.images
        ),
        latents=(),
        videos=(),
    )
    if not larger.images:
        return latents, LatentConditioning.empty(vae.config.z_dim, shape)
    return latents, conditions.encode_conditions(
        larger, shape, stride, vae.config.z_dim, lambda x: encode(x).cpu()
    )


def _upsample_2x(video: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h2 w2"]:
    """Twice as high and wide, by bicubic interpolation."""
    frames = video[0].transpose(0, 1)
    larger = functional.interpolate(frames, scale_factor=2, mode="bicubic", align_corners=False)
    return larger.transpose(0, 1)[None]
