"""The only shape arithmetic in Kinema.

Axes, in the order they are written everywhere:

    b   batch                     f   frames (latent frames where latents are meant)
    c   channels                  h   height, rows, top to bottom
    n   tokens                    w   width, columns, left to right

`t` is diffusion time and nothing else. Films are uint8 `f h w c` at the edges and float in [-1, 1]
`b c f h w` inside. A causal autoencoder keeps the first frame alone and folds each following group of
`temporal` frames into one latent frame, so with a temporal stride of 4 films have 4k + 1 frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Stride:
    """How many film pixels one latent pixel stands for, along time and along each side."""

    temporal: int
    spatial: int

    def __post_init__(self) -> None:
        if self.temporal < 1 or self.spatial < 1:
            raise ValueError(f"strides are at least 1, not {self.temporal} and {self.spatial}")

    def frames(self, groups: int) -> int:
        """Film frames of the first latent frame and `groups` more."""
        return 1 + groups * self.temporal

    def groups(self, frames: int) -> int:
        """Whole groups behind the first of so many film frames."""
        return max(0, frames - 1) // self.temporal


@dataclass(frozen=True, kw_only=True)
class VideoShape:
    """Frames, height and width of a film, in frames and pixels."""

    frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.frames, self.height, self.width) < 1:
            raise UserError(
                f"a film of {self.frames} frames at {self.width}x{self.height} is empty; "
                "every side and the frame count must be at least 1"
            )

    def rounded(self, stride: Stride, patch: int = 1) -> VideoShape:
        """The nearest shape an autoencoder of `stride` under patches of `patch` latent pixels can make.

        Frames round to the nearest `temporal·k + 1` (ties upwards), sides to the nearest multiple of
        `spatial·patch`, never to zero.
        """
        unit = stride.spatial * patch
        groups = (self.frames - 1 + stride.temporal // 2) // stride.temporal
        return VideoShape(
            frames=groups * stride.temporal + 1,
            height=max(1, (self.height + unit // 2) // unit) * unit,
            width=max(1, (self.width + unit // 2) // unit) * unit,
        )


@dataclass(frozen=True, kw_only=True)
class LatentShape:
    """Frames, height and width of latents."""

    frames: int
    height: int
    width: int

    @classmethod
    def of(cls, video: VideoShape, stride: Stride) -> LatentShape:
        """The latents of a film.

        Raises:
            UserError: the film does not divide evenly; the message names the nearest shape that does.
        """
        if (
            (video.frames - 1) % stride.temporal
            or video.height % stride.spatial
            or video.width % stride.spatial
        ):
            near = video.rounded(stride)
            raise UserError(
                f"{video.frames} frames at {video.width}x{video.height} do not fit this model: "
                f"frames must be a multiple of {stride.temporal} plus 1 "
                f"and sides multiples of {stride.spatial}; "
                f"the nearest is {near.frames} frames at {near.width}x{near.height}"
            )
        return cls(
            frames=(video.frames - 1) // stride.temporal + 1,
            height=video.height // stride.spatial,
            width=video.width // stride.spatial,
        )

    def video(self, stride: Stride) -> VideoShape:
        """The film these latents decode to."""
        return VideoShape(
            frames=(self.frames - 1) * stride.temporal + 1,
            height=self.height * stride.spatial,
            width=self.width * stride.spatial,
        )

    def tokens(self, patch: int) -> int:
        """How many transformer tokens the latents make, with `patch` x `patch` latent pixels in each."""
        return self.frames * (self.height // patch) * (self.width // patch)

    def latent_frame_index(self, frame: int, stride: Stride) -> int:
        """The latent frame that holds film frame `frame` (0-based)."""
        return (frame + stride.temporal - 1) // stride.temporal

    def first_video_frame(self, latent_frame: int, stride: Stride) -> int:
        """The first film frame that a latent frame holds, both from 0."""
        return stride.frames(latent_frame - 1) if latent_frame else 0


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from `832x480`.

    Raises:
        UserError: the text is not two whole numbers with an x between them.
    """
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UserError(f"{text!r} is not a size; write width x height, for example 832x480")
    return int(width), int(height)
