"""The segments of each task: lengths, overlaps, images at their frames, prompts by frame.

A latent frame after the first stands for a group of video frames (4 in all models so far). An image at one
time therefore fills a group, in which it does not move; only the first frame of that group is shown, so the
video reaches the image, or passes through it, without stopping. This holds for a last image, for keyframes
and for images of a storyboard, and moves them to the nearest beginning of a group.

A loop ends with a segment that leads from the video's end back to its first group of frames, not to one
image, so that the motion matches too. Interpolation is the same with another video.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import UserError
from kinema.frames import FrameArray
from kinema.pipeline.conditioning import (
    Conditioning,
    ControlCondition,
    EditSource,
    ImageCondition,
    TimedPrompt,
)
from kinema.pipeline.images import resize_and_crop
from kinema.pipeline.request import Shot
from kinema.pipeline.segments import LOOP_RELEASE_SIGMA, RELEASE_SIGMA, Segment
from kinema.shapes import Stride, VideoShape


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    """What every segment of a video has in common.

    Attributes:
        size: width and height.
        fps: frames per second.
        stride: of the autoencoder.
        window: latent frames that the model samples at a time; None if segments can't continue each other.
        overlap: latent groups that a segment shares with the video that it continues.
        num_frames: requested; None: the model's default.
        default_num_frames: the model's default.
        image_pins_one_frame: whether an image fills one video frame alone (models with image channels).
        negative_prompt: what guidance steers away from.
    """

    size: tuple[int, int]
    fps: float
    stride: Stride
    window: int | None
    overlap: int
    num_frames: int | None
    default_num_frames: int
    image_pins_one_frame: bool
    negative_prompt: str

    def shape(self, frames: int) -> VideoShape:
        """The shape of that many frames."""
        return VideoShape(frames=frames, height=self.size[1], width=self.size[0])

    def nearest_valid(self, frames: int | float) -> int:
        """The nearest number of frames that a segment can have."""
        return self.shape(max(1, round(frames))).rounded(self.stride).frames

    def min_valid(self, frames: int) -> int:
        """The smallest number of frames of a segment that is not less than `frames`."""
        return self.stride.frames(self.stride.groups(frames + self.stride.temporal - 1))

    def prompt_conditioning(self, prompt: str) -> Conditioning:
        """One prompt for all frames, and no known frames."""
        return Conditioning(prompts=(TimedPrompt(prompt=prompt),), negative_prompt=self.negative_prompt)


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentPlan:
    """The segments of a video, and the videos that they join.

    Attributes:
        segments: in the order in which they are sampled; long ones are not split yet.
        source_frames: the video before the first segment; None: nothing.
        tail_latents: latents of its last groups, if they are known.
        target_video: the video that the last segment leads up to.
    """

    segments: tuple[Segment, ...]
    source_frames: FrameArray | None = None
    tail_latents: Float[Tensor, "1 c g h2 w2"] | None = None
    target_video: UInt8[np.ndarray, "f2 h w 3"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyframeImage:
    """An image and the frame of the finished video that shows it, from 0; -1 is the last."""

    image: UInt8[np.ndarray, "h w 3"]
    frame: int


def plan_text_to_video(
    spec: VideoSpec, prompt: str, keyframes: Sequence[KeyframeImage], *, loop: bool
) -> SegmentPlan:
    """A video from a prompt and images at their frames.

    Raises:
        UserError: images are outside the video or too close to each other, or the video is too short to loop.
    """
    closing = _loop_segment(spec, prompt, has_images=bool(keyframes)) if loop else None
    frames = spec.default_num_frames if spec.num_frames is None else spec.num_frames
    if closing is not None and spec.num_frames is not None:
        frames = spec.nearest_valid(frames - _frames_added_by_loop(spec, closing))
        if frames < spec.stride.frames(spec.overlap):
            raise UserError(
                f"{spec.num_frames} frames are too few for a loop; give "
                f"{_frames_added_by_loop(spec, closing) + spec.stride.frames(spec.overlap)} or more"
            )
    segment = _single_segment(spec, (TimedPrompt(prompt=prompt),), keyframes, frames, exact_length=False)
    return SegmentPlan(segments=(segment,) if closing is None else (segment, closing))


def plan_storyboard(
    spec: VideoSpec, shots: Sequence[Shot], images: Sequence[np.ndarray | None], *, loop: bool
) -> SegmentPlan:
    """A video from shots. A cut begins a segment; a blend changes the prompt within the segment before.

    Args:
        spec: its `num_frames` are those of all shots; None: the last shot has the model's default length.
        shots: by time.
        images: the first frame of each shot, of any size, or None.
        loop: whether the last frame leads into the first.

    Raises:
        UserError: the times contradict each other or the video's length.
    """
    starts = [round(shot.seconds * spec.fps) for shot in shots]
    end = starts[-1] + spec.default_num_frames if spec.num_frames is None else spec.num_frames
    _check_times(shots, starts, end, spec)
    cuts = [number for number, shot in enumerate(shots) if not number or shot.transition == "cut"]
    segments: list[Segment] = []
    for first, following in zip(cuts, [*cuts[1:], len(shots)], strict=True):
        begin = starts[first]
        length = (starts[following] if following < len(shots) else end) - begin
        own = range(first, following)
        prompts = tuple(TimedPrompt(prompt=shots[n].prompt, frame=starts[n] - begin) for n in own)
        keyframes = [
            KeyframeImage(image=image, frame=starts[n] - begin)
            for n in own
            if (image := images[n]) is not None
        ]
        segments.append(_single_segment(spec, prompts, keyframes, length, exact_length=True))
    if loop:
        has_images = any(image is not None for image in images)
        segments.append(_loop_segment(spec, shots[-1].prompt, has_images=has_images))
    return SegmentPlan(segments=tuple(segments))


def plan_extension(
    spec: VideoSpec,
    prompt: str,
    source_frames: FrameArray,
    tail_latents: Tensor | None,
    *,
    backward: bool,
    loop: bool = False,
) -> SegmentPlan:
    """Continue a video, or generate what comes before it, by `spec.num_frames` new frames.

    With `loop` the new part leads back to the beginning of the video; it has at least the frames that a loop
    needs, and without `spec.num_frames` no others.

    Args:
        spec: of the new part.
        prompt: of the new part.
        source_frames: the video.
        tail_latents: latents of its last groups, if they are known.
        backward: generate what comes before it.
        loop: lead back to the beginning of the video.

    Raises:
        UserError: the video is too short to lead up to.
    """
    stride = spec.stride
    if loop:
        return _plan_loop_extension(spec, prompt, source_frames, tail_latents)
    if not backward:
        overlap = min(spec.overlap, stride.groups(len(source_frames)))
        segments = [
            _continuation_segment(spec, prompt, new, overlap) for new in _split_groups(spec, overlap, None)
        ]
        return SegmentPlan(segments=tuple(segments), source_frames=source_frames, tail_latents=tail_latents)
    overlap = min(spec.overlap, len(source_frames) // stride.temporal)
    if not overlap:
        raise UserError(
            f"{len(source_frames)} frames are too few to lead up to; {stride.temporal} are needed"
        )
    available = _segment_window(spec) - 1 - overlap  # latent groups
    frames = stride.frames(available) if spec.num_frames is None else spec.num_frames
    # Each segment begins with a single frame, as every video does.
    count = -(-frames // stride.frames(available))
    groups = min(count * available, round((frames - count) / stride.temporal))
    segments = []
    for number in range(count):
        new_groups = groups // count + (number < groups % count)
        segments.append(
            Segment(
                conditioning=spec.prompt_conditioning(prompt),
                video_shape=spec.shape(stride.frames(new_groups + overlap)),
                join_mode="prepend",
                overlap_after=overlap,
                release_sigma=RELEASE_SIGMA,
            )
        )
    return SegmentPlan(segments=tuple(segments), source_frames=source_frames, tail_latents=tail_latents)


def _plan_loop_extension(
    spec: VideoSpec, prompt: str, source_frames: FrameArray, tail_latents: Tensor | None
) -> SegmentPlan:
    """The new part as a segment that closes the loop, behind others if it is longer."""
    closing = _loop_segment(spec, prompt, has_images=False)
    if len(source_frames) < spec.stride.frames(closing.overlap_before):
        raise UserError(
            f"{len(source_frames)} frames are too few to close a loop; "
            f"{spec.stride.frames(closing.overlap_before)} are needed"
        )
    rest = 0 if spec.num_frames is None else spec.num_frames - _frames_added_by_loop(spec, closing)
    before: tuple[Segment, ...] = ()
    if rest >= spec.stride.temporal:
        longer = dataclasses.replace(spec, num_frames=rest)
        before = plan_extension(longer, prompt, source_frames, tail_latents, backward=False).segments
    return SegmentPlan(segments=(*before, closing), source_frames=source_frames, tail_latents=tail_latents)


def plan_interpolation(
    spec: VideoSpec,
    prompt: str,
    first: FrameArray,
    tail_latents: Tensor | None,
    last: UInt8[np.ndarray, "f2 h w 3"],
) -> SegmentPlan:
    """`spec.num_frames` new frames from the end of one video to the beginning of another.

    Args:
        spec: of the new part.
        prompt: of the new part.
        first: the first video.
        tail_latents: latents of its last groups, if they are known.
        last: the second video.

    Raises:
        UserError: the second video is too short to lead up to.
    """
    stride = spec.stride
    before = min(spec.overlap, stride.groups(len(first)))
    after = min(spec.overlap, len(last) // stride.temporal)
    if spec.overlap and not after:
        raise UserError(f"{len(last)} frames are too few to lead up to; {stride.temporal} are needed")
    groups = _split_groups(spec, before, after)
    segments = [_continuation_segment(spec, prompt, new, before) for new in groups]
    segments[-1] = dataclasses.replace(
        segments[-1],
        video_shape=spec.shape(stride.frames(before + groups[-1] + (after or 1))),
        join_mode="interpolate",
        overlap_after=after,
    )
    return SegmentPlan(
        segments=tuple(segments), source_frames=first, tail_latents=tail_latents, target_video=last
    )


def plan_edit(
    spec: VideoSpec,
    prompt: str,
    source_frames: FrameArray,
    *,
    strength: float,
    mask: Float[np.ndarray, "h w"] | Float[np.ndarray, "f2 h w"] | None,
    image_frames: Sequence[int],
    control: ControlCondition | None = None,
    references: tuple[UInt8[np.ndarray, "_ _ 3"], ...] = (),
) -> SegmentPlan:
    """Edit a video: its latents are noised part of the way and denoised under the new prompt.

    Args:
        spec: of the video.
        prompt: of the edited video.
        source_frames: the video.
        strength: the sigma to which it is noised.
        mask: where it may change, in all frames or in each; None: everywhere.
        image_frames: frames of the video that the model needs as image conditions (0, -1).
        control: a control video.
        references: reference images.
    """
    frames = spec.min_valid(len(source_frames))
    whole = np.concatenate(
        [source_frames, np.repeat(source_frames[-1:], frames - len(source_frames), axis=0)]
    )
    if mask is not None and mask.ndim == 3:
        mask = np.concatenate([mask, np.repeat(mask[-1:], frames - len(mask), axis=0)])
    conditioning = dataclasses.replace(
        spec.prompt_conditioning(prompt),
        control=control,
        references=references,
        edit_source=EditSource(frames=whole, sigma=strength, mask=mask),
        images=tuple(ImageCondition(image=whole[at], frame=at % frames) for at in image_frames),
    )
    segment = Segment(
        conditioning=conditioning,
        video_shape=spec.shape(frames),
        dropped_frames=tuple(range(len(source_frames), frames)),
        join_mode="cut",
    )
    return SegmentPlan(segments=(segment,))


def _single_segment(
    spec: VideoSpec,
    prompts: tuple[TimedPrompt, ...],
    keyframes: Sequence[KeyframeImage],
    frames: int,
    *,
    exact_length: bool,
) -> Segment:
    """One segment, in which images after the first frame fill a latent group each; see the module.

    Args:
        spec: of the video.
        prompts: by frame of the finished video.
        keyframes: images by frame of the finished video.
        frames: of the finished video.
        exact_length: show exactly `frames` frames; else the nearest length that the model can sample.
    """
    group, size = spec.stride.temporal, spec.size
    later = [key for key in keyframes if key.frame]
    extra = 0 if spec.image_pins_one_frame else (group - 1) * len(later)
    if exact_length:
        num_sampled = spec.min_valid(frames + extra)
    else:
        num_sampled = spec.nearest_valid(frames + extra) if spec.num_frames is not None else frames
    images = [
        ImageCondition(image=resize_and_crop(key.image, size), original=key.image)
        for key in keyframes
        if not key.frame
    ]
    dropped: list[int] = []
    placed: list[tuple[int, int]] = []  # frame of the finished video, sampled frame
    for key in sorted(later, key=lambda key: key.frame if key.frame >= 0 else num_sampled):
        if spec.image_pins_one_frame:
            at = key.frame % num_sampled
        elif key.frame < 0:
            at = num_sampled - group
        else:
            at = spec.nearest_valid(key.frame + (group - 1) * len(placed) - 1)
            if key.frame >= frames or not 0 < at < num_sampled:
                raise UserError(
                    f"an image at {key.frame / spec.fps:g} s is outside a video of "
                    f"{frames / spec.fps:g} s; make the video longer or show the image earlier"
                )
        if placed and at <= placed[-1][1]:
            raise UserError(
                f"two images near {key.frame / spec.fps:g} s are too close to each other; leave "
                f"{group / spec.fps:g} s between them"
            )
        placed.append((key.frame, at))
        images.append(ImageCondition(image=resize_and_crop(key.image, size), frame=at, original=key.image))
        dropped += [] if spec.image_pins_one_frame else range(at + 1, at + group)
    if exact_length:
        visible = [frame for frame in range(num_sampled) if frame not in dropped]
        dropped += visible[frames:]

    def shift_for_keyframes(frame: int) -> int:
        return frame + sum(
            group - 1 for shown, _ in placed if 0 <= shown < frame and not spec.image_pins_one_frame
        )

    return Segment(
        conditioning=Conditioning(
            prompts=tuple(
                dataclasses.replace(prompt, frame=shift_for_keyframes(prompt.frame)) for prompt in prompts
            ),
            negative_prompt=spec.negative_prompt,
            images=tuple(images),
        ),
        video_shape=spec.shape(num_sampled),
        dropped_frames=tuple(sorted(dropped)),
    )


def _segment_window(spec: VideoSpec) -> int:
    return 1 + spec.stride.groups(spec.default_num_frames) if spec.window is None else spec.window


def _continuation_segment(spec: VideoSpec, prompt: str, new_groups: int, overlap_before: int) -> Segment:
    return Segment(
        conditioning=spec.prompt_conditioning(prompt),
        video_shape=spec.shape(spec.stride.frames(overlap_before + new_groups)),
        join_mode="continue",
        overlap_before=overlap_before,
        release_sigma=RELEASE_SIGMA,
    )


def _split_groups(spec: VideoSpec, overlap_before: int, overlap_after: int | None) -> list[int]:
    """New latent groups of each continuing segment; the last one may lead up to another video."""
    available = _segment_window(spec) - 1 - overlap_before
    last = available if overlap_after is None else available - max(1, overlap_after)
    if last < 1:
        raise UserError(
            f"this model samples {spec.default_num_frames} frames at a time, too few to lead from one video "
            "to another"
        )
    stride = spec.stride
    groups = last if spec.num_frames is None else max(1, round(spec.num_frames / stride.temporal))
    if groups <= last:
        return [groups]
    count = -(-(groups - last) // available)
    # The last segment is full; those before share the rest evenly.
    rest = groups - last
    return [rest // count + (number < rest % count) for number in range(count)] + [last]


def _loop_segment(spec: VideoSpec, prompt: str, *, has_images: bool) -> Segment:
    """The segment that leads back to the beginning; `has_images`: the beginning is an exact image."""
    overlap = spec.overlap
    free = _segment_window(spec) - 1 - 2 * overlap
    if free < 1:
        raise UserError(
            f"this model samples {spec.default_num_frames} frames at a time, too few to close a loop"
        )
    return Segment(
        conditioning=spec.prompt_conditioning(prompt),
        video_shape=spec.shape(spec.stride.frames(2 * overlap + free)),
        join_mode="loop",
        overlap_before=overlap,
        overlap_after=overlap,
        release_sigma=0.0 if has_images else LOOP_RELEASE_SIGMA,
    )


def _frames_added_by_loop(spec: VideoSpec, loop_segment: Segment) -> int:
    """Frames by which the loop segment makes the video longer."""
    return (
        spec.stride.groups(loop_segment.video_shape.frames)
        - loop_segment.overlap_before
        - loop_segment.overlap_after
    ) * (spec.stride.temporal)


def _check_times(shots: Sequence[Shot], starts: Sequence[int], end: int, spec: VideoSpec) -> None:
    if starts[0] != 0:
        raise UserError(f"the first shot begins at {shots[0].seconds:g} s; it begins at 0")
    for number, (before, after) in enumerate(itertools.pairwise(starts), 2):
        if after <= before:
            raise UserError(
                f"shot {number} begins at {shots[number - 1].seconds:g} s, less than a frame after shot "
                f"{number - 1} at {shots[number - 2].seconds:g} s; order shots by time"
            )
    if end <= starts[-1]:
        raise UserError(
            f"the last shot begins at {shots[-1].seconds:g} s and the video ends at {end / spec.fps:g} s; "
            "make the video longer"
        )
