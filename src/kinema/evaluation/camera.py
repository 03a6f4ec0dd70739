"""Measure 4: which way the camera went, from how the things that stand in the lab are seen to move."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from kinema.evaluation import camera_geometry, thresholds
from kinema.evaluation.matching import MatchedScene
from kinema.evaluation.tracking import Track, TrackedVideo
from kinema.simulator import lab_split
from kinema.simulator.annotations import CameraMove
from kinema.simulator.camera_moves import camera_path
from kinema.simulator.render.camera import project

CAMERA_MOVES: tuple[CameraMove, ...] = (
    "static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "orbit left",
    "orbit right",
)  # fmt: skip
_AMOUNT_FACTORS = (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5)
"""Shares of the lab's own amount that are tried."""
_CANDIDATE_DEPTHS = tuple(float(y) for y in np.linspace(-0.7, 0.9, 9))
"""Metres behind the middle of the room at which things may stand."""
_MIN_VISIBLE_SHARE = 0.7
"""Share of the frames in which a thing must be seen to count."""


@dataclass(frozen=True, kw_only=True)
class CameraEstimate:
    """The camera move that explains a film best."""

    move: CameraMove
    residual: float
    """Pixels at 128, root mean square over positions and half-sizes."""
    static_residual: float
    """The same if the camera had stood still."""


def estimate_camera(video: TrackedVideo) -> CameraEstimate | None:
    """Find the move that explains where everything is seen; None where too little is seen.

    In the middle frame the lab's camera passes through its known place, so every thing stands somewhere
    along a known ray; each is seen again through every candidate move, from its best depth. A pan shifts
    everything alike, an orbit shifts near and far things apart and changes their sizes.
    """
    tracks = [t for t in video.tracks if t.visible.mean() > _MIN_VISIBLE_SHARE]
    if not tracks:
        return None
    results = {move: _best_residual(video, move) for move in CAMERA_MOVES}
    move = min(results, key=lambda m: results[m])
    if results["static"] < thresholds.MAX_STATIC_CAMERA_RESIDUAL:
        move = "static"
    return CameraEstimate(move=move, residual=results[move], static_residual=results["static"])


def _best_residual(video: TrackedVideo, move: CameraMove) -> float:
    """The smallest root mean square residual over the amounts of one move."""
    shot = lab_split.lab_shot(move)
    found = []
    for share in _AMOUNT_FACTORS if move != "static" else (1.0,):
        amount = shot.amount**share if move.startswith("zoom") else shot.amount * share
        found.append(
            _static_scene_residual(video, camera_path(replace(shot, amount=amount), video.num_frames))
        )
    return min(found)


def _static_scene_residual(video: TrackedVideo, cameras: Float[np.ndarray, "f 13"]) -> float:
    """Root mean square residual if the camera went this way and everything else stood still."""
    middle = video.num_frames // 2
    total, count = 0.0, 0
    for track in video.tracks:
        if track.visible.mean() <= _MIN_VISIBLE_SHARE:
            continue
        frames = np.flatnonzero(
            track.clearly_visible if track.clearly_visible.mean() > 0.5 else track.visible
        )
        anchor = int(frames[np.abs(frames - middle).argmin()])
        errors = [
            _reprojection_errors(video, track, cameras, frames, anchor, depth) for depth in _CANDIDATE_DEPTHS
        ]
        total += min(float((error**2).sum()) for error in errors)
        count += 3 * len(frames)
    return float(np.sqrt(total / count) / video.scale)


def _reprojection_errors(
    video: TrackedVideo,
    track: Track,
    cameras: Float[np.ndarray, "f 13"],
    frames: Int[np.ndarray, " n"],
    reference_frame: int,
    depth: float,
) -> Float[np.ndarray, " m"]:
    """Residuals of place and radius in pixels, for a thing at one depth behind the middle of the room."""
    across, high = camera_geometry.unproject_to_vertical_plane(
        track.centre[reference_frame], video.height, video.width, depth
    )
    screen, away = project(cameras, np.array([[across, depth, high]]), video.width / video.height)
    spot = screen * np.array([video.width, video.height]) - 0.5
    place = track.centre[frames] - track.centre[reference_frame] - (spot[frames] - spot[reference_frame])
    # On screen a radius goes with one over depth and the tangent of the field of view.
    near = 1 / (away * cameras[:, 12])
    radius = np.sqrt(track.area / np.pi)
    return np.concatenate(
        [place.ravel(), radius[frames] - radius[reference_frame] * near[frames] / near[reference_frame]]
    )


def check_camera_move(scene: MatchedScene) -> bool | None:
    """Whether the camera moves as the prompt says; None where it is not about the camera."""
    if scene.prompt_spec.event != "camera":
        return None
    seen = estimate_camera(scene.video)
    return seen is not None and seen.move == scene.prompt_spec.camera_move
