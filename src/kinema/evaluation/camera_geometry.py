"""The lab's room seen through its known camera: from pixels to metres on the floor and back."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kinema.simulator import lab_split
from kinema.simulator.camera_moves import camera_path
from kinema.simulator.render.camera import POSITION, camera_rays, project

OBJECT_HALF_SIZE = 0.42
"""Half the size of the lab's things in metres: they are drawn from 0.38 to 0.46."""
LAB_CAMERA: Float[np.ndarray, "13"] = camera_path(lab_split.lab_shot("static"), 1)[0]
"""The lab's camera, standing still."""


def unproject_to_horizontal_plane(
    centre: Float[np.ndarray, "*n 2"], height: int, width: int, plane_height: float = OBJECT_HALF_SIZE
) -> Float[np.ndarray, "*n 2"]:
    """Where the rays through pixels meet the horizontal plane `plane_height` metres over the floor.

    Args:
        centre: x and y in pixels from the middle of the top left one.
        height: of the picture, in pixels.
        width: of the picture.
        plane_height: of the plane.

    Returns:
        World x (right) and y (away from the camera) in metres; NaN for rays that do not meet the plane.
    """
    screen = (centre + 0.5) / np.array([width, height])
    way = camera_rays(LAB_CAMERA, screen, width / height)
    position = LAB_CAMERA[POSITION]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = (plane_height - position[2]) / way[..., 2]
    reach = np.where(reach > 0, reach, np.nan)
    return position[:2] + reach[..., None] * way[..., :2]


def unproject_to_vertical_plane(
    centre: Float[np.ndarray, "*n 2"], height: int, width: int, depth: float = 0.0
) -> Float[np.ndarray, "*n 2"]:
    """Where the rays through pixels meet the upright plane `depth` metres behind the middle: x and height."""
    screen = (centre + 0.5) / np.array([width, height])
    way = camera_rays(LAB_CAMERA, screen, width / height)
    position = LAB_CAMERA[POSITION]
    reach = (depth - position[1]) / way[..., 1]
    return np.stack([position[0] + reach * way[..., 0], position[2] + reach * way[..., 2]], axis=-1)


def project_to_pixels(
    points: Float[np.ndarray, "*n 3"], height: int, width: int
) -> Float[np.ndarray, "*n 2"]:
    """Where points of the room are seen, in pixels from the middle of the top left one."""
    screen, _ = project(LAB_CAMERA, points, width / height)
    return screen * np.array([width, height]) - 0.5
