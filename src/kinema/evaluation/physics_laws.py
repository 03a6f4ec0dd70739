"""Measure 7: even motion across the floor, gravity, and bounces that lose energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kinema.evaluation import camera_geometry, thresholds
from kinema.evaluation.direction import is_frozen
from kinema.evaluation.matching import MatchedScene, floor_positions, vertical_plane_positions
from kinema.evaluation.tracking import Track


@dataclass(frozen=True, kw_only=True)
class MotionLaws:
    """What a motion obeys. NaN where the prompt does not call for it or too little is seen."""

    deceleration_residual: float = np.nan
    """Root mean square residual from uniform deceleration along a straight line, in radii."""
    gravity: float = np.nan
    """Fitted acceleration of free fall, metres per second squared; 9.81 in the lab."""
    bounce_ratio: float = np.nan
    """Height of the first bounce over the height fallen; above 1 energy came from nowhere."""
    is_correct: bool = False
    """Everything that applies is within the limits."""


def measure_motion_laws(scene: MatchedScene) -> MotionLaws | None:
    """Judge rolls and falls; None for other prompts."""
    track = scene.main_track()
    story = scene.prompt_spec.event
    if story not in ("moves", "falls"):
        return None
    if track is None or track.visible.sum() < 5:
        return MotionLaws()
    if story == "moves":
        return _measure_roll(scene, track)
    return _measure_fall(scene, track)


def _measure_roll(scene: MatchedScene, track: Track) -> MotionLaws:
    place = floor_positions(scene.video, track)
    frames = np.flatnonzero(track.visible & ~track.touches_border)
    if len(frames) < 5:
        return MotionLaws()
    residual = deceleration_residual(
        place[frames] / camera_geometry.OBJECT_HALF_SIZE, frames / scene.video.fps
    )
    # What stands still obeys every law: it has to move as well.
    return MotionLaws(
        deceleration_residual=residual,
        is_correct=residual <= thresholds.MAX_DECELERATION_RESIDUAL and not is_frozen(scene),
    )


def deceleration_residual(positions: Float[np.ndarray, "f 2"], seconds: Float[np.ndarray, " f"]) -> float:
    """Residual from a steady slowing down that may end at rest, the best of all moments of coming to rest."""
    best = np.inf
    for rest in [*seconds[2:], seconds[-1] + 1e3]:
        going = np.minimum(seconds, rest) - seconds[0]
        basis = np.stack([np.ones_like(going), going, going**2], axis=1)
        solution, *_ = np.linalg.lstsq(basis, positions, rcond=None)
        best = min(best, float(np.sqrt(((positions - basis @ solution) ** 2).sum(axis=1).mean())))
    return best


def _measure_fall(scene: MatchedScene, track: Track) -> MotionLaws:
    film = scene.video
    frames = np.flatnonzero(track.visible)
    height = vertical_plane_positions(film, track)[frames, 1]
    seconds = frames / film.fps
    landing = _landing_index(track, frames, height)
    gravity = np.nan
    if landing >= thresholds.MIN_FALL_STEPS:
        fit = np.polyfit(seconds[: landing + 1] - seconds[0], height[: landing + 1], 2)
        gravity = float(-2 * fit[0])
    first_low = _first_bottom_index(height)
    fallen = height[0] - height[first_low]
    bounce = float((height[first_low:].max() - height[first_low]) / fallen) if fallen > 0.1 else np.nan
    right = _falls_down(track, frames)
    if np.isfinite(gravity):
        right = right and thresholds.GRAVITY_RANGE[0] <= gravity <= thresholds.GRAVITY_RANGE[1]
    wanted = {
        "bounces high": thresholds.HIGH_BOUNCE_RANGE,
        "bounces a little": thresholds.LOW_BOUNCE_RANGE,
        "no bounce": thresholds.NO_BOUNCE_RANGE,
    }
    if scene.prompt_spec.outcome in wanted:
        low, high = wanted[scene.prompt_spec.outcome]
        right = right and bool(low <= bounce <= high)
    return MotionLaws(gravity=gravity, bounce_ratio=bounce, is_correct=right)


def _falls_down(track: Track, frames: Int[np.ndarray, " n"]) -> bool:
    """Whether it comes down by at least its radius."""
    y = track.centre[frames, 1]
    return bool(y.max() - y[0] >= thresholds.MIN_TRAVEL * track.radius)


def _landing_index(track: Track, frames: Int[np.ndarray, " n"], height: Float[np.ndarray, " n"]) -> int:
    """The last frame of free fall: then it touches something, or no longer gets faster."""
    drops = -np.diff(height)
    for k in range(1, len(drops)):
        if drops[k] < drops[k - 1] or track.touching[frames[k]]:
            return k
    return len(drops)


def _first_bottom_index(height: Float[np.ndarray, " f"]) -> int:
    """The first frame from which it no longer sinks noticeably."""
    for k in range(1, len(height) - 1):
        if height[k + 1] > height[k] - 0.02 and height[0] - height[k] > 0.15:
            return k
    return int(np.argmin(height))
