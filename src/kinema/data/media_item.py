"""A source of clips: one video or image, its captions, and how clips are cut from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.data.aspect_buckets import BucketRule, Size
from kinema.data.frame_selection import Resampling, WindowMode
from kinema.errors import UserError

MediaKind = Literal["video", "image", "frames", "array", "missing", "caption_only"]
"""`frames` is a folder of images that are the frames of one video, `array` a row of a safetensors shard;
`missing` is a file that a table names and that does not exist, `caption_only` a caption without a file."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg", ".gif"}
)
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl"})
MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """How clips are cut from a source and which sizes they are trained in.

    Attributes:
        frames: wanted frame counts; each is rounded down to n·frame_multiple + 1.
        mode: which windows are cut.
        stride: frames between windows in mode `slide`.
        samples: windows of each length in mode `uniform`.
        max_frames: longest clip in mode `full`.
        frame_multiple: temporal stride of the model: 4 for Wan, 8 for LTX.
        fps: frame rate of the clips; None keeps every frame of the source.
        resampling: how frames are chosen for that rate.
        source_fps: rate that counting rules assume; None measures it.
        resolutions: target areas as (width, height); a clip is used once for each.
        bucket_rule: how a size follows from an area.
        divisor: of both sides.
        no_upscale: sources smaller than the area keep their size (musubi).
        ratios: allowed aspect ratios (diffusion-pipe); empty takes its seven.
        size_buckets: (width, height, frames) (diffusion-pipe); replaces frames, resolutions and rule.

    Raises:
        UserError: a value is out of its range.
    """

    frames: tuple[int, ...] = (33,)
    mode: WindowMode = "chunk"
    stride: int = 1
    samples: int = 1
    max_frames: int = 129
    frame_multiple: int = 4
    fps: float | None = 16.0
    resampling: Resampling = "timestamps"
    source_fps: float | None = None
    resolutions: tuple[Size, ...] = ((512, 512),)
    bucket_rule: BucketRule = "musubi"
    divisor: int = 16
    no_upscale: bool = False
    ratios: tuple[float, ...] = ()
    size_buckets: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        counts = (*self.frames, self.stride, self.samples, self.max_frames, self.frame_multiple, self.divisor)
        if not self.frames or min(counts) < 1:
            raise UserError(
                "frames, stride, samples, max-frames, frame-multiple and divisor must be at least 1; "
                f"frames are {', '.join(map(str, self.frames)) or 'not given'}"
            )
        for rate in (self.fps, self.source_fps):
            if rate is not None and not 0.1 <= rate <= 1000:
                raise UserError(f"{rate:g} frames per second are not possible; choose a rate of 0.1 to 1000")
        if not self.resolutions or min(min(one) for one in self.resolutions) < self.divisor:
            raise UserError(f"sides of the resolution must be at least {self.divisor} pixels")
        if any(ratio <= 0 for ratio in self.ratios):
            raise UserError("aspect ratios are width/height and above 0")


@dataclass(frozen=True, kw_only=True)
class MediaItem:
    """One source.

    Attributes:
        path: of the file or folder, absolute; of a tar, where `member` is set.
        member: name inside a tar.
        kind: what it is.
        row_in_shard: of an `array`.
        captions: what is known about it, the plain one first.
        caption_source: where the captions are from: `sidecar`, `captions.json`, `metadata.csv`, ...
        repeats: how often its clips are used in an epoch.
        fps: rate of sources without time stamps (`frames`, `array`); None is 24.
        clips: options of the source's own dataset; None takes those of the command.
    """

    path: str
    member: str = ""
    kind: MediaKind = "video"
    row_in_shard: int = 0
    captions: tuple[str, ...] = ()
    caption_source: str = ""
    repeats: int = 1
    fps: float | None = None
    clips: ClipOptions | None = None

    @property
    def name(self) -> str:
        """A name for people: the path, and the member or row inside it."""
        if self.kind == "array":
            return f"{self.path}[{self.row_in_shard}]"
        return f"{self.path}::{self.member}" if self.member else self.path

    @property
    def stem(self) -> str:
        """The file name without folders and suffix."""
        last = (self.member or self.path).rsplit("/", 1)[-1]
        return last if self.kind == "frames" else last.rsplit(".", 1)[0]


def media_kind(name: str) -> MediaKind | None:
    """`video` or `image` by the suffix of a file name; None for other files."""
    dot = name.rfind(".")
    suffix = name[dot:].lower() if dot >= 0 else ""
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "image" if suffix in IMAGE_SUFFIXES else None
