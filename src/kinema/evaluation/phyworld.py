"""PhyWorld's velocity error, and what a generated body looks like at the end (arXiv 2411.02385).

The error is the mean |v - v̂| in m/s, with velocities from differences of positions, over all predicted frames
of the first 32 in which a body is fully inside the image. Bodies are found by their colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from kinema.frames import FrameArray
from kinema.simulator.phyworld import (
    ATTRIBUTE_SIZES,
    ATTRIBUTE_SPEEDS,
    BACKGROUND_COLOUR,
    BODY_COLOURS,
    FRAME_SECONDS,
    IMAGE_SIZE,
    NUM_CONDITION_FRAMES,
    WORLD_METRES,
    Attribute,
    PhyWorldClip,
    PhyWorldVideos,
    Scenario,
    render_bodies,
)

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""

NUM_SCORED_FRAMES = 32
"""Length of the paper's videos."""
PUBLISHED_ERRORS: dict[Scenario, tuple[float, float, float]] = {
    "uniform": (0.0099, 0.012, 0.288),
    "collision": (0.0117, 0.015, 0.153),
    "parabola": (0.0210, 0.033, 0.284),
}
"""Errors of the paper's parser on its own simulator, and of its best model in and out of distribution."""
_MIN_VISIBLE_SHARE = 0.5
"""Share of its area that must be visible for a body to be measured."""
_MIN_COVERAGE = 0.125
"""Less of a pixel counts as noise."""
_MIN_BALL_FILL = 0.5
"""A body covers more of its bounding box; less is a smear."""
_BALL_SQUARE_FILL = (np.pi / 4 + 1) / 2
"""Of a bounding box: between a ball and a square."""
_MIN_LAST_FRAME = NUM_CONDITION_FRAMES + 4
"""A body that leaves the image before is not described."""


def _locate(mask: Float[np.ndarray, "f h w"]) -> tuple[Float[np.ndarray, "f 2"], Float[np.ndarray, " f"]]:
    """Centroids in metres, NaN where nothing is found, and areas in m² of covered pixels."""
    area = mask.sum(axis=(1, 2))
    grid = np.arange(IMAGE_SIZE) + 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (mask.sum(axis=1) @ grid) / area
        y = (mask.sum(axis=2) @ grid) / area
    scale = WORLD_METRES / IMAGE_SIZE
    return np.stack([x, y], axis=1) * scale, area * scale**2


def _coverage(frames: FrameArray) -> Float[np.ndarray, "f h w 2"]:
    """Share of each pixel that each colour covers.

    Every pixel is solved as a mixture of the background and the two colours by least squares.
    """
    basis = np.stack([colour - BACKGROUND_COLOUR for colour in BODY_COLOURS])
    coverage = np.clip((frames.astype(np.float64) - BACKGROUND_COLOUR) @ np.linalg.pinv(basis), 0, 1)
    return np.where(coverage < _MIN_COVERAGE, 0, coverage)


def velocity_error(truth: PhyWorldClip, frames: FrameArray) -> float:
    """Mean |v - v̂| in m/s over the predicted frames; NaN if every body has left the image before them.

    A body that is not found counts with its full speed.

    Args:
        truth: the clip whose first frames were given.
        frames: of the video to measure, at least 32.
    """
    coverage, errors = _coverage(frames), []
    for body, size in enumerate(truth.radius):
        position, area = _locate(coverage[..., truth.colours[body]])
        true_position = truth.position[:, body]
        inside = ((true_position >= size) & (true_position <= WORLD_METRES - size)).all(axis=1)
        true_area = np.pi * size**2 if truth.shapes[body] == "ball" else 4 * size**2
        missing = ~(area > _MIN_VISIBLE_SHARE * true_area)
        for f in range(NUM_CONDITION_FRAMES, NUM_SCORED_FRAMES):
            if not (inside[f] and inside[f - 1]):
                continue
            true_velocity = (true_position[f] - true_position[f - 1]) / FRAME_SECONDS
            velocity = np.zeros(2)
            if not (missing[f] or missing[f - 1]):
                velocity = (position[f] - position[f - 1]) / FRAME_SECONDS
            errors.append(float(np.linalg.norm(true_velocity - velocity)))
    return float(np.mean(errors)) if errors else float("nan")


def evaluator_noise_floor(videos: PhyWorldVideos) -> float:
    """The velocity error on the true videos: the smallest error that can be measured."""
    clips = [videos.clip(index) for index in range(len(videos))]
    return float(np.nanmean([velocity_error(clip, clip.frames) for clip in clips]))


def constant_velocity_baseline(truth: PhyWorldClip) -> FrameArray:
    """A baseline: every body keeps its velocity from the condition frames."""
    step = truth.position[NUM_CONDITION_FRAMES - 1] - truth.position[NUM_CONDITION_FRAMES - 2]
    frames = np.arange(len(truth.position))
    elapsed = np.maximum(frames - (NUM_CONDITION_FRAMES - 1), 0)[:, None, None]
    last = truth.position[np.minimum(frames, NUM_CONDITION_FRAMES - 1)]
    return render_bodies(last + elapsed * step, truth.radius, truth.colours, truth.shapes)


def last_frame_baseline(truth: PhyWorldClip) -> FrameArray:
    """A baseline: the last condition frame is repeated."""
    return truth.frames[np.minimum(np.arange(len(truth.frames)), NUM_CONDITION_FRAMES - 1)]


def horizontal_velocity(frames: FrameArray) -> float:
    """Mean horizontal velocity in m/s of the only body in the predicted frames that show all of it.

    NaN where fewer than two neighbouring frames do.
    """
    mask = _coverage(frames).sum(axis=-1).clip(0, 1)
    return _horizontal_velocity(mask, _bounding_boxes(mask))


def _horizontal_velocity(mask: Float[np.ndarray, "f h w"], boxes: Sequence[Box]) -> float:
    position, _ = _locate(mask)
    shown = [f for f in range(NUM_CONDITION_FRAMES, NUM_SCORED_FRAMES) if _is_inside(boxes[f])]
    steps = [position[f, 0] - position[f - 1, 0] for f in shown if _is_inside(boxes[f - 1])]
    return float(np.mean(steps)) / FRAME_SECONDS if steps else float("nan")


def final_attributes(frames: FrameArray) -> dict[Attribute, int] | None:
    """Which of its two values each attribute of the only body has in the last frame that shows all of it.

    None where the body dissolves, or leaves the image soon after the condition frames.
    """
    coverage = _coverage(frames)
    mask = coverage.sum(axis=-1).clip(0, 1)
    boxes = _bounding_boxes(mask)
    shown = [f for f in range(_MIN_LAST_FRAME, NUM_SCORED_FRAMES) if _is_inside(boxes[f])]
    if not shown:
        return None
    last, scale = shown[-1], WORLD_METRES / IMAGE_SIZE
    areas = coverage[last].sum(axis=(0, 1))
    left, top, right, bottom = boxes[last]
    fill = areas.sum() / ((right - left) * (bottom - top))
    if fill < _MIN_BALL_FILL:
        return None
    size = 0.25 * (right - left + bottom - top) * scale
    speed = abs(_horizontal_velocity(mask, boxes))
    return {
        "colour": int(areas.argmax()),
        "size": int(size > np.mean(ATTRIBUTE_SIZES)),
        "velocity": int(speed > np.mean(ATTRIBUTE_SPEEDS)),
        "shape": int(fill > _BALL_SQUARE_FILL),
    }


def _bounding_boxes(masks: Float[np.ndarray, "f h w"]) -> list[Box]:
    """Left, top, right and bottom edge of what is not background in each frame, in pixels; zeros: nothing.

    The edges are found to a part of a pixel, by the widest row and the highest column.
    """
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask.max(axis=1) > 0.5)[0], np.nonzero(mask.max(axis=0) > 0.5)[0]
        if not len(rows):
            boxes.append((0.0, 0.0, 0.0, 0.0))
            continue
        width, height = float(mask.sum(axis=1).max()), float(mask.sum(axis=0).max())
        centre_x, centre_y = (float(ends[0] + ends[-1] + 1) / 2 for ends in (columns, rows))
        boxes.append(
            (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
        )
    return boxes


def _is_inside(box: Box) -> bool:
    """Whether a body is shown, and not cut off by an edge of the image on the left or right."""
    return box[2] > box[0] and box[0] > 0.5 and box[2] < IMAGE_SIZE - 0.5
