"""Camera paths of fifteen moves, and a solver that frames the scene."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from kinema.simulator.annotations import CameraMove


@dataclass(frozen=True, kw_only=True)
class CameraShot:
    """A camera move around a target. Angles in degrees, lengths in metres."""

    move: CameraMove
    amount: float
    """Size of the move from the first to the last frame, in the units of `MOVE_AMOUNTS`."""
    target: tuple[float, float, float] = (0.0, 0.0, 0.45)
    distance: float = 5.0
    azimuth: float = -90.0
    """Direction from the target to the camera; -90 is the default view."""
    elevation: float = 15.0
    fov: float = 42.0
    """Vertical field of view in the middle of the move."""


MOVE_AMOUNTS: dict[CameraMove, tuple[float, float]] = {
    "static": (0.0, 0.0),
    "pan left": (9.0, 13.0),  # degrees
    "pan right": (9.0, 13.0),
    "tilt up": (7.0, 11.0),
    "tilt down": (7.0, 11.0),
    "zoom in": (1.4, 1.7),  # ratio of sizes on screen
    "zoom out": (1.4, 1.7),
    "dolly in": (1.4, 1.65),  # ratio of distances
    "dolly out": (1.4, 1.65),
    "orbit left": (32.0, 55.0),  # degrees
    "orbit right": (32.0, 55.0),
    "truck left": (0.17, 0.26),  # share of the distance
    "truck right": (0.17, 0.26),
    "crane up": (16.0, 24.0),  # degrees of elevation
    "crane down": (16.0, 24.0),
}


def camera_path(shot: CameraShot, num_frames: int) -> Float[np.ndarray, "f 13"]:
    """The camera of a shot in every frame.

    The move is eased and centred: it runs from minus half the amount to plus half. Left and right are from
    the camera's point of view: the direction in which it turns (pan), moves (truck) or circles (orbit).

    Returns:
        One row per frame: position, right, up and forward axes, tan(vertical field of view / 2).
    """
    t = np.arange(num_frames) / max(1, num_frames - 1)
    # Half linear, half smoothstep: motion from the first frame on, but smooth at both ends.
    e = 0.5 * t + 0.5 * t * t * (3 - 2 * t) - 0.5
    still = np.zeros(num_frames)
    azimuth, elevation, distance = shot.azimuth + still, shot.elevation + still, shot.distance + still
    tangent = math.tan(math.radians(shot.fov) / 2) + still
    turn = lift = slide = still
    amount = shot.amount
    match shot.move:
        case "pan left" | "pan right":
            turn = amount * e * (1 if shot.move == "pan left" else -1)
        case "tilt up" | "tilt down":
            lift = amount * e * (1 if shot.move == "tilt up" else -1)
        case "zoom in" | "zoom out":
            tangent = tangent * amount ** (-e if shot.move == "zoom in" else e)
        case "dolly in" | "dolly out":
            distance = distance * amount ** (-e if shot.move == "dolly in" else e)
        case "orbit left" | "orbit right":
            azimuth = azimuth + amount * e * (-1 if shot.move == "orbit left" else 1)
        case "truck left" | "truck right":
            slide = amount * shot.distance * e * (-1 if shot.move == "truck left" else 1)
        case "crane up" | "crane down":
            elevation = elevation + amount * (0.3 + (e if shot.move == "crane up" else -e))
    around, over = np.radians(azimuth), np.radians(elevation)
    target = np.array(shot.target) + slide[:, None] * np.stack([-np.sin(around), np.cos(around), still], 1)
    back = np.stack([np.cos(over) * np.cos(around), np.cos(over) * np.sin(around), np.sin(over)], 1)
    position = target + distance[:, None] * back
    position[:, 2] = np.maximum(position[:, 2], 0.2)
    ahead = target - position
    level = np.arctan2(ahead[:, 1], ahead[:, 0]) + np.radians(turn)
    climb = np.arctan2(ahead[:, 2], np.hypot(ahead[:, 0], ahead[:, 1])) + np.radians(lift)
    forward = np.stack([np.cos(climb) * np.cos(level), np.cos(climb) * np.sin(level), np.sin(climb)], 1)
    right = np.stack([np.sin(level), -np.cos(level), still], 1)
    up = np.cross(right, forward)
    return np.concatenate([position, right, up, forward, tangent[:, None]], axis=1)


def view_extents(
    cameras: Float[np.ndarray, "f 13"],
    points: Float[np.ndarray, "f p 3"],
    required: Bool[np.ndarray, "f p"],
    aspect: float,
) -> tuple[float, float, float, float]:
    """Bounds of the required points over all frames.

    Args:
        cameras: rows of `camera_path`.
        points: world points per frame, metres.
        required: which points count in which frames.
        aspect: image width over height.

    Returns:
        Left, bottom, right and top in view units, where -1..1 is in view. Points behind the camera count as
        far outside.
    """
    offset = points - cameras[:, None, 0:3]
    depth = np.einsum("fpc,fc->fp", offset, cameras[:, 9:12])
    safe = np.maximum(depth, 0.05) * cameras[:, 12:13]
    x = np.einsum("fpc,fc->fp", offset, cameras[:, 3:6]) / (safe * aspect)
    y = np.einsum("fpc,fc->fp", offset, cameras[:, 6:9]) / safe
    x, y = x[required], y[required]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Constraints of the camera solver."""

    margin: float = 0.93
    """Share of half the image that the required points may fill."""
    min_distance: float = 2.6
    max_distance: float = 11.0


def fit_camera(
    shot: CameraShot,
    points: Float[np.ndarray, "f p 3"],
    required: Bool[np.ndarray, "f p"],
    aspect: float,
    framing: Framing,
) -> tuple[CameraShot, Float[np.ndarray, "f 13"]] | None:
    """Move a shot so that the required points just fit into the frame.

    Fixed-point iteration: aim at the centre of the projected points, then scale the distance by their extent.

    Args:
        shot: the camera move; its target and distance are replaced.
        points: world points per frame, metres.
        required: which points must be in view in which frames.
        aspect: image width over height.
        framing: margin and range of distances.

    Returns:
        The adjusted shot and its camera path, or None if the points do not fit.
    """
    frames = len(points)
    everything = points[required]
    middle = (everything.min(axis=0) + everything.max(axis=0)) / 2
    low, high = framing.min_distance, framing.max_distance
    shot = replace(shot, target=(float(middle[0]), float(middle[1]), float(middle[2])), distance=5.0)
    for _ in range(12):
        cameras = camera_path(shot, frames)
        left, bottom, right, top = view_extents(cameras, points, required, aspect)
        fits = max(-left, right, -bottom, top) <= framing.margin
        snug = max(right - left, top - bottom) / 2 > framing.margin - 0.06 or shot.distance <= low * 1.01
        if fits and snug:
            return shot, cameras
        size = max(right - left, top - bottom) / 2 / (framing.margin - 0.03)
        half = shot.distance * math.tan(math.radians(shot.fov) / 2)
        around = math.radians(shot.azimuth)
        sideways = (left + right) / 2 * half * aspect
        up = (bottom + top) / 2 * half
        lifted = up * math.sin(math.radians(shot.elevation))
        x, y, z = shot.target
        distance = min(high, max(low, shot.distance * min(2.0, max(0.5, size))))
        shot = replace(
            shot,
            target=(
                x - math.sin(around) * sideways - math.cos(around) * lifted,
                y + math.cos(around) * sideways - math.sin(around) * lifted,
                max(-0.4, z + up * math.cos(math.radians(shot.elevation))),
            ),
            distance=distance,
        )
    cameras = camera_path(shot, frames)
    left, bottom, right, top = view_extents(cameras, points, required, aspect)
    return (shot, cameras) if max(-left, right, -bottom, top) <= framing.margin + 0.03 else None
