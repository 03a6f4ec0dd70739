"""A video without end whose prompt may change at any time.

Blocks are sampled as in `kinema.pipeline.streaming`, and shown one latent frame at a time. What comes next
depends on a `LiveState` of constant size, which is passed in and returned. It can be computed again from the
latents of the last frames, so that a video goes on from any point of its past.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from kinema.frames import require_finite, to_frames
from kinema.models.vae.autoencoder import VaeCache
from kinema.pipeline.components import ModelComponents
from kinema.pipeline.conditioning import Conditioning, TimedPrompt
from kinema.pipeline.denoiser import FrameRangeDenoiser
from kinema.pipeline.prompts import encode_prompts
from kinema.pipeline.request import Transition
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.sampler import sample
from kinema.pipeline.streaming import StreamContext, StreamingConfig, default_streaming_config
from kinema.shapes import LatentShape, VideoShape

DECODED_AGAIN = 6
"""Latent frames that are decoded again, without being shown, before a video goes on from its past."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveState:
    """Where a live video is.

    Attributes:
        prompt: of the next frames.
        branch: number of the branch; part of what chooses the noise.
        context: what the current block attends to.
        block: latents of the current block; None: the next one is sampled first.
        shown: latent frames of the block that were decoded.
        start: latent frames between the last cut and the block.
        decoder: past frames of the autoencoder.
        serial: number of blocks sampled so far.
    """

    prompt: FrameRangeDenoiser
    branch: int = 0
    context: StreamContext
    block: Float[Tensor, "1 c f h w"] | None = None
    shown: int = 0
    start: int = 0
    decoder: VaeCache | None = None
    serial: int = 0

    @property
    def position(self) -> int:
        """Latent frames since the last cut."""
        return self.start + self.shown


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveFrames:
    """What one latent frame shows.

    Attributes:
        latents: on the CPU.
        frames: one frame after a cut, else a group of them.
    """

    latents: Float[Tensor, "1 c 1 h w"]
    frames: UInt8[ndarray, "n h2 w2 3"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LivePast:
    """Latents of a video at the point from which it goes on.

    Attributes:
        first: its first latent frames since the last cut, `StreamingConfig.sink` of them or more.
        last: the last ones, `LiveSampler.num_kept` of them, or all since the last cut.
        position: latent frames since the last cut.
    """

    first: Float[Tensor, "1 c s h w"]
    last: Float[Tensor, "1 c n h w"]
    position: int


class LiveSampler:
    """Samples a video without end.

    Args:
        components: they stay in memory.
        resolved: size, guidance, solver, seed and negative prompt; its prompt and length do not matter.
        config: blocks and context; None: `default_streaming_config`.

    Raises:
        UserError: the model can't stream.
    """

    def __init__(
        self,
        components: ModelComponents,
        resolved: ResolvedRequest,
        config: StreamingConfig | None = None,
    ) -> None:
        self.config = config or default_streaming_config(components.model)
        self.fps, self.size, self.seed = resolved.fps, resolved.size, resolved.seed
        self.stride = components.model.vae.stride
        width, height = resolved.size
        self.latent_shape = LatentShape.of(VideoShape(frames=1, height=height, width=width), self.stride)
        self.max_steps = resolved.num_inference_steps
        self._components, self._resolved = components, resolved
        self._rewriter = components.prompt_rewriter if resolved.request.allows_rewriting else None
        self._vae, self._dit = components.vae.get(), components.transformers[0].get()

    @property
    def num_kept(self) -> int:
        """Latent frames that `LivePast.last` should have."""
        return max(self.config.window, DECODED_AGAIN)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return self._components.model.vae.z_dim

    @property
    def has_fixed_steps(self) -> bool:
        """Whether the model was trained for its own number of steps only."""
        return bool(self._resolved.sampler_config().fixed_sigmas)

    def encode_prompt(self, prompt: str, *, is_first: bool = True) -> FrameRangeDenoiser:
        """The transformer under a prompt.

        Args:
            prompt: what the next frames show. It is rewritten as in `kinema.pipeline.prompt_rewriter`.
            is_first: whether a new shot begins with it. Else the frames before decide what it leaves open.
        """
        if self._rewriter is not None:
            prompt = self._rewriter.rewrite(prompt, seed=self.seed, chooses=is_first)
        conditioning = Conditioning(
            prompts=(TimedPrompt(prompt=prompt),),
            negative_prompt=self._resolved.conditioning.negative_prompt,
        )
        (embeddings,) = encode_prompts(
            self._components, [conditioning], [self.latent_shape], fps=self._resolved.fps
        )
        return FrameRangeDenoiser(
            self._dit,
            embeddings,
            guidance_scale=self._resolved.guidance_scale[0],
            execution=self._components.execution,
        )

    def begin(self, prompt: FrameRangeDenoiser, *, branch: int = 0, serial: int = 0) -> LiveState:
        """The state at the beginning of a video, or after a cut."""
        return LiveState(
            prompt=prompt, branch=branch, context=StreamContext.empty(self.config), serial=serial
        )

    def change_prompt(
        self, state: LiveState, prompt: FrameRangeDenoiser, transition: Transition
    ) -> LiveState:
        """The state with another prompt. Frames that were sampled but not shown are dropped.

        Args:
            state: after the frames shown last.
            prompt: of the next frames.
            transition: `cut` begins a new scene; `blend` goes on in the same one.
        """
        if transition == "cut":
            return self.begin(prompt, branch=state.branch, serial=state.serial)
        return dataclasses.replace(self._with_block_finished(state), prompt=prompt)

    def next_frames(
        self, state: LiveState, *, num_inference_steps: int | None = None
    ) -> tuple[LiveState, LiveFrames]:
        """Decode the next latent frame; sample a block first where all before are shown.

        Args:
            state: after the frames before.
            num_inference_steps: solver steps of a block; None: those of the request. Models with fixed steps
                ignore it.
        """
        if state.block is not None and state.shown == state.block.shape[2]:
            state = self._with_block_finished(state)
        if state.block is None:
            state = self._sample_block(state, num_inference_steps)
        block = state.block
        assert block is not None
        latents = block[:, :, state.shown : state.shown + 1]
        with torch.no_grad():
            video, decoder = self._vae.decode_chunk(latents, state.decoder)
        require_finite(video, "frames")
        after = dataclasses.replace(state, decoder=decoder, shown=state.shown + 1)
        return after, LiveFrames(latents=latents.cpu(), frames=to_frames(video))

    def go_on(self, past: LivePast, prompt: FrameRangeDenoiser, *, branch: int, serial: int = 0) -> LiveState:
        """The state after these latents, as nearly as they tell; it depends little on what was before.

        Args:
            past: the latents.
            prompt: of the next frames.
            branch: its number.
            serial: blocks sampled so far.
        """
        generator = self._generator(branch, past.position, 2)
        device = self._components.device
        first, last = past.first.to(device), past.last.to(device)
        start = past.position - last.shape[2]
        frames = [
            *((index, first[:, :, index : index + 1]) for index in range(min(first.shape[2], start))),
            *((start + index, last[:, :, index : index + 1]) for index in range(last.shape[2])),
        ]
        context, decoder = StreamContext.empty(self.config), None
        for position, latents in frames:
            context = context.at(position).extended(
                prompt, range(position, position + 1), latents, self._draw(1, generator)
            )
        with torch.no_grad():
            for part in last.split(1, dim=2):
                _, decoder = self._vae.decode_chunk(part, decoder)
        return LiveState(
            prompt=prompt, branch=branch, context=context, start=past.position, decoder=decoder, serial=serial
        )

    def _sample_block(self, state: LiveState, num_inference_steps: int | None) -> LiveState:
        count = self.config.block if state.start else self.config.first
        block = range(state.start, state.start + count)
        config = self._resolved.sampler_config()
        if config.eta and not config.fixed_sigmas:
            # Fresh noise needs many steps to become a part of the video.
            config = dataclasses.replace(config, eta=0.0)
        if num_inference_steps is not None and not config.fixed_sigmas:
            config = dataclasses.replace(config, num_inference_steps=num_inference_steps)
        latents = noise = self._draw(count, self._generator(state.branch, state.serial, 0))
        for step in sample(
            state.context.denoiser(state.prompt, block),
            noise,
            config,
            seeds=((self.seed, state.branch, state.serial),),
            context=state.context.frames(),
        ):
            latents = step.latents
        return dataclasses.replace(state, block=latents, shown=0, serial=state.serial + 1)

    def _with_block_finished(self, state: LiveState) -> LiveState:
        """The frames of the block that were shown are context of the next one; the others are dropped."""
        if state.block is None or not state.shown:
            return dataclasses.replace(state, block=None)
        noise = self._draw(state.shown, self._generator(state.branch, state.serial, 1))
        context = state.context.extended(
            state.prompt, range(state.start, state.position), state.block[:, :, : state.shown], noise
        )
        return dataclasses.replace(state, context=context, block=None, shown=0, start=state.position)

    def _generator(self, *parts: int) -> torch.Generator:
        digest = hashlib.sha256(repr((self.seed, *parts)).encode()).digest()
        return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "big"))

    def _draw(self, num_frames: int, generator: torch.Generator) -> Float[Tensor, "1 c f h w"]:
        shape = self.latent_shape
        size = (1, self.latent_channels, num_frames, shape.height, shape.width)
        return torch.randn(size, generator=generator).to(self._components.device)
