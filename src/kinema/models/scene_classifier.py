"""A classifier of videos: reads a short video and predicts what it shows, one prediction for each attribute.

Convolutions over each frame at 1/4 to 1/16 of its size, and over neighbouring frames, give 16 tokens a frame.
Self-attention mixes them, and one learned query for each attribute attends to them (as the object queries of
DETR do, arXiv 2005.12872).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.frames import FrameArray

SIDE = 64
"""Height and width of the frames that the network reads, in pixels."""
_PATCH = 4
_TOKEN_SIDE = SIDE // _PATCH // 4
_MAX_MOTION, _MIN_ENERGY, _MOTION_SCALE = 3.0, 1e-4, 4.0
"""Largest motion in pixels of halved frames, damping of its least squares, and its factor as an input."""
_INPUTS = 2 * 3 * _PATCH**2 + 3
"""Channels of the first convolution: pixels of a patch, their change, and `local_motion`."""


@dataclass(frozen=True, kw_only=True)
class ClassifiedAttribute:
    """An attribute and the values that it can have.

    Attributes:
        name: of the attribute.
        values: of the attribute.
        several: whether a video can have several of the values, or none.
        from_motion: read it from the motion in the frames alone. A network that also sees the scene
            remembers how the camera moved in each training clip, and does not learn to see it.
    """

    name: str
    values: tuple[str, ...]
    several: bool = False
    from_motion: bool = False


@dataclass(frozen=True, kw_only=True)
class SceneClassifierConfig:
    """Size of the classifier.

    Attributes:
        attributes: what is predicted.
        num_frames: that the network reads, evenly spaced over the video.
        widths: channels at 1/4, 1/8 and 1/16 of the size.
        heads: of attention.
        layers: of self-attention.
        dropout: of attention and feed-forward layers, while it is trained.
        motion_width: channels of what is read from the motion alone.
        motion_dropout: of them.
    """

    attributes: tuple[ClassifiedAttribute, ...]
    num_frames: int = 13
    widths: tuple[int, int, int] = (48, 96, 160)
    heads: int = 5
    layers: int = 3
    dropout: float = 0.1
    motion_width: int = 128
    motion_dropout: float = 0.3


class SceneClassifier(nn.Module):
    """Videos to the logits of each attribute."""

    def __init__(self, config: SceneClassifierConfig) -> None:
        super().__init__()
        self.config = config
        first, second, width = config.widths
        # The change from the frame before, and the motion, are inputs of the first convolution.
        self.first = nn.Conv2d(_INPUTS, first, 3, padding=1)
        self.fine = nn.ModuleList([_FrameBlock(first)])
        self.halve_1 = nn.Conv2d(first, second, 2, stride=2)
        self.coarse = nn.ModuleList([_FrameBlock(second, temporal=True) for _ in range(2)])
        self.halve_2 = nn.Conv2d(second, width, 2, stride=2)
        # A direct path: beside the colours of a frame, motion is a weak input of the convolutions.
        self.motion = nn.Linear(3, width)
        self.motion_trunk = nn.Sequential(
            nn.Linear(3 * config.num_frames * _TOKEN_SIDE**2, config.motion_width),
            nn.GELU(),
            nn.Dropout(config.motion_dropout),
        )
        self.space = nn.Parameter(0.02 * torch.randn(_TOKEN_SIDE**2, width))
        self.time = nn.Parameter(0.02 * torch.randn(config.num_frames, 1, width))
        options = {
            "dim_feedforward": 4 * width,
            "dropout": config.dropout,
            "activation": "gelu",
            "norm_first": True,
            "batch_first": True,
        }
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, config.heads, **options) for _ in range(config.layers)
        )
        self.decoder = nn.TransformerDecoderLayer(width, config.heads, **options)
        self.queries = nn.Parameter(torch.randn(len(config.attributes), width) * width**-0.5)
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(
            nn.Linear(config.motion_width if one.from_motion else width, len(one.values))
            for one in config.attributes
        )

    def forward(self, video: Float[Tensor, "b 3 f h w"]) -> dict[str, Float[Tensor, "b _"]]:
        """The logits of each attribute, by its name.

        Args:
            video: `num_frames` frames of `SIDE` pixels in [-1, 1], as `to_classifier_input` makes them, or a
                single one.
        """
        batch, _, frames, _, _ = video.shape
        patches = F.pixel_unshuffle(video.transpose(1, 2).flatten(0, 1), _PATCH)
        by_frame = patches.unflatten(0, (batch, frames))
        change = torch.diff(by_frame, dim=1, prepend=by_frame[:, :1]).flatten(0, 1)
        motion = _MOTION_SCALE * local_motion(video).flatten(0, 1)
        x = self.first(torch.cat([patches, change, motion], dim=1))
        for block in self.fine:
            x = block(x, frames)
        x = self.halve_1(x)
        for block in self.coarse:
            x = block(x, frames)
        x = self.halve_2(x)
        coarse_motion = F.adaptive_avg_pool2d(motion, _TOKEN_SIDE)
        x = x + self.motion(coarse_motion.movedim(1, -1)).movedim(-1, 1)
        time = self.time if frames > 1 else self.time.mean(0, keepdim=True)
        tokens = x.flatten(2).transpose(1, 2).unflatten(0, (batch, frames)) + self.space + time
        tokens = tokens.flatten(1, 2)
        for layer in self.encoder:
            tokens = layer(tokens)
        queries = self.norm(self.decoder(self.queries.expand(batch, -1, -1), tokens))
        # A single frame has no motion.
        by_video = coarse_motion.unflatten(0, (batch, frames)).expand(-1, self.config.num_frames, -1, -1, -1)
        moved = self.motion_trunk(by_video.flatten(1))
        return {
            one.name: head(moved if one.from_motion else queries[:, index])
            for index, (one, head) in enumerate(zip(self.config.attributes, self.heads, strict=True))
        }

    @torch.no_grad()
    def predict(self, videos: Sequence[FrameArray]) -> list[dict[str, frozenset[str]]]:
        """What videos show: the values of each attribute, one or, where there can be several, any number."""
        inputs = torch.stack([to_classifier_input(frames, self.config.num_frames) for frames in videos])
        logits = self(inputs.to(self.queries.device))
        seen: list[dict[str, frozenset[str]]] = [{} for _ in videos]
        for attribute in self.config.attributes:
            scores = logits[attribute.name].float()
            chosen = scores > 0 if attribute.several else scores == scores.amax(dim=1, keepdim=True)
            for row, found in zip(chosen.tolist(), seen, strict=True):
                found[attribute.name] = frozenset(
                    value for value, is_chosen in zip(attribute.values, row, strict=True) if is_chosen
                )
        return seen


def local_motion(video: Float[Tensor, "b 3 f h w"]) -> Float[Tensor, "b f 3 h2 w2"]:
    """Motion from the frame before at a quarter of the size, and how much contrast there is to see it.

    Least squares of the change of brightness in windows of ten pixels (Lucas and Kanade, 1981).
    Products of gradients are what a network of this size learns last.

    Returns:
        Horizontal and vertical motion in pixels of the halved frames, within `_MAX_MOTION`, and the root mean
        square of the gradient.
    """
    gray = F.avg_pool2d(video.mean(1), 2)
    gray = F.avg_pool2d(gray, 3, stride=1, padding=1, count_include_pad=False)
    before = torch.cat([gray[:, :1], gray[:, :-1]], dim=1)
    padded = F.pad((gray + before) / 2, (1, 1, 1, 1), mode="replicate")
    x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    t = gray - before
    products = torch.stack([x * x, y * y, x * y, x * t, y * t], dim=2).flatten(0, 1)
    xx, yy, xy, xt, yt = F.avg_pool2d(products, 5, stride=2, padding=2).unbind(1)
    energy = (xx + yy).sqrt()
    # The damping lets windows without contrast have no motion.
    xx, yy = xx + _MIN_ENERGY, yy + _MIN_ENERGY
    determinant = xx * yy - xy * xy
    motion = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / determinant[:, None]
    features = torch.cat([motion.clamp(-_MAX_MOTION, _MAX_MOTION), energy[:, None]], dim=1)
    return features.unflatten(0, video.shape[0:3:2])


class _FrameBlock(nn.Module):
    """A residual block of each frame; with `temporal` it also reads the frames before and after."""

    def __init__(self, width: int, *, temporal: bool = False) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.mix = nn.Conv2d(3 * width, width, 1) if temporal else nn.Conv2d(width, width, 3, padding=1)
        self.spread = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "bf c h w"], frames: int) -> Float[Tensor, "bf c h w"]:
        y = self.norm(x)
        if self.mix.in_channels > x.shape[1]:
            by_frame = F.pad(y.unflatten(0, (-1, frames)), (0, 0, 0, 0, 0, 0, 1, 1))
            shifted = [by_frame[:, start : start + frames] for start in range(3)]
            y = torch.cat(shifted, dim=2).flatten(0, 1)
        return x + self.spread(F.gelu(self.mix(y)))


def classifier_flops(config: SceneClassifierConfig) -> float:
    """Floating-point operations of one video, forward."""
    first, second, width = config.widths
    fine, coarse, tokens = (SIDE // _PATCH) ** 2, (SIDE // _PATCH // 2) ** 2, _TOKEN_SIDE**2
    convolutions = fine * 9 * first * (_INPUTS + 2 * first)
    convolutions += coarse * (4 * first * second + 2 * (3 + 9) * second**2) + tokens * 4 * second * width
    length = tokens * config.num_frames
    attention = config.layers * length * (12 * width**2 + 2 * length * width)
    return 2.0 * (config.num_frames * convolutions + attention + 2 * length * width**2)


def to_classifier_input(frames: FrameArray, num_frames: int) -> Float[Tensor, "3 n s s"]:
    """A video as the network reads it: evenly spaced frames, averaged to `SIDE` pixels a side, in [-1, 1]."""
    chosen = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)
    video = torch.from_numpy(frames[chosen]).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.adaptive_avg_pool2d(video, SIDE).transpose(0, 1)
