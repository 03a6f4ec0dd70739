"""From measurements to clips: scenes, windows, scores, and which clips are kept.

Everything here is a function of the kept measurements and the options, so it can be repeated with other
thresholds in seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from kinema.data.analysis import Analysis
from kinema.data.aspect_buckets import Size, choose_bucket, plan_cover_crop
from kinema.data.clip_table import ClipRow
from kinema.data.frame_selection import Window, evenly, resample, round_down, windows
from kinema.data.media_item import ClipOptions, MediaItem
from kinema.data.scenes import CutOptions, detect_transitions, scenes
from kinema.data.thresholds import Thresholds
from kinema.errors import UserError, did_you_mean

BLACK_LUMA, WHITE_LUMA = 12.0, 240.0
"""Mean gray value up to which a frame is black, and from which it is white."""
FROZEN_DIFFERENCE = 0.08
"""Mean gray difference at 64 x 64 below which nothing changes."""
HASHES_PER_CLIP = 5
FILTERS = (
    "cuts", "black", "white", "frozen", "letterbox", "motion", "sharpness", "flicker", "duplicates",
    "resolution", "rate", "damaged",
)  # fmt: skip
"""Stages that can be skipped."""


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """How clips are made and chosen.

    Attributes:
        clips: options of sources without their own.
        thresholds: limits of the filters.
        skip: filters that do nothing, of `FILTERS`.

    Raises:
        UserError: a name in `skip` is unknown.
    """

    clips: ClipOptions = dataclasses.field(default_factory=ClipOptions)
    thresholds: Thresholds = dataclasses.field(default_factory=Thresholds)
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.skip:
            if name not in FILTERS:
                raise UserError(
                    f"can't skip {name!r}{did_you_mean(name, FILTERS)}; choose from {', '.join(FILTERS)}"
                )


def select_clips(
    item: MediaItem, analysis: Analysis | str, options: SelectionOptions, *, occurrence: int = 0
) -> list[ClipRow]:
    """All candidate clips of a source with their scores; those that fail have a reason.

    Args:
        item: the source.
        analysis: its measurements, or why it can't be read.
        options: how clips are made and chosen.
        occurrence: number of the source among those with the same content, so that identifiers differ.
    """
    blank = ClipRow(
        clip_id=_hash(["", item.name, item.kind, occurrence]),
        source=item.name,
        path=item.path,
        member=item.member,
        kind=item.kind,
        row_in_shard=item.row_in_shard,
        source_fps=item.fps,
        repeats=item.repeats,
        captions=item.captions,
        caption=item.captions[0] if item.captions else "",
        caption_source=item.caption_source,
    )
    if isinstance(analysis, str):
        known = item.kind in ("missing", "caption_only") or "no video stream" in analysis
        return [dataclasses.replace(blank, reason="no_video" if known else "unreadable", detail=analysis)]
    clips = item.clips or options.clips
    source = dataclasses.replace(
        blank,
        source_sha256=analysis.sha256,
        width=analysis.width,
        height=analysis.height,
        fps=round(analysis.fps, 4),
        source_frames=analysis.num_frames,
        end_s=round(analysis.end, 6),
        crop=(0, 0, analysis.width, analysis.height),
    )
    limits = options.thresholds
    transitions = []
    if "cuts" not in options.skip:
        transitions = detect_transitions(
            analysis,
            CutOptions(
                adaptive=limits.cut_adaptive,
                adaptive_minimum=limits.cut_adaptive_min,
                content=limits.cut_content,
                network=limits.cut_network,
            ),
        )
    rows: list[ClipRow] = []
    for first, stop in scenes(analysis.num_frames, transitions):
        start, end = _trim(analysis, first, stop, limits.cut_trim)
        crop = _crop(analysis, first, stop, options)
        found = _scene_rows(source, analysis, (start, end), crop, clips, options, occurrence)
        rows += found or [
            _too_short(source, analysis, (first, stop), end - start, clips, options, occurrence)
        ]
    return rows


def _scene_rows(
    source: ClipRow,
    analysis: Analysis,
    bounds: tuple[int, int],
    crop: tuple[int, int, int, int],
    clips: ClipOptions,
    options: SelectionOptions,
    occurrence: int,
) -> list[ClipRow]:
    first, stop = bounds
    times = analysis.times[first:stop]
    end = analysis.end if stop >= analysis.num_frames else float(analysis.times[stop])
    is_image = analysis.num_frames == 1
    fps = None if is_image else clips.fps
    kept = resample(clips.resampling, times, end, fps=fps, source_fps=clips.source_fps) if len(times) else []
    rows: list[ClipRow] = []
    for frames, buckets in _clip_frames(kept, (crop[2], crop[3]), clips, is_image):
        chosen = tuple(first + index for index in frames)
        row = dataclasses.replace(
            source,
            clip_id=_hash([source.source_sha256, chosen, crop, occurrence]),
            start_s=round(float(analysis.times[chosen[0]]), 6),
            end_s=round(_frame_end(analysis, chosen[-1]), 6),
            num_frames=len(chosen),
            frames=chosen,
            crop=crop,
            buckets=tuple(f"{width}x{height}x{len(chosen)}" for width, height in buckets),
            clip_fps=0.0 if is_image else round(_clip_rate(clips, analysis, chosen), 4),
        )
        row = _with_scores(row, analysis, buckets)
        row = dataclasses.replace(row, transforms=_describe(row, clips))
        rows.append(_decide(row, analysis, clips, options))
    return rows


def _too_short(
    source: ClipRow,
    analysis: Analysis,
    scene: tuple[int, int],
    usable: int,
    clips: ClipOptions,
    options: SelectionOptions,
    occurrence: int,
) -> ClipRow:
    """The row of a scene that has no clip."""
    first, stop = scene
    needed = round_down(min(clips.frames), clips.frame_multiple)
    seconds = usable / analysis.fps if analysis.fps else 0.0
    rate = f" ({needed / clips.fps:.2f} s)" if clips.fps else ""
    return dataclasses.replace(
        source,
        clip_id=_hash([source.source_sha256, "short", first, stop, occurrence]),
        start_s=round(float(analysis.times[first]), 6),
        end_s=round(_frame_end(analysis, stop - 1), 6),
        num_frames=usable,
        reason="too_short" if analysis.complete or "damaged" in options.skip else "damaged",
        detail=f"a scene with {seconds:.2f} s between its cuts; {needed} frames{rate} are needed",
    )


def _clip_frames(
    kept: Sequence[int], size: Size, clips: ClipOptions, is_image: bool
) -> list[tuple[list[int], list[Size]]]:
    """The frames of each clip of a scene, and the sizes that it is trained in."""
    if clips.size_buckets:
        return _size_bucket_clip(kept, size, clips)
    sizes = list(
        dict.fromkeys(
            choose_bucket(
                clips.bucket_rule,
                size,
                resolution,
                divisor=clips.divisor,
                no_upscale=clips.no_upscale,
                ratios=clips.ratios or None,
            )
            for resolution in clips.resolutions
        )
    )
    if is_image:
        return [([0], sizes)] if kept else []
    if clips.mode == "shrink":
        count = round_down(max(clips.frames), clips.frame_multiple)
        if len(kept) < 2:
            return []
        return [([kept[index] for index in evenly(len(kept), count)], sizes)]
    found = windows(
        clips.mode,
        len(kept),
        clips.frames,
        stride=clips.stride,
        samples=clips.samples,
        max_frames=clips.max_frames,
        multiple=clips.frame_multiple,
    )
    unique: dict[Window, None] = dict.fromkeys(found)
    return [(list(kept[one.start : one.start + one.num_frames]), sizes) for one in unique]


def _size_bucket_clip(
    kept: Sequence[int], size: Size, clips: ClipOptions
) -> list[tuple[list[int], list[Size]]]:
    """diffusion-pipe: the nearest ratio first, then the longest; the first that has enough frames."""
    ratio = math.log(size[0] / size[1])
    ordered = sorted(
        clips.size_buckets, key=lambda one: (round(abs(math.log(one[0] / one[1]) - ratio), 9), -one[2])
    )
    for width, height, count in ordered:
        if count <= len(kept):
            return [(list(kept[:count]), [(width, height)])]
    return []


def _trim(analysis: Analysis, first: int, stop: int, seconds: float) -> tuple[int, int]:
    """Leave out some time next to changes of scene; the ends of the file stay."""
    times = analysis.times
    start, end = first, stop
    if first > 0:
        start = int(np.searchsorted(times, times[first] + seconds - 1e-6))
    if stop < analysis.num_frames:
        end = int(np.searchsorted(times, times[stop] - seconds + 1e-6))
    return min(start, stop), max(min(start, stop), end)


def _crop(analysis: Analysis, first: int, stop: int, options: SelectionOptions) -> tuple[int, int, int, int]:
    """What is inside black bars, in pixels of the source: left, top, width, height.

    Bars are equal on both sides: a dark corner of a scene is none.
    """
    width, height = analysis.width, analysis.height
    whole = (0, 0, width, height)
    within = _samples(analysis, first, stop) & (analysis.luma_max > 40)
    if "letterbox" in options.skip or not within.any():
        return whole
    boxes = analysis.content_box[within].astype(np.float64)
    measured_width, measured_height = analysis.analysis_size
    # Almost all frames: a single damaged one does not count.
    left, top = np.floor(np.percentile(boxes[:, :2], 2, axis=0))
    right, bottom = np.ceil(np.percentile(boxes[:, 2:], 98, axis=0))
    columns = _bar(left, measured_width - right, measured_width, options.thresholds.letterbox_min)
    rows = _bar(top, measured_height - bottom, measured_height, options.thresholds.letterbox_min)
    if (1 - 2 * columns / measured_width) * (1 - 2 * rows / measured_height) < 0.2:
        return whole
    x, y = _even(columns * width / measured_width), _even(rows * height / measured_height)
    return x, y, width - 2 * x, height - 2 * y


def _bar(before: float, after: float, side: int, minimum: float) -> float:
    """The width of equal bars with one more pixel for their blurred edge; 0 where there are none."""
    if min(before, after) < minimum * side or abs(before - after) > max(2.0, 0.03 * side):
        return 0.0
    return max(before, after) + 1


def _even(value: float) -> int:
    return math.ceil(value / 2) * 2 if value else 0


def _samples(analysis: Analysis, first: int, stop: int) -> Bool[np.ndarray, " S"]:
    return (analysis.sample_index >= first) & (analysis.sample_index < stop)


def _with_scores(row: ClipRow, analysis: Analysis, buckets: Sequence[Size]) -> ClipRow:
    """Fill the scores of a clip from the samples between its first and last frame."""
    first, last = row.frames[0], row.frames[-1]
    within = _samples(analysis, first, last + 1)
    if not within.any():
        # A clip that is shorter than the distance of samples: the one before.
        within[max(0, int(np.searchsorted(analysis.sample_index, first, side="right")) - 1)] = True
    share = row.crop[2] * row.crop[3] / (row.width * row.height)
    luma = analysis.luma_mean[within] / share
    motion = analysis.motion[within][1:] / share
    patches = analysis.patch_motion[within][1:]
    second = np.abs(np.diff(luma, n=2)) / 2
    sharp = (analysis.sharpness_index >= first) & (analysis.sharpness_index <= last)
    nearest = int(np.abs(analysis.sharpness_index - (first + last) // 2).argmin())
    sharpness = analysis.sharpness[sharp] if sharp.any() else analysis.sharpness[nearest : nearest + 1]
    scales = [
        max(plan_cover_crop((row.crop[2], row.crop[3]), one).scaled) / max(row.crop[2:]) for one in buckets
    ]
    hashes = analysis.hashes[within]
    picks = [round((2 * i + 1) / (2 * HASHES_PER_CLIP) * (len(hashes) - 1)) for i in range(HASHES_PER_CLIP)]
    moved = len(motion) > 0
    return dataclasses.replace(
        row,
        black=_round(np.mean(luma <= BLACK_LUMA)),
        white=_round(np.mean(luma >= WHITE_LUMA)),
        frozen=_round(np.mean(motion < FROZEN_DIFFERENCE)) if moved else 0.0,
        motion=_round(motion.mean()) if moved else 0.0,
        motion_patch_min=_round(patches.mean(axis=0).min()) if moved else 0.0,
        sharpness=_round(np.median(sharpness)),
        flicker=_round(second.mean()) if len(second) else 0.0,
        upscale=_round(min(scales)),
        hashes=tuple(int(hashes[index]) for index in picks),
    )


def _decide(row: ClipRow, analysis: Analysis, clips: ClipOptions, options: SelectionOptions) -> ClipRow:
    """Set `kept` or the first reason against a clip."""
    limits = options.thresholds
    moving = row.num_frames > 1
    shorter = min(row.crop[2:])
    rate = row.fps / clips.fps if moving and clips.fps and clips.resampling != "none" else math.inf
    checks = (
        ("damaged", "damaged", not analysis.complete, "the file is truncated or damaged"),
        ("resolution", "too_small", shorter < limits.resolution_min, f"shorter side {shorter} pixels"),
        (
            "resolution",
            "too_small",
            row.upscale > limits.resolution_upscale,
            f"enlarged {row.upscale:g} times",
        ),
        ("rate", "low_rate", rate < limits.rate_min, f"{row.fps:g} frames per second"),
        ("black", "black", row.black > limits.black_max, f"{row.black:.0%} of the frames"),
        ("white", "white", row.white > limits.white_max, f"{row.white:.0%} of the frames"),
        ("frozen", "frozen", moving and row.frozen > limits.frozen_max, f"{row.frozen:.0%} of the steps"),
        # Before the motion: a change of brightness counts as motion, too.
        ("flicker", "flicker", row.flicker > limits.flicker_max, f"flicker {row.flicker:g}"),
        ("motion", "little_motion", moving and row.motion < limits.motion_min, f"motion {row.motion:g}"),
        (
            "motion",
            "little_motion",
            moving and row.motion_patch_min < limits.motion_patch_min,
            f"a patch with motion {row.motion_patch_min:g}",
        ),
        ("motion", "much_motion", moving and row.motion > limits.motion_max, f"motion {row.motion:g}"),
        ("sharpness", "blurred", row.sharpness < limits.sharpness_min, f"sharpness {row.sharpness:g}"),
    )
    for name, reason, failed, detail in checks:
        if failed and name not in options.skip:
            return dataclasses.replace(row, reason=reason, detail=detail)
    return dataclasses.replace(row, kept=True)


def _clip_rate(clips: ClipOptions, analysis: Analysis, chosen: Sequence[int]) -> float:
    if clips.fps is not None and clips.resampling != "none":
        return clips.fps
    seconds = _frame_end(analysis, chosen[-1]) - float(analysis.times[chosen[0]])
    return len(chosen) / seconds if clips.mode == "shrink" and seconds > 0 else analysis.fps


def _frame_end(analysis: Analysis, index: int) -> float:
    return float(analysis.times[index + 1]) if index + 1 < analysis.num_frames else analysis.end


def _describe(row: ClipRow, clips: ClipOptions) -> str:
    parts: list[str] = []
    if row.crop != (0, 0, row.width, row.height):
        parts.append(f"crop {row.crop[2]}x{row.crop[3]}+{row.crop[0]}+{row.crop[1]}")
    if row.num_frames > 1:
        consecutive = all(b - a == 1 for a, b in zip(row.frames, row.frames[1:], strict=False))
        if consecutive and abs(row.fps - row.clip_fps) < 0.01:
            parts.append(f"all frames at {row.fps:g} fps")
        else:
            rule = "evenly over the scene" if clips.mode == "shrink" else f"by {clips.resampling}"
            parts.append(f"{row.fps:g} to {row.clip_fps:g} fps {rule}")
    parts += [f"cover and crop to {bucket.rsplit('x', 1)[0]}" for bucket in row.buckets]
    return "; ".join(parts)


def _round(value: np.floating | float) -> float:
    return round(float(value), 4)


def _hash(values: object) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()
