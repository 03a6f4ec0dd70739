"""The one pipeline: text -> conditions -> flow.solve(dit) -> vae.decode -> film."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema import sampling
from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint, open_model
from kinema.models.formats.wan import WanCheckpoint
from kinema.models.text_encoders.base import TextEmbeddings, TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.pipeline import conditioning as conditions
from kinema.pipeline.conditioning import Conditioning, LatentConditioning
from kinema.pipeline.cost import CHUNK_PIXELS, CostEstimate, check_fits, estimate_cost
from kinema.pipeline.denoiser import ExpertDenoiser, PromptEmbeddings, encode_image_condition
from kinema.pipeline.device import resolve_device
from kinema.pipeline.latent_preview import LatentPreviewer
from kinema.pipeline.lazy_module import LazyModule
from kinema.pipeline.memory_policy import (
    Dtype,
    MemoryMode,
    MemoryPolicy,
    parse_dtype,
    parse_memory_mode,
    select_memory_policy,
    weight_bytes,
)
from kinema.pipeline.metadata import build_metadata
from kinema.pipeline.progress import SamplerState, SamplingStep, StageProgress
from kinema.pipeline.request import ImageInput, VideoRequest
from kinema.pipeline.resolve import ResolvedRequest, resolve_request
from kinema.pipeline.sampler_state import ResumePoint, ResumeState, SegmentInputs
from kinema.pipeline.segments import Segment
from kinema.pipeline.throughput import measure_throughput
from kinema.pipeline.video import GeneratedVideo, to_frames
from kinema.shapes import LatentShape, VideoShape


class Pipeline:
    """A model that makes films.

    The parts are loaded when first needed. With `memory` low, each is dropped when its stage is over, and of
    two experts only one is in memory.
    """

    def __init__(self, model: ModelCheckpoint, *, device: torch.device, policy: MemoryPolicy) -> None:
        self.model, self.device, self.policy = model, device, policy
        dtype, keep = policy.dtype, policy.keep_loaded
        self._text: LazyModule[TextEncoder] = LazyModule(
            lambda: model.load_text_encoder(dtype=dtype, device=device), keep_loaded=keep
        )
        self._vae: LazyModule[VideoVae] = LazyModule(lambda: model.load_vae(device=device), keep_loaded=keep)
        self._dits = [
            LazyModule(lambda i=i: self._load_dit(i), keep_loaded=keep)
            for i in range(model.sampling_defaults.num_experts)
        ]

    def _load_dit(self, expert: int) -> Dit:
        dit = self.model.load_transformer(expert, dtype=self.policy.dtype, device=self.device)
        if self.policy.int8:
            from kinema.models.transformer.int8 import quantize_

            quantize_(dit)
        return dit

    @property
    def vae(self) -> VideoVae:
        """The autoencoder: `encode(b c f h w)` in [-1, 1] to normalised latents, and `decode` back."""
        return self._vae.get()

    def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        size: tuple[int, int] | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | tuple[float, ...] | None = None,
        flow_shift: float | None = None,
        seed: int = 0,
        noise: Float[Tensor, "1 c f h w"] | None = None,
        image: ImageInput | None = None,
        last_image: ImageInput | None = None,
    ) -> GeneratedVideo:
        """Make a film; all that may be asked for, and errors: `kinema.pipeline.request.VideoRequest`, `generate_request`."""
        return self.generate_request(
            VideoRequest(
                prompt=prompt,
                negative_prompt=negative_prompt,
                size=size,
                num_frames=num_frames,
                fps=fps,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                flow_shift=flow_shift,
                seed=seed,
                noise=noise,
                image=image,
                last_image=last_image,
            )
        )

    def generate_request(self, request: VideoRequest) -> GeneratedVideo:
        """Make a film of any kind.

        Raises:
            UserError: it can't be made; the message says what can.
        """
        for event in self.iterate(resolve_request(self.model, request)):
            if isinstance(event, GeneratedVideo):
                return event
        raise RuntimeError("a run ended without a film")

    def iterate_steps(self, request: VideoRequest) -> Iterator[SamplingStep]:
        """The solver's steps of `generate_request`, one by one; the last step's latents are the finished film's."""
        for event in self.iterate(resolve_request(self.model, request)):
            if isinstance(event, SamplingStep):
                yield event
                if event.index == event.total - 1:
                    return

    def iterate(
        self, resolved: ResolvedRequest, *, resume_from: SamplerState | None = None
    ) -> Iterator[StageProgress | SamplingStep | GeneratedVideo]:
        """Make a film and say how far it is; the last event is the film. Stop reading to cancel.

        Args:
            resolved: what to make.
            resume_from: go on after this step of an earlier run of the same request; the film is the same, bit for
                bit.

        Raises:
            UserError: `resume_from` is not of this request.
        """
        takes, stride = resolved.segments, self.model.vae.stride
        resumed = ResumeState.from_state(
            resume_from, [self._schedule(resolved, take).num_steps for take in takes], takes, stride
        )
        states = self._encode_prompts(resolved)
        yield StageProgress(name="text", done=1, total=1)
        generator = torch.Generator("cpu").manual_seed(resolved.seed)
        reel = resolved.timeline
        finished: list[Float[Tensor, "1 c f h w"]] = []
        for number, take in enumerate(takes):
            noise = self._initial_noise(resolved, take, generator)
            latents = resumed.initial_latents(number, noise)
            if number >= resumed.num_finished:
                condition = reel.conditioning_for(take, stride, resolved.target_video).resolve_frames(
                    take.video_shape
                )
                scene = self._encode_segment_inputs(resolved, number, condition, states)
                yield StageProgress(name="pictures", done=number + 1, total=len(takes))
                for step in self._sample(
                    resolved, number, scene, noise, resumed.resume_point_for(number), latents
                ):
                    latents = step.latents
                    yield resumed.offset_step(step, number, finished)
                del scene
            pieces: list[UInt8[np.ndarray, "f h w 3"]] = []
            for done, frames in self._decode(latents):
                pieces.append(frames)
                yield StageProgress(name="decode", done=done, total=latents.shape[2])
            frames = np.concatenate(pieces)
            if take.conditioning.edit_source is not None:
                frames = conditions.composite_mask(take.conditioning.edit_source, frames)
            reel = reel.append(take, stride, frames, latents.cpu(), resolved.target_video)
            finished.append(latents)
        yield GeneratedVideo(
            frames=reel.visible_frames,
            fps=resolved.fps,
            prompt=" / ".join(line.prompt for take in takes for line in take.conditioning.prompts),
            seed=None if resolved.noise is not None else resolved.seed,
            num_inference_steps=resolved.num_inference_steps,
            guidance_scale=resolved.guidance_scale,
            model=self.model.name,
            tail_latents=reel.end_latents,
            metadata=build_metadata(resolved, self.model, self.policy, self.device, reel.visible_frames),
        )

    def preload(self) -> None:
        """Load transformers and autoencoder now rather than with the first film, where they are kept."""
        if self.policy.keep_loaded:
            for part in (*self._dits, self._vae):
                part.get()

    def estimate_cost(self, resolved: ResolvedRequest) -> CostEstimate:
        """What the film costs here, in time and memory; measures this machine for about a second."""
        one = estimate_cost(
            self.model,
            resolved.largest_shape,
            device=self.device,
            policy=self.policy,
            num_inference_steps=resolved.num_inference_steps,
            use_cfg=any(scale != 1 for scale in resolved.guidance_scale),
            num_images=resolved.num_encodes,
            throughput=measure_throughput(
                self.model.dit, self.model.vae, device=self.device, dtype=self.policy.dtype
            ),
            resident_bytes=self._resident_bytes(),
        )
        return one.scale(len(resolved.segments))

    def require_memory(self, resolved: ResolvedRequest) -> CostEstimate:
        """The same, refused if it has no room.

        Raises:
            UserError: the film needs more memory than there is; the message says what fits.
        """
        wanted = self.estimate_cost(resolved)
        check_fits(
            self.model,
            wanted,
            device=self.device,
            policy=self.policy,
            use_cfg=any(scale != 1 for scale in resolved.guidance_scale),
            num_images=resolved.num_encodes,
            fps=resolved.fps,
        )
        return wanted

    def _resident_bytes(self) -> int:
        """Bytes of weights in memory now."""
        weights = weight_bytes(self.model, self.policy.dtype, int8=self.policy.int8)
        names = ["text_encoder", "vae", "transformer", "transformer_2"]
        parts = [self._text, self._vae, *self._dits]
        return sum(weights.get(name, 0) for name, part in zip(names, parts, strict=False) if part.is_loaded)

    def save(self, folder: str | os.PathLike[str], *, shard_bytes: int | None = None) -> None:
        """Write the model in the layout it came in; diffusers loads a Wan folder that was saved here.

        Args:
            folder: new or empty.
            shard_bytes: the largest weights file.

        Raises:
            UserError: the folder is not empty, or the weights are int8, which are not written.
        """
        if self.policy.int8:
            raise UserError("int8 weights are for running, not for saving; load the model without int8")
        dits = [part.get() for part in self._dits]
        target = Path(folder)
        if isinstance(self.model, WanCheckpoint):
            self.model.save(target, transformers=dits, vae=self.vae, shard_bytes=shard_bytes or 5 * 10**9)
        else:
            from kinema.models.formats.native import SHARD_BYTES, save_checkpoint

            save_checkpoint(
                target,
                sampling_defaults=self.model.sampling_defaults,
                transformer=dits[0],
                vae=self.vae,
                dtype=self.policy.dtype,
                shard_bytes=shard_bytes or SHARD_BYTES,
            )

    # ---- the five calls

    def _encode_prompts(self, resolved: ResolvedRequest) -> TextEmbeddings:
        """The states of all takes' prompts in order, the negative prompt's last."""
        texts = [line.prompt for take in resolved.segments for line in take.conditioning.prompts]
        with self._text.use() as encoder:
            return encoder.encode([*texts, resolved.conditioning.negative_prompt])

    def _first_prompt_embeddings(self, resolved: ResolvedRequest) -> PromptEmbeddings:
        """What is said in the first take."""
        return self._prompt_embeddings(resolved, 0, resolved.conditioning, self._encode_prompts(resolved))

    def _prompt_embeddings(
        self,
        resolved: ResolvedRequest,
        number: int,
        conditioning: Conditioning,
        text_embeddings: TextEmbeddings,
    ) -> PromptEmbeddings:
        """What is said in a take, and what a CLIP sees of its pictures where one belongs to the model."""
        first = sum(len(take.conditioning.prompts) for take in resolved.segments[:number])
        rows = [*range(first, first + len(conditioning.prompts)), len(text_embeddings.lengths) - 1]
        shape = self._latent_shape(resolved.segments[number].video_shape)
        return PromptEmbeddings(
            text_embeddings=TextEmbeddings(
                hidden_states=text_embeddings.hidden_states[rows], lengths=text_embeddings.lengths[rows]
            ),
            image_embeddings=encode_image_condition(
                self.model, conditioning.images, dtype=self.policy.dtype, device=self.device
            ),
            prompt_index=conditioning.prompt_index_per_frame(shape, self.model.vae.stride),
        )

    def _encode_segment_inputs(
        self,
        resolved: ResolvedRequest,
        number: int,
        conditioning: Conditioning,
        text_embeddings: TextEmbeddings,
    ) -> SegmentInputs:
        """All that the solver is told of a take: prompts, given latent frames, a film that is changed."""
        spoken = self._prompt_embeddings(resolved, number, conditioning, text_embeddings)
        film = resolved.segments[number].video_shape
        shape, channels, stride = self._latent_shape(film), self.model.vae.z_dim, self.model.vae.stride
        scene = SegmentInputs(
            prompt_embeddings=spoken, latent_conditioning=LatentConditioning.empty(channels, shape)
        )
        if not conditioning.num_encodes and not conditioning.latents:
            return scene
        with self._vae.use() as vae, torch.no_grad():

            def encode(frames: Tensor) -> Tensor:
                return vae.encode(frames.to(self.device)).cpu()

            base = conditioning.edit_source
            changed = None if base is None else conditions.encode_edit(base, stride, encode)
            if self.model.sampling_defaults.image_conditioning == "channels":
                beside = conditions.encode_i2v_channels(conditioning, film, shape, stride, encode)
                return dataclasses.replace(scene, concat_channels=beside.to(self.device), edit=changed)
            given = conditions.encode_conditions(conditioning, shape, stride, channels, encode)
            return dataclasses.replace(scene, latent_conditioning=given, edit=changed)

    def _schedule(self, resolved: ResolvedRequest, segment: Segment) -> sampling.Schedule:
        """The noise levels of a take: all of them, or those from which a film is changed."""
        levels = (
            sampling.wan_schedule
            if self.model.sampling_defaults.schedule == "wan"
            else sampling.linear_schedule
        )
        schedule = levels(resolved.num_inference_steps, resolved.flow_shift)
        base = segment.conditioning.edit_source
        return schedule if base is None else schedule.truncate(base.sigma)

    def _sample(
        self,
        resolved: ResolvedRequest,
        number: int,
        inputs: SegmentInputs,
        noise: Float[Tensor, "1 c f h w"],
        resume_point: ResumePoint,
        latents: Float[Tensor, "1 c f h w"],
    ) -> Iterator[SamplingStep]:
        """The solver's steps of a take."""
        recipe, given, changed = self.model.sampling_defaults, inputs.latent_conditioning, inputs.edit
        velocity = ExpertDenoiser(
            self._dits,
            [inputs.prompt_embeddings],
            guidance_scale=resolved.guidance_scale,
            boundary=recipe.boundary_ratio,
            concat_channels=inputs.concat_channels,
            keep_loaded=self.policy.keep_loaded,
        )
        schedule = self._schedule(resolved, resolved.segments[number])
        # A film that is changed is to stay near to what it was: there no noise is drawn anew.
        eta = recipe.eta if changed is None else 0.0
        if changed is not None and not resume_point.first_step:
            latents = changed.noised_latents(noise, schedule.sigmas[0])
        preview = LatentPreviewer(self._vae)
        for step in sampling.sample(
            velocity,
            latents,
            schedule,
            solver=recipe.solver,
            ancestral=sampling.AncestralNoise(eta=eta, seeds=((resolved.seed, number),)),
            clamp=given.to_clamp(noise),
            mask=None if changed is None else changed.inpaint_mask(noise),
            first_step=resume_point.first_step,
            history=tuple(row.to(self.device) for row in resume_point.history),
        ):
            last = step.index == step.total - 1
            yield SamplingStep(
                index=step.index,
                total=step.total,
                sigma=step.sigma,
                latents=given.restore_conditioning(step.latents) if last else step.latents,
                clean=given.restore_conditioning(step.clean),
                _previewer=preview,
                history=step.history,
            )

    def _decode(
        self, latents: Float[Tensor, "1 c f h w"]
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "f h w 3"]]]:
        """Frames as they come, and how many latent frames are done."""
        stride = self.model.vae.stride
        pixels = latents.shape[3] * latents.shape[4] * stride.spatial**2 * stride.temporal
        size = max(1, CHUNK_PIXELS // pixels)
        cache = None
        with self._vae.use() as vae:
            for start in range(0, latents.shape[2], size):
                stop = min(start + size, latents.shape[2])
                with torch.no_grad():
                    last = stop == latents.shape[2]
                    frames, cache = vae.decode_chunk(latents[:, :, start:stop], cache, last=last)
                    images = to_frames(frames)
                yield stop, images

    def _latent_shape(self, video_shape: VideoShape) -> LatentShape:
        return LatentShape.of(video_shape, self.model.vae.stride)

    def _initial_noise(
        self,
        resolved: ResolvedRequest,
        segment: Segment | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "1 c f h w"]:
        """Standard normal, from the CPU's generator; later stages can't change what a seed means."""
        shape = self._latent_shape(resolved.video_shape if segment is None else segment.video_shape)
        expected = (1, self.model.vae.z_dim, shape.frames, shape.height, shape.width)
        if resolved.noise is None:
            generator = generator or torch.Generator("cpu").manual_seed(resolved.seed)
            return torch.randn(expected, generator=generator).to(self.device)
        noise = resolved.noise
        if noise.shape != expected or noise.dtype != torch.float32:
            raise UserError(
                f"the noise is {noise.dtype} of {tuple(noise.shape)} and must be float32 of {expected} here"
            )
        return noise.to(self.device)


def load(
    model: str | os.PathLike[str],
    device: str = "auto",
    dtype: Dtype | str = "auto",
    memory: MemoryMode | str = "auto",
) -> Pipeline:
    """A pipeline of a model.

    Args:
        model: `world` (shipped), a folder, or `owner/name` on the Hugging Face hub.
        device: `cpu`, `cuda`, `cuda:1`; `auto` takes the GPU if there is one.
        dtype: `float32`, `bfloat16`, or `int8` (CPU only: the transformers' large weights in 8 bits, about
            1% off in each layer, for a quarter of the memory). `auto` is bfloat16 on a GPU and float32 on a
            CPU, or bfloat16 there too where float32 does not fit.
        memory: `high` keeps every part in memory between films, `low` has one part at a time. `auto` keeps
            them if they all fit.

    Raises:
        UserError: there is no such model or device, or the model is not complete.
    """
    opened = open_model(os.fspath(model))
    chosen = resolve_device(device)
    choice = select_memory_policy(opened, chosen, dtype=parse_dtype(dtype), memory=parse_memory_mode(memory))
    return Pipeline(opened, device=chosen, policy=choice)
