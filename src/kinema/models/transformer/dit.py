"""The diffusion transformer of Wan 2.1 and 2.2 (arXiv 2503.20314) and of our own models.

It predicts the velocity noise − data of every latent frame. Each latent frame has its own sigma, so that
generation, conditioning frames at sigma 0 and streaming after finished frames are the same call.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from kinema.models.module_init import repeat_module
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.attention import AttentionBackend, ShardTokens, block_causal_ranges
from kinema.models.transformer.condition_embedder import ConditionEmbedder
from kinema.models.transformer.dit_block import AttentionLayout, ControlBlock, DitBlock, FeedForward
from kinema.models.transformer.dit_config import FLOAT32_PARAMETERS, DitConfig
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.transformer.ops import linear, modulated_norm, raise_malloc_threshold
from kinema.models.transformer.rope import RopeTable, build_rope
from kinema.models.transformer.text_context import KeyValue, TextContext, expand_frame_bias, padding_bias

_MIN_DIVISOR = 0.05
"""Smallest sigma that predicted data are divided by, as in JiT."""
_LOW_FPS = 16
"""The frame rate with an embedding of its own; all others share one (SkyReels-V2)."""


def _init_uniform(*shape: int) -> Tensor:
    """Uniform numbers with a standard deviation of 0.02.

    On the meta device, `torch.randn` and products make torch import its compiler, which takes two seconds.
    """
    limit = 0.02 * math.sqrt(3)
    return torch.empty(shape).uniform_(-limit, limit)


class Dit(nn.Module):
    """A diffusion transformer; see `DitConfig` for its variants.

    A freshly initialised model predicts zero: every block is the identity (adaLN-zero, arXiv 2212.09748),
    with gates of 1 and output layers of zero.
    """

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, (1, config.patch_size, config.patch_size)
        # A convolution only for the names and shapes of published weights. It is applied as a linear layer.
        self.patch_embedding = nn.Conv3d(config.in_channels, width, patch, patch)
        self.condition_embedder = ConditionEmbedder(config)
        self.blocks = nn.ModuleList(repeat_module(lambda: DitBlock(config), config.layers))
        self.proj_out = nn.Linear(width, config.out_channels * config.patch_size**2)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, width))
        if config.learned_grid is not None:
            self.learned_grid = nn.Parameter(_init_uniform(1, width, *config.learned_grid))
        if config.learned_frames:
            self.learned_frames = nn.Parameter(_init_uniform(config.learned_frames, width))
        if config.control_layers:
            self.vace_patch_embedding = nn.Conv3d(config.control_channels, width, patch, patch)
            self.vace_blocks = nn.ModuleList(
                ControlBlock(config, is_first=not layer) for layer in config.control_layers
            )
        if config.fps_embedding:
            self.fps_embedding = nn.Embedding(2, width)
            self.fps_projection = FeedForward(width, width, 6 * width, "silu")
        self._init_as_identity()

    @torch.no_grad()
    def _init_as_identity(self) -> None:
        if self.device.type == "meta":  # Without values.
            return
        for block in [*self._blocks(), *self._control_blocks()]:
            block.scale_shift_table[:, 2::3] = 1
            zeroed = [block.attn1.output_proj, block.ffn.output_proj]
            if isinstance(block, ControlBlock):
                zeroed.append(block.proj_out)
            if self.config.text_conditioning == "cross":
                zeroed.append(block.attn2.output_proj)
            for layer in zeroed:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        for layer in (self.condition_embedder.time_proj, self.proj_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _blocks(self) -> list[DitBlock]:
        return cast("list[DitBlock]", list(self.blocks))

    def _control_blocks(self) -> list[ControlBlock]:
        return cast("list[ControlBlock]", list(self.vace_blocks)) if self.config.control_layers else []

    @property
    def dtype(self) -> torch.dtype:
        """The type of most parameters."""
        return self.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.patch_embedding.weight.device

    def cast(self, dtype: torch.dtype) -> Dit:
        """Cast the parameters in place, except `FLOAT32_PARAMETERS`."""
        for name, parameter in self.named_parameters():
            is_float32 = any(pattern in name for pattern in FLOAT32_PARAMETERS)
            parameter.data = parameter.data.to(torch.float32 if is_float32 else dtype)
        return self

    def set_text_statistics(self, mean: Float[Tensor, " c"], std: Float[Tensor, " c"]) -> None:
        """Set the mean and standard deviation by which a `joint` model standardises text states.

        Deviations are clamped to at least 1e-3: a constant channel would be divided by zero.
        """
        self.condition_embedder.text_mean.copy_(mean)
        self.condition_embedder.text_std.copy_(std.clamp(min=1e-3))

    def context(
        self,
        text_embeddings: TextEmbeddings,
        image_embeddings: Float[Tensor, "b m c"] | None = None,
        *,
        fps: float | None = None,
    ) -> TextContext:
        """Keys and values of prompts for every block, computed once per prompt and read at every step.

        Args:
            text_embeddings: the output of the text encoder, on any device.
            image_embeddings: the output of the image encoder (Wan 2.1 image-to-video); two images are
                concatenated along `m`.
            fps: frames per second, for models with `fps_embedding`; None: more than 16.

        Raises:
            ValueError: the model needs image embeddings, or takes none; or the text is too long.
        """
        lengths = (
            text_embeddings.lengths.to(text_embeddings.hidden_states.device)
            if torch.compiler.is_compiling()
            else text_embeddings.lengths
        )
        text = text_embeddings.hidden_states.to(device=self.device, dtype=self.dtype)
        embed_image = self.condition_embedder.image_embedder
        if image_embeddings is None and embed_image is not None:
            raise ValueError("this transformer needs image embeddings")
        if image_embeddings is not None and embed_image is None:
            raise ValueError("this transformer takes no image embeddings")
        if self.config.text_conditioning == "joint":
            return self._joint_context(text, lengths)
        total = self.config.text_length
        if text.shape[1] > total:
            raise ValueError(f"the text has {text.shape[1]} tokens; {total} is the limit")
        # Two more keys represent the padding; a multiple of 16 keys suits the attention kernels.
        text = functional.pad(text, (0, 0, 0, -(text.shape[1] + 2) % 16 + 2))
        bias = padding_bias(lengths, text.shape[1], total, self.dtype)
        embedded = self.condition_embedder.embed_text(text)
        image_kv: tuple[KeyValue, ...] = ()
        if image_embeddings is not None and embed_image is not None:
            embedded_image = embed_image(image_embeddings.to(device=self.device, dtype=self.dtype))
            image_kv = tuple(block.attn2.project_image(embedded_image) for block in self._blocks())
        fps_modulation = None
        if self.config.fps_embedding:
            row = self.fps_embedding.weight[0 if fps == _LOW_FPS else 1]
            fps_modulation = self.fps_projection(row[None, None]).unflatten(-1, (6, -1))
        blocks = [*self._blocks(), *self._control_blocks()]
        return TextContext(
            text=tuple(block.attn2.project_text(embedded) for block in blocks),
            image=image_kv,
            bias=None if bias is None else bias.to(self.device),
            fps_modulation=fps_modulation,
        )

    def _joint_context(self, text: Float[Tensor, "b n c"], lengths: Tensor) -> TextContext:
        embedder = self.condition_embedder
        bias = padding_bias(lengths, text.shape[1], None)
        bias = None if bias is None else bias.to(self.device)
        is_token = (torch.arange(text.shape[1], device=lengths.device) < lengths[:, None])[..., None].to(
            self.device
        )
        standardized = (text - embedder.text_mean) / embedder.text_std * is_token
        standardized = standardized.to(self.dtype)
        pooled = None
        if embedder.pooled_embedder is not None:
            mean = standardized.sum(1, keepdim=True) / is_token.sum(1, keepdim=True)
            pooled = linear(mean.to(self.dtype), embedder.pooled_embedder)
        embedding = embedder.text_time.to(self.dtype).expand(1, 1, -1)
        modulation = embedder.modulation(embedding if pooled is None else embedding + pooled)
        x = embedder.embed_text(standardized)
        layout = AttentionLayout(rope=None, bias=None if bias is None else bias[:, None])
        new_kv: list[KeyValue] = []
        for block in self._blocks():
            x, block_kv = block(x, modulation, layout, return_kv=True)
            if block_kv is not None:
                new_kv.append(block_kv)
        return TextContext(text=tuple(new_kv), bias=bias, pooled=pooled)

    def forward(
        self,
        latents: Float[Tensor, "b c f h w"],
        sigma: Float[Tensor, "b f"],
        context: TextContext,
        *,
        block_frames: tuple[int, ...] = (),
        cache: KvCache | None = None,
        control: Float[Tensor, "b k f h w"] | None = None,
        control_scale: float = 1.0,
        recompute: bool = False,
        backend: AttentionBackend = "sdpa",
        shard_tokens: ShardTokens | None = None,
    ) -> Float[Tensor, "b2 c2 f h w"]:
        """The velocity noise − data, in the type of `latents`.

        Args:
            latents: noisy latents; `h` and `w` are multiples of the patch size.
            sigma: noise level of each latent frame, 1 (noise) to 0 (data). Keep it on the CPU: there, equal
                values are found without synchronising with the device, and need one row of modulation
                instead of one per frame.
            context: prompts, as many as there are samples, or a multiple: then the samples are repeated for
                each batch of prompts (conditional, then unconditional), and the result has one sample for
                each prompt.
            block_frames: latent frames per block of a block-causal mask; empty: all frames attend to all.
            cache: finished latent frames before these.
            control: input of the control branch, for models with `control_layers`.
            control_scale: factor of what the branch adds to the tokens.
            recompute: recompute activations for the gradient, which saves memory.
            backend: what computes attention.
            shard_tokens: divides the tokens among processes, each of which passes the same arguments and
                returns the whole velocity. None: one process.

        Raises:
            ValueError: the shapes do not fit the model or each other.
        """
        output = self._forward(
            latents,
            sigma,
            context,
            block_frames,
            cache,
            control=control,
            control_scale=control_scale,
            return_kv=False,
            recompute=recompute,
            backend=backend,
            shard_tokens=shard_tokens,
        )[0]
        return output if self.config.prediction == "velocity" else _velocity_of_sample(output, latents, sigma)

    def update_cache(
        self,
        latents: Float[Tensor, "b c f h w"],
        sigma: Float[Tensor, "b f"],
        context: TextContext,
        cache: KvCache,
        *,
        backend: AttentionBackend = "sdpa",
        shard_tokens: ShardTokens | None = None,
    ) -> KvCache:
        """The cache with these finished latent frames appended, whose noise level is `sigma`, usually 0.

        With `shard_tokens` each process keeps what its own attention reads.
        """
        new_kv = self._forward(
            latents,
            sigma,
            context,
            (),
            cache,
            return_kv=True,
            recompute=False,
            backend=backend,
            shard_tokens=shard_tokens,
        )[1]
        return cache.append(new_kv, new_kv[0].keys.shape[2] // latents.shape[2])

    def _forward(
        self,
        latents: Tensor,
        sigma: Tensor,
        context: TextContext,
        block_frames: tuple[int, ...],
        cache: KvCache | None,
        *,
        return_kv: bool,
        recompute: bool,
        backend: AttentionBackend,
        shard_tokens: ShardTokens | None,
        control: Tensor | None = None,
        control_scale: float = 1.0,
    ) -> tuple[Tensor, tuple[KeyValue, ...]]:
        config, patch = self.config, self.config.patch_size
        batch, channels, frames, height, width = latents.shape
        if height % patch or width % patch or channels != config.in_channels:
            raise ValueError(
                f"latents of {channels} channels, {height}x{width}, do not fit "
                f"{config.in_channels} channels in patches of {patch}"
            )
        if context.batch_size % batch or sigma.shape != (batch, frames):
            raise ValueError(
                f"{batch} samples of {frames} frames do not match {context.batch_size} prompts "
                f"and sigma of shape {tuple(sigma.shape)}"
            )
        if block_frames and (sum(block_frames) != frames or cache is not None):
            raise ValueError(
                f"blocks of {block_frames} frames must add up to {frames} latent frames, without a cache"
            )
        if (control is not None) != bool(config.control_layers):
            raise ValueError("a control input belongs to models with a control branch, and they need one")
        rows, columns = height // patch, width // patch
        tokens = rows * columns
        past = 0 if cache is None else cache.num_frames
        branches = context.batch_size // batch
        # The first self-attention does not depend on the text: guidance needs it once, not twice.
        repeat_late = config.text_conditioning == "cross" and not past and not return_kv

        raise_malloc_threshold(self.device)
        x = self._patchify(latents, 0 if cache is None else cache.total_frames)
        sharded = None if shard_tokens is None else shard_tokens(frames, tokens)
        own_tokens = attention_tokens = tokens
        if sharded is not None:
            if block_frames and not sharded.has_all_tokens:
                raise ValueError(
                    "a block-causal mask needs all tokens in each process: divide the heads alone"
                )
            x, own_tokens, attention_tokens = sharded.shard(x), sharded.tokens, sharded.attention_tokens
        sigma = _deduplicate_sigma(sigma)
        if not repeat_late and branches > 1:
            x = x.repeat(branches, 1, 1)
            sigma = sigma if len(sigma) == 1 else sigma.repeat(branches, 1)
        embedded = self.condition_embedder.embed_sigma(sigma).to(self.dtype)
        if context.pooled is not None:
            embedded = embedded + context.pooled
        modulation = self.condition_embedder.modulation(embedded)
        if context.fps_modulation is not None:
            modulation = modulation + context.fps_modulation
        prefix_keys = context.num_keys if config.text_conditioning == "joint" else 0
        if prefix_keys:
            bias = expand_frame_bias(context, frames, attention_tokens, (past + frames) * attention_tokens)
        else:
            bias = expand_frame_bias(context, frames, own_tokens, 0)
        rope = build_rope(
            past + frames,
            rows,
            columns,
            head_width=config.head_width,
            base=config.rope_base,
            grid=config.rope_grid,
            device=self.device,
        )
        if sharded is not None:
            cis, cos, sin = (sharded.attention_rows(table) for table in (rope.cis, rope.cos, rope.sin))
            rope = RopeTable(cis=cis, cos=cos, sin=sin)
        layout = AttentionLayout(
            rope=rope,
            bias=bias if prefix_keys else None,
            text_bias=None if prefix_keys else bias,
            key_ranges=block_causal_ranges(block_frames, tokens, prefix_keys) if block_frames else (),
            backend=backend,
            sharded=sharded,
        )
        new_kv: list[KeyValue] = []
        control_blocks = dict(zip(config.control_layers, self._control_blocks(), strict=True))
        control_x = None if control is None else self._patchify_control(control, len(x))
        if control_x is not None and sharded is not None:
            control_x = sharded.shard(control_x)
        for index, block in enumerate(self._blocks()):
            num_branches = branches if repeat_late and index == 0 else 1
            hint = None
            if index in control_blocks and control_x is not None:
                control_block = control_blocks[index]
                if control_block.proj_in is not None:
                    control_x = linear(control_x, control_block.proj_in) + x
                text_kv = context.text[config.layers + config.control_layers.index(index)]
                control_x, _ = control_block(
                    control_x, modulation, layout, text_kv, num_branches=num_branches
                )
                hint = linear(control_x, control_block.proj_out)
            arguments = (
                x,
                modulation,
                layout,
                context.text[index],
                context.image[index] if context.image else None,
                cache.blocks[index] if cache is not None and past else None,
            )
            if recompute and torch.is_grad_enabled():
                x, block_kv = checkpoint(
                    block, *arguments, num_branches=num_branches, return_kv=return_kv, use_reentrant=False
                )
            else:
                x, block_kv = block(*arguments, num_branches=num_branches, return_kv=return_kv)
            if hint is not None:
                x = torch.add(x, hint, alpha=control_scale)
            if num_branches > 1 and len(modulation) > 1:
                modulation = modulation.repeat(num_branches, 1, 1, 1)
                embedded = embedded.repeat(num_branches, 1, 1)
            if block_kv is not None:
                new_kv.append(block_kv)
        shift, scale = (self.scale_shift_table + embedded[:, :, None].float()).unbind(2)
        out = linear(modulated_norm(x, shift, scale, config.eps), self.proj_out)
        if sharded is not None:
            out = sharded.gather(out)
        velocity = rearrange(
            out, "b (f h w) (p q c) -> b c f (h p) (w q)", f=frames, h=rows, w=columns, p=patch, q=patch
        )
        return velocity.to(latents.dtype), tuple(new_kv)

    def _embed_patches(self, latents: Tensor, layer: nn.Conv3d) -> Float[Tensor, "b f h w d"]:
        patch = self.config.patch_size
        patches = rearrange(latents.to(self.dtype), "b c f (h p) (w q) -> b f h w (c p q)", p=patch, q=patch)
        return functional.linear(patches, layer.weight.view(layer.weight.shape[0], -1), layer.bias)

    def _patchify_control(self, control: Tensor, batch: int) -> Float[Tensor, "b n d"]:
        if control.shape[1] != self.config.control_channels:
            raise ValueError(
                f"a control input of {control.shape[1]} channels, not {self.config.control_channels}"
            )
        tokens = self._embed_patches(control, self.vace_patch_embedding).flatten(1, 3)
        return tokens.expand(batch, -1, -1)

    def _patchify(self, latents: Tensor, first_frame: int) -> Float[Tensor, "b n d"]:
        config = self.config
        x = self._embed_patches(latents, self.patch_embedding)
        if config.learned_grid is not None:
            grid = self.learned_grid.float()
            if grid.shape[2:] != x.shape[2:4]:
                grid = functional.interpolate(grid, size=x.shape[2:4], mode="bilinear", align_corners=False)
            x = x + rearrange(grid, "1 d h w -> h w d").to(x.dtype)
        if config.learned_frames:
            index = torch.arange(first_frame, first_frame + x.shape[1], device=x.device).clamp(
                max=config.learned_frames - 1
            )
            x = x + self.learned_frames[index][:, None, None].to(x.dtype)
        return x.flatten(1, 3)


def _velocity_of_sample(
    sample: Float[Tensor, "b2 c f h w"], latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"]
) -> Float[Tensor, "b2 c f h w"]:
    """The velocity noise − data that leads from `latents` to predicted data."""
    branches = len(sample) // len(latents)
    latents, sigma = latents.repeat(branches, 1, 1, 1, 1), sigma.repeat(branches, 1)
    divisor = sigma.clamp(min=_MIN_DIVISOR)[:, None, :, None, None].to(sample)
    return (latents.to(sample.dtype) - sample) / divisor


def _deduplicate_sigma(sigma: Float[Tensor, "b f"]) -> Float[Tensor, "b2 f2"]:
    """Sigma with one column or row where all are equal, if that can be checked without synchronising."""
    if sigma.device.type != "cpu" or torch.compiler.is_compiling():
        return sigma
    if (sigma == sigma[:, :1]).all():
        sigma = sigma[:, :1]
    return sigma[:1] if (sigma == sigma[:1]).all() else sigma
