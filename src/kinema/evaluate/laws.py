"""Measure 7: even motion across the floor, gravity, and bounces that lose energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kinema.evaluate import limits, room
from kinema.evaluate.direction import frozen
from kinema.evaluate.scene import Scene, on_floor, on_screen
from kinema.evaluate.tracks import Track


@dataclass(frozen=True, kw_only=True)
class Laws:
    """What a motion obeys. NaN where the prompt does not call for it or too little is seen."""

    unevenness: float = np.nan
    """Root mean square residual from uniform deceleration along a straight line, in radii."""
    gravity: float = np.nan
    """Fitted acceleration of free fall, metres per second squared; 9.81 in the lab."""
    bounce: float = np.nan
    """Height of the first bounce over the height fallen; above 1 energy came from nowhere."""
    right: bool = False
    """Everything that applies is within the limits."""


def laws(scene: Scene) -> Laws | None:
    """Judge rolls and falls; None for other prompts."""
    track = scene.main()
    story = scene.meaning.story
    if story not in ("moves", "falls"):
        return None
    if track is None or track.seen.sum() < 5:
        return Laws()
    if story == "moves":
        return _rolling(scene, track)
    return _falling(scene, track)


def _rolling(scene: Scene, track: Track) -> Laws:
    place = on_floor(scene.film, track)
    frames = np.flatnonzero(track.seen & ~track.border)
    if len(frames) < 5:
        return Laws()
    residual = unevenness(place[frames] / room.EXTENT, frames / scene.film.fps)
    # What stands still obeys every law: it has to move as well.
    return Laws(unevenness=residual, right=residual <= limits.UNEVEN and not frozen(scene))


def unevenness(place: Float[np.ndarray, "f 2"], seconds: Float[np.ndarray, " f"]) -> float:
    """Residual from a steady slowing down that may end at rest, the best of all moments of coming to rest."""
    best = np.inf
    for rest in [*seconds[2:], seconds[-1] + 1e3]:
        going = np.minimum(seconds, rest) - seconds[0]
        basis = np.stack([np.ones_like(going), going, going**2], axis=1)
        solution, *_ = np.linalg.lstsq(basis, place, rcond=None)
        best = min(best, float(np.sqrt(((place - basis @ solution) ** 2).sum(axis=1).mean())))
    return best


def _falling(scene: Scene, track: Track) -> Laws:
    film = scene.film
    frames = np.flatnonzero(track.seen)
    height = on_screen(film, track)[frames, 1]
    seconds = frames / film.fps
    landing = _landing(track, frames, height)
    gravity = np.nan
    if landing >= limits.LEAST_FALL:
        fit = np.polyfit(seconds[: landing + 1] - seconds[0], height[: landing + 1], 2)
        gravity = float(-2 * fit[0])
    first_low = _first_low(height)
    fallen = height[0] - height[first_low]
    bounce = float((height[first_low:].max() - height[first_low]) / fallen) if fallen > 0.1 else np.nan
    right = _drops(track, frames)
    if np.isfinite(gravity):
        right = right and limits.GRAVITY[0] <= gravity <= limits.GRAVITY[1]
    wanted = {
        "bounces high": limits.BOUNCE_HIGH,
        "bounces a little": limits.BOUNCE_LITTLE,
        "no bounce": limits.BOUNCE_NONE,
    }
    if scene.meaning.ending in wanted:
        low, high = wanted[scene.meaning.ending]
        right = right and bool(low <= bounce <= high)
    return Laws(gravity=gravity, bounce=bounce, right=right)


def _drops(track: Track, frames: Int[np.ndarray, " n"]) -> bool:
    """Whether it comes down by at least its radius."""
    y = track.centre[frames, 1]
    return bool(y.max() - y[0] >= limits.TRAVEL * track.radius)


def _landing(track: Track, frames: Int[np.ndarray, " n"], height: Float[np.ndarray, " n"]) -> int:
    """The last frame of free fall: then it touches something, or no longer gets faster."""
    drops = -np.diff(height)
    for k in range(1, len(drops)):
        if drops[k] < drops[k - 1] or track.touching[frames[k]]:
            return k
    return len(drops)


def _first_low(height: Float[np.ndarray, " f"]) -> int:
    """The first frame from which it no longer sinks noticeably."""
    for k in range(1, len(height) - 1):
        if height[k + 1] > height[k] - 0.02 and height[0] - height[k] > 0.15:
            return k
    return int(np.argmin(height))
