"""Measure 7, laws of motion: uniform deceleration on the floor, gravity, and bounces that lose energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kinema.evaluation import thresholds
from kinema.evaluation.camera_geometry import OBJECT_HALF_SIZE, floor_positions, vertical_plane_positions
from kinema.evaluation.direction import is_frozen
from kinema.evaluation.matching import MatchedScene
from kinema.evaluation.tracking import Track

_BOUNCE_RANGES = {
    "bounces high": thresholds.HIGH_BOUNCE_RANGE,
    "bounces a little": thresholds.LOW_BOUNCE_RANGE,
    "no bounce": thresholds.NO_BOUNCE_RANGE,
}
_MIN_VISIBLE_FRAMES = 5


@dataclass(frozen=True, kw_only=True)
class MotionLaws:
    """Quantities of a motion; NaN where the prompt does not ask for it or the object is hardly visible."""

    deceleration_residual: float = np.nan
    """Root mean square residual from uniform deceleration along a straight line, in radii."""
    gravity: float = np.nan
    """Fitted acceleration of free fall in m/s²; 9.81 in the lab."""
    bounce_ratio: float = np.nan
    """Height of the first bounce over the height of the fall. Above 1 energy was created."""
    is_correct: bool = False
    """Every quantity that applies is within its thresholds."""


def measure_motion_laws(scene: MatchedScene) -> MotionLaws | None:
    """Measure a roll or a fall; None for other prompts."""
    track = scene.main_track()
    event = scene.prompt_spec.event
    if event not in ("moves", "falls"):
        return None
    if track is None or track.visible.sum() < _MIN_VISIBLE_FRAMES:
        return MotionLaws()
    return _measure_roll(scene, track) if event == "moves" else _measure_fall(scene, track)


def _measure_roll(scene: MatchedScene, track: Track) -> MotionLaws:
    frames = np.flatnonzero(track.visible & ~track.touches_border)
    if len(frames) < _MIN_VISIBLE_FRAMES:
        return MotionLaws()
    positions = floor_positions(scene.video, track)[frames] / OBJECT_HALF_SIZE
    residual = deceleration_residual(positions, frames / scene.video.fps)
    # A static object obeys every law, so motion is required too.
    return MotionLaws(
        deceleration_residual=residual,
        is_correct=residual <= thresholds.MAX_DECELERATION_RESIDUAL and not is_frozen(scene),
    )


def deceleration_residual(positions: Float[np.ndarray, "f 2"], seconds: Float[np.ndarray, " f"]) -> float:
    """Residual from uniform deceleration that may end at rest.

    Args:
        positions: in any unit.
        seconds: time of each position.

    Returns:
        Root mean square distance in the unit of the positions, for the best time of coming to rest.
    """
    best = np.inf
    for rest in [*seconds[2:], seconds[-1] + 1e3]:
        elapsed = np.minimum(seconds, rest) - seconds[0]
        basis = np.stack([np.ones_like(elapsed), elapsed, elapsed**2], axis=1)
        solution, *_ = np.linalg.lstsq(basis, positions, rcond=None)
        best = min(best, float(np.sqrt(((positions - basis @ solution) ** 2).sum(axis=1).mean())))
    return best


def _measure_fall(scene: MatchedScene, track: Track) -> MotionLaws:
    video = scene.video
    frames = np.flatnonzero(track.visible)
    height = vertical_plane_positions(video, track)[frames, 1]
    seconds = frames / video.fps
    landing = _landing_index(track, frames, height)
    gravity = np.nan
    if landing >= thresholds.MIN_FALL_STEPS:
        fit = np.polyfit(seconds[: landing + 1] - seconds[0], height[: landing + 1], 2)
        gravity = float(-2 * fit[0])
    bottom = _first_bottom_index(height)
    fall_height = height[0] - height[bottom]
    bounce = float((height[bottom:].max() - height[bottom]) / fall_height) if fall_height > 0.1 else np.nan
    is_correct = _falls_down(track, frames)
    if np.isfinite(gravity):
        is_correct = is_correct and thresholds.GRAVITY_RANGE[0] <= gravity <= thresholds.GRAVITY_RANGE[1]
    if scene.prompt_spec.outcome in _BOUNCE_RANGES:
        low, high = _BOUNCE_RANGES[scene.prompt_spec.outcome]
        is_correct = is_correct and bool(low <= bounce <= high)
    return MotionLaws(gravity=gravity, bounce_ratio=bounce, is_correct=is_correct)


def _falls_down(track: Track, frames: Int[np.ndarray, " n"]) -> bool:
    """Whether the object comes down by at least its radius."""
    y = track.centre[frames, 1]
    return bool(y.max() - y[0] >= thresholds.MIN_TRAVEL * track.radius)


def _landing_index(track: Track, frames: Int[np.ndarray, " n"], height: Float[np.ndarray, " n"]) -> int:
    """The last index of free fall: afterwards the object touches something or stops accelerating."""
    drops = -np.diff(height)
    for k in range(1, len(drops)):
        if drops[k] < drops[k - 1] or track.touching[frames[k]]:
            return k
    return len(drops)


def _first_bottom_index(height: Float[np.ndarray, " f"]) -> int:
    """The first index from which the object no longer sinks noticeably (2 cm per frame)."""
    for k in range(1, len(height) - 1):
        if height[k + 1] > height[k] - 0.02 and height[0] - height[k] > 0.15:
            return k
    return int(np.argmin(height))
