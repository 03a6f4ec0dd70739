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

from kinema import flow
from kinema.errors import UserError
from kinema.generate import condition as conditions
from kinema.generate.condition import Condition, Given, film_of
from kinema.generate.film import to_uint8
from kinema.generate.frames import Decoder, Frames, tiling_of
from kinema.generate.passage import said, whole
from kinema.generate.picture import fit
from kinema.generate.pipeline import Pipeline
from kinema.generate.preview import Preview
from kinema.generate.progress import Stage, Step
from kinema.generate.request import Request
from kinema.generate.stretch import Stretches
from kinema.generate.windows import Window, blended, windows
from kinema.models.source import ModelFolder
from kinema.models.vae import VideoVae
from kinema.models.vae_tiling import encode_tiled
from kinema.shapes import LatentShape, VideoShape

FACTORS = (2, 4)
CORRECTIONS = 3
"""Rounds of back-projection: an enlarged error is not the error, and what is left goes in the next round.
After three nothing changes (4 films: 0.3 dB more than after one)."""


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How a film is refined.

    Attributes:
        level: how far it is noised, between 0 and 1: low keeps what the enlargement shows, high invents.
        upsample: what is enlarged, by bicubic interpolation: the film's `pixels`, or its `latents`.
        windowed: work in windows of the size the model was trained for, or in the whole picture at once.
            None: at once where positions are fractions of the picture (`DitConfig.rope_grid`); the shipped
            preview came 1 dB nearer to the true film that way.
        overlap: share of a side that neighbouring windows have in common.
        faithful: keep the mean of every square of pixels that was one pixel (back-projection, Irani and Peleg
            1991), so that colours and places stay the film's and only detail is new.
    """

    level: float = 0.4
    upsample: Literal["pixels", "latents"] = "pixels"
    windowed: bool | None = None
    overlap: float = 0.5
    faithful: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or not 0 <= self.overlap < 1:
            raise UserError(
                f"can't refine from noise level {self.level} with windows that overlap by {self.overlap}; "
                "the level is above 0 and below 1 (usually 0.3 to 0.6), the overlap 0 up to below 1"
            )


def check_refine(model: ModelFolder, factor: int, level: float = Refinement.level) -> None:
    """Whether the model can refine its films by a factor.

    Raises:
        UserError: it can't, or not by this factor.
    """
    recipe = model.recipe
    if factor not in FACTORS:
        raise UserError(f"films are refined to 2 or 4 times their size, not {factor}; give 2 or 4")
    if recipe.pictures == "channels":
        raise UserError(
            f"{model.name} looks at its first picture in every step and can't refine; "
            "use a model that makes films from text or from clean frames (world, Wan T2V, Wan 2.2 TI2V-5B)"
        )
    if recipe.boundary is not None and level >= recipe.boundary:
        raise UserError(
            f"{model.name} refines with its expert for low noise; the level is below {recipe.boundary}"
        )


def refine(
    pipeline: Pipeline,
    request: Request,
    film: UInt8[np.ndarray, "f h w 3"],
    factor: int,
    refinement: Refinement | None = None,
) -> Iterator[Stage | Step | Frames]:
    """Make a finished film 2 or 4 times as large, and say how far it is; frames come last, in order.

    Args:
        pipeline: of the model that refines; usually the one that made the film.
        request: what made the film: its prompts, pictures, guidance, steps and seed are used again. Of the
            steps only those below the level are done.
        film: what is to be refined.
        factor: 2, or 4 in two passes.
        refinement: None: the defaults.

    Raises:
        UserError: the model can't refine.
    """
    refinement = refinement or Refinement()
    check_refine(pipeline.model, factor, refinement.level)
    shown = len(film)
    stride = pipeline.model.vae.stride
    rest = -(shown - 1) % stride.temporal
    # Whole groups of frames; the last frame stands still until its group is full.
    film = np.concatenate([film, np.repeat(film[-1:], rest, axis=0)])
    size = VideoShape(frames=len(film), height=film.shape[1], width=film.shape[2])
    told = whole(request, stride, size)
    spoken = said(pipeline, [told], request.condition.negative)[0]
    yield Stage(name="text", done=1, of=1)
    scale, expert = request.guidance[-1], pipeline.model.recipe.experts - 1
    stretches = Stretches(pipeline._dits[expert].get(), spoken, guidance=scale)
    vae, preview = pipeline.vae, Preview(pipeline._vae)
    passes = factor.bit_length() - 1
    for index in range(passes):
        latents, given = _enlarged(pipeline, vae, told.condition, film, refinement)
        yield Stage(name="pictures", done=index + 1, of=passes)
        for step in _solve(pipeline, request, stretches, latents, given, refinement, index):
            latents = step.latents
            yield Step(
                index=index * step.of + step.index,
                of=passes * step.of,
                time=step.time,
                latents=step.latents,
                clean=step.clean,
                _preview=preview,
            )
        latents = given.settled(latents)
        frames = Decoder(vae, of=len(film)).frames(latents)
        if refinement.faithful:
            frames = _faithful(frames, film)
        if index + 1 == passes:
            yield from _first(frames, shown)
        else:
            film = np.concatenate([part.images for part in frames])


def _faithful(parts: Iterator[Frames], film: UInt8[np.ndarray, "f h w 3"]) -> Iterator[Frames]:
    """Frames whose squares of 2 x 2 pixels have the means that the pixels of `film` are."""
    for part in parts:
        made, true = film_of(part.images), film_of(film[part.done - len(part.images) : part.done])
        for _ in range(CORRECTIONS):
            made = made + _doubled(true - functional.avg_pool3d(made, (1, 2, 2)))
        yield dataclasses.replace(part, images=to_uint8(made))


def _first(parts: Iterator[Frames], count: int) -> Iterator[Frames]:
    """The first frames alone."""
    for part in parts:
        begun = part.done - len(part.images)
        if begun < count:
            yield Frames(images=part.images[: count - begun], done=min(part.done, count), of=count)


def _solve(
    pipeline: Pipeline,
    request: Request,
    stretches: Stretches,
    clean: Float[Tensor, "1 c f h w"],
    given: Given,
    refinement: Refinement,
    index: int,
) -> Iterator[flow.Step]:
    """The steps of a pass, from the level down."""
    recipe = pipeline.model.recipe
    levels = flow.wan_schedule if recipe.schedule == "wan" else flow.linear_schedule
    schedule = levels(request.steps, request.shift).below(refinement.level)
    shape = LatentShape(frames=clean.shape[2], height=clean.shape[3], width=clean.shape[4])
    trained = LatentShape.of(
        VideoShape(frames=recipe.frames, height=recipe.size[1], width=recipe.size[0]),
        pipeline.model.vae.stride,
    )
    windowed = refinement.windowed
    if windowed is None:
        windowed = pipeline.model.dit.rope_grid is None
    if not windowed:
        trained = dataclasses.replace(trained, height=shape.height, width=shape.width)
    cuts = windows(shape, trained, overlap=refinement.overlap, patch=pipeline.model.dit.patch)

    def of(cut: Window) -> flow.Velocity:
        return stretches.velocity(cut.frames)

    # A generator of its own: the film's noise must not come back in its refinement.
    generator = torch.Generator("cpu").manual_seed(request.seed ^ (1 << 61) ^ index)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    return flow.solve(
        blended(of, cuts),
        flow.noised(clean, noise, schedule.sigmas[0]),
        schedule,
        solver=recipe.solver,
        held=given.held(noise),
    )


def _enlarged(
    pipeline: Pipeline,
    vae: VideoVae,
    condition: Condition,
    film: UInt8[np.ndarray, "f h w 3"],
    refinement: Refinement,
) -> tuple[Float[Tensor, "1 z f2 h2 w2"], Given]:
    """Latents of the film at twice its size, and what is given there: pictures in their own detail."""
    size = (2 * film.shape[2], 2 * film.shape[1])
    stride, spatial = vae.stride, vae.stride.spatial
    tiling = tiling_of(spatial, max(size))

    def encode(frames: Tensor) -> Tensor:
        with torch.no_grad():
            frames = frames.to(pipeline.device)
            return vae.encode(frames) if tiling is None else encode_tiled(vae, frames, tiling)

    if refinement.upsample == "pixels":
        groups = [film[:1], *np.split(film[1:], range(stride.temporal, len(film) - 1, stride.temporal))]
        with torch.no_grad():
            parts = (_doubled(film_of(part).to(pipeline.device)) for part in groups if len(part))
            if tiling is None:
                latents = torch.cat(list(vae.encode_stream(parts)), dim=2)
            else:
                latents = encode_tiled(vae, torch.cat(list(parts), dim=2), tiling)
    else:
        latents = _doubled(encode(film_of(film)))
    shape = LatentShape(frames=latents.shape[2], height=latents.shape[3], width=latents.shape[4])
    larger = dataclasses.replace(
        condition,
        pictures=tuple(
            dataclasses.replace(
                picture, image=fit(picture.image if picture.original is None else picture.original, size)
            )
            for picture in condition.pictures
        ),
        latents=(),
        clips=(),
    )
    if not larger.pictures:
        return latents, Given.nothing(vae.config.z_dim, shape)
    return latents, conditions.hold(larger, shape, stride, vae.config.z_dim, lambda x: encode(x).cpu())


def _doubled(film: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h2 w2"]:
    """Twice as high and wide, by bicubic interpolation."""
    frames = film[0].transpose(0, 1)
    larger = functional.interpolate(frames, scale_factor=2, mode="bicubic", align_corners=False)
    return larger.transpose(0, 1)[None]
