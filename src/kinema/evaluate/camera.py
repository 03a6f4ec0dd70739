"""Measure 4: which way the camera went, from how the things that stand in the lab are seen to move."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kinema.evaluate import limits, room
from kinema.evaluate.scene import Scene
from kinema.evaluate.tracks import Parsed
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

    Things are placed on the floor by the middle frame, when the lab's camera passes through its known
    place, and are then seen again through every candidate move. Depth decides between a pan, which shifts
    everything alike, and an orbit, which shifts near and far things apart and changes their sizes.
    """
    tracks = [t for t in film.tracks if t.seen.mean() > 0.7]
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
    size = np.array([film.width, film.height])
    middle = film.frames // 2
    errors = []
    for track in film.tracks:
        if track.seen.mean() <= 0.7:
            continue
        frames = np.flatnonzero(track.clear if track.clear.mean() > 0.5 else track.seen)
        anchor = frames[np.abs(frames - middle).argmin()]
        floor = room.on_plane(track.centre[anchor], film.height, film.width)
        if not np.isfinite(floor).all():
            return np.inf
        point = np.array([*floor, room.EXTENT])
        screen, depth = project(cameras, point[None], film.width / film.height)
        spot = screen * size - 0.5
        spot += track.centre[anchor] - spot[anchor]
        errors.append((track.centre[frames] - spot[frames]).ravel())
        # On screen a radius goes with one over depth and the tangent of the field of view.
        near = 1 / (depth * cameras[:, 12])
        radius = np.sqrt(track.area / np.pi)
        errors.append(radius[frames] - radius[anchor] * near[frames] / near[anchor])
    error = np.concatenate(errors)
    return float(np.sqrt(np.mean(error**2)) / film.scale)


def camera(scene: Scene) -> bool | None:
    """Whether the camera moves as the prompt says; None where it is not about the camera."""
    if scene.meaning.story != "camera":
        return None
    seen = filming(scene.film)
    return seen is not None and seen.move == scene.meaning.camera
