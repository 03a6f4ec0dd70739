"""The array layout of a scene, shared by the CPU and GPU kernels.

Rows of `solids`, `labels` and `occluders` are grouped by frame: with n solids, frame f has the rows f·n to
(f + 1)·n. Static solids are repeated in every frame, which keeps the kernels simple.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Hits other than a row of `solids`.
SKY = -1
FLOOR = -2

# Columns of `solids`, float32.
CENTRE = 0  # 3
ROTATION = 3  # 9: the rotation matrix, row by row; its columns are the solid's axes in the world
SIZE = 12  # 3
BOUND = 15  # radius of the bounding sphere
PATTERN_SCALE = 16  # 1 / the solid's largest half extent
SUN_SPACE_CENTRE = 17  # 3: the centre in light space (across, across, towards the sun)
LOCAL_SUN = 20  # 3: the direction to the sun in the solid's axes
SOLID_COLUMNS = 24

# Columns of `labels`, int32.
KIND = 0
MATERIAL = 1
OBJECT_ID = 2
FIRST_PLANE = 3
PLANE_COUNT = 4
LABEL_COLUMNS = 5

# Columns of `occluders`, float32.
OCCLUDER_CENTRE = 0  # 3
OCCLUDER_RADIUS_SQUARED = 3  # square of the radius
OCCLUDER_ROW = 4  # its solid, relative to the frame's first row
OCCLUDER_OBJECT_ID = 5
OCCLUDER_COLOUR = 6  # 3
OCCLUDER_COLUMNS = 9

# Entries of `light`, float32.
SUN = 0  # 3: direction to the sun
SUN_COLOUR = 3  # 3
SUN_ACROSS = 6  # 3: first axis of light space
SUN_ALONG = 9  # 3: second axis of light space
SUN_SPREAD = 12  # tangent of the sun's angular radius
YAW = 13  # 2: cosine and sine of the rotation of the sky about z
EXPOSURE = 15
FLOOR_TILE = 16  # edge length covered by the floor texture, metres
FLOOR_ROUGHNESS = 17
FLOOR_SPECULAR = 18
FADE_FROM = 19  # the floor fades into the sky image between these distances from the origin
FADE_TO = 20
FLOOR_BOUNCE = 21  # 3: mean colour of the floor
HDRI_HEIGHT = 24  # camera height of the sky photograph above its ground, metres; 0: fade to the horizon
HAZE = 25  # strength of the haze over distant background
FLOOR_ROTATION = 26  # 2: cosine and sine of the rotation of the floor texture
LIGHT_ENTRIES = 28


class RenderBuffers(NamedTuple):
    """A packed scene. Axes: r rows of all frames, f frames."""

    counts: np.ndarray
    """int32: number of solids per frame, number of occluders per frame."""
    solids: np.ndarray
    labels: np.ndarray
    planes: np.ndarray
    """float32 [k, 4]: outward normals and distances of all polyhedra."""
    materials: np.ndarray
    """float32 [m, 16]."""
    occluders: np.ndarray
    cameras: np.ndarray
    """float32 [f, 13]."""
    light: np.ndarray
    sky: np.ndarray
    """float32 [h, w, 3]: radiance; the top row points to +z."""
    glossy: np.ndarray
    rough: np.ndarray
    irradiance: np.ndarray
    """float32 [9, 3]: spherical harmonics of the sky's diffuse light."""
    texture: np.ndarray
    """float32 [texels, 3]: the floor's mip pyramid, 256 x 256 first."""
    tone: np.ndarray
    """float32 [1024]: display value over the square root of radiance, 0 to 4."""
