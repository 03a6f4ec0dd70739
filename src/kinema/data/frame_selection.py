"""Which frames of a video become a clip: resampling to a frame rate, and windows of a number of frames.

The rules of other trainers are here by name, so that a set built with them has exactly the frames that those
trainers would take. All functions return indices into the decoded frames of the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

Resampling = Literal["timestamps", "musubi", "diffusion-pipe", "ai-toolkit", "diffsynth", "none"]
"""How frames are chosen for the wanted rate.

`timestamps` takes the frame nearest in time to every multiple of 1/rate and is right for variable rates;
`musubi` counts frames of a declared rate; `diffusion-pipe` takes an even row over the whole video;
`ai-toolkit` and `diffsynth` round each position; `none` keeps every frame.
"""
WindowMode = Literal[
    "head", "chunk", "slide", "uniform", "full", "single_beginning", "single_middle", "shrink"
]
"""Which windows are cut: the first frames; one after the other; every `stride` frames; `samples` evenly
spread; as long as possible up to `max_frames`; the longest wanted length that fits, at the beginning or in
the middle; or the wanted number of frames spread over the whole video, which changes its speed."""
SAME_RATE_TOLERANCE = 0.01
"""A constant rate within this share of the wanted one is not resampled: a frame that is dropped or repeated
every few seconds would be seen, a speed that is 1% off is not."""
_REGULAR_TOLERANCE = 0.25


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive frames of a resampled video."""

    start: int
    num_frames: int


def is_regular(times: Float64[np.ndarray, " f"]) -> bool:
    """Whether all frames are shown equally long, within a quarter of the mean."""
    if len(times) < 3:
        return True
    steps = np.diff(times)
    return bool(np.abs(steps - steps.mean()).max() <= _REGULAR_TOLERANCE * steps.mean())


def resample_by_time(times: Float64[np.ndarray, " f"], end: float, fps: float) -> list[int]:
    """Choose the frame nearest in time to every multiple of 1/fps.

    Args:
        times: of the frames in seconds, increasing.
        end: time at which the last frame ends.
        fps: the wanted rate.
    """
    if not len(times):
        return []
    own_rate = len(times) / (end - times[0]) if end > times[0] else fps
    if is_regular(times) and abs(own_rate / fps - 1) <= SAME_RATE_TOLERANCE:
        return list(range(len(times)))
    count = math.floor((end - times[0]) * fps + 1e-6)
    targets = times[0] + np.arange(max(1, count)) / fps
    halfway = (times[1:] + times[:-1]) / 2
    return np.searchsorted(halfway, targets - 1e-9).tolist()


def resample_musubi(num_frames: int, source_fps: float, fps: float) -> list[int]:
    """Keep a frame whenever a running sum of fps/source_fps reaches a new integer.

    A rate above that of the source keeps every frame: no frame is repeated.
    """
    kept: list[int] = []
    position, last = 0.0, -1
    for index in range(num_frames):
        if int(position) > last:
            kept.append(index)
            last = int(position)
        position += fps / source_fps
    return kept


def resample_diffusion_pipe(num_frames: int, source_fps: float, fps: float) -> list[int]:
    """Take ⌊F·fps/source_fps⌋ frames in an even row from the first to the last, truncated."""
    count = int(num_frames * fps / source_fps)
    return np.linspace(0, num_frames - 1, count).astype(int).tolist() if count else []


def resample_ai_toolkit(num_frames: int, source_fps: float, fps: float) -> list[int]:
    """Take every k-th frame from the first on, k = max(1, round(source_fps / fps))."""
    return list(range(0, num_frames, max(1, round(source_fps / fps))))


def resample_diffsynth(num_frames: int, source_fps: float, fps: float) -> list[int]:
    """Take frames round(i / fps · source_fps)."""
    chosen: list[int] = []
    while (index := round(len(chosen) / fps * source_fps)) < num_frames:
        chosen.append(index)
    return chosen


def resample(
    rule: Resampling,
    times: Float64[np.ndarray, " f"],
    end: float,
    *,
    fps: float | None,
    source_fps: float | None = None,
) -> list[int]:
    """Choose frames by a rule.

    Args:
        rule: its name.
        times: of the frames in seconds.
        end: time at which the last frame ends.
        fps: the wanted rate; None keeps every frame.
        source_fps: the rate that the counting rules assume; None measures it.
    """
    if rule == "none" or fps is None or len(times) < 2:
        return list(range(len(times)))
    if rule == "timestamps":
        return resample_by_time(times, end, fps)
    measured = source_fps or len(times) / (end - times[0])
    by_count = {
        "musubi": resample_musubi,
        "diffusion-pipe": resample_diffusion_pipe,
        "ai-toolkit": resample_ai_toolkit,
        "diffsynth": resample_diffsynth,
    }
    return by_count[rule](len(times), measured, fps)


def round_down(num_frames: int, multiple: int) -> int:
    """The largest n·multiple + 1 that is at most `num_frames`; 0 for 0."""
    return (num_frames - 1) // multiple * multiple + 1 if num_frames > 0 else 0


def evenly(num_frames: int, count: int) -> list[int]:
    """`count` frames over the whole video: round(i·(F−1)/(count−1))."""
    if count == 1:
        return [0]
    return [round(i * (num_frames - 1) / (count - 1)) for i in range(count)]


def windows(
    mode: WindowMode,
    num_frames: int,
    lengths: Sequence[int],
    *,
    stride: int = 1,
    samples: int = 1,
    max_frames: int = 129,
    multiple: int = 4,
) -> list[Window]:
    """The windows of a video; all lengths and all windows are samples.

    Args:
        mode: which windows; `shrink` has none, see `evenly`.
        num_frames: of the resampled video.
        lengths: wanted frame counts; each is rounded down to n·multiple + 1.
        stride: distance of windows in mode `slide`.
        samples: windows of each length in mode `uniform`.
        max_frames: longest window in mode `full`.
        multiple: temporal stride of the model.
    """
    if mode == "full":
        length = round_down(min(num_frames, max_frames), multiple)
        return [Window(start=0, num_frames=length)] if length else []
    fitting = [n for n in dict.fromkeys(round_down(n, multiple) for n in lengths) if 0 < n <= num_frames]
    if mode in ("single_beginning", "single_middle"):
        # The longest that fits; a video is never used as an image.
        longest = max((n for n in fitting if n > 1), default=0)
        start = (num_frames - longest) // 2 if mode == "single_middle" else 0
        return [Window(start=start, num_frames=longest)] if longest else []
    found: list[Window] = []
    for length in fitting:
        last = num_frames - length
        if mode == "chunk":
            starts = list(range(0, last + 1, length))
        elif mode == "slide":
            starts = list(range(0, last + 1, stride))
        elif mode == "uniform":
            starts = np.linspace(0, last, samples).astype(int).tolist()
        else:
            starts = [0]
        found += [Window(start=start, num_frames=length) for start in starts]
    return found
