"""Training of the super-resolution network on frames that the simulator renders in three sizes.

The small frames are those of a video that the autoencoder encoded and decoded: what the network has to
enlarge later, with the same faults. The truth is the simulator's own render.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from kinema.atomic_io import atomic_write
from kinema.data import rng
from kinema.data.cropping import crop_origin
from kinema.frames import to_frames
from kinema.media.metrics import near_edges
from kinema.models.precision import Precision, autocast
from kinema.models.super_resolution import (
    FACTORS,
    NUM_NEIGHBOURS,
    SuperResolution,
    SuperResolutionConfig,
    enlarge_bicubic,
    flops_per_pixel,
)
from kinema.training.loop import LoopConfig, Loss, StepCost
from kinema.training.optimizer import OptimizerConfig

WINDOW = 2 * NUM_NEIGHBOURS + 1
GAIN = "edge_gain"
"""Mean over the factors of the PSNR near edges above that of bicubic interpolation, in dB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FramePairs:
    """Small frames with their neighbours, and the true frames in larger sizes.

    Attributes:
        small: decoded by the autoencoder.
        large: rendered, by factor.
    """

    small: UInt8[np.ndarray, "n 3 h w 3"]
    large: Mapping[int, UInt8[np.ndarray, "n _ _ 3"]]

    def __len__(self) -> int:
        return len(self.small)

    def save(self, path: Path) -> None:
        """Write them as one file."""
        tensors = {"small": self.small, **{f"large_{factor}": large for factor, large in self.large.items()}}
        with atomic_write(path) as target:
            safetensors.numpy.save_file(tensors, target)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> FramePairs:
        """Read files that `save` wrote, in memory."""
        parts = [safetensors.numpy.load_file(path) for path in paths]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return cls(small=joined["small"], large={factor: joined[f"large_{factor}"] for factor in FACTORS})


@dataclass(frozen=True, kw_only=True)
class SuperResolutionTrainConfig:
    """Settings of the training.

    Attributes:
        seed: of the initial weights and of all random choices.
        batch_size: crops in a step.
        crop_size: side of the small crops, in pixels.
        object_crop_p: share of the crops around an object pixel (`kinema.data.cropping`).
        mse_weight: of the squared error, relative to the absolute error.
        precision: of matrix products and activations.
        model: size of the network.
        loop: steps, validation and optimizer.
    """

    seed: int = 0
    batch_size: int = 16
    crop_size: int = 40
    object_crop_p: float = 0.9
    mse_weight: float = 4.0
    precision: Precision = "auto"
    model: SuperResolutionConfig = field(default_factory=SuperResolutionConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            ema_decay=0.995,
            optimizer=OptimizerConfig(
                learning_rate=2e-3, muon_learning_rate=0.0, betas=(0.9, 0.99), weight_decay=0.0
            ),
        )
    )


class SuperResolutionTask:
    """The network as a `kinema.training.loop.Task`.

    Args:
        config: settings.
        pairs: to train on.
        held_out: to validate on.
        device: of training.
    """

    def __init__(
        self,
        config: SuperResolutionTrainConfig,
        pairs: FramePairs,
        held_out: FramePairs,
        device: torch.device,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.network = SuperResolution(config.model).to(device)
        self.config, self.pairs, self.held_out, self.device = config, pairs, held_out, device

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors of the network."""
        return self.network.state_dict()

    def muon_parameters(self) -> Iterable[Tensor]:
        """Return no parameters: AdamW trains convolutions."""
        return ()

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Return no submodules: the network is small."""
        return ()

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Return no methods."""
        return ()

    def step_cost(self, step: int) -> StepCost:  # noqa: ARG002 - every step is alike
        """Return the cost of a step, forward and backward."""
        config = self.config
        pixels = config.batch_size * config.crop_size**2
        return StepCost(samples=config.batch_size, flops=3.0 * pixels * flops_per_pixel(config.model))

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the mean error of crops in both sizes."""
        config = self.config
        batch = rng.batch_indices(step, config.batch_size, len(self.pairs), config.seed)
        indices = batch[microbatch::num_microbatches]
        crops = [self._crop(step, index) for index in indices]
        small = to_input(np.stack([crop[0] for crop in crops])).to(self.device)
        with autocast(config.precision, self.device):
            results = self.network(small)
        losses = []
        for factor, result in results.items():
            truth = _to_float(np.stack([crop[1][factor] for crop in crops])).to(self.device)
            error = result.float() - truth
            losses.append(error.abs().mean() + config.mse_weight * error.square().mean())
        share = len(indices) / config.batch_size
        return Loss(value=torch.stack(losses).mean() * share)

    def _crop(
        self, step: int, index: int
    ) -> tuple[UInt8[np.ndarray, "3 s s 3"], dict[int, UInt8[np.ndarray, "_ _ 3"]]]:
        """Crop a pair, and mirror it half of the times."""
        config, side = self.config, self.config.crop_size
        generator = np.random.default_rng(rng.derive_seed(config.seed, "crop", step, index))
        top, left = crop_origin(self.pairs.small[index], side, config.object_crop_p, generator)
        flip = slice(None, None, -1 if generator.random() < 0.5 else 1)
        small = self.pairs.small[index][:, top : top + side, left : left + side][:, :, flip]
        large = {}
        for factor, frames in self.pairs.large.items():
            y, x, size = factor * top, factor * left, factor * side
            large[factor] = frames[index][y : y + size, x : x + size][:, flip]
        return small, large

    def validate(self) -> Mapping[str, float]:
        """Return the gains over bicubic interpolation near edges, in dB, by factor."""
        return edge_gains(self.network, self.held_out, self.device)

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Compare the mean gain."""
        return best is None or scores[GAIN] > best[GAIN]


def to_input(windows: UInt8[np.ndarray, "b 3 h w 3"]) -> Float[Tensor, "b 9 h w"]:
    """Windows of three frames as the network reads them."""
    return _to_float(np.concatenate(np.moveaxis(windows, 1, 0), axis=-1))


def _to_float(frames: UInt8[np.ndarray, "b h w c"]) -> Float[Tensor, "b c h w"]:
    return torch.tensor(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def edge_gains(network: SuperResolution, pairs: FramePairs, device: torch.device) -> dict[str, float]:
    """Return the PSNR near edges above that of bicubic interpolation, in dB: for each factor, and the mean.

    The errors of all frames are added before the logarithm.
    """
    errors = {factor: np.zeros(2) for factor in FACTORS}
    for index in range(len(pairs)):
        small = to_input(pairs.small[index : index + 1]).to(device)
        middle = small[:, 3 * NUM_NEIGHBOURS : 3 * NUM_NEIGHBOURS + 3]
        for factor, result in network(small).items():
            truth = pairs.large[factor][index : index + 1]
            chosen = near_edges(truth)
            for column, video in enumerate((result, enlarge_bicubic(middle, factor))):
                difference = to_frames(video[:, :, None]).astype(np.float32) - truth
                errors[factor][column] += np.square(difference[chosen]).sum()
    gains = {
        f"{GAIN}_{factor}x": float(10 * np.log10(bicubic / ours))
        for factor, (ours, bicubic) in errors.items()
    }
    return {**gains, GAIN: sum(gains.values()) / len(gains)}
