"""The config of the diffusion transformer, and its presets from laptop size to Wan 14B.

The Wan presets follow the published configurations of Wan 2.1 and 2.2 (arXiv 2503.20314).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FLOAT32_PARAMETERS = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3", "text_time")
"""Parameters whose name contains one of these strings stay in float32 when the others are cast."""


_LARGEST = {
    "in_channels": 4096, "out_channels": 4096, "width": 2**17, "heads": 1024, "layers": 1000,
    "mlp_width": 2**20, "patch_size": 64, "text_width": 2**17, "text_length": 2**16, "image_width": 2**17,
    "image_positions": 2**16, "time_channels": 2**16, "control_channels": 4096,
}  # fmt: skip
"""Far above every model: a damaged config must not build a billion layers."""


@dataclass(frozen=True, kw_only=True)
class DitConfig:
    """Sizes and variants of a diffusion transformer.

    Attributes:
        in_channels: channels of the input (latents; with image conditioning also mask and condition).
        out_channels: channels of the velocity.
        width: channels of a token, d.
        heads: attention heads; `width / heads` is even.
        layers: number of blocks.
        mlp_width: hidden channels of each block's feed-forward.
        patch_size: a token is `patch_size` x `patch_size` latent pixels of one latent frame.
        prediction: what the last layer predicts. `sample`: the data, from which the velocity follows (JiT,
            arXiv 2511.13720). It suits tokens with more numbers than `width`: a velocity has noise in each
            of them, data have not.
        text_conditioning: `cross` gives every block a cross-attention to the text (Wan). `joint` runs the
            text through the same blocks as a prefix: video attends to text, text attends to text only, so
            that its keys and values are computed once per prompt here too.
        text_width: channels of the text encoder's hidden states.
        text_length: with `cross`, the text is padded to this many tokens, and the padding is attended to.
        image_width: channels of the image encoder's hidden states (CLIP, Wan 2.1 image-to-video), or None.
        image_positions: number of learned positions on these states (first-and-last-frame), or None.
        pooled_text: add the mean text state to the sigma embedding.
        qk_norm: root-mean-square norm of queries and keys over all heads at once, or within each head.
        activation: of the feed-forward; `gelu` is the tanh approximation, `relu2` is squared ReLU.
        time_channels: number of sines and cosines that encode sigma.
        eps: added to variances and mean squares.
        rope_base: base of the rotary frequencies.
        rope_grid: rows and columns of tokens between which rotary positions are interpolated, so that one
            model generates several sizes. None: positions count tokens.
        learned_grid: rows and columns of learned positions that are added to the tokens, interpolated to the
            size of the video.
        learned_frames: how many of the first latent frames have a learned vector of their own. Later frames
            share the last one, so the length is not limited.
        control_layers: blocks to whose output a control branch adds (VACE, arXiv 2503.07598); the branch has
            a block for each, and the first is block 0. Empty: no branch.
        control_channels: channels of the control input.
        fps_embedding: add a learned vector for 16 frames per second or more to the modulation (SkyReels-V2,
            arXiv 2504.13074).
    """

    in_channels: int = 16
    out_channels: int = 16
    width: int
    heads: int
    layers: int
    mlp_width: int
    patch_size: int = 2
    prediction: Literal["velocity", "sample"] = "velocity"
    text_conditioning: Literal["cross", "joint"] = "cross"
    text_width: int = 4096
    text_length: int = 512
    image_width: int | None = None
    image_positions: int | None = None
    pooled_text: bool = False
    qk_norm: Literal["across", "head"] = "across"
    activation: Literal["gelu", "relu2"] = "gelu"
    time_channels: int = 256
    eps: float = 1e-6
    rope_base: float = 1e4
    rope_grid: tuple[int, int] | None = None
    learned_grid: tuple[int, int] | None = None
    learned_frames: int = 0
    control_layers: tuple[int, ...] = ()
    control_channels: int = 96
    fps_embedding: bool = False

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= largest):
                raise ValueError(f"{name} is {value!r} and must be a whole number from 1 to {largest}")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"{self.width} channels do not divide into {self.heads} heads of even width")
        if self.image_width is not None and self.text_conditioning != "cross":
            raise ValueError("image_width needs text_conditioning 'cross'")
        if self.image_positions is not None and self.image_width is None:
            raise ValueError("image_positions needs image_width")
        if self.control_layers:
            rising = all(
                a < b for a, b in zip(self.control_layers[:-1], self.control_layers[1:], strict=True)
            )
            if self.control_layers[0] != 0 or not rising or self.control_layers[-1] >= self.layers:
                raise ValueError(
                    f"control_layers rise from 0 to below {self.layers}, unlike {self.control_layers}"
                )
            if self.text_conditioning != "cross" or self.image_width is not None:
                raise ValueError("control_layers need text_conditioning 'cross' and no image_width")
        if self.prediction == "sample" and self.in_channels != self.out_channels:
            raise ValueError("prediction 'sample' needs as many input as output channels")
        if self.time_channels % 2:
            raise ValueError(f"time_channels is even (pairs of cosine and sine), not {self.time_channels}")

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads


def wan21_t2v_1_3b() -> DitConfig:
    """Wan 2.1 T2V-1.3B."""
    return DitConfig(width=1536, heads=12, layers=30, mlp_width=8960)


def wan21_t2v_14b() -> DitConfig:
    """Wan 2.1 T2V-14B, and each expert of Wan 2.2 T2V-A14B."""
    return DitConfig(width=5120, heads=40, layers=40, mlp_width=13824)


def wan21_i2v_14b() -> DitConfig:
    """Wan 2.1 I2V-14B, 480P and 720P: latents, mask and condition channels, and CLIP states."""
    return DitConfig(width=5120, heads=40, layers=40, mlp_width=13824, in_channels=36, image_width=1280)


def wan21_flf2v_14b() -> DitConfig:
    """Wan 2.1 FLF2V-14B, with CLIP states of the first and the last frame."""
    return DitConfig(
        width=5120,
        heads=40,
        layers=40,
        mlp_width=13824,
        in_channels=36,
        image_width=1280,
        image_positions=514,
    )


def wan22_i2v_a14b() -> DitConfig:
    """Each expert of Wan 2.2 I2V-A14B, which has no CLIP states."""
    return DitConfig(width=5120, heads=40, layers=40, mlp_width=13824, in_channels=36)


def wan22_ti2v_5b() -> DitConfig:
    """Wan 2.2 TI2V-5B: one sigma per latent frame, conditioning frames at sigma 0."""
    return DitConfig(width=3072, heads=24, layers=30, mlp_width=14336, in_channels=48, out_channels=48)


def wan21_vace_1_3b() -> DitConfig:
    """Wan 2.1 VACE-1.3B: T2V-1.3B with a control branch of 15 blocks."""
    return DitConfig(width=1536, heads=12, layers=30, mlp_width=8960, control_layers=tuple(range(0, 30, 2)))


def wan21_vace_14b() -> DitConfig:
    """Wan 2.1 VACE-14B, and each expert of Wan 2.2 Fun-VACE-A14B: a control branch of 8 blocks."""
    return DitConfig(width=5120, heads=40, layers=40, mlp_width=13824, control_layers=tuple(range(0, 40, 5)))


def skyreels_v2_df_1_3b() -> DitConfig:
    """SkyReels-V2 DF-1.3B: T2V-1.3B with an embedding of the frame rate."""
    return DitConfig(width=1536, heads=12, layers=30, mlp_width=8960, fps_embedding=True)


def skyreels_v2_df_14b() -> DitConfig:
    """SkyReels-V2 DF-14B, which has no embedding of the frame rate."""
    return DitConfig(width=5120, heads=40, layers=40, mlp_width=13824)


def small(
    *, width: int = 256, layers: int = 6, channels: int = 16, grid: tuple[int, int] = (4, 4)
) -> DitConfig:
    """Our own model: joint text, squared ReLU, learned and rotary positions, any length and size.

    Args:
        width: channels of a token.
        layers: number of blocks.
        channels: latent channels.
        grid: rows and columns of tokens at the training size; 4 x 4 is 64 x 64 pixels with an autoencoder of
            8 x 8 and patches of 2.
    """
    return DitConfig(
        in_channels=channels,
        out_channels=channels,
        width=width,
        heads=max(1, width // 32) if width < 512 else width // 64,
        layers=layers,
        mlp_width=4 * width,
        text_conditioning="joint",
        text_width=384,
        pooled_text=True,
        qk_norm="head",
        activation="relu2",
        rope_base=100.0,
        rope_grid=grid,
        learned_grid=grid,
        learned_frames=2,
    )


def medium(*, channels: int = 16, grid: tuple[int, int] = (8, 8)) -> DitConfig:
    """Our own model for one large GPU: 512 channels, 12 layers, 128 x 128 pixels."""
    return small(width=512, layers=12, channels=channels, grid=grid)


def tiny(*, text_conditioning: Literal["cross", "joint"] = "cross") -> DitConfig:
    """For tests: two blocks of 48 or 64 channels."""
    if text_conditioning == "joint":
        return small(width=64, layers=2, channels=4, grid=(2, 2))
    return DitConfig(
        in_channels=4,
        out_channels=4,
        width=48,
        heads=2,
        layers=2,
        mlp_width=96,
        text_width=32,
        text_length=16,
    )
