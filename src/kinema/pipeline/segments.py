"""Segments: the solver runs that a video is sampled in, and how they are joined.

A segment that continues a video is conditioned on that video's end, so that both show the same frames where
they meet; there one is cross-faded into the other. Shared frames are clamped only down to `RELEASE_SIGMA` and
then sampled with the new ones: frames that stay clamped to the end are sharper than sampled ones, and the
step is visible. The end is passed as latents where they are known. Only the frame in front of them, which a
causal autoencoder encodes by itself, is encoded again, so quality does not fall from segment to segment.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from kinema.pipeline.conditioning import Conditioning, ImageCondition, LatentCondition, VideoCondition
from kinema.shapes import Stride, VideoShape

RELEASE_SIGMA = 0.2
"""The sigma below which shared frames are sampled again. Below it only fine detail is decided."""
LOOP_RELEASE_SIGMA = 0.7
"""The same for loops. Positions may still change above it, so objects that did not come back in time dissolve
into their first position; with a lower value they jump."""
JoinMode = Literal["cut", "continue", "prepend", "interpolate", "loop"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """One solver run.

    Attributes:
        conditioning: what is known beforehand; `VideoTimeline.conditioning_for` adds the video so far.
        video_shape: of what is sampled, shared frames included.
        dropped_frames: frames that are sampled and not shown.
        join_mode: `cut`: behind the video so far, independent of it. `continue`: continues it. `prepend`:
            leads up to its beginning. `interpolate`: continues it and leads up to the target video. `loop`:
            leads back to its beginning.
        overlap_before: latent groups shared with the end of the video so far.
        overlap_after: latent groups shared with the beginning of the video that the segment leads up to.
        release_sigma: the sigma below which shared frames are sampled again; 0 clamps them to the end.
    """

    conditioning: Conditioning
    video_shape: VideoShape
    dropped_frames: tuple[int, ...] = ()
    join_mode: JoinMode = "cut"
    overlap_before: int = 0
    overlap_after: int = 0
    release_sigma: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoTimeline:
    """The video so far.

    Attributes:
        frames: all sampled frames.
        visible: which of them are shown.
        tail_latents: latents of the last groups, if they are known.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    visible: Bool[np.ndarray, " f"]
    tail_latents: Float[Tensor, "1 c g h2 w2"] | None = None

    @classmethod
    def empty(cls, video_shape: VideoShape) -> VideoTimeline:
        """No frames yet."""
        return cls.from_frames(np.zeros((0, video_shape.height, video_shape.width, 3), dtype=np.uint8))

    @classmethod
    def from_frames(
        cls, frames: UInt8[np.ndarray, "f h w 3"], tail_latents: Tensor | None = None
    ) -> VideoTimeline:
        """A finished video; all frames are shown."""
        return cls(frames=frames, visible=np.ones(len(frames), dtype=bool), tail_latents=tail_latents)

    @property
    def visible_frames(self) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames that are shown."""
        return self.frames[self.visible]

    @property
    def end_latents(self) -> Float[Tensor, "1 c g h2 w2"] | None:
        """The tail latents; None where the last frame is not shown, because they end with it."""
        return self.tail_latents if len(self.visible) and self.visible[-1] else None

    def conditioning_for(
        self, segment: Segment, stride: Stride, target_video: UInt8[np.ndarray, "f3 h w 3"] | None
    ) -> Conditioning:
        """The conditioning of the next segment, with the video so far.

        Args:
            segment: the next segment.
            stride: of the autoencoder.
            target_video: the video that an interpolation leads up to.
        """
        conditioning, group = segment.conditioning, stride.temporal
        if segment.join_mode in ("continue", "interpolate", "loop"):
            conditioning = self._with_end(conditioning, segment, stride)
        following = {"prepend": self.frames, "loop": self.frames, "interpolate": target_video}.get(
            segment.join_mode
        )
        if following is None:
            return conditioning
        if not segment.overlap_after:
            last = ImageCondition(image=following[0], frame=segment.video_shape.frames - 1)
            return dataclasses.replace(conditioning, images=(*conditioning.images, last))
        length = segment.overlap_after * group
        clip = VideoCondition(
            frames=following[:length],
            frame=segment.video_shape.frames - length,
            release_sigma=segment.release_sigma,
        )
        return dataclasses.replace(conditioning, videos=(*conditioning.videos, clip))

    def _with_end(self, conditioning: Conditioning, segment: Segment, stride: Stride) -> Conditioning:
        """Conditioning on the end of the video: as latents where they are known, else as frames."""
        overlap = segment.overlap_before
        start = len(self.frames) - stride.frames(overlap)
        first = ImageCondition(image=self.frames[start])
        if not overlap:
            return dataclasses.replace(conditioning, images=(first, *conditioning.images))
        if self.tail_latents is not None and self.tail_latents.shape[2] >= overlap:
            tail = LatentCondition(
                latents=self.tail_latents[:, :, -overlap:], frame=1, release_sigma=segment.release_sigma
            )
            return dataclasses.replace(
                conditioning,
                images=(first, *conditioning.images),
                latents=(tail, *conditioning.latents),
            )
        clip = VideoCondition(frames=self.frames[start:], release_sigma=segment.release_sigma)
        return dataclasses.replace(conditioning, videos=(clip, *conditioning.videos))

    def append(
        self,
        segment: Segment,
        stride: Stride,
        frames: UInt8[np.ndarray, "f h w 3"],
        latents: Float[Tensor, "1 c f2 h2 w2"],
        target_video: UInt8[np.ndarray, "f3 h w 3"] | None,
    ) -> VideoTimeline:
        """The video with a finished segment joined to it."""
        visible = np.ones(len(frames), dtype=bool)
        visible[list(segment.dropped_frames)] = False
        tail = latents[:, :, 1:] if latents.shape[2] > 1 else None
        new = VideoTimeline(frames=frames, visible=visible, tail_latents=tail)
        if segment.join_mode == "cut":
            return _concat_overlapping(self, new, 0)
        num_after = max(1, segment.overlap_after * stride.temporal)
        if segment.join_mode == "prepend":
            return _concat_overlapping(new, self, num_after)
        longer = _concat_overlapping(self, new, stride.frames(segment.overlap_before))
        if segment.join_mode == "interpolate" and target_video is not None:
            return _concat_overlapping(longer, VideoTimeline.from_frames(target_video), num_after)
        if segment.join_mode == "loop":
            # The last frames show the first ones again: cross-fade from them into the beginning.
            faded = crossfade(longer.frames[-num_after:], longer.frames[:num_after])
            body = longer.frames[num_after:-num_after]
            return VideoTimeline(frames=np.concatenate([faded, body]), visible=longer.visible[:-num_after])
        return longer


def _concat_overlapping(first: VideoTimeline, second: VideoTimeline, overlap: int) -> VideoTimeline:
    """Two videos as one; the last `overlap` frames of the first are the first ones of the second."""
    if not overlap:
        frames, visible = [first.frames, second.frames], [first.visible, second.visible]
    else:
        faded = crossfade(first.frames[-overlap:], second.frames[:overlap])
        frames = [first.frames[:-overlap], faded, second.frames[overlap:]]
        visible = [first.visible, second.visible[overlap:]]
    return VideoTimeline(
        frames=np.concatenate(frames), visible=np.concatenate(visible), tail_latents=second.tail_latents
    )


def crossfade(
    a: UInt8[np.ndarray, "f h w 3"], b: UInt8[np.ndarray, "f h w 3"]
) -> UInt8[np.ndarray, "f h w 3"]:
    """A smoothstep cross-fade from a to b.

    It starts and ends slowly because overlaps start and end where latent groups do, and videos change most
    there anyhow.
    """
    position = np.arange(1, len(a) + 1, dtype=np.float32) / (len(a) + 1)
    weight = (position * position * (3 - 2 * position))[:, None, None, None]
    return np.rint(a + weight * (b.astype(np.float32) - a)).astype(np.uint8)


def split_long_segment(segment: Segment, stride: Stride, *, window: int, overlap: int) -> tuple[Segment, ...]:
    """A segment longer than the model's videos as several, each continuing the one before.

    Args:
        segment: it begins with a cut.
        stride: of the autoencoder.
        window: latent frames that the model samples at a time.
        overlap: latent groups that a segment shares with the one before.
    """
    groups = stride.groups(segment.video_shape.frames)
    if groups < window:
        return (segment,)
    count = -(-(groups - overlap) // (window - 1 - overlap))
    # All segments have the same number of groups, within one.
    total = groups + (count - 1) * overlap
    lengths = [total // count + (number < total % count) for number in range(count)]
    segments, start = [], 0
    for number, length in enumerate(lengths):
        segments.append(_slice_segment(segment, stride, start, length, overlap if number else 0))
        start += length - overlap
    return tuple(segments)


def _slice_segment(segment: Segment, stride: Stride, start: int, length: int, overlap_before: int) -> Segment:
    """`length` groups of a segment, behind the last frame of group `start` (0 is the first frame)."""
    first = start * stride.temporal
    frames = stride.frames(length)
    new = range(stride.frames(overlap_before) if overlap_before else 0, frames)
    conditioning = segment.conditioning
    current = max(number for number, prompt in enumerate(conditioning.prompts) if prompt.frame <= first)
    prompts = [dataclasses.replace(conditioning.prompts[current], frame=0)]
    prompts += [
        dataclasses.replace(prompt, frame=prompt.frame - first)
        for prompt in conditioning.prompts[current + 1 :]
        if prompt.frame - first < frames
    ]
    images = tuple(
        dataclasses.replace(image, frame=image.frame - first)
        for image in conditioning.images
        if image.frame - first in new
    )
    source = conditioning.edit_source
    if source is not None:
        mask = (
            source.mask
            if source.mask is None or source.mask.ndim == 2
            else source.mask[first : first + frames]
        )
        source = dataclasses.replace(source, frames=source.frames[first : first + frames], mask=mask)
    control = conditioning.control
    if control is not None:
        rest = control.frames[first : first + frames]
        control = dataclasses.replace(control, frames=rest) if len(rest) else None
    return Segment(
        conditioning=dataclasses.replace(
            conditioning, prompts=tuple(prompts), images=images, edit_source=source, control=control
        ),
        video_shape=dataclasses.replace(segment.video_shape, frames=frames),
        dropped_frames=tuple(frame - first for frame in segment.dropped_frames if frame - first in new),
        join_mode="continue" if overlap_before else segment.join_mode,
        overlap_before=overlap_before,
    )
