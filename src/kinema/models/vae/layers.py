"""The layers of the Wan autoencoders, on videos `b f h w c`, and the cache of their past frames.

Parameter names and shapes are those of the published weights in the diffusers folder layout. Every layer runs
a complete video or the next chunk of one. The past frames that it needs go through a `CausalCache`, in the
order in which the layers run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.module_init import copy_channels_last
from kinema.models.vae import convolution


@runtime_checkable
class RowSharding(Protocol):
    """The rows of frames that this process has, where several processes decode one video."""

    @property
    def own(self) -> slice:
        """The latent rows of this process."""
        ...

    def extend(self, x: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h2 w c"]:
        """With a row of each neighbour."""
        ...

    def crop(self, x: Float[Tensor, "b f h w c"], scale: int = 1) -> Float[Tensor, "b f h2 w c"]:
        """Without what came of the neighbours' rows, each of which became `scale` rows."""
        ...

    def gather(self, x: Tensor) -> Tensor:
        """The rows of all processes, on the third of five axes."""
        ...


class CausalCache:
    """Reads the past of each layer from the last pass and collects it for the next pass.

    It is used for one pass of the encoder or decoder; `VaeCache` is the value that is passed between chunks.
    `is_start` is true where the pass begins a video, so that there is no past.
    """

    def __init__(
        self, previous: tuple[Tensor, ...] | None, *, keep: bool, rows: RowSharding | None = None
    ) -> None:
        """`previous` is the past of all layers, None at the start; `keep` says whether a pass follows.

        With `rows` the pass has these rows only, and the past of 3x3 convolutions a neighbour's as well.
        """
        self.is_start = previous is None
        self._previous: Iterator[Tensor] = iter(previous or ())
        self._keep = keep
        self._updated: list[Tensor] = []
        self.rows = rows
        self.workspace = convolution.Workspace()

    def read(self) -> Tensor | None:
        """The past of the next layer in order; None at the start of a video."""
        return None if self.is_start else next(self._previous)

    def write(self, past: Tensor) -> None:
        """Keep the past of the same layer for the next pass."""
        if self._keep:
            self._updated.append(past.clone())

    def extend(self, x: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h2 w c"]:
        """The input of a 3x3 convolution: with neighbouring rows of other processes."""
        return x if self.rows is None else self.rows.extend(x)

    def crop(self, x: Float[Tensor, "b f h w c"], scale: int = 1) -> Float[Tensor, "b f h2 w c"]:
        """The output of that convolution without those rows."""
        return x if self.rows is None else self.rows.crop(x, scale)

    def updated(self) -> tuple[Tensor, ...]:
        """The past of all layers for the next pass."""
        return tuple(self._updated)


class RmsNorm(nn.Module):
    """Root-mean-square normalisation over channels, without an epsilon inside the root."""

    def __init__(self, channels: int, *, two_dimensional: bool = False) -> None:
        """`two_dimensional`: in the published weights, gamma has two trailing axes of 1 instead of three."""
        super().__init__()
        self.gamma = nn.Parameter(
            torch.ones(channels, 1, 1) if two_dimensional else torch.ones(channels, 1, 1, 1)
        )

    def forward(self, x: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h w c"]:
        """Normalise."""
        return convolution.rms_norm(x, self.gamma.flatten())


class CausalConv(nn.Conv3d):
    """A 3x3x3 convolution that is causal in time, after an optional normalisation and SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)
        self.weight = nn.Parameter(self.weight.detach().to(memory_format=torch.channels_last_3d))

    @property
    def is_channels_last(self) -> bool:
        """Whether the kernel is in the memory format `channels_last_3d`."""
        return self.weight.is_contiguous(memory_format=torch.channels_last_3d)

    def run(
        self,
        x: Float[Tensor, "b f h w c"],
        cache: CausalCache,
        norm: RmsNorm | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b f h w o"]:
        """Convolve x, or SiLU(norm(x)); with `overwrite` the result may be in the memory of x."""
        gamma = None if norm is None else norm.gamma.flatten()
        assert self.bias is not None
        y, past = convolution.causal_conv(
            cache.extend(x), self.weight, self.bias, cache.read(), gamma, cache.workspace, overwrite=overwrite
        )
        cache.write(past)
        return cache.crop(y)


def to_channels_last(network: nn.Module) -> None:
    """Copy the kernels that are still memory-mapped to channels last, the fastest format.

    This happens when the encoder or decoder first runs, because often only one of them is used. All kernels
    are copied before activations are allocated, which would fragment the memory.
    """
    for module in network.modules():
        if isinstance(module, CausalConv) and not module.is_channels_last:
            module.weight.data = copy_channels_last(module.weight.detach())


class Conv1x1(nn.Conv3d):
    """A 1x1x1 convolution: a matrix product over channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, input: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h w o"]:  # noqa: A002
        """Apply it to every pixel."""
        return F.linear(input, self.weight.flatten(1), self.bias)


class ResidualBlock(nn.Module):
    """Two times normalisation, SiLU and convolution, with a residual connection."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.norm1 = RmsNorm(inputs)
        self.conv1 = CausalConv(inputs, outputs)
        self.norm2 = RmsNorm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = CausalConv(outputs, outputs)
        self.conv_shortcut = Conv1x1(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f h w o"]:
        """Run one chunk of a video."""
        y = self.conv1.run(x, cache, self.norm1)
        if self.training and self.dropout.p > 0:
            y = self.conv2.run(self.dropout(F.silu(self.norm2(y))), cache)
        else:
            y = self.conv2.run(y, cache, self.norm2, overwrite=True)
        return y.add_(self.conv_shortcut(x))


class FrameAttention(nn.Module):
    """Single-head self-attention among the pixels of each frame, with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RmsNorm(channels, two_dimensional=True)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(
        self, x: Float[Tensor, "b f h w c"], rows: RowSharding | None = None
    ) -> Float[Tensor, "b f h w c"]:
        """Attend; with `rows` to the rows of all processes."""
        qkv = F.linear(self.norm(x), self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        q, k, v = qkv.chunk(3, dim=-1)
        if rows is not None:
            k, v = rows.gather(torch.cat([k, v], dim=-1)).chunk(2, dim=-1)
        # One head axis of 1, so that every backend of the fused attention takes the call.
        q, k, v = (part.flatten(2, 3).flatten(0, 1)[:, None] for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v).view(x.shape)
        return F.linear(y, self.proj.weight.flatten(1), self.proj.bias).add_(x)


class MiddleBlock(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int, *, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([FrameAttention(channels)])
        self.resnets = nn.ModuleList([ResidualBlock(channels, channels, dropout=dropout) for _ in range(2)])

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f h w c"]:
        """Run one chunk of a video."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x, cache), cache.rows), cache)


class Upsample(nn.Module):
    """Double the sides and, if `temporal`, the number of frames: each frame but the first becomes two."""

    def __init__(self, inputs: int, outputs: int, *, temporal: bool) -> None:
        super().__init__()
        self.temporal = temporal
        # The published weights call it "resample.1", after a layer without parameters.
        self.resample = nn.ModuleDict({"1": nn.Conv2d(inputs, outputs, 3)})
        if temporal:
            self.time_conv = nn.Conv3d(inputs, 2 * inputs, (3, 1, 1))

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f2 2*h 2*w o"]:
        """Run one chunk of a video."""
        if self.temporal:
            # The first frame is not doubled, and later frames do not read it.
            first, rest = (x[:, :1], x[:, 1:]) if cache.is_start else (x[:, :0], x)
            past = cache.read()
            if rest.shape[1]:
                assert self.time_conv.bias is not None
                doubled, past = convolution.time_conv(rest, self.time_conv.weight, self.time_conv.bias, past)
                b, f, h, w, _ = doubled.shape
                pairs = doubled.view(b, f, h, w, 2, -1).permute(0, 1, 4, 2, 3, 5).reshape(b, 2 * f, h, w, -1)
                x = torch.cat([first, pairs], dim=1)
            else:
                past = rest
            cache.write(past)
        conv = self.resample["1"]
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        return cache.crop(convolution.upsample_conv(cache.extend(x), conv.weight, conv.bias), scale=2)


class Downsample(nn.Module):
    """Halve the sides and, if `temporal`, the number of frames: the first frame is kept."""

    def __init__(self, channels: int, *, temporal: bool) -> None:
        super().__init__()
        self.temporal = temporal
        # The published weights call it "resample.1", after a layer without parameters.
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, stride=2)})
        if temporal:
            self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f2 h/2 w/2 c"]:
        """Run one chunk of a video: 2k + 1 frames at its start, 2k later."""
        conv = self.resample["1"]
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        x = convolution.downsample_conv(x, conv.weight, conv.bias)
        if not self.temporal:
            return x
        past = cache.read()
        cache.write(x[:, -1:])
        first = x[:, :1] if past is None else x[:, :0]
        if past is not None:
            x = torch.cat([past, x], dim=1)
        if x.shape[1] < 3:
            return first
        assert self.time_conv.bias is not None
        halved = convolution.time_down_conv(x, self.time_conv.weight, self.time_conv.bias)
        return torch.cat([first, halved], dim=1)


def average_down(
    x: Float[Tensor, "b f h w c"], outputs: int, *, temporal: int, spatial: int
) -> Float[Tensor, "b f2 h2 w2 o"]:
    """Move time and space into channels, then average neighbouring channels down to `outputs`.

    An odd first frame is paired with a frame of zeros before it. The new channels are ordered c, time,
    row, column. (Deep compression autoencoder, arXiv 2410.10733, with time.)
    """
    x = F.pad(x, (0, 0, 0, 0, 0, 0, -x.shape[1] % temporal, 0))
    b, f, h, w, c = x.shape
    cells = x.view(b, f // temporal, temporal, h // spatial, spatial, w // spatial, spatial, c)
    moved = cells.permute(0, 1, 3, 5, 7, 2, 4, 6)
    return moved.reshape(*moved.shape[:4], outputs, -1).mean(-1)


def add_duplicate_up(
    y: Float[Tensor, "b f2 h2 w2 o"], x: Float[Tensor, "b f h w c"], *, temporal: int, start: bool
) -> Float[Tensor, "b f2 h2 w2 o"]:
    """y plus x with channels repeated and moved into time and space, the reverse of `average_down`.

    At the start of a video the first frame is not doubled. Each of the 4 (or 8) output pixels of a pixel of x
    reads its own slice of the channels, so the sum is computed slice by slice, in place.
    """
    outputs, cells = y.shape[-1], temporal * 4
    # Channel k of the repeated x is channel k // repeats of x, and o * cells + cell is output o of a cell.
    repeats = outputs * cells // x.shape[-1]
    lead = temporal - 1 if start else 0
    for cell in range(cells):
        frame, row, column = cell // 4, cell // 2 % 2, cell % 2
        if cells % repeats == 0:
            # A slice reads faster than the same channels gathered by index.
            source = x[..., cell // repeats :: cells // repeats]
        else:
            source = x[..., (torch.arange(outputs, device=x.device) * cells + cell) // repeats]
        first = (frame - lead) % temporal
        added = source if frame >= lead else source[:, 1:]
        y[:, first::temporal, row::2, column::2] += added
    return y
