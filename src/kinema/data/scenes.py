"""Scene cuts: scenedetect's rules on kept scores, without flashes, and dissolves.

scenedetect scores every frame once, while a source is decoded. The rules of its detectors are then applied to
the kept scores, so that their thresholds can change without decoding. These rules take a white flash for two
cuts and miss dissolves: both are recognised on 8 x 8 thumbnails.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kinema.data.analysis import Analysis

FLASH_SECONDS = 0.35
"""Cuts that follow each other more closely are one event: a flash, or a fast transition."""
_FLASH_DIFFERENCE, _SAME_DIFFERENCE = 12.0, 3.0
"""Mean difference of thumbnails (0 to 255) up to which the images before and after an event are one shot: of
several cuts, and of a single one."""
_DISSOLVE_SECONDS = (0.27, 0.34, 0.4, 0.47, 0.54, 0.67, 0.8, 1.0, 1.27, 1.6, 2.0, 2.5)
_DISSOLVE_DIFFERENCE = 10.0
"""Smallest mean difference of the thumbnails at the ends of a dissolve."""
_DISSOLVE_RESIDUAL, _DISSOLVE_UNEVENNESS = 0.3, 0.2
"""Largest distance of the thumbnails in between from the straight blend, across and along it, as a share of
the difference of the ends."""
_DISSOLVE_SPEED = 0.75
"""Largest change per sample just outside of a dissolve, as a share of that inside."""
_DISSOLVE_DETAIL = 0.72
"""Largest fine detail in the middle, as a share of the mean of the ends. Half is left where two unrelated
images are blended, all of it where one image moves."""
_DISSOLVE_CORRELATION = 0.85
"""Above this the ends show the same image at another brightness."""


@dataclass(frozen=True, kw_only=True)
class CutOptions:
    """Thresholds of scene detection.

    Attributes:
        adaptive: ratio to the neighbours' score from which AdaptiveDetector cuts.
        adaptive_minimum: smallest score that it accepts.
        content: score from which ContentDetector cuts.
        dissolves: whether dissolves are searched.
        network: probability of TransNet V2 from which a frame belongs to a transition. Where a source has
            its scores, they are used in place of all other rules.
    """

    adaptive: float = 3.0
    adaptive_minimum: float = 15.0
    content: float = 27.0
    dissolves: bool = True
    network: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A change of scene: `start` is its first frame, `stop` the first frame of the next scene."""

    start: int
    stop: int


def detect_transitions(analysis: Analysis, options: CutOptions) -> list[Transition]:
    """All changes of scene of a source, in order, without overlaps."""
    if analysis.num_frames < 3:
        return []
    if len(analysis.transitions):
        return network_transitions(analysis.transitions, options.network)
    cuts = sorted(
        adaptive_cuts(analysis.content_change, options) | content_cuts(analysis.content_change, options)
    )
    groups = [group for group in _cluster(cuts, analysis) if not _is_flash(group, analysis)]
    found = [Transition(start=group[0], stop=group[-1]) for group in groups]
    if options.dissolves:
        found += _dissolves(analysis)
    return _merge(found)


def network_transitions(scores: Float[np.ndarray, "F 2"], threshold: float) -> list[Transition]:
    """Runs of frames that belong to a transition and contain its middle.

    TransNet V2 marks the last frame before a cut.

    Args:
        scores: probabilities that a frame is the middle of a transition, and that it belongs to one.
        threshold: from which a probability counts.
    """
    inside = (scores >= threshold).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    return [
        Transition(start=int(start) + 1, stop=int(stop))
        for start, stop in edges.reshape(-1, 2)
        if scores[start:stop, 0].max() >= threshold and stop < len(scores)
    ]


def scenes(num_frames: int, transitions: Iterable[Transition]) -> list[tuple[int, int]]:
    """First frame and end of each scene between the transitions; empty ones are left out."""
    bounds: list[tuple[int, int]] = []
    start = 0
    for transition in transitions:
        bounds.append((start, transition.start))
        start = transition.stop
    bounds.append((start, num_frames))
    return [(first, stop) for first, stop in bounds if stop > first]


def adaptive_cuts(scores: Float[np.ndarray, " F"], options: CutOptions) -> set[int]:
    """AdaptiveDetector's rule: the score is a multiple of the mean of two neighbours on each side."""
    if len(scores) < 5:
        return set()
    exact = scores.astype(np.float64)
    middle = exact[2:-2]
    neighbours = (exact[:-4] + exact[1:-3] + exact[3:-1] + exact[4:]) / 4
    still = neighbours < 1e-5
    ratio = np.where(still, 255.0, middle / np.where(still, 1.0, neighbours))
    found = (ratio >= options.adaptive) & (middle >= options.adaptive_minimum)
    return set((np.flatnonzero(found) + 2).tolist())


def content_cuts(scores: Float[np.ndarray, " F"], options: CutOptions) -> set[int]:
    """ContentDetector's rule without a minimum length: the score reaches a threshold."""
    return set(np.flatnonzero(scores >= options.content).tolist())


def _cluster(cuts: list[int], analysis: Analysis) -> list[list[int]]:
    """Join cuts that follow each other within `FLASH_SECONDS`."""
    found: list[list[int]] = []
    for cut in cuts:
        if found and analysis.times[cut] - analysis.times[found[-1][-1]] <= FLASH_SECONDS:
            found[-1].append(cut)
        else:
            found.append([cut])
    return found


def _is_flash(cuts: list[int], analysis: Analysis) -> bool:
    """Whether the images before and after are the same shot, for most pairs of cuts: a flash or a strobe."""
    if len(cuts) == 1:
        return _difference(cuts[0], cuts[0], analysis, 1) <= _SAME_DIFFERENCE
    # The light of a flash decays over some frames.
    pairs = itertools.pairwise(cuts)
    same = [_difference(first, last, analysis, 4) <= _FLASH_DIFFERENCE for first, last in pairs]
    return sum(same) >= 0.7 * len(same)


def _difference(first: int, last: int, analysis: Analysis, count: int) -> float:
    """Smallest difference of the thumbnail before `first` to one of the `count` from `last` on."""
    before = int(np.searchsorted(analysis.sample_index, first)) - 1
    after = int(np.searchsorted(analysis.sample_index, last))
    later = analysis.thumbnails[after : after + count].astype(np.float32)
    if before < 0 or not len(later):
        return math.inf
    return float(np.abs(later - analysis.thumbnails[before]).mean(axis=(1, 2, 3)).min())


def _dissolves(analysis: Analysis) -> list[Transition]:
    """Linear blends from one image to another.

    Between the ends a and b of a dissolve the thumbnails lie on the line from a to b, at positions that grow
    evenly, beyond the ends they change more slowly, and in the middle fine detail is lost. A moving camera
    keeps the detail; a change of brightness keeps the image's structure.
    """
    images = analysis.thumbnails.reshape(len(analysis.thumbnails), -1).astype(np.float32)
    times = analysis.times[analysis.sample_index]
    if len(times) < 8:
        return []
    interval = float(np.median(np.diff(times)))
    lengths = sorted({max(3, round(seconds / interval)) for seconds in _DISSOLVE_SECONDS})
    found: list[tuple[float, int, int]] = []
    for length in lengths:
        sizes = np.abs(images[length:] - images[:-length]).mean(axis=1)
        for start in np.flatnonzero(sizes >= _DISSOLVE_DIFFERENCE).tolist():
            error = _blend_error(images, analysis.detail, start, start + length)
            if error is not None:
                found.append((error, start, start + length))
    chosen: list[tuple[int, int]] = []
    for _, start, stop in sorted(found):
        if all(stop <= other[0] or start >= other[1] for other in chosen):
            chosen.append((start, stop))
    index = analysis.sample_index
    return [Transition(start=int(index[start]), stop=int(index[stop])) for start, stop in chosen]


def _blend_error(
    images: Float[np.ndarray, "S d"], detail: Float[np.ndarray, " S"], start: int, stop: int
) -> float | None:
    """How far the images from `start` to `stop` are from a dissolve; None where they are none."""
    first, last = images[start], images[stop]
    step = last - first
    size = float(np.abs(step).mean())
    length = stop - start
    middle = float(detail[start + length // 2 : start + (length + 1) // 2 + 1].mean())
    if middle > _DISSOLVE_DETAIL * float(detail[start] + detail[stop]) / 2:
        return None
    if max(_rest(images, start, -2), _rest(images, stop, 2)) / 2 > _DISSOLVE_SPEED * size / length:
        return None
    expected = np.arange(1, length) / length
    inner = images[start + 1 : stop] - first
    position = inner @ step / float(step @ step)
    residual = np.abs(inner - position[:, None] * step).mean(axis=1).max() / size
    uneven = np.abs(position - expected).max()
    if residual > _DISSOLVE_RESIDUAL or uneven > _DISSOLVE_UNEVENNESS:
        return None
    # An image that grows brighter or darker keeps its structure.
    both = np.stack([first, last])
    spread = both.std(axis=1)
    if spread.min() > 1 and float(np.corrcoef(both)[0, 1]) > _DISSOLVE_CORRELATION:
        return None
    return float(residual + uneven)


def _rest(images: Float[np.ndarray, "S d"], index: int, step: int) -> float:
    """Mean difference of an image to the one `step` samples away; 0 beyond the ends."""
    other = index + step
    if not 0 <= other < len(images):
        return 0.0
    return float(np.abs(images[other] - images[index]).mean())


def _merge(transitions: Iterable[Transition]) -> list[Transition]:
    """Sort, and join what overlaps."""
    merged: list[Transition] = []
    for one in sorted(transitions, key=lambda item: (item.start, item.stop)):
        if merged and one.start <= merged[-1].stop:
            merged[-1] = Transition(start=merged[-1].start, stop=max(merged[-1].stop, one.stop))
        else:
            merged.append(one)
    return merged
