"""A model's transformers under their prompts and guidance, as the function that a solver calls.

Guidance (arXiv 2207.12598) is applied here and nowhere else: `sampling.apply_cfg` runs the transformer on the
prompts and on the negative prompt in one batch and combines both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import sampling
from kinema.distributed.group import Group
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.transformer.text_context import TextContext
from kinema.pipeline.control import ControlInputs
from kinema.pipeline.execution import DEFAULT_EXECUTION, Execution
from kinema.pipeline.lazy_module import LazyModule, empty_cache
from kinema.pipeline.prompts import PromptEmbeddings, batch_context, negative_batch_context


class ExpertDenoiser:
    """One transformer, or two experts that share the noise levels: the first above `boundary_ratio`.

    An expert is loaded when the solver reaches its noise levels. Where memory is short the other one is
    dropped first.

    Args:
        transformers: one or two.
        samples: prompts of each sample of the batch.
        guidance_scale: of each expert; 1 is off.
        boundary_ratio: the sigma below which the second expert takes over; None with one transformer.
        concat_channels: channels next to the latents, for image-to-video models that read them.
        control: input of the control branch, for models that have one.
        keep_loaded: whether both experts stay in memory.
        execution: how they run.
    """

    def __init__(
        self,
        transformers: Sequence[LazyModule[Dit]],
        samples: Sequence[PromptEmbeddings],
        *,
        guidance_scale: tuple[float, ...],
        boundary_ratio: float | None,
        concat_channels: Float[Tensor, "1 k f h w"] | None,
        keep_loaded: bool,
        control: ControlInputs | None = None,
        execution: Execution = DEFAULT_EXECUTION,
    ) -> None:
        self._control, self._execution = control, execution
        self._transformers, self._samples, self._concat_channels = transformers, samples, concat_channels
        self._guidance_scale, self._boundary_ratio = guidance_scale, boundary_ratio
        self._keep_loaded = keep_loaded
        self._denoisers: dict[int, sampling.Denoiser] = {}

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b c f h w"]:
        """The velocity, noise - data."""
        low_noise = self._boundary_ratio is not None and sigma.max().item() < self._boundary_ratio
        with torch.no_grad():
            return self._expert(int(low_noise))(latents, sigma)

    def _expert(self, index: int) -> sampling.Denoiser:
        if index not in self._denoisers:
            if not self._keep_loaded and self._denoisers:
                self._denoisers.clear()
                empty_cache()
            scale = self._guidance_scale[index]
            network = _CfgDit(
                self._transformers[index].get(),
                self._samples,
                with_negative=scale != 1,
                concat_channels=self._concat_channels,
                control=self._control,
                execution=self._execution,
            )
            self._denoisers[index] = sampling.apply_cfg(network, sampling.CfgConfig(scale=scale))
        return self._denoisers[index]


class _CfgDit:
    """One transformer on the prompts, or on the prompts and the negative prompts as one batch."""

    def __init__(
        self,
        dit: Dit,
        samples: Sequence[PromptEmbeddings],
        *,
        with_negative: bool,
        concat_channels: Float[Tensor, "1 k f h w"] | None,
        control: ControlInputs | None,
        execution: Execution,
    ) -> None:
        self._dit, self._concat_channels, self._control = dit, concat_channels, control
        self._backend = execution.attention
        split = execution.split(uses_guidance=with_negative)
        self._guidance = None if split is None or split.guidance.size == 1 else split.guidance
        self._shard_tokens = None if split is None else split.sequence
        self._cond_context: TextContext
        self._cfg_context: TextContext | None
        if self._guidance is not None:
            self._cond_context = self._cfg_context = _own_context(samples, dit, self._guidance)
            return
        self._cond_context = batch_context(samples, dit, with_negative=False)
        self._cfg_context = batch_context(samples, dit, with_negative=True) if with_negative else None

    def __call__(self, latents: Tensor, sigma: Tensor, *, with_unconditional: bool) -> Tensor:
        if self._concat_channels is not None:
            latents = torch.cat([latents, self._concat_channels], dim=1)
        context = self._cfg_context if with_unconditional else self._cond_context
        assert context is not None
        control = self._control
        velocity = self._dit(
            latents,
            sigma,
            context,
            control=None if control is None else control.channels.expand(len(latents), -1, -1, -1, -1),
            control_scale=1.0 if control is None else control.scale,
            backend=self._backend,
            shard_tokens=self._shard_tokens,
        )
        return velocity if self._guidance is None else torch.cat(self._guidance.all_gather(velocity))


def _own_context(samples: Sequence[PromptEmbeddings], dit: Dit, guidance: Group) -> TextContext:
    """The prompts for the first of two processes, the negative prompts for the second."""
    if guidance.index == 0:
        return batch_context(samples, dit, with_negative=False)
    return negative_batch_context(samples, dit)


class FrameRangeDenoiser:
    """A transformer on ranges of latent frames of one video: blocks of a stream, tiles of an upscaled video.

    Keys and values of the prompts are computed when the prompts change; only the last ones are kept, so a
    storyboard of any length takes the memory of one prompt.

    Args:
        dit: the transformer.
        prompts: of the whole video; with a single entry in `prompt_index` it is of every frame.
        guidance_scale: 1 is off.
        execution: how it runs.
    """

    def __init__(
        self,
        dit: Dit,
        prompts: PromptEmbeddings,
        *,
        guidance_scale: float,
        execution: Execution = DEFAULT_EXECUTION,
    ) -> None:
        self._backend = execution.attention
        split = execution.split(uses_guidance=guidance_scale != 1)
        self._guidance = None if split is None or split.guidance.size == 1 else split.guidance
        self._shard_tokens = None if split is None else split.sequence
        self._dit, self._prompts, self._guidance_scale = dit, prompts, guidance_scale
        self._last_context: tuple[tuple[int, ...], TextContext] | None = None

    def context(self, frames: range) -> TextContext:
        """The prompts of these latent frames, and with guidance the negative prompt.

        Where guidance is divided, one of the two.
        """
        prompt_index = self._prompts.prompt_index
        if len(prompt_index) > 1:
            prompt_index = prompt_index[frames.start : frames.stop]
        if len(set(prompt_index)) == 1:
            prompt_index = prompt_index[:1]
        if self._last_context is None or self._last_context[0] != prompt_index:
            selected = self._prompts.select(prompt_index)
            with torch.no_grad():
                if self._guidance is not None:
                    context = _own_context([selected], self._dit, self._guidance)
                else:
                    context = batch_context([selected], self._dit, with_negative=self._guidance_scale != 1)
            self._last_context = (prompt_index, context)
        return self._last_context[1]

    def for_frames(self, frames: range, cache: KvCache | None = None) -> sampling.Denoiser:
        """The denoiser of these latent frames.

        Args:
            frames: positions in the whole video.
            cache: earlier frames that these attend to; None: they attend to each other alone.
        """
        behind = KvCache(total_frames=frames.start) if cache is None else cache
        context = self.context(frames)

        def network(latents: Tensor, sigma: Tensor, *, with_unconditional: bool) -> Tensor:
            del with_unconditional  # the context has both halves already
            with torch.no_grad():
                velocity = self._dit(
                    latents,
                    sigma,
                    context,
                    cache=behind,
                    backend=self._backend,
                    shard_tokens=self._shard_tokens,
                )
                return velocity if self._guidance is None else torch.cat(self._guidance.all_gather(velocity))

        return sampling.apply_cfg(network, sampling.CfgConfig(scale=self._guidance_scale))

    def update_cache(
        self, latents: Float[Tensor, "1 c f h w"], sigma: float, frames: range, cache: KvCache
    ) -> KvCache:
        """The cache with the keys and values of finished frames, which are at noise level `sigma`."""
        sigmas = torch.full((1, len(frames)), sigma, dtype=torch.float64)
        with torch.no_grad():
            return self._dit.update_cache(
                latents,
                sigmas,
                self.context(frames),
                cache,
                backend=self._backend,
                shard_tokens=self._shard_tokens,
            )
