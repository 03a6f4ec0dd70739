"""Each verb as takes of the one pipeline: which frames are given, how noisy, and which prompt speaks when.

A later latent frame stands for a whole group of film frames (4 in all models so far). A picture that is to
be seen at one moment therefore pins a group, in which it stands still; only the first frame of such a group
is shown, so the film arrives at the picture, or passes through it, without stopping. That holds for a last
image, for keyframes and for pictures of a storyboard, and moves them to the nearest beginning of a group.

A loop is not pinned to a picture: a bridge leads from the film's end back to its first group, so that not
only what is seen but how it moves agrees where the film begins again. Connecting is that with another film.
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
from kinema.pipeline.conditioning import Conditioning, EditSource, ImageCondition, TimedPrompt
from kinema.pipeline.images import resize_and_crop
from kinema.pipeline.request import Shot
from kinema.pipeline.segments import LOOP_RELEASE_SIGMA, RELEASE_SIGMA, Segment
from kinema.shapes import Stride, VideoShape

FrameArray = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    """What every take of a film has in common.

    Attributes:
        size: width and height.
        fps: frames per second.
        stride: of the autoencoder.
        window: latent frames that the model makes at a time; None where takes can't go on from each other.
        overlap: groups that a take shares with the film it goes on from.
        num_frames: how many are asked for; None: the model's own choice.
        default_num_frames: frames of the model's own films.
        image_pins_one_frame: whether a picture holds one film frame alone (models that read pictures beside the noise).
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
        """A film of so many frames."""
        return VideoShape(frames=frames, height=self.size[1], width=self.size[0])

    def nearest_valid(self, frames: int | float) -> int:
        """The nearest number of frames that a take can have."""
        return self.shape(max(1, round(frames))).rounded(self.stride).frames

    def min_valid(self, frames: int) -> int:
        """The smallest number of frames that a take can have which is not less."""
        return self.stride.frames(self.stride.groups(frames + self.stride.temporal - 1))

    def prompt_conditioning(self, prompt: str) -> Conditioning:
        """One prompt throughout, and nothing given."""
        return Conditioning(prompts=(TimedPrompt(prompt=prompt),), negative_prompt=self.negative_prompt)


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentPlan:
    """The takes of a film, and the films they join.

    Attributes:
        segments: in the order in which they are made.
        source_frames: the film that is there before; None: nothing.
        tail_latents: latents of its last groups, if they are known.
        target_video: the film that the last take leads up to.
    """

    segments: tuple[Segment, ...]
    source_frames: FrameArray | None = None
    tail_latents: Float[Tensor, "1 c g h2 w2"] | None = None
    target_video: UInt8[np.ndarray, "f2 h w 3"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyframeImage:
    """A picture at a moment of the film that is seen, in frames from 0; -1 is the last."""

    image: UInt8[np.ndarray, "h w 3"]
    frame: int


def plan_text_to_video(
    spec: VideoSpec, prompt: str, keyframes: Sequence[KeyframeImage], *, loop: bool
) -> SegmentPlan:
    """A film from words and pictures at their moments.

    Raises:
        UserError: pictures lie outside the film or too near to each other, or the film is too short to loop.
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
    take = _single_segment(spec, (TimedPrompt(prompt=prompt),), keyframes, frames, exact_length=False)
    return SegmentPlan(segments=(take,) if closing is None else (take, closing))


def plan_storyboard(
    spec: VideoSpec, shots: Sequence[Shot], images: Sequence[np.ndarray | None], *, loop: bool
) -> SegmentPlan:
    """A film from shots. A cut begins a take of its own; a shot that blends in speaks on in the take before.

    Args:
        spec: its `num_frames` are those of all shots; None: the last shot lasts as long as the model's films.
        shots: by time.
        images: what each begins with, of any size.
        loop: whether the last frame flows into the first.

    Raises:
        UserError: the times contradict each other or the film's length.
    """
    starts = [round(shot.seconds * spec.fps) for shot in shots]
    end = starts[-1] + spec.default_num_frames if spec.num_frames is None else spec.num_frames
    _check_times(shots, starts, end, spec)
    cuts = [number for number, shot in enumerate(shots) if not number or shot.transition == "cut"]
    takes: list[Segment] = []
    for first, following in zip(cuts, [*cuts[1:], len(shots)], strict=True):
        begin = starts[first]
        length = (starts[following] if following < len(shots) else end) - begin
        own = range(first, following)
        lines = tuple(TimedPrompt(prompt=shots[n].prompt, frame=starts[n] - begin) for n in own)
        stills = [
            KeyframeImage(image=image, frame=starts[n] - begin)
            for n in own
            if (image := images[n]) is not None
        ]
        takes.append(_single_segment(spec, lines, stills, length, exact_length=True))
    if loop:
        takes.append(
            _loop_segment(spec, shots[-1].prompt, has_images=any(image is not None for image in images))
        )
    return SegmentPlan(segments=tuple(takes))


def plan_extension(
    spec: VideoSpec, prompt: str, source_frames: FrameArray, tail_latents: Tensor | None, *, backward: bool
) -> SegmentPlan:
    """A film goes on, or begins earlier, by `canvas.num_frames` new frames.

    Raises:
        UserError: the film is too short to lead up to.
    """
    stride = spec.stride
    if not backward:
        carried = min(spec.overlap, stride.groups(len(source_frames)))
        takes = [
            _continuation_segment(spec, prompt, new, carried) for new in _split_groups(spec, carried, None)
        ]
        return SegmentPlan(segments=tuple(takes), source_frames=source_frames, tail_latents=tail_latents)
    reached = min(spec.overlap, len(source_frames) // stride.temporal)
    if not reached:
        raise UserError(
            f"{len(source_frames)} frames are too few to lead up to; {stride.temporal} are needed"
        )
    room = _segment_window(spec) - 1 - reached
    frames = stride.frames(room) if spec.num_frames is None else spec.num_frames
    # Each take begins with a frame of its own, as films do.
    count = -(-frames // stride.frames(room))
    groups = min(count * room, round((frames - count) / stride.temporal))
    takes = []
    for number in range(count):
        free = groups // count + (number < groups % count)
        takes.append(
            Segment(
                conditioning=spec.prompt_conditioning(prompt),
                video_shape=spec.shape(stride.frames(free + reached)),
                join_mode="prepend",
                overlap_after=reached,
                release_sigma=RELEASE_SIGMA,
            )
        )
    return SegmentPlan(segments=tuple(takes), source_frames=source_frames, tail_latents=tail_latents)


def plan_interpolation(
    spec: VideoSpec,
    prompt: str,
    first: FrameArray,
    tail_latents: Tensor | None,
    last: UInt8[np.ndarray, "f2 h w 3"],
) -> SegmentPlan:
    """`canvas.num_frames` new frames lead from the end of one film to the beginning of another.

    Raises:
        UserError: the second film is too short to lead up to.
    """
    stride = spec.stride
    carried = min(spec.overlap, stride.groups(len(first)))
    reached = min(spec.overlap, len(last) // stride.temporal)
    if spec.overlap and not reached:
        raise UserError(f"{len(last)} frames are too few to lead up to; {stride.temporal} are needed")
    portions = _split_groups(spec, carried, reached)
    takes = [_continuation_segment(spec, prompt, new, carried) for new in portions]
    final = takes[-1]
    takes[-1] = dataclasses.replace(
        final,
        video_shape=spec.shape(stride.frames(carried + portions[-1] + (reached or 1))),
        join_mode="interpolate",
        overlap_after=reached,
    )
    return SegmentPlan(
        segments=tuple(takes), source_frames=first, tail_latents=tail_latents, target_video=last
    )


def plan_edit(
    spec: VideoSpec,
    prompt: str,
    source_frames: FrameArray,
    *,
    strength: float,
    mask: Float[np.ndarray, "h w"] | None,
    image_frames: Sequence[int],
) -> SegmentPlan:
    """A film is changed: its latents are noised part of the way and carried back under the prompt.

    Args:
        spec: of the film.
        prompt: what it shows then.
        source_frames: the film.
        strength: the noise level it is carried to.
        mask: where it may change.
        image_frames: frames that the model wants to be given besides (0, -1): pictures of the film itself.
    """
    frames = spec.min_valid(len(source_frames))
    whole = np.concatenate(
        [source_frames, np.repeat(source_frames[-1:], frames - len(source_frames), axis=0)]
    )
    condition = dataclasses.replace(
        spec.prompt_conditioning(prompt),
        edit_source=EditSource(frames=whole, sigma=strength, mask=mask),
        images=tuple(ImageCondition(image=whole[at], frame=at % frames) for at in image_frames),
    )
    take = Segment(
        conditioning=condition,
        video_shape=spec.shape(frames),
        dropped_frames=tuple(range(len(source_frames), frames)),
        join_mode="cut",
    )
    return SegmentPlan(segments=(take,))


def _single_segment(
    spec: VideoSpec,
    prompts: tuple[TimedPrompt, ...],
    keyframes: Sequence[KeyframeImage],
    frames: int,
    *,
    exact_length: bool,
) -> Segment:
    """One stretch without a cut, in which pictures behind the first frame take a group each, see the module.

    `exact_length`: the film shows just so many frames; else it is as long as the model makes it.
    """
    group, size = spec.stride.temporal, spec.size
    later = [still for still in keyframes if still.frame]
    extra = 0 if spec.image_pins_one_frame else (group - 1) * len(later)
    if exact_length:
        made = spec.min_valid(frames + extra)
    else:
        made = spec.nearest_valid(frames + extra) if spec.num_frames is not None else frames
    pictures = [
        ImageCondition(image=resize_and_crop(s.image, size), original=s.image)
        for s in keyframes
        if not s.frame
    ]
    hidden: list[int] = []
    taken: list[tuple[int, int]] = []
    for still in sorted(later, key=lambda still: still.frame if still.frame >= 0 else made):
        if spec.image_pins_one_frame:
            at = still.frame % made
        elif still.frame < 0:
            at = made - group
        else:
            at = spec.nearest_valid(still.frame + (group - 1) * len(taken) - 1)
            if still.frame >= frames or not 0 < at < made:
                raise UserError(
                    f"a picture at {still.frame / spec.fps:g} s is outside a film of "
                    f"{frames / spec.fps:g} s; make the film longer or show it earlier"
                )
        if taken and at <= taken[-1][1]:
            raise UserError(
                f"two pictures near {still.frame / spec.fps:g} s are too near to each other; leave "
                f"{group / spec.fps:g} s between them"
            )
        taken.append((still.frame, at))
        pictures.append(
            ImageCondition(image=resize_and_crop(still.image, size), frame=at, original=still.image)
        )
        hidden += [] if spec.image_pins_one_frame else range(at + 1, at + group)
    if exact_length:
        shown = made - len(hidden)
        rest = [frame for frame in range(made) if frame not in hidden]
        hidden += rest[frames:] if shown > frames else []

    def shift_for_keyframes(frame: int) -> int:
        return frame + sum(
            group - 1 for moment, _ in taken if 0 <= moment < frame and not spec.image_pins_one_frame
        )

    told = tuple(dataclasses.replace(line, frame=shift_for_keyframes(line.frame)) for line in prompts)
    return Segment(
        conditioning=Conditioning(prompts=told, negative_prompt=spec.negative_prompt, images=tuple(pictures)),
        video_shape=spec.shape(made),
        dropped_frames=tuple(sorted(hidden)),
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
    """New groups of each take that goes on; the last of them may have to lead up to something."""
    room = _segment_window(spec) - 1 - overlap_before
    last = room if overlap_after is None else room - max(1, overlap_after)
    if last < 1:
        raise UserError(
            f"this model makes {spec.default_num_frames} frames at a time, too few to lead from one film to another"
        )
    stride = spec.stride
    groups = last if spec.num_frames is None else max(1, round(spec.num_frames / stride.temporal))
    if groups <= last:
        return [groups]
    count = -(-(groups - last) // room)
    # The last take is filled; those before share the rest evenly.
    rest = groups - last
    return [rest // count + (number < rest % count) for number in range(count)] + [last]


def _loop_segment(spec: VideoSpec, prompt: str, *, has_images: bool) -> Segment:
    """The take that leads back to the film's beginning, which may be a picture that has to be seen."""
    overlap = spec.overlap
    free = _segment_window(spec) - 1 - 2 * overlap
    if free < 1:
        raise UserError(
            f"this model makes {spec.default_num_frames} frames at a time, too few to close a loop"
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
    """Frames by which a closing take makes the film longer."""
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
            f"the last shot begins at {shots[-1].seconds:g} s and the film ends at {end / spec.fps:g} s; "
            "make the film longer"
        )
