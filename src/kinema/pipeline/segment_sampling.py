"""Segments one after the other: each is sampled whole, decoded, and joined to the video so far."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema import sampling
from kinema.errors import UserError
from kinema.pipeline.components import ModelComponents
from kinema.pipeline.conditioning import (
    Conditioning,
    EncodedEdit,
    LatentConditioning,
    composite_mask,
    encode_conditions,
    encode_edit,
    encode_i2v_channels,
)
from kinema.pipeline.control import ControlInputs, encode_control, encode_control_channels
from kinema.pipeline.decoder import StreamingDecoder
from kinema.pipeline.denoiser import ExpertDenoiser
from kinema.pipeline.latent_preview import LatentPreviewer
from kinema.pipeline.progress import Event, Finished, FrameChunk, SamplerState, StageProgress
from kinema.pipeline.prompts import encode_prompts
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.sampler import ResumePoint, sample, seeded_noise
from kinema.pipeline.segments import Segment
from kinema.shapes import LatentShape, VideoShape


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentInputs:
    """What is known of a segment before it is sampled, on the latent grid.

    Attributes:
        conditioning: known latent frames.
        concat_channels: mask and image channels next to the noise, for models that read images there.
        edit: the source of an edit.
        control: input of the control branch, for models that have one.
    """

    conditioning: LatentConditioning
    concat_channels: Float[Tensor, "1 k f h w"] | None = None
    control: ControlInputs | None = None
    edit: EncodedEdit | None = None


def sample_segments(
    components: ModelComponents, resolved: ResolvedRequest, state: SamplerState | None = None
) -> Iterator[Event]:
    """Sample all segments; the frames come in one chunk, because a later segment may change earlier frames.

    Args:
        components: the model.
        resolved: the segments, and the video that is there before.
        state: continue after this step of an interrupted run of the same request; the video is the same, bit
            for bit.

    Raises:
        UserError: `state` belongs to another request.
    """
    model = components.model
    segments, stride = resolved.segments, model.vae.stride
    config = resolved.sampler_config()
    video_shapes = [LatentShape.of(segment.video_shape, stride) for segment in segments]
    references = [len(segment.conditioning.references) for segment in segments]
    # Reference images are latent frames in front of the video.
    shapes = [
        dataclasses.replace(shape, frames=shape.frames + count)
        for shape, count in zip(video_shapes, references, strict=True)
    ]
    steps = [config.sigmas(_max_sigma(segment)).num_steps for segment in segments]
    resume = _Resume.from_state(state, steps, shapes)
    prompts = encode_prompts(
        components, [segment.conditioning for segment in segments], video_shapes, fps=resolved.fps
    )
    is_controlled = model.sampling_defaults.image_conditioning == "control"
    yield StageProgress(name="text", done=1, total=1)
    generator = torch.Generator("cpu").manual_seed(resolved.seed)
    previewer = LatentPreviewer(components.vae, components.preview_decoder)
    timeline = resolved.timeline
    finished: list[Float[Tensor, "1 c f h w"]] = []
    for number, (segment, shape, embeddings) in enumerate(zip(segments, shapes, prompts, strict=True)):
        noise = _draw_noise(components, resolved, shape, generator)
        if number < resume.num_finished:
            latents = resume.latents[number].to(noise.device)
        else:
            # A control branch reads frames, not latents.
            before = dataclasses.replace(timeline, tail_latents=None) if is_controlled else timeline
            known = before.conditioning_for(segment, stride, resolved.target_video)
            inputs = encode_inputs(components, known.resolve_frames(segment.video_shape), segment.video_shape)
            yield StageProgress(name="images", done=number + 1, total=len(segments))
            denoiser = ExpertDenoiser(
                components.transformers,
                [embeddings.with_references(references[number])],
                guidance_scale=resolved.guidance_scale,
                boundary_ratio=resolved.boundary_ratio,
                concat_channels=inputs.concat_channels,
                control=inputs.control,
                keep_loaded=components.policy.keep_loaded,
                execution=components.execution,
            )
            cache = _step_cache(denoiser, resolved, steps[number])
            latents = noise
            for step in sample(
                cache or denoiser,
                noise,
                config,
                seeds=((resolved.seed, number),),
                conditioning=inputs.conditioning,
                edit=inputs.edit,
                previewer=previewer,
                resume=resume.point(number, noise.device),
            ):
                latents = step.latents
                yield dataclasses.replace(
                    step,
                    index=sum(steps[:number]) + step.index,
                    total=sum(steps),
                    finished_latents=tuple(finished),
                    resumable=cache is None,
                )
            if cache is not None:
                _log_step_cache(cache.report)
            del denoiser, inputs, cache
        pieces: list[UInt8[np.ndarray, "f h w 3"]] = []
        with components.vae.use() as vae:
            decoder = StreamingDecoder(
                vae, total=segment.video_shape.frames, tiled=False, processes=components.row_group
            )
            for chunk in decoder.decode(latents[:, :, references[number] :], last=True):
                pieces.append(chunk.frames)
                yield StageProgress(name="decode", done=chunk.done, total=chunk.total)
        frames = np.concatenate(pieces)
        if segment.conditioning.edit_source is not None:
            frames = composite_mask(segment.conditioning.edit_source, frames)
        own = latents[:, :, references[number] :].cpu()
        timeline = timeline.append(segment, stride, frames, own, resolved.target_video)
        finished.append(latents)
    video = timeline.visible_frames
    yield FrameChunk(frames=video, done=len(video), total=len(video))
    yield Finished(num_frames=len(video), tail_latents=timeline.end_latents)


def _step_cache(
    denoiser: ExpertDenoiser, resolved: ResolvedRequest, num_steps: int
) -> sampling.StepCache | None:
    """The denoiser with a step cache, if the request has one."""
    threshold = resolved.request.step_cache
    if threshold is None:
        return None
    return sampling.StepCache(
        denoiser, threshold=threshold, num_steps=num_steps, boundary_ratio=resolved.boundary_ratio
    )


def _log_step_cache(report: sampling.StepCacheReport) -> None:
    logging.getLogger("kinema").info(
        "step cache: %d of %d steps reused the last result; their velocity was off by %.1f%%, at most %.1f%%",
        report.reused,
        report.reused + report.computed,
        100 * report.mean_error,
        100 * report.max_error,
    )


def sample_batch(
    components: ModelComponents, batch: list[ResolvedRequest]
) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
    """Frames of several text-to-video requests of one shape, denoised as one batch.

    Each sample's noise comes from its own seed, so a video is the same as alone except for rounding: products
    of a batch may be summed in another order.

    Raises:
        UserError: the requests can't share a batch.
    """
    first = batch[0]
    for resolved in batch:
        _check_same_batch(first, resolved)
    model = components.model
    shape = LatentShape.of(first.video_shape, model.vae.stride)
    prompts = encode_prompts(
        components, [one.conditioning for one in batch], [shape] * len(batch), fps=first.fps
    )
    inputs = encode_inputs(components, first.conditioning, first.video_shape)
    denoiser = ExpertDenoiser(
        components.transformers,
        prompts,
        guidance_scale=first.guidance_scale,
        boundary_ratio=first.boundary_ratio,
        concat_channels=None,
        control=inputs.control,
        keep_loaded=components.policy.keep_loaded,
        execution=components.execution,
    )
    noise = torch.cat([_draw_noise(components, one, shape) for one in batch])
    latents = noise
    seeds = [(one.seed, 0) for one in batch]
    for step in sample(denoiser, noise, first.sampler_config(), seeds=seeds):
        latents = step.latents
    for one in latents.split(1):
        with components.vae.use() as vae:
            decoder = StreamingDecoder(
                vae, total=first.video_shape.frames, tiled=False, processes=components.row_group
            )
            yield np.concatenate([chunk.frames for chunk in decoder.decode(one, last=True)])


def encode_inputs(
    components: ModelComponents, conditioning: Conditioning, video_shape: VideoShape
) -> SegmentInputs:
    """Encode what is known of a segment: images, clips and latents, or the source of an edit."""
    model = components.model
    stride, channels = model.vae.stride, model.vae.z_dim
    shape = LatentShape.of(video_shape, stride)
    kind = model.sampling_defaults.image_conditioning
    sampled = dataclasses.replace(shape, frames=shape.frames + len(conditioning.references))
    nothing = SegmentInputs(conditioning=LatentConditioning.empty(channels, sampled))
    if kind == "control":
        return _encode_control(components, conditioning, video_shape, nothing)
    if kind != "control_channels" and not conditioning.num_encodes and not conditioning.latents:
        return nothing
    with components.vae.use() as vae, torch.no_grad():

        def encode(frames: Tensor) -> Tensor:
            return vae.encode(frames.to(components.device)).cpu()

        source = conditioning.edit_source
        edit = None if source is None else encode_edit(source, stride, encode)
        if kind == "channels":
            concat = encode_i2v_channels(conditioning, video_shape, shape, stride, encode)
            return dataclasses.replace(nothing, concat_channels=concat.to(components.device), edit=edit)
        if kind == "control_channels":
            concat = encode_control_channels(conditioning, video_shape, shape, channels, encode)
            return dataclasses.replace(nothing, concat_channels=concat.to(components.device), edit=edit)
        known = encode_conditions(conditioning, shape, stride, channels, encode)
        return dataclasses.replace(nothing, conditioning=known, edit=edit)


def _encode_control(
    components: ModelComponents, conditioning: Conditioning, video_shape: VideoShape, nothing: SegmentInputs
) -> SegmentInputs:
    """The input of the control branch, and the start of an edit.

    The branch itself keeps what a mask protects, so the solver need not put it back at every step.
    """
    stride = components.model.vae.stride
    with components.vae.use() as vae, torch.no_grad():

        def encode(frames: Tensor) -> Tensor:
            return vae.encode(frames.to(components.device)).cpu()

        shape = LatentShape.of(video_shape, stride)
        control = encode_control(conditioning, video_shape, shape, stride, encode)
        source, edit = conditioning.edit_source, None
        if source is not None and source.sigma < 1:
            edit = encode_edit(dataclasses.replace(source, mask=None), stride, encode)
            front = edit.latents[:, :, :1].expand(-1, -1, control.num_references, -1, -1)
            edit = dataclasses.replace(edit, latents=torch.cat([front, edit.latents], dim=2))
    control = dataclasses.replace(control, channels=control.channels.to(components.device))
    return dataclasses.replace(nothing, control=control, edit=edit)


def _max_sigma(segment: Segment) -> float | None:
    source = segment.conditioning.edit_source
    return None if source is None else source.sigma


def _draw_noise(
    components: ModelComponents,
    resolved: ResolvedRequest,
    shape: LatentShape,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "1 c f h w"]:
    """Noise of the next segment, or the noise that came with the request.

    Raises:
        UserError: that noise has another shape or type.
    """
    expected = (1, components.model.vae.z_dim, shape.frames, shape.height, shape.width)
    if resolved.noise is None:
        if generator is None:
            return seeded_noise(expected, resolved.seed, components.device)
        return torch.randn(expected, generator=generator).to(components.device)
    noise = resolved.noise
    if noise.shape != expected or noise.dtype != torch.float32:
        raise UserError(
            f"the noise is {noise.dtype} of {tuple(noise.shape)} and must be float32 of {expected} here"
        )
    return noise.to(components.device)


def _check_same_batch(first: ResolvedRequest, resolved: ResolvedRequest) -> None:
    conditioning = resolved.segments[0].conditioning
    if (
        len(resolved.segments) > 1
        or resolved.is_streamed
        or resolved.request.upscale > 1
        or resolved.request.step_cache is not None
        or conditioning.num_encodes
        or conditioning.latents
        or len(resolved.timeline.frames)
    ):
        raise UserError(
            "a batch is of short videos from text alone, without a step cache; generate this one by itself"
        )
    for name, one, other in (
        ("size and length", _describe(first.video_shape), _describe(resolved.video_shape)),
        ("number of steps", first.num_inference_steps, resolved.num_inference_steps),
        ("guidance scale", first.guidance_scale, resolved.guidance_scale),
        ("flow shift", first.flow_shift, resolved.flow_shift),
        ("recipe", first.request.recipe, resolved.request.recipe),
        ("LoRAs", first.request.loras, resolved.request.loras),
    ):
        if one != other:
            raise UserError(f"videos of a batch have the same {name}, unlike {one} and {other}")


def _describe(shape: VideoShape) -> str:
    return f"{shape.width}x{shape.height} of {shape.frames} frames"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Resume:
    """A saved state, split into segments.

    Attributes:
        num_finished: segments that are finished.
        latents: of the finished segments, then of the current one.
        first_step: of the current segment.
        history: of the current segment.
    """

    num_finished: int = 0
    latents: tuple[Float[Tensor, "1 c _ h w"], ...] = ()
    first_step: int = 0
    history: tuple[Float[Tensor, "1 c f h w"], ...] = ()

    @classmethod
    def from_state(
        cls,
        state: SamplerState | None,
        steps: list[int],
        shapes: list[LatentShape],
    ) -> _Resume:
        """Split a state; `steps` of each segment.

        Raises:
            UserError: the state is of other segments.
        """
        if state is None:
            return cls()
        number, index = 0, state.index
        while number < len(steps) and index >= steps[number]:
            index -= steps[number]
            number += 1
        expected = sum(shape.frames for shape in shapes[: number + 1])
        size = (shapes[0].height, shapes[0].width)
        if state.index < 0 or number == len(steps) or state.latents.shape[2:] != (expected, *size):
            raise UserError(
                f"the saved state (step {state.index}, latents {tuple(state.latents.shape)}) is of another "
                "video than this one; start it anew"
            )
        parts = torch.split(state.latents[:1], [shape.frames for shape in shapes[: number + 1]], dim=2)
        if index + 1 == steps[number]:
            return cls(num_finished=number + 1, latents=parts)
        past = expected - parts[-1].shape[2]
        history = tuple(row[:, :, past:] for row in state.latents[1:].split(1) if len(row))
        return cls(num_finished=number, latents=parts, first_step=index + 1, history=history)

    def point(self, number: int, device: torch.device) -> ResumePoint | None:
        """Where a segment continues; None where it has not begun."""
        if number != self.num_finished or number >= len(self.latents):
            return None
        return ResumePoint(
            first_step=self.first_step, latents=self.latents[number].to(device), history=self.history
        )
