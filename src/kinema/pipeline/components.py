"""The modules of a checkpoint: text encoder, transformers and autoencoder, each loaded when needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from kinema.distributed.group import Group
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.tiny_decoder import load_tiny_decoder
from kinema.models.super_resolution import SuperResolution
from kinema.models.text_encoders.base import TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.tiny_decoder import TinyDecoder
from kinema.pipeline.execution import DEFAULT_EXECUTION, Execution
from kinema.pipeline.lazy_module import LazyModule, empty_cache
from kinema.pipeline.machine_cache import cache_folder
from kinema.pipeline.memory_policy import MemoryPolicy, is_text_encoder_mapped, policy_weight_bytes
from kinema.pipeline.prompt_rewriter import PromptRewriter
from kinema.pipeline.super_resolution import super_resolution_of


def prepare_transformer(
    policy: MemoryPolicy, device: torch.device, execution: Execution
) -> Callable[[Dit], object] | None:
    """What is done to a transformer before it runs: its blocks are offloaded, divided, or compiled."""
    if execution.compile_mode != "off":
        return lambda dit: _compile(dit, device, cuda_graphs=execution.compile_mode == "graphs")
    if policy.shards > 1:
        from kinema.distributed.weight_sharding import shard_weights

        return lambda dit: shard_weights(dit, device)
    if not policy.offload_blocks:
        return None
    from kinema.models.transformer.block_offload import offload_blocks

    return lambda dit: offload_blocks(dit, device)


def _compile(dit: Dit, device: torch.device, *, cuda_graphs: bool) -> None:
    """Compile the blocks; compiled code is kept between runs."""
    from kinema.models.precision import compile_modules

    # By default it is kept in a folder for temporary files. Both are read when the compiler is first used.
    for name, folder in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        os.environ.setdefault(name, str(cache_folder() / "compiled" / folder))
    compile_modules(
        [*dit.blocks, *dit._control_blocks()], device, dynamic_shapes=False, cuda_graphs=cuda_graphs
    )


def _quantize(dit: Dit, policy: MemoryPolicy, device: torch.device) -> None:
    """Round the large weights to 8 bits: through torchao on a GPU, by our own layers on a CPU."""
    if device.type == "cuda":
        from kinema.models.transformer.torchao_linear import quantize_with_torchao

        quantize_with_torchao(dit, "fp8" if policy.fp8 else "int8", device)
    else:
        from kinema.models.transformer.int8 import quantize_

        quantize_(dit)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelComponents:
    """A checkpoint's modules on a device.

    Attributes:
        model: the checkpoint.
        device: where the modules run.
        policy: in which type, and whether they stay in memory between uses.
        text_encoder: prompts to token states.
        vae: videos to latents and back.
        transformers: one, or the experts for high and low noise.
        preview_decoder: a tiny decoder for previews; None: previews are made without.
        execution: how the transformers run.
        text_cache: whether hidden states of prompts are kept on disk, for models with a large text encoder.
        prompt_rewriter: writes prompts in the wording of the model's captions; None for models without one.
        super_resolution: enlarges decoded frames; None for models without one.
    """

    model: ModelCheckpoint
    device: torch.device
    policy: MemoryPolicy
    text_encoder: LazyModule[TextEncoder]
    vae: LazyModule[VideoVae]
    transformers: tuple[LazyModule[Dit], ...]
    preview_decoder: LazyModule[TinyDecoder] | None = None
    execution: Execution = DEFAULT_EXECUTION
    text_cache: bool = True
    prompt_rewriter: PromptRewriter | None = None
    super_resolution: LazyModule[SuperResolution] | None = None

    @classmethod
    def from_checkpoint(
        cls,
        model: ModelCheckpoint,
        device: torch.device,
        policy: MemoryPolicy,
        *,
        preview_decoder: Path | None = None,
        execution: Execution = DEFAULT_EXECUTION,
        text_cache: bool = True,
    ) -> ModelComponents:
        """Nothing is loaded yet; `preview_decoder` is the file of a tiny decoder."""
        dtype, keep_loaded = policy.dtype, policy.keep_loaded
        text_device = torch.device("cpu") if policy.text_on_cpu else device

        def load_transformer(expert: int) -> Dit:
            # Where a GPU keeps less than the whole weights, they are taken apart in the memory of the CPU.
            is_smaller = policy.offload_blocks or policy.shards > 1 or policy.has_eight_bits
            home = torch.device("cpu") if is_smaller else device
            dit = model.load_transformer(expert, dtype=dtype, device=home, keep_packed=True)
            if policy.has_eight_bits:
                _quantize(dit, policy, device)
            return dit

        text_encoder = LazyModule(
            lambda: model.load_text_encoder(dtype=dtype, device=text_device), keep_loaded=keep_loaded
        )
        return cls(
            model=model,
            device=device,
            policy=policy,
            execution=execution,
            text_cache=text_cache,
            text_encoder=text_encoder,
            prompt_rewriter=PromptRewriter.of(model, text_encoder, text_device),
            super_resolution=super_resolution_of(model, device),
            vae=LazyModule(lambda: model.load_vae(device=device), keep_loaded=keep_loaded),
            transformers=tuple(
                LazyModule(
                    lambda expert=expert: load_transformer(expert),
                    keep_loaded=keep_loaded,
                    prepare=prepare_transformer(policy, device, execution),
                )
                for expert in range(model.sampling_defaults.num_experts)
            ),
            preview_decoder=None
            if preview_decoder is None
            else LazyModule(
                lambda: load_tiny_decoder(preview_decoder, latent_channels=model.vae.z_dim, device=device),
                keep_loaded=True,
            ),
        )

    @property
    def text_device(self) -> torch.device:
        """Where the text encoder runs."""
        return torch.device("cpu") if self.policy.text_on_cpu else self.device

    @property
    def row_group(self) -> Group | None:
        """The processes that decode each video together; None for one."""
        processes = self.execution.processes
        return None if processes is None else processes.rows

    def preload(self) -> None:
        """Load what every video needs now, where the policy keeps it in memory."""
        if not self.policy.keep_loaded:
            return
        for module in (*self.transformers, self.vae):
            module.get()
        # Text encoders of models without a rewriter are large, and `text_cache` may have the prompt.
        if self.prompt_rewriter is not None:
            self.prompt_rewriter.preload()

    def drop_mapped_text_encoder(self) -> None:
        """Drop the text encoder after use where `is_text_encoder_mapped`."""
        if self.text_encoder.is_loaded and is_text_encoder_mapped(self.model, self.policy, self.device):
            self.text_encoder.drop()
            empty_cache()

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights that are in memory now."""
        sizes = policy_weight_bytes(self.model, self.policy)
        names = ["text_encoder", "vae", "transformer", "transformer_2"]
        modules = [self.text_encoder, self.vae, *self.transformers]
        pairs = zip(names, modules, strict=False)
        return sum(sizes.get(name, 0) for name, module in pairs if module.is_loaded)
