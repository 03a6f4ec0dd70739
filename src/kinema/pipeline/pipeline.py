"""The pipeline: a request in, progress and frames out.

VideoRequest -> resolve_request -> segments -> encode prompts and conditioning -> sample -> decode -> frames
"""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinema.distributed.video_split import VideoProcesses
from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint, open_model
from kinema.models.formats.wan import WanCheckpoint
from kinema.models.transformer.attention import choose_attention_backend
from kinema.models.vae.autoencoder import VideoVae
from kinema.pipeline.components import ModelComponents
from kinema.pipeline.device import resolve_device
from kinema.pipeline.execution import DEFAULT_EXECUTION, Execution, parse_compile_mode
from kinema.pipeline.loras import LoraTransformers, ResolvedLora, parse_lora, resolve_loras
from kinema.pipeline.memory_policy import (
    Dtype,
    MemoryMode,
    MemoryPolicy,
    parse_dtype,
    parse_memory_mode,
    select_memory_policy,
)
from kinema.pipeline.metadata import GenerationMetadata, build_metadata
from kinema.pipeline.progress import (
    Event,
    Finished,
    FrameChunk,
    SamplerState,
    SamplingStep,
    StageProgress,
)
from kinema.pipeline.prompt_rewriting import rewrite_prompts
from kinema.pipeline.request import (
    ControlInput,
    EditInput,
    ExtendInput,
    ImageInput,
    InterpolateInput,
    Keyframe,
    Lora,
    Shot,
    VideoRequest,
)
from kinema.pipeline.resolve import resolve_request
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.segment_sampling import sample_batch, sample_segments
from kinema.pipeline.streaming import stream_segments
from kinema.pipeline.super_resolution import enlarge_events
from kinema.pipeline.upscale import check_upscale, upscale
from kinema.pipeline.video import GeneratedVideo
from kinema.shapes import parse_size

if TYPE_CHECKING:
    from kinema.pipeline.cost import CostEstimate
    from kinema.pipeline.live import LiveSampler


class Pipeline:
    """A model that generates videos.

    Modules are loaded when first needed. With low memory each is dropped when its stage is over, and of two
    experts only one is in memory.

    Args:
        model: the checkpoint.
        device: where it runs.
        policy: in which type, and whether modules stay in memory.
        preview_decoder: the file of a tiny decoder for previews.
        execution: how its transformers run.
        text_cache: whether hidden states of prompts are kept on disk, for models with a large text encoder.
    """

    def __init__(
        self,
        model: ModelCheckpoint,
        *,
        device: torch.device,
        policy: MemoryPolicy,
        preview_decoder: Path | None = None,
        execution: Execution = DEFAULT_EXECUTION,
        text_cache: bool = True,
    ) -> None:
        self.components = ModelComponents.from_checkpoint(
            model,
            device,
            policy,
            preview_decoder=preview_decoder,
            execution=execution,
            text_cache=text_cache,
        )
        self._lora_transformers = LoraTransformers(self.components)
        self._lora_files: dict[str, Path] = {}

    @property
    def model(self) -> ModelCheckpoint:
        """The checkpoint."""
        return self.components.model

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.components.device

    @property
    def policy(self) -> MemoryPolicy:
        """In which type it runs, and whether modules stay in memory."""
        return self.components.policy

    @property
    def is_main(self) -> bool:
        """Whether this process writes files: the first of those that share a video, or the only one."""
        processes = self.components.execution.processes
        return processes is None or processes.rank == 0

    @property
    def vae(self) -> VideoVae:
        """The autoencoder: `encode(b c f h w)` in [-1, 1] to normalised latents, and `decode` back."""
        return self.components.vae.get()

    def generate(
        self,
        prompt: str | VideoRequest = "",
        *,
        negative_prompt: str | None = None,
        size: tuple[int, int] | str | None = None,
        num_frames: int | None = None,
        seconds: float | None = None,
        fps: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | tuple[float, ...] | None = None,
        flow_shift: float | None = None,
        seed: int = 0,
        image: ImageInput | None = None,
        last_image: ImageInput | None = None,
        keyframes: Sequence[Keyframe] = (),
        storyboard: Sequence[Shot] = (),
        loop: bool = False,
        source: ExtendInput | InterpolateInput | EditInput | None = None,
        upscale: int = 1,
        loras: Sequence[Lora | str] = (),
        recipe: str | None = None,
        control: ControlInput | None = None,
        references: Sequence[ImageInput] = (),
        step_cache: float | None = None,
        rewrite_prompt: bool = True,
        noise: Float[Tensor, "1 c f h w"] | None = None,
    ) -> GeneratedVideo:
        """Generate a video and return all its frames.

        The arguments that are not listed here are the fields of `VideoRequest` of the same names.

        Args:
            prompt: what the video shows; or a whole request, and then no other argument but `noise`.
            loras: changes of the model's weights; also as text: `style.safetensors`, `style.safetensors:0.8`.
            size: width and height in pixels, or a text such as `832x480`.
            noise: standard normal latents in place of the seed's noise, float32.

        Raises:
            UserError: it can't be generated; the message says what can.
        """
        request = prompt
        if not isinstance(request, VideoRequest):
            request = VideoRequest(
                prompt=request,
                negative_prompt=negative_prompt,
                size=parse_size(size) if isinstance(size, str) else size,
                num_frames=num_frames,
                seconds=seconds,
                fps=fps,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                flow_shift=flow_shift,
                seed=seed,
                image=image,
                last_image=last_image,
                keyframes=tuple(keyframes),
                storyboard=tuple(storyboard),
                loop=loop,
                source=source,
                upscale=upscale,
                loras=tuple(parse_lora(lora) if isinstance(lora, str) else lora for lora in loras),
                recipe=recipe,
                control=control,
                references=tuple(references),
                step_cache=step_cache,
                rewrite_prompt=rewrite_prompt,
            )
        resolved = self.resolve(request, noise=noise)
        _warn_of_unused(resolved.loras)
        return self.collect(resolved, self.stream(resolved))

    def generate_batch(self, requests: Sequence[VideoRequest]) -> Iterator[GeneratedVideo]:
        """Generate several text-to-video requests of one size, length and settings as one batch.

        A batch keeps a GPU busy that one small video leaves idle. Memory grows with the batch in the
        transformer; videos are decoded one after the other.

        Raises:
            UserError: the requests can't share a batch.
        """
        batch = [self.resolve(request) for request in requests]
        if batch:
            components = self._lora_transformers.components(batch[0].loras)
            for resolved, frames in zip(batch, sample_batch(components, batch), strict=True):
                yield self._video(resolved, frames, tail_latents=None)

    def resolve(
        self, request: VideoRequest, *, noise: Float[Tensor, "1 c f h w"] | None = None
    ) -> ResolvedRequest:
        """Fill in the model's defaults, read input files, plan the segments, and rewrite the prompts.

        Raises:
            UserError: it can't be generated; the message says what can.
        """
        resolved = resolve_request(self.model, request, noise=noise, lora_files=self._lora_files)
        if request.upscale > 1:
            check_upscale(self.model, request.upscale)
        return rewrite_prompts(self.components.prompt_rewriter, resolved)

    def stream(
        self, request: VideoRequest | ResolvedRequest, *, state: SamplerState | None = None
    ) -> Iterator[Event]:
        """Generate a video; yield progress, frames as they are finished, and `Finished` at the end.

        This is the only place that decides how a video is generated: as a stream of blocks when it is longer
        than the model was trained for, else segment by segment; then upscaled if the request says so. Stop
        reading to cancel.

        Args:
            request: what to generate.
            state: continue after this step of an interrupted run of the same request; the video is the same,
                bit for bit.

        Raises:
            UserError: it can't be generated, or `state` is of another request.
        """
        resolved = request if isinstance(request, ResolvedRequest) else self.resolve(request)
        if state is not None and (resolved.is_streamed or resolved.request.upscale > 1):
            raise UserError("long and upscaled videos can't continue from a saved state; generate them again")
        if state is not None and resolved.request.step_cache is not None:
            raise UserError("a video with a step cache can't continue from a saved state; generate it again")
        components = self._lora_transformers.components(resolved.loras)
        if resolved.is_streamed:
            events = stream_segments(components, resolved)
        else:
            events = self._observed(resolved, sample_segments(components, resolved, state))
        if resolved.request.upscale > 1:
            events = _upscaled(components, resolved, events)
        return events

    def live(self, request: VideoRequest) -> LiveSampler:
        """A video without end whose prompt may change at any time.

        Args:
            request: size, guidance, solver steps, seed, negative prompt and LoRAs.

        Raises:
            UserError: the model can't stream.
        """
        from kinema.pipeline.live import LiveSampler

        resolved = self.resolve(request)
        return LiveSampler(self._lora_transformers.components(resolved.loras), resolved)

    def _observed(self, resolved: ResolvedRequest, events: Iterator[Event]) -> Iterator[Event]:
        """Keep how long the steps take, so that the next estimate of this model is right on this machine."""
        if self.components.execution.processes is not None or resolved.request.step_cache is not None:
            return events
        from kinema.pipeline.cost import step_operations
        from kinema.pipeline.throughput import observe_sampling_time

        return observe_sampling_time(
            events,
            step_operations=lambda: step_operations(self.components, resolved),
            dit=self.model.dit,
            device=self.device,
            policy=self.policy,
        )

    def collect(self, resolved: ResolvedRequest, events: Iterator[Event]) -> GeneratedVideo:
        """The frames of `stream` as one video."""
        chunks, tail_latents = [], None
        for event in events:
            if isinstance(event, FrameChunk):
                chunks.append(event.frames)
            elif isinstance(event, Finished):
                tail_latents = event.tail_latents
        return self._video(resolved, np.concatenate(chunks), tail_latents)

    def _video(
        self, resolved: ResolvedRequest, frames: np.ndarray, tail_latents: Tensor | None
    ) -> GeneratedVideo:
        return GeneratedVideo(
            frames=frames,
            fps=resolved.fps,
            tail_latents=tail_latents,
            metadata=self.metadata(resolved, frames),
        )

    def metadata(self, resolved: ResolvedRequest, frames: np.ndarray | None = None) -> GenerationMetadata:
        """What a file keeps so that the video can be reproduced; `frames` where all are at hand."""
        return build_metadata(resolved, self.model, self.policy, self.device, frames)

    def load_lora(self, file: str | os.PathLike[str], *, name: str | None = None) -> str:
        """Check that a LoRA fits the model, and give it a name that requests can use.

        It takes no effect until a request names it.

        Args:
            file: a safetensors file, or a folder with one or with a pair for high and low noise.
            name: None: the file's name without its suffix.

        Returns:
            The name.

        Raises:
            UserError: the file is missing, damaged, or made for another model.
        """
        path = Path(file).expanduser()
        _warn_of_unused(resolve_loras(self.model, [Lora(file=path)], {}))
        name = path.stem if name is None else name
        self._lora_files[name] = path
        return name

    def warnings(self, resolved: ResolvedRequest) -> tuple[str, ...]:
        """What a person should know before a request is generated, one line each.

        Prompts that were rewritten, words that the model was not trained on, and images that it will not keep
        as they are.
        """
        from kinema.pipeline.prompt_vocabulary import lora_vocabulary
        from kinema.pipeline.request_warnings import request_warnings

        files = [match.file for lora in resolved.loras for match in lora.matches]
        return (
            *resolved.rewriting_notes,
            *request_warnings(self.model, resolved.request, resolved.size, lora_words=lora_vocabulary(files)),
        )

    def preload(self) -> None:
        """Load the model now rather than with the first video, where it stays in memory."""
        self.components.preload()

    def estimate(self, resolved: ResolvedRequest) -> CostEstimate:
        """Time and peak memory on this machine; measures its speed for about a second."""
        from kinema.pipeline.cost import estimate_request

        return estimate_request(self.components, resolved)

    def require_memory(self, resolved: ResolvedRequest) -> CostEstimate:
        """The estimate, refused if the video does not fit into memory.

        Raises:
            UserError: it does not fit; the message says what fits.
        """
        from kinema.pipeline.cost import check_request_fits, estimate_request

        estimate = estimate_request(self.components, resolved)
        check_request_fits(self.components, resolved, estimate)
        return estimate

    def save(self, folder: str | os.PathLike[str], *, shard_bytes: int | None = None) -> None:
        """Write the model in the layout it was loaded from; diffusers loads Wan folders that are saved here.

        Args:
            folder: new or empty.
            shard_bytes: the largest weights file.

        Raises:
            UserError: the folder is not empty, or the weights have 8 bits, which are not written.
        """
        if self.policy.has_eight_bits:
            raise UserError("8-bit weights are for running, not for saving; load the model in bfloat16")
        transformers = [module.get() for module in self.components.transformers]
        target = Path(folder)
        if isinstance(self.model, WanCheckpoint):
            self.model.save(
                target, transformers=transformers, vae=self.vae, shard_bytes=shard_bytes or 5 * 10**9
            )
        else:
            from kinema.models.formats.native import SHARD_BYTES, KinemaCheckpoint, save_checkpoint

            save_checkpoint(
                target,
                sampling_defaults=self.model.sampling_defaults,
                transformer=transformers[0],
                vae=self.vae,
                dtype=self.policy.dtype,
                shard_bytes=shard_bytes or SHARD_BYTES,
                vocabulary=self.model.vocabulary if isinstance(self.model, KinemaCheckpoint) else (),
            )
            if isinstance(self.model, KinemaCheckpoint):
                self.model.copy_small_parts(target)


def _warn_of_unused(loras: Sequence[ResolvedLora]) -> None:
    for lora in loras:
        for note in lora.notes:
            warnings.warn(note, stacklevel=3)


def _upscaled(
    components: ModelComponents, resolved: ResolvedRequest, events: Iterator[Event]
) -> Iterator[Event]:
    factor = resolved.request.upscale
    if components.super_resolution is not None:
        yield from enlarge_events(components.super_resolution.get(), events, factor, components.device)
        return
    chunks = []
    for event in events:
        if isinstance(event, FrameChunk):
            chunks.append(event.frames)
            yield StageProgress(name="decode", done=event.done, total=event.total)
        elif isinstance(event, SamplingStep):
            yield dataclasses.replace(event, resumable=False)
        elif isinstance(event, StageProgress):
            yield event
    yield from upscale(components, resolved, np.concatenate(chunks), factor)


def load(
    model: str | os.PathLike[str],
    device: str = "auto",
    dtype: Dtype | str = "auto",
    memory: MemoryMode | str = "auto",
    *,
    vae: str | os.PathLike[str] | None = None,
    text_encoder: str | os.PathLike[str] | None = None,
    preview_decoder: str | os.PathLike[str] | None = None,
    attention: str = "auto",
    split: str = "auto",
    text_cache: bool = True,
    compile_mode: str = "off",
) -> Pipeline:
    """A pipeline of a model.

    Args:
        model: `world` (shipped), a folder, a file with a transformer of the Wan family, or `owner/name` on
            the Hugging Face hub.
        device: `cpu`, `cuda`, `cuda:1`; `auto` takes the GPU if there is one.
        dtype: `float32`, `bfloat16`, `int8` (the transformers' large weights in 8 bits, about 1% off in each
            layer, for a quarter of the memory; on a GPU with torchao), or `fp8` (the same in float8, on GPUs
            that have it). `auto` is bfloat16 on a GPU and float32 on a CPU, or bfloat16 there too where
            float32 does not fit.
        memory: `high` keeps every part in memory between videos, `low` has one part at a time, `blocks` keeps
            the transformer's blocks in the CPU's memory and copies each while the one before runs, `sharded`
            divides the weights among the processes of torchrun. `auto` keeps all if they fit. A size such as
            `8GB` plans for a card of that size.
        vae: an autoencoder in place of the model's, for models of the Wan family: a file, a folder, or
            `owner/name` on the hub.
        text_encoder: a text encoder, in the same forms.
        preview_decoder: the file of a tiny decoder for previews, in the layout of TAEHV.
        attention: what computes attention: `sdpa`, `cudnn`, `flash`, `efficient`, `math`, `flash-attn-2`,
            `flash-attn-3`, `sage`, `xformers`; `auto` chooses.
        split: how the processes of an initialised `torch.distributed` share each video, for example
            `guidance=2,ulysses=2,ring=1`; `auto` chooses.
        text_cache: keep hidden states of prompts on disk, for models with a large text encoder, so that a
            prompt that was used before needs no text encoder.
        compile_mode: `blocks` compiles the transformer's blocks for each size of video, which takes a minute
            for the first one; `graphs` adds CUDA graphs. Compiled code is kept between runs.

    Raises:
        UserError: there is no such model, file or device, or the model is not complete.
    """
    opened = open_model(
        os.fspath(model),
        vae=None if vae is None else os.fspath(vae),
        text_encoder=None if text_encoder is None else os.fspath(text_encoder),
    )
    logging.getLogger("kinema").info("%s: %s", opened.name, opened.description)
    chosen = resolve_device(device)
    processes = VideoProcesses.join(split, opened.dit.heads)
    choice = select_memory_policy(
        opened,
        chosen,
        dtype=parse_dtype(dtype),
        memory=parse_memory_mode(memory),
        num_processes=1 if processes is None else processes.rows.size,
    )
    tiny = None if preview_decoder is None else Path(preview_decoder).expanduser()
    if tiny is not None and not tiny.is_file():
        raise UserError(f"there is no file {tiny}; give a tiny decoder, for example taew2_1.safetensors")
    execution = Execution(
        attention=choose_attention_backend(attention, chosen)[0],
        compile_mode=parse_compile_mode(compile_mode, chosen),
        processes=processes,
    )
    if execution.compile_mode != "off" and (choice.offload_blocks or processes is not None):
        raise UserError(
            "compiled blocks run in one process and stay on the device; leave out compile_mode, or give one "
            "process and memory 'high' or 'low'"
        )
    return Pipeline(
        opened,
        device=chosen,
        policy=choice,
        preview_decoder=tiny,
        execution=execution,
        text_cache=text_cache,
    )
