"""Shape arithmetic of videos and latents.

Axes, as they are written in all types:

    b   batch                     f   frames (latent frames where latents are meant)
    c   channels                  h   height, rows, top to bottom
    n   tokens                    w   width, columns, left to right

Videos are uint8 `f h w c` at the interfaces and float in [-1, 1] `b c f h w` inside. The causal autoencoder
encodes the first frame alone and each following group of `temporal` frames into one latent frame, so with a
temporal stride of 4 videos have 4k + 1 frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Stride:
    """Video frames and pixels per latent frame and latent pixel: along time, and along each side."""

    temporal: int
    spatial: int

    def __post_init__(self) -> None:
        if self.temporal < 1 or self.spatial < 1:
            raise ValueError(f"strides are at least 1, not {self.temporal} and {self.spatial}")

    def frames(self, groups: int) -> int:
        """Video frames of the first latent frame and `groups` more latent frames."""
        return 1 + groups * self.temporal

    def groups(self, frames: int) -> int:
        """Complete groups after the first of `frames` video frames."""
        return max(0, frames - 1) // self.temporal


@dataclass(frozen=True, kw_only=True)
class VideoShape:
    """Frames, height and width of a video, in frames and pixels."""

    frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.frames, self.height, self.width) < 1:
            raise UserError(
                f"a video of {self.frames} frames at {self.width}x{self.height} is empty; "
                "every side and the frame count must be at least 1"
            )

    def rounded(self, stride: Stride, patch: int = 1) -> VideoShape:
        """The nearest shape that fits an autoencoder of `stride` and patches of `patch` latent pixels.

        Frames round to the nearest `temporal·k + 1` (ties up), sides to the nearest multiple of
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
        """The shape of a video's latents.

        Raises:
            UserError: the video does not fit the strides; the message names the nearest shape that does.
        """
        if (
            (video.frames - 1) % stride.temporal
            or video.height % stride.spatial
            or video.width % stride.spatial
        ):
            nearest = video.rounded(stride)
            raise UserError(
                f"{video.frames} frames at {video.width}x{video.height} do not fit this model: "
                f"frames must be a multiple of {stride.temporal} plus 1 "
                f"and sides multiples of {stride.spatial}; "
                f"the nearest is {nearest.frames} frames at {nearest.width}x{nearest.height}"
            )
        return cls(
            frames=(video.frames - 1) // stride.temporal + 1,
            height=video.height // stride.spatial,
            width=video.width // stride.spatial,
        )

    def video(self, stride: Stride) -> VideoShape:
        """The shape of the decoded video."""
        return VideoShape(
            frames=(self.frames - 1) * stride.temporal + 1,
            height=self.height * stride.spatial,
            width=self.width * stride.spatial,
        )

    def tokens(self, patch: int) -> int:
        """Number of transformer tokens, with `patch` x `patch` latent pixels in each."""
        return self.frames * (self.height // patch) * (self.width // patch)

    def latent_frame_index(self, frame: int, stride: Stride) -> int:
        """The index of the latent frame with video frame `frame`, both from 0."""
        return (frame + stride.temporal - 1) // stride.temporal

    def first_video_frame(self, latent_frame: int, stride: Stride) -> int:
        """The index of the first video frame of a latent frame, both from 0."""
        return stride.frames(latent_frame - 1) if latent_frame else 0


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from `832x480`.

    Raises:
        UserError: the text is not two positive integers with an x between them.
    """
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UserError(f"{text!r} is not a size; write width x height, for example 832x480")
    return int(width), int(height)
