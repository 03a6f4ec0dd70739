"""The diffusion transformer of Wan 2.1 and 2.2 (arXiv 2503.20314) and of our own models.

It predicts the velocity noise − data of every latent frame, each at a noise level of its own: a film to be
made, given frames at time 0, a chunk behind finished frames are all the same call.
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

from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.attention import block_causal_ranges
from kinema.models.transformer.dit_block import AttentionLayout, DitBlock, FeedForward
from kinema.models.transformer.dit_config import FLOAT32_PARAMETERS, DitConfig
from kinema.models.transformer.kv_cache import KvCache
from kinema.models.transformer.ops import layer_norm, linear, modulated_norm, raise_malloc_threshold
from kinema.models.transformer.rope import build_rope
from kinema.models.transformer.text_context import KeyValue, TextContext, expand_frame_bias, padding_bias


class EmbeddingMlp(nn.Module):
    """Two linear layers under diffusers' names."""

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_features, width)
        self.linear_2 = nn.Linear(width, width)


class ImageEmbedder(nn.Module):
    """Image encoder states to tokens for the cross-attention."""

    def __init__(self, inputs: int, width: int, positions: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.ff = FeedForward(inputs, inputs, width, "gelu_erf")
        self.norm2 = nn.LayerNorm(width)
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, inputs)) if positions else None

    def forward(self, hidden_states: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        """With positions if there are any; two images come as one row of tokens."""
        if self.pos_embed is not None:
            hidden_states = hidden_states + self.pos_embed
        normed = layer_norm(hidden_states, self.norm1.weight, self.norm1.bias, self.norm1.eps)
        return layer_norm(self.ff(normed), self.norm2.weight, self.norm2.bias, self.norm2.eps)


class ConditionEmbedder(nn.Module):
    """Time, text and image to the transformer's width."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.time_channels = config.time_channels
        self.time_embedder = EmbeddingMlp(config.time_channels, width)
        self.time_proj = nn.Linear(width, 6 * width)
        self.text_embedder = EmbeddingMlp(config.text_width, width)
        self.image_embedder = (
            ImageEmbedder(config.image_width, width, config.image_positions) if config.image_width else None
        )
        if config.text_conditioning == "joint":
            # The time of tokens that have none, and the statistics by which their states are standardised.
            self.text_time = nn.Parameter(torch.zeros(width))
            self.register_buffer("text_mean", torch.zeros(config.text_width))
            self.register_buffer("text_std", torch.ones(config.text_width))
        self.pooled_embedder = nn.Linear(config.text_width, width) if config.pooled_text else None

    def embed_sigma(self, sigma: Float[Tensor, "b f"]) -> Float[Tensor, "b f d"]:
        """The float32 embedding of times in [0, 1]."""
        half = self.time_channels // 2
        device = self.time_proj.weight.device
        steps = (sigma.double() * 1000).float().to(device)
        rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=device) / half)
        turns = steps[..., None] * rates
        waves = torch.cat([turns.cos(), turns.sin()], dim=-1)
        with torch.autocast(device.type, enabled=False):
            layers = self.time_embedder
            return linear(
                functional.silu(linear(waves.to(layers.linear_1.weight.dtype), layers.linear_1)),
                layers.linear_2,
            )

    def modulation(self, embedding: Float[Tensor, "b f d"]) -> Float[Tensor, "b f 6 d"]:
        """Shifts, scales and gates of an embedding that every block shares."""
        return linear(functional.silu(embedding), self.time_proj).unflatten(-1, (6, -1))

    def embed_text(self, hidden_states: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        """Text states at the transformer's width."""
        return linear(
            linear(hidden_states, self.text_embedder.linear_1, gelu=True), self.text_embedder.linear_2
        )


def _init_uniform(*shape: int) -> Tensor:
    """Numbers of a standard deviation of 0.02, uniform: on the meta device, where a model that is loaded has
    none yet, `torch.randn` and products make torch import its compiler, which takes two seconds."""
    reach = 0.02 * math.sqrt(3)
    return torch.empty(shape).uniform_(-reach, reach)


class Dit(nn.Module):
    """A diffusion transformer; see `DitConfig` for its family.

    In training and at rest the parameters are the same. A fresh model predicts zero: every block is the
    identity (adaLN-zero, arXiv 2212.09748), with open gates in front of zero output layers.
    """

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, (1, config.patch_size, config.patch_size)
        # A convolution by name and shape only: the weights are published so. It is used as a linear layer.
        self.patch_embedding = nn.Conv3d(config.in_channels, width, patch, patch)
        self.condition_embedder = ConditionEmbedder(config)
        self.blocks = nn.ModuleList(DitBlock(config) for _ in range(config.layers))
        self.proj_out = nn.Linear(width, config.out_channels * config.patch_size**2)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, width))
        if config.learned_grid is not None:
            self.learned_grid = nn.Parameter(_init_uniform(1, width, *config.learned_grid))
        if config.learned_frames:
            self.learned_frames = nn.Parameter(_init_uniform(config.learned_frames, width))
        self._init_as_identity()

    @torch.no_grad()
    def _init_as_identity(self) -> None:
        for block in self._blocks():
            block.scale_shift_table[:, 2::3] = 1
            closed = [block.attn1.output_proj, block.ffn.output_proj]
            if self.config.text_conditioning == "cross":
                closed.append(block.attn2.output_proj)
            for layer in closed:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        for layer in (self.condition_embedder.time_proj, self.proj_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _blocks(self) -> list[DitBlock]:
        return cast("list[DitBlock]", list(self.blocks))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the bulk of the parameters."""
        return self.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.patch_embedding.weight.device

    def cast(self, dtype: torch.dtype) -> Dit:
        """Cast the parameters in place, except those that stay in float32 (`FLOAT32_PARAMETERS`)."""
        for name, parameter in self.named_parameters():
            kept = any(island in name for island in FLOAT32_PARAMETERS)
            parameter.data = parameter.data.to(torch.float32 if kept else dtype)
        return self

    def set_text_statistics(self, mean: Float[Tensor, " c"], std: Float[Tensor, " c"]) -> None:
        """The mean and deviation of text states by which a `joint` model standardises them.

        A channel that never changes has a deviation of zero and would be divided by it; it is kept at 1e-3.
        """
        self.condition_embedder.text_mean.copy_(mean)
        self.condition_embedder.text_std.copy_(std.clamp(min=1e-3))

    def context(
        self, text_embeddings: TextEmbeddings, image_embeddings: Float[Tensor, "b m c"] | None = None
    ) -> TextContext:
        """Keys and values of prompts for every block. Make it once per prompt, read it at every step.

        Args:
            text_embeddings: of the text encoder, on any device.
            image_embeddings: of the image encoder (Wan 2.1 image-to-video); two images follow each other in a row.
        """
        lengths = (
            text_embeddings.lengths.to(text_embeddings.hidden_states.device)
            if torch.compiler.is_compiling()
            else text_embeddings.lengths
        )
        text = text_embeddings.hidden_states.to(device=self.device, dtype=self.dtype)
        embed_image = self.condition_embedder.image_embedder
        if image_embeddings is None and embed_image is not None:
            raise ValueError("this transformer needs image states")
        if image_embeddings is not None and embed_image is None:
            raise ValueError("this transformer takes no image states")
        if self.config.text_conditioning == "joint":
            return self._joint_context(text, lengths)
        total = self.config.text_length
        if text.shape[1] > total:
            raise ValueError(f"{text.shape[1]} text states are more than {total}")
        # Room for the keys that stand for the pads, in a number of keys that kernels like.
        text = functional.pad(text, (0, 0, 0, -(text.shape[1] + 2) % 16 + 2))
        bias = padding_bias(lengths, text.shape[1], total, self.dtype)
        embedded = self.condition_embedder.embed_text(text)
        seen: tuple[KeyValue, ...] = ()
        if image_embeddings is not None and embed_image is not None:
            shown = embed_image(image_embeddings.to(device=self.device, dtype=self.dtype))
            seen = tuple(block.attn2.project_image(shown) for block in self._blocks())
        return TextContext(
            text=tuple(block.attn2.project_text(embedded) for block in self._blocks()),
            image=seen,
            bias=None if bias is None else bias.to(self.device),
        )

    def _joint_context(self, text: Float[Tensor, "b n c"], lengths: Tensor) -> TextContext:
        embedder = self.condition_embedder
        bias = padding_bias(lengths, text.shape[1], None)
        bias = None if bias is None else bias.to(self.device)
        real = (torch.arange(text.shape[1], device=lengths.device) < lengths[:, None])[..., None].to(
            self.device
        )
        standard = (text - embedder.text_mean) / embedder.text_std * real
        standard = standard.to(self.dtype)
        pooled = None
        if embedder.pooled_embedder is not None:
            mean = standard.sum(1, keepdim=True) / real.sum(1, keepdim=True)
            pooled = linear(mean.to(self.dtype), embedder.pooled_embedder)
        time = embedder.text_time.to(self.dtype).expand(1, 1, -1)
        rows = embedder.modulation(time if pooled is None else time + pooled)
        x = embedder.embed_text(standard)
        layout = AttentionLayout(rope=None, bias=None if bias is None else bias[:, None])
        kept: list[KeyValue] = []
        for block in self._blocks():
            x, keys_values = block(x, rows, layout, return_kv=True)
            if keys_values is not None:
                kept.append(keys_values)
        return TextContext(text=tuple(kept), bias=bias, pooled=pooled)

    def forward(
        self,
        latents: Float[Tensor, "b c f h w"],
        sigma: Float[Tensor, "b f"],
        context: TextContext,
        *,
        block_frames: tuple[int, ...] = (),
        cache: KvCache | None = None,
        recompute: bool = False,
    ) -> Float[Tensor, "b2 c2 f h w"]:
        """The velocity noise − data, in the type of `latents`.

        Args:
            latents: `h` and `w` are multiples of the patch.
            sigma: of each latent frame, 1 noise to 0 data. Best left on the CPU, where equal times are found
                without waiting for the device and then cost one row of modulation instead of one per frame.
            context: of as many prompts as there are samples, or a multiple: then the samples are used again
                for each batch of prompts (conditional, then unconditional), and the result has a sample
                for each prompt.
            block_frames: latent frames per block of a block-causal mask; empty lets all frames see all.
            cache: finished latent frames in front of these.
            recompute: forget activations and compute them again for the gradient (less memory).
        """
        return self._forward(
            latents, sigma, context, block_frames, cache, return_kv=False, recompute=recompute
        )[0]

    def update_cache(
        self,
        latents: Float[Tensor, "b c f h w"],
        sigma: Float[Tensor, "b f"],
        context: TextContext,
        cache: KvCache,
    ) -> KvCache:
        """The cache with these finished latent frames behind, held at noise level `sigma`, usually 0."""
        kept = self._forward(latents, sigma, context, (), cache, return_kv=True, recompute=False)[1]
        return cache.append(kept, kept[0].keys.shape[2] // latents.shape[2])

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
                f"{batch} samples of {frames} frames do not go with {context.batch_size} prompts "
                f"and times {tuple(sigma.shape)}"
            )
        if block_frames and (sum(block_frames) != frames or cache is not None):
            raise ValueError(
                f"blocks of {block_frames} frames must make up the {frames} latent frames, without a cache"
            )
        rows, columns = height // patch, width // patch
        tokens = rows * columns
        past = 0 if cache is None else cache.num_frames
        branches = context.batch_size // batch
        # The first self-attention has not met the text yet: guidance needs it once, not twice.
        late = config.text_conditioning == "cross" and not past and not return_kv

        raise_malloc_threshold(self.device)
        x = self._patchify(latents, 0 if cache is None else cache.total_frames)
        sigma = _deduplicate_sigma(sigma)
        if not late and branches > 1:
            x = x.repeat(branches, 1, 1)
            sigma = sigma if len(sigma) == 1 else sigma.repeat(branches, 1)
        embedded = self.condition_embedder.embed_sigma(sigma).to(self.dtype)
        if context.pooled is not None:
            embedded = embedded + context.pooled
        modulation = self.condition_embedder.modulation(embedded)
        front = context.num_keys if config.text_conditioning == "joint" else 0
        bias = expand_frame_bias(context, frames, tokens, (past + frames) * tokens if front else 0)
        layout = AttentionLayout(
            rope=build_rope(
                past + frames,
                rows,
                columns,
                head_width=config.head_width,
                base=config.rope_base,
                grid=config.rope_grid,
                device=self.device,
            ),
            bias=bias if front else None,
            text_bias=None if front else bias,
            key_ranges=block_causal_ranges(block_frames, tokens, front) if block_frames else (),
        )
        kept: list[KeyValue] = []
        for index, block in enumerate(self._blocks()):
            arguments = (
                x,
                modulation,
                layout,
                context.text[index],
                context.image[index] if context.image else None,
                cache.blocks[index] if cache is not None and past else None,
            )
            several = branches if late and index == 0 else 1
            if recompute and torch.is_grad_enabled():
                x, keys_values = checkpoint(
                    block, *arguments, num_branches=several, return_kv=return_kv, use_reentrant=False
                )
            else:
                x, keys_values = block(*arguments, num_branches=several, return_kv=return_kv)
            if several > 1 and len(modulation) > 1:
                modulation, embedded = modulation.repeat(several, 1, 1, 1), embedded.repeat(several, 1, 1)
            if keys_values is not None:
                kept.append(keys_values)
        shift, scale = (self.scale_shift_table + embedded[:, :, None].float()).unbind(2)
        out = linear(modulated_norm(x, shift, scale, config.eps), self.proj_out)
        velocity = rearrange(
            out, "b (f h w) (p q c) -> b c f (h p) (w q)", f=frames, h=rows, w=columns, p=patch, q=patch
        )
        return velocity.to(latents.dtype), tuple(kept)

    def _patchify(self, latents: Tensor, first_frame: int) -> Float[Tensor, "b n d"]:
        config, patch = self.config, self.config.patch_size
        patches = rearrange(latents.to(self.dtype), "b c f (h p) (w q) -> b f h w (c p q)", p=patch, q=patch)
        weight = self.patch_embedding.weight
        x = functional.linear(patches, weight.view(weight.shape[0], -1), self.patch_embedding.bias)
        if config.learned_grid is not None:
            grid = self.learned_grid.float()
            if grid.shape[2:] != x.shape[2:4]:
                grid = functional.interpolate(grid, size=x.shape[2:4], mode="bilinear", align_corners=False)
            x = x + rearrange(grid, "1 d h w -> h w d").to(x.dtype)
        if config.learned_frames:
            place = torch.arange(first_frame, first_frame + x.shape[1], device=x.device).clamp(
                max=config.learned_frames - 1
            )
            x = x + self.learned_frames[place][:, None, None].to(x.dtype)
        return x.flatten(1, 3)


def _deduplicate_sigma(sigma: Float[Tensor, "b f"]) -> Float[Tensor, "b2 f2"]:
    """The times with equal frames, or equal samples, told once, where that can be seen without waiting."""
    if sigma.device.type != "cpu" or torch.compiler.is_compiling():
        return sigma
    if (sigma == sigma[:, :1]).all():
        sigma = sigma[:, :1]
    return sigma[:1] if (sigma == sigma[:1]).all() else sigma
