"""Measure 4: which way the camera went, from how the things that stand in the lab are seen to move."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from kinema.evaluate import limits, room
from kinema.evaluate.scene import Scene
from kinema.evaluate.tracks import Parsed, Track
from kinema.world import lab
from kinema.world.cameras import path
from kinema.world.facts import CameraMove
from kinema.world.render.camera import project

MOVES: tuple[CameraMove, ...] = (
    "static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "orbit left",
    "orbit right",
)  # fmt: skip
_AMOUNTS = (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5)
"""Shares of the lab's own amount that are tried."""
_DEPTHS = tuple(float(y) for y in np.linspace(-0.7, 0.9, 9))
"""Metres behind the middle of the room at which things may stand."""
_SEEN = 0.7
"""Share of the frames in which a thing must be seen to count."""


@dataclass(frozen=True, kw_only=True)
class Filming:
    """The camera move that explains a film best."""

    move: CameraMove
    residual: float
    """Pixels at 128, root mean square over positions and half-sizes."""
    still: float
    """The same if the camera had stood still."""


def filming(film: Parsed) -> Filming | None:
    """Find the move that explains where everything is seen; None where too little is seen.

    In the middle frame the lab's camera passes through its known place, so every thing stands somewhere
    along a known ray; each is seen again through every candidate move, from its best depth. A pan shifts
    everything alike, an orbit shifts near and far things apart and changes their sizes.
    """
    tracks = [t for t in film.tracks if t.seen.mean() > _SEEN]
    if not tracks:
        return None
    results = {move: _residual(film, move) for move in MOVES}
    move = min(results, key=lambda m: results[m])
    if results["static"] < limits.CAMERA_STILL:
        move = "static"
    return Filming(move=move, residual=results[move], still=results["static"])


def _residual(film: Parsed, move: CameraMove) -> float:
    """The smallest root mean square residual over the amounts of one move."""
    shot = lab.shot(move)
    found = []
    for share in _AMOUNTS if move != "static" else (1.0,):
        amount = shot.amount**share if move.startswith("zoom") else shot.amount * share
        found.append(_mismatch(film, path(replace(shot, amount=amount), film.frames)))
    return min(found)


def _mismatch(film: Parsed, cameras: Float[np.ndarray, "f 13"]) -> float:
    """Root mean square residual if the camera went this way and everything else stood still."""
    middle = film.frames // 2
    total, count = 0.0, 0
    for track in film.tracks:
        if track.seen.mean() <= _SEEN:
            continue
        frames = np.flatnonzero(track.clear if track.clear.mean() > 0.5 else track.seen)
        anchor = int(frames[np.abs(frames - middle).argmin()])
        errors = [_errors(film, track, cameras, frames, anchor, depth) for depth in _DEPTHS]
        total += min(float((error**2).sum()) for error in errors)
        count += 3 * len(frames)
    return float(np.sqrt(total / count) / film.scale)


def _errors(
    film: Parsed,
    track: Track,
    cameras: Float[np.ndarray, "f 13"],
    frames: Int[np.ndarray, " n"],
    anchor: int,
    depth: float,
) -> Float[np.ndarray, " m"]:
    """Residuals of place and radius in pixels, for a thing at one depth behind the middle of the room."""
    across, high = room.on_wall(track.centre[anchor], film.height, film.width, depth)
    screen, away = project(cameras, np.array([[across, depth, high]]), film.width / film.height)
    spot = screen * np.array([film.width, film.height]) - 0.5
    place = track.centre[frames] - track.centre[anchor] - (spot[frames] - spot[anchor])
    # On screen a radius goes with one over depth and the tangent of the field of view.
    near = 1 / (away * cameras[:, 12])
    radius = np.sqrt(track.area / np.pi)
    return np.concatenate([place.ravel(), radius[frames] - radius[anchor] * near[frames] / near[anchor]])


def camera(scene: Scene) -> bool | None:
    """Whether the camera moves as the prompt says; None where it is not about the camera."""
    if scene.meaning.story != "camera":
        return None
    seen = filming(scene.film)
    return seen is not None and seen.move == scene.meaning.camera
