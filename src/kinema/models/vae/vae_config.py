"""The config of the video autoencoder: sizes, strides and latent statistics."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.shapes import Stride

_WAN_2_1_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
_WAN_2_1_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
_WAN_2_2_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
_WAN_2_2_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip

_LARGEST = {
    "base_dim": 2**14, "decoder_base_dim": 2**14, "z_dim": 4096, "num_res_blocks": 100, "channels": 1024,
    "patch_size": 64, "temporal_patch_size": 64,
}  # fmt: skip
"""Far above every model: a damaged config must not build a billion layers."""


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """A causal video autoencoder.

    Three layouts share these settings:

    - Wan 2.1 (Wan: Open and Advanced Large-Scale Video Generative Models, arXiv 2503.20314): the defaults.
    - Wan 2.2 (`residual`): squares of pixels become channels first, and every stage has an averaging or
      duplicating shortcut around its change of size.
    - Patchified (`temporal_patch_size` > 1): groups of frames become channels too. A block is a convolution
      over two frames and one over one frame. For models trained from scratch.
    """

    base_dim: int = 96
    """Channels of the encoder's first stage, before its multiplier."""
    decoder_base_dim: int | None = None
    """The same for the decoder; None: as in the encoder."""
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    """Channel multiplier of each stage; between two stages both sides halve."""
    num_res_blocks: int = 2
    """Residual blocks in each stage of the encoder; the decoder has one more in each."""
    attn_scales: tuple[float, ...] = ()
    """Spatial scales (1, 0.5, ...) whose encoder blocks are each followed by attention (2.1 layout only)."""
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    """Whether the number of frames halves too between stage i and stage i + 1."""
    dropout: float = 0.0
    channels: int = 3
    """Channels of a video."""
    patch_size: int = 1
    """Side of the squares of pixels that become channels before the first convolution."""
    temporal_patch_size: int = 1
    """Frames per group that become channels before the first convolution; above 1: the patchified layout."""
    residual: bool = False
    latents_mean: tuple[float, ...] = _WAN_2_1_MEAN
    latents_std: tuple[float, ...] = _WAN_2_1_STD

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= largest):
                raise UserError(f"{name} is {value!r} and must be a whole number from 1 to {largest}")
        if not 1 <= len(self.dim_mult) <= 16 or not all(1 <= factor <= 1024 for factor in self.dim_mult):
            raise UserError(f"dim_mult is {self.dim_mult} and must be 1 to 16 factors from 1 to 1024")
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise UserError(
                f"an autoencoder of {len(self.dim_mult)} stages changes size {len(self.dim_mult) - 1} times, "
                f"but temporal_downsample has {len(self.temporal_downsample)} entries; give one for each"
            )
        if not len(self.latents_mean) == len(self.latents_std) == self.z_dim:
            raise UserError(
                f"latents_mean and latents_std have {len(self.latents_mean)} and {len(self.latents_std)} "
                f"entries for {self.z_dim} latent channels; give one for each channel"
            )
        if min(self.latents_std) <= 0:
            raise UserError("latents_std has an entry of zero or below; give positive numbers")
        if self.temporal_patch_size > 1 and (
            self.residual or any(self.temporal_downsample) or self.attn_scales
        ):
            raise UserError(
                "the patchified layout (temporal_patch_size > 1) downsamples time in one step; "
                "leave residual, temporal_downsample and attn_scales off, or set temporal_patch_size to 1"
            )

    @property
    def stride(self) -> Stride:
        """Video frames and pixels per latent frame and pixel."""
        return Stride(
            temporal=self.temporal_patch_size * 2 ** sum(self.temporal_downsample),
            spatial=self.patch_size * 2 ** (len(self.dim_mult) - 1),
        )

    @property
    def decoder_dim(self) -> int:
        """Channels of the decoder's last stage, before its multiplier."""
        return self.base_dim if self.decoder_base_dim is None else self.decoder_base_dim

    @classmethod
    def wan21(cls) -> VaeConfig:
        """The autoencoder of Wan 2.1 and of the 2.2 A14B models: 8x8x4, 16 channels, 127M parameters."""
        return cls()

    @classmethod
    def wan22(cls) -> VaeConfig:
        """The autoencoder of Wan 2.2 TI2V-5B: 16x16x4, 48 channels, 705M parameters."""
        return cls(
            base_dim=160,
            decoder_base_dim=256,
            z_dim=48,
            temporal_downsample=(False, True, True),
            patch_size=2,
            residual=True,
            latents_mean=_WAN_2_2_MEAN,
            latents_std=_WAN_2_2_STD,
        )

    @classmethod
    def small(cls) -> VaeConfig:
        """The autoencoder of the model trained from scratch: patchified, 8x8x4, 16 channels."""
        return cls(
            base_dim=64,
            z_dim=16,
            dim_mult=(1, 2),
            num_res_blocks=1,
            temporal_downsample=(False,),
            patch_size=4,
            temporal_patch_size=4,
            latents_mean=(0.0,) * 16,
            latents_std=(1.0,) * 16,
        )

    @classmethod
    def tiny(cls, *, residual: bool = False, patchified: bool = False) -> VaeConfig:
        """For tests: a few thousand parameters in any of the three layouts, with the usual strides."""
        statistics = {"z_dim": 4, "latents_mean": (0.1, -0.2, 0.3, 0.0), "latents_std": (1.5, 0.7, 1.0, 2.0)}
        if patchified:
            return dataclasses.replace(cls.small(), base_dim=8, **statistics)
        if residual:
            return dataclasses.replace(
                cls.wan22(), base_dim=4, decoder_base_dim=8, num_res_blocks=1, **statistics
            )
        return dataclasses.replace(cls.wan21(), base_dim=4, num_res_blocks=1, **statistics)
