"""Films that are made in several takes, each one run of the solver, and how the takes are joined.

A take goes on from the film so far in its sight: it is given the end of that film, so that both show the same
frames where they meet, and over these one is faded into the other. Where no picture has to be seen among
them, they are let go when the rest has taken shape (`RELEASE_SIGMA`) and made again with it: held to the end, they
are sharper than what the model makes beside them, and the step from one to the other shows. The end is given
as latents where they are at hand; only the frame in front of them, which a causal autoencoder keeps apart, is
encoded again. So nothing wears off from join to join.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from kinema.pipeline.conditioning import Conditioning, ImageCondition, LatentCondition, VideoCondition
from kinema.shapes import Stride, VideoShape

RELEASE_SIGMA = 0.2
"""The noise level at which shared frames are let go: only how things are drawn is decided below it."""
LOOP_RELEASE_SIGMA = 0.7
"""The same where a loop closes. Where things stand may still change there, and then one dissolves into the
other; held longer, what could not come back in time jumps."""
JoinMode = Literal["cut", "after", "before", "bridge", "loop"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """One run of the solver: a stretch of film.

    Attributes:
        conditioning: what is known of it beforehand; the film so far joins it when the take is made.
        video_shape: what is made, with the frames it shares with the film so far.
        dropped_frames: frames that are made and not shown.
        join_mode: `cut`: behind the film so far, without a look at it. `after`: it goes on from it. `before`: it
            leads up to it. `bridge`: it goes on from it and leads up to the film that follows. `loop`: it
            leads back to its beginning.
        overlap_before: groups of frames (latent frames behind the first) shared with the end of the film so far.
        overlap_after: groups shared with the beginning of the film it leads up to.
        release_sigma: the noise level at which what is shared is let go; 0 where it has to be seen as it is.
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
    """The film so far.

    Attributes:
        frames: all that were made.
        visible: which of them the film shows.
        tail_latents: latents of its last groups, if they are known.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    visible: Bool[np.ndarray, " f"]
    tail_latents: Float[Tensor, "1 c g h2 w2"] | None = None

    @classmethod
    def from_frames(
        cls, frames: UInt8[np.ndarray, "f h w 3"], tail_latents: Tensor | None = None
    ) -> VideoTimeline:
        """A film that is there; all of it is shown."""
        return cls(frames=frames, visible=np.ones(len(frames), dtype=bool), tail_latents=tail_latents)

    @property
    def visible_frames(self) -> UInt8[np.ndarray, "f h w 3"]:
        """What is shown."""
        return self.frames[self.visible]

    @property
    def end_latents(self) -> Float[Tensor, "1 c g h2 w2"] | None:
        """The tail, if the film ends with it: None where its last frame is not shown."""
        return self.tail_latents if len(self.visible) and self.visible[-1] else None

    def conditioning_for(
        self, segment: Segment, stride: Stride, target_video: UInt8[np.ndarray, "f3 h w 3"] | None
    ) -> Conditioning:
        """What the take is made from, with the film so far.

        Args:
            segment: the next.
            stride: of the autoencoder.
            target_video: the film that a bridge leads up to.
        """
        told, group = segment.conditioning, stride.temporal
        if segment.join_mode in ("after", "bridge", "loop"):
            start = len(self.frames) - stride.frames(segment.overlap_before)
            head = ImageCondition(image=self.frames[start])
            if (
                segment.overlap_before
                and self.tail_latents is not None
                and self.tail_latents.shape[2] >= segment.overlap_before
            ):
                carried = LatentCondition(
                    latents=self.tail_latents[:, :, -segment.overlap_before :],
                    frame=1,
                    release_sigma=segment.release_sigma,
                )
                told = dataclasses.replace(
                    told, images=(head, *told.images), latents=(carried, *told.latents)
                )
            elif segment.overlap_before:
                told = dataclasses.replace(
                    told,
                    videos=(
                        VideoCondition(frames=self.frames[start:], release_sigma=segment.release_sigma),
                        *told.videos,
                    ),
                )
            else:
                told = dataclasses.replace(told, images=(head, *told.images))
        onward = {"before": self.frames, "loop": self.frames, "bridge": target_video}.get(segment.join_mode)
        if onward is None:
            return told
        if not segment.overlap_after:
            last = ImageCondition(image=onward[0], frame=segment.video_shape.frames - 1)
            return dataclasses.replace(told, images=(*told.images, last))
        length = segment.overlap_after * group
        clip = VideoCondition(
            frames=onward[:length],
            frame=segment.video_shape.frames - length,
            release_sigma=segment.release_sigma,
        )
        return dataclasses.replace(told, videos=(*told.videos, clip))

    def append(
        self,
        segment: Segment,
        stride: Stride,
        frames: UInt8[np.ndarray, "f h w 3"],
        latents: Float[Tensor, "1 c f2 h2 w2"],
        target_video: UInt8[np.ndarray, "f3 h w 3"] | None,
    ) -> VideoTimeline:
        """The film with a take that is finished."""
        shown = np.ones(len(frames), dtype=bool)
        shown[list(segment.dropped_frames)] = False
        group = stride.temporal
        made = VideoTimeline(
            frames=frames, visible=shown, tail_latents=latents[:, :, 1:] if latents.shape[2] > 1 else None
        )
        if segment.join_mode == "cut":
            return _concat_overlapping(self, made, 0)
        reached = max(1, segment.overlap_after * group)
        if segment.join_mode == "before":
            return _concat_overlapping(made, self, reached)
        longer = _concat_overlapping(self, made, stride.frames(segment.overlap_before))
        if segment.join_mode == "bridge" and target_video is not None:
            return _concat_overlapping(longer, VideoTimeline.from_frames(target_video), reached)
        if segment.join_mode == "loop":
            # The last frames are the first ones, made once more: the film fades from them into its beginning.
            faded = crossfade(longer.frames[-reached:], longer.frames[:reached])
            body = longer.frames[reached:-reached]
            return VideoTimeline(frames=np.concatenate([faded, body]), visible=longer.visible[:-reached])
        return longer


def _concat_overlapping(first: VideoTimeline, second: VideoTimeline, shared: int) -> VideoTimeline:
    """Two films as one, where the last frames of the first are the first of the second."""
    if not shared:
        frames, shown = [first.frames, second.frames], [first.visible, second.visible]
    else:
        faded = crossfade(first.frames[-shared:], second.frames[:shared])
        frames = [first.frames[:-shared], faded, second.frames[shared:]]
        shown = [first.visible, second.visible[shared:]]
    return VideoTimeline(
        frames=np.concatenate(frames), visible=np.concatenate(shown), tail_latents=second.tail_latents
    )


def crossfade(
    a: UInt8[np.ndarray, "f h w 3"], b: UInt8[np.ndarray, "f h w 3"]
) -> UInt8[np.ndarray, "f h w 3"]:
    """From a to b, frame by frame more of b, slowly at first and at last.

    What is faded begins and ends where groups of frames do, and there films change most anyhow.
    """
    time = np.arange(1, len(a) + 1, dtype=np.float32) / (len(a) + 1)
    share = (time * time * (3 - 2 * time))[:, None, None, None]
    return np.rint(a + share * (b.astype(np.float32) - a)).astype(np.uint8)


def split_long_segment(segment: Segment, stride: Stride, *, window: int, overlap: int) -> tuple[Segment, ...]:
    """A take that is longer than the model's films as several, each going on from the one before.

    Args:
        segment: it begins with a cut.
        stride: of the autoencoder.
        window: latent frames that the model makes at a time.
        overlap: groups that a take shares with the one before.
    """
    groups = stride.groups(segment.video_shape.frames)
    if groups < window:
        return (segment,)
    count = -(-(groups - overlap) // (window - 1 - overlap))
    # Every take has as many groups as the others, within one.
    total = groups + (count - 1) * overlap
    lengths = [total // count + (number < total % count) for number in range(count)]
    takes, start = [], 0
    for number, length in enumerate(lengths):
        carried = overlap if number else 0
        takes.append(_slice_segment(segment, stride, start, length, carried))
        start += length - overlap
    return tuple(takes)


def _slice_segment(segment: Segment, stride: Stride, start: int, length: int, overlap_before: int) -> Segment:
    """`length` groups of a take, behind the last frame of group `start` (0 is the film's first frame)."""
    first = start * stride.temporal
    frames = stride.frames(length)
    new = range(stride.frames(overlap_before) if overlap_before else 0, frames)
    told = segment.conditioning
    speaking = max(number for number, line in enumerate(told.prompts) if line.frame <= first)
    lines = [dataclasses.replace(told.prompts[speaking], frame=0)]
    lines += [
        dataclasses.replace(line, frame=line.frame - first)
        for line in told.prompts[speaking + 1 :]
        if line.frame - first < frames
    ]
    pictures = tuple(
        dataclasses.replace(picture, frame=picture.frame - first)
        for picture in told.images
        if picture.frame - first in new
    )
    base = told.edit_source
    if base is not None:
        base = dataclasses.replace(base, frames=base.frames[first : first + frames])
    return Segment(
        conditioning=dataclasses.replace(told, prompts=tuple(lines), images=pictures, edit_source=base),
        video_shape=dataclasses.replace(segment.video_shape, frames=frames),
        dropped_frames=tuple(frame - first for frame in segment.dropped_frames if frame - first in new),
        join_mode="after" if overlap_before else segment.join_mode,
        overlap_before=overlap_before,
    )


def frame_mae(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> float:
    """Mean absolute difference of two frames, 0 to 255."""
    return float(np.abs(a.astype(np.int16) - b).mean())


def frame_differences(frames: UInt8[np.ndarray, "f h w 3"]) -> list[float]:
    """The differences of neighbouring frames."""
    return [frame_mae(a, b) for a, b in itertools.pairwise(frames)]


def loop_seam_ratio(frames: UInt8[np.ndarray, "f h w 3"]) -> float:
    """How the step from the last frame to the first compares with the film's usual step: 1 is no seam.

    The difference between the two frames over the median difference of neighbours; a film that stands still
    has 1 if it ends as it begins, and infinity if not.
    """
    steps = frame_differences(frames)
    usual = float(np.median(steps)) if steps else 0.0
    last = frame_mae(frames[-1], frames[0])
    if usual == 0:
        return 1.0 if last == 0 else float("inf")
    return last / usual


def empty_timeline(video_shape: VideoShape) -> VideoTimeline:
    """Before anything is made."""
    return VideoTimeline.from_frames(np.zeros((0, video_shape.height, video_shape.width, 3), dtype=np.uint8))


def split_latents(latents: Tensor, segments: tuple[Segment, ...], stride: Stride) -> tuple[Tensor, ...]:
    """Latents that hold several takes one behind the other, take by take, as far as they go."""
    lengths, rest = [], latents.shape[2]
    for take in segments:
        length = 1 + stride.groups(take.video_shape.frames)
        lengths.append(min(length, rest))
        rest -= lengths[-1]
        if not rest:
            break
    if rest:
        lengths.append(rest)
    return torch.split(latents, lengths, dim=2)
