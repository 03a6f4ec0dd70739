"""The pinhole camera: rows for the ray tracer, and the projection used for annotations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

POSITION = slice(0, 3)
RIGHT = slice(3, 6)
UP = slice(6, 9)
FORWARD = slice(9, 12)
TANGENT = 12


def camera_row(
    position: Sequence[float] | Float[np.ndarray, "3"],
    target: Sequence[float] | Float[np.ndarray, "3"],
    vertical_fov: float,
    *,
    roll: float = 0.0,
) -> Float[np.ndarray, "13"]:
    """Build the camera row of a camera that looks from `position` to `target`, with z up.

    Args:
        position: position of the camera, metres.
        target: the point at the centre of the image, metres.
        vertical_fov: vertical field of view, degrees.
        roll: rotation about the view axis, degrees; positive rolls the camera to its left.

    Returns:
        Position, right, up and forward axes, and tan(field of view / 2).

    Raises:
        ValueError: position and target coincide, or the view is straight up or down.
    """
    position = np.asarray(position, float)
    forward = np.asarray(target, float) - position
    length = np.linalg.norm(forward)
    if length == 0:
        raise ValueError("the camera's position and target must differ")
    forward /= length
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError("the camera must not look straight up or down")
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    right, up = c * right + s * up, c * up - s * right
    return np.concatenate([position, right, up, forward, [math.tan(math.radians(vertical_fov) / 2)]])


def world_to_camera(
    camera: Float[np.ndarray, "*c 13"], points: Float[np.ndarray, "*p 3"]
) -> Float[np.ndarray, "*q 3"]:
    """Transform points to camera axes: right, up and depth along the view axis, metres. Broadcasts."""
    offset = points - camera[..., POSITION]
    axes = (camera[..., RIGHT], camera[..., UP], camera[..., FORWARD])
    return np.stack([(offset * axis).sum(-1) for axis in axes], -1)


def project(
    camera: Float[np.ndarray, "*c 13"], points: Float[np.ndarray, "*p 3"], aspect: float = 1.0
) -> tuple[Float[np.ndarray, "*q 2"], Float[np.ndarray, "*q"]]:
    """Project points to the screen. Broadcasts cameras against points.

    Args:
        camera: rows of `camera_row`.
        points: world points, metres.
        aspect: image width over height.

    Returns:
        Screen positions (x from 0 at the left edge to 1 at the right, y from 0 at the top to 1 at the
        bottom), and depths along the view axis in metres, negative behind the camera. Screen positions of
        points behind the camera are not meaningful.
    """
    x, y, depth = np.moveaxis(world_to_camera(camera, points), -1, 0)
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    tangent = camera[..., TANGENT]
    screen = np.stack([0.5 + 0.5 * x / (safe * tangent * aspect), 0.5 - 0.5 * y / (safe * tangent)], -1)
    return screen, depth


def projected_radius(
    camera: Float[np.ndarray, "*c 13"], points: Float[np.ndarray, "*p 3"], radius: float | np.ndarray
) -> Float[np.ndarray, "*q"]:
    """The screen radius of a sphere around each point, as a share of the image height; 0 behind the camera.

    Uses r / sqrt(depth² − r²), which is exact for a sphere at the image centre.
    """
    depth = world_to_camera(camera, points)[..., 2]
    room = np.sqrt(np.maximum(depth**2 - np.square(radius), 1e-12))
    return np.where(depth > 0, 0.5 * radius / (room * camera[..., TANGENT]), 0.0)


def camera_rays(
    camera: Float[np.ndarray, "13"], screen: Float[np.ndarray, "*n 2"], aspect: float = 1.0
) -> np.ndarray:
    """Unit directions of the rays through screen positions: the inverse of `project`."""
    x = (2 * screen[..., 0:1] - 1) * camera[TANGENT] * aspect
    y = (1 - 2 * screen[..., 1:2]) * camera[TANGENT]
    directions = camera[FORWARD] + x * camera[RIGHT] + y * camera[UP]
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)
