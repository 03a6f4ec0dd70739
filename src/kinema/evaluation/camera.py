"""Measure 4, camera motion: the camera move that explains how static objects move on screen."""

from __future__ import annotations

from collections.abc import Sequence
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
"""Candidate amounts of a move, relative to the lab's own."""
_CANDIDATE_DEPTHS = tuple(float(y) for y in np.linspace(-0.7, 0.9, 9))
"""Candidate depths of an object, in metres behind the scene's centre."""
_MIN_VISIBLE_SHARE = 0.7
"""Share of the frames in which an object must be visible to be used."""


@dataclass(frozen=True, kw_only=True)
class CameraEstimate:
    """The camera move with the smallest reprojection error."""

    move: CameraMove
    residual: float
    """Root mean square over positions and radii, in pixels at 128."""
    static_residual: float
    """The same for a static camera."""


def estimate_camera(video: TrackedVideo) -> CameraEstimate | None:
    """Estimate the camera move; None where too few objects are visible.

    In the middle frame the lab's camera is at its known position, so every object lies somewhere on a known
    ray. Each object is reprojected through every candidate move from its best depth. A pan moves all objects
    alike; an orbit moves near and far objects differently and changes their sizes.
    """
    tracks = [t for t in video.tracks if t.visible.mean() > _MIN_VISIBLE_SHARE]
    if not tracks:
        return None
    residuals = {move: _best_residual(video, tracks, move) for move in CAMERA_MOVES}
    move = min(residuals, key=lambda m: residuals[m])
    if residuals["static"] < thresholds.MAX_STATIC_CAMERA_RESIDUAL:
        move = "static"
    return CameraEstimate(move=move, residual=residuals[move], static_residual=residuals["static"])


def _best_residual(video: TrackedVideo, tracks: Sequence[Track], move: CameraMove) -> float:
    """The smallest residual over the candidate amounts of one move."""
    shot = lab_split.lab_shot(move)
    residuals = []
    for factor in _AMOUNT_FACTORS if move != "static" else (1.0,):
        amount = shot.amount**factor if move.startswith("zoom") else shot.amount * factor
        cameras = camera_path(replace(shot, amount=amount), video.num_frames)
        residuals.append(_static_scene_residual(video, tracks, cameras))
    return min(residuals)


def _static_scene_residual(
    video: TrackedVideo, tracks: Sequence[Track], cameras: Float[np.ndarray, "f 13"]
) -> float:
    """Root mean square residual, assuming this camera path and static objects."""
    middle = video.num_frames // 2
    total, count = 0.0, 0
    for track in tracks:
        frames = np.flatnonzero(
            track.clearly_visible if track.clearly_visible.mean() > 0.5 else track.visible
        )
        reference = int(frames[np.abs(frames - middle).argmin()])
        errors = [
            _reprojection_errors(video, track, cameras, frames, reference, depth)
            for depth in _CANDIDATE_DEPTHS
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
    """Residuals of position and radius in pixels, for an object at one depth in metres."""
    x, z = camera_geometry.unproject_to_vertical_plane(
        track.centre[reference_frame], video.height, video.width, depth
    )
    screen, distance = project(cameras, np.array([[x, depth, z]]), video.width / video.height)
    pixels = screen * np.array([video.width, video.height]) - 0.5
    measured = track.centre[frames] - track.centre[reference_frame]
    position_error = measured - (pixels[frames] - pixels[reference_frame])
    # The radius on screen is proportional to 1 / (distance * tangent of the field of view).
    magnification = 1 / (distance * cameras[:, 12])
    radius = np.sqrt(track.area / np.pi)
    expected_radius = radius[reference_frame] * magnification[frames] / magnification[reference_frame]
    return np.concatenate([position_error.ravel(), radius[frames] - expected_radius])


def check_camera_move(scene: MatchedScene) -> bool | None:
    """Whether the camera moves as the prompt says; None where the prompt names no camera move."""
    if scene.prompt_spec.event != "camera":
        return None
    estimate = estimate_camera(scene.video)
    return estimate is not None and estimate.move == scene.prompt_spec.camera_move
