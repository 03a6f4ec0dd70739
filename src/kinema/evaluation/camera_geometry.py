"""Projection of the lab's known camera: from pixels to metres on the floor and back."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kinema.evaluation.tracking import Track, TrackedVideo
from kinema.simulator import lab_split
from kinema.simulator.camera_moves import camera_path
from kinema.simulator.render.camera import POSITION, camera_rays, project

OBJECT_HALF_SIZE = 0.42
"""Mean half size of the lab's objects in metres; they range from 0.38 to 0.46."""
LAB_CAMERA: Float[np.ndarray, "13"] = camera_path(lab_split.lab_shot("static"), 1)[0]
"""The lab's camera without motion."""


def unproject_to_horizontal_plane(
    centre: Float[np.ndarray, "*n 2"], height: int, width: int, plane_height: float = OBJECT_HALF_SIZE
) -> Float[np.ndarray, "*n 2"]:
    """Intersect the rays through pixels with a horizontal plane.

    Args:
        centre: x and y in pixels from the centre of the top left pixel.
        height: of the image, in pixels.
        width: of the image, in pixels.
        plane_height: of the plane above the floor, in metres.

    Returns:
        World x (right) and y (away from the camera) in metres; NaN for rays that do not meet the plane.
    """
    rays = _rays(centre, height, width)
    position = LAB_CAMERA[POSITION]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (plane_height - position[2]) / rays[..., 2]
    distance = np.where(distance > 0, distance, np.nan)
    return position[:2] + distance[..., None] * rays[..., :2]


def unproject_to_vertical_plane(
    centre: Float[np.ndarray, "*n 2"], height: int, width: int, depth: float = 0.0
) -> Float[np.ndarray, "*n 2"]:
    """Intersect the rays through pixels with the vertical plane `depth` metres behind the scene's centre.

    Returns:
        World x (right) and z (up) in metres.
    """
    rays = _rays(centre, height, width)
    position = LAB_CAMERA[POSITION]
    distance = (depth - position[1]) / rays[..., 1]
    return np.stack([position[0] + distance * rays[..., 0], position[2] + distance * rays[..., 2]], axis=-1)


def project_to_pixels(
    points: Float[np.ndarray, "*n 3"], height: int, width: int
) -> Float[np.ndarray, "*n 2"]:
    """Project world points in metres to pixels from the centre of the top left pixel."""
    screen, _ = project(LAB_CAMERA, points, width / height)
    return screen * np.array([width, height]) - 0.5


def floor_positions(video: TrackedVideo, track: Track) -> Float[np.ndarray, "f 2"]:
    """Positions of an object that stands on the floor, in metres: x to the right, y away from the camera."""
    return unproject_to_horizontal_plane(track.centre, video.height, video.width)


def vertical_plane_positions(video: TrackedVideo, track: Track) -> Float[np.ndarray, "f 2"]:
    """Positions of an object in the vertical plane through the scene's centre, in metres: x and height."""
    return unproject_to_vertical_plane(track.centre, video.height, video.width)


def _rays(centre: Float[np.ndarray, "*n 2"], height: int, width: int) -> Float[np.ndarray, "*n 3"]:
    screen = (centre + 0.5) / np.array([width, height])
    return camera_rays(LAB_CAMERA, screen, width / height)
