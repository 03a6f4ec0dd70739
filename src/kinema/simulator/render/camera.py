"""The pinhole camera: rows for the tracer, and the exact projection that facts are measured with."""

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
    """A camera that stands at `position` (metres) and looks at `target`, z up.

    Args:
        position: where the camera stands.
        target: the point in the middle of the picture.
        vertical_fov: vertical field of view, degrees.
        roll: turn about the view axis, degrees; positive tips the camera to its left.

    Returns:
        Position, right, up and forward axes, and tan(field of view / 2).

    Raises:
        ValueError: position and target coincide, or the view is straight up or down.
    """
    position = np.asarray(position, float)
    forward = np.asarray(target, float) - position
    length = np.linalg.norm(forward)
    if length == 0:
        raise ValueError("a camera can't look at the point it stands on")
    forward /= length
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError("a camera that looks straight up or down has no upright picture")
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    right, up = c * right + s * up, c * up - s * right
    return np.concatenate([position, right, up, forward, [math.tan(math.radians(vertical_fov) / 2)]])


def world_to_camera(
    camera: Float[np.ndarray, "*c 13"], points: Float[np.ndarray, "*p 3"]
) -> Float[np.ndarray, "*q 3"]:
    """Points in the camera's own axes: right, up and depth along the view axis, metres. Broadcasts."""
    offset = points - camera[..., POSITION]
    axes = (camera[..., RIGHT], camera[..., UP], camera[..., FORWARD])
    return np.stack([(offset * axis).sum(-1) for axis in axes], -1)


def project(
    camera: Float[np.ndarray, "*c 13"], points: Float[np.ndarray, "*p 3"], aspect: float = 1.0
) -> tuple[Float[np.ndarray, "*q 2"], Float[np.ndarray, "*q"]]:
    """Where points are seen, and how deep they lie. Broadcasts cameras against points.

    Args:
        camera: rows of `camera_row`.
        points: world points, metres.
        aspect: width of the picture over its height.

    Returns:
        Screen positions (x from 0 at the left edge to 1 at the right, y from 0 at the top to 1 at the
        bottom) and depths along the view axis in metres, negative behind the camera. The position of a
        point behind the camera is that of its mirror image; look at the depth first.
    """
    x, y, depth = np.moveaxis(world_to_camera(camera, points), -1, 0)
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    tangent = camera[..., TANGENT]
    screen = np.stack([0.5 + 0.5 * x / (safe * tangent * aspect), 0.5 - 0.5 * y / (safe * tangent)], -1)
    return screen, depth


def projected_radius(
    camera: Float[np.ndarray, "*c 13"], points: Float[np.ndarray, "*p 3"], radius: float | np.ndarray
) -> Float[np.ndarray, "*q"]:
    """Radius on screen of a ball round each point, as a share of the picture's height; 0 behind the camera.

    Radius of the circle whose area the ball would cover on the view axis at that depth; exact for a ball
    in the middle of the picture: r / sqrt(depth² − r²), in units of the picture's height.
    """
    depth = world_to_camera(camera, points)[..., 2]
    room = np.sqrt(np.maximum(depth**2 - np.square(radius), 1e-12))
    return np.where(depth > 0, 0.5 * radius / (room * camera[..., TANGENT]), 0.0)


def camera_rays(
    camera: Float[np.ndarray, "13"], screen: Float[np.ndarray, "*n 2"], aspect: float = 1.0
) -> np.ndarray:
    """Unit directions of the rays through screen positions; the inverse of `project`."""
    x = (2 * screen[..., 0:1] - 1) * camera[TANGENT] * aspect
    y = (1 - 2 * screen[..., 1:2]) * camera[TANGENT]
    directions = camera[FORWARD] + x * camera[RIGHT] + y * camera[UP]
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)
