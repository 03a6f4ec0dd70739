"""The tracer on the CPU: one compiled function renders a frame and lets go of the interpreter meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import Any

import numba
import numpy as np

from kinema.world.render.device.film import TILE, first_look, gather, second_look
from kinema.world.render.layout import Stage
from kinema.world.render.specialise import narrowed, source_stamp, specialise

_OPTIONS: Any = {"nogil": True, "fastmath": True, "error_model": "numpy", "_nrt": False}


def render_frame(
    stage, frame, points, contrast, rows, counts, colour, marks, frames, identities, depth
):  # compiled: shapes stand in `render_stage`
    """Render one frame into `frames`, `identities` and `depth` of [h, w]."""
    height = frames.shape[0]
    width = frames.shape[1]
    across = (width + TILE - 1) // TILE
    down = (height + TILE - 1) // TILE
    for tile in range(across * down):
        gather(stage, frame, height, width, tile, across, rows, counts)
    for y in range(height):
        for x in range(width):
            first_look(
                stage, frame, height, width, x, y, across, rows, counts, colour, marks, identities, depth
            )
    for y in range(height):
        for x in range(width):
            second_look(
                stage,
                frame,
                height,
                width,
                x,
                y,
                across,
                rows,
                counts,
                colour,
                marks,
                points,
                contrast,
                frames,
            )


def compiled() -> Callable[..., None]:
    """`render_frame` as machine code, made at its first call and kept on disk beside the package.

    The stored code lives where numba puts it: `__pycache__` beside this file, or the user's cache folder
    where the package is read-only. Where neither can be written it is compiled anew in each process.
    """
    namespace: dict[str, object] = {**globals(), **specialise(_jit)}
    frame = narrowed(render_frame, namespace)
    # Numba looks only at this file's date to see whether stored code is stale; the name holds the rest.
    frame.__qualname__ = f"render_frame_{source_stamp(sys.modules[__name__])}"
    try:
        return numba.njit(cache=True, **_OPTIONS)(frame)
    except RuntimeError:  # numba found no folder to keep it in
        return _jit(frame)


def _jit(function: FunctionType) -> Callable[..., None]:
    # Inlined by force, without reference counts: a call that hands a whole Stage on costs more than most
    # of the functions themselves (measured: twice the time of a frame). Nothing here allocates.
    return numba.njit(forceinline=True, **_OPTIONS)(function)


RENDER_FRAME = compiled()


def render_stage(
    stage: Stage,
    height: int,
    width: int,
    points: np.ndarray,
    contrast: float,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render all frames.

    Args:
        stage: the packed scene.
        height: pixels.
        width: pixels.
        points: float32 [k, 2], where uneven pixels are seen through, 0..1 from the corner.
        contrast: difference between neighbours, of 1, from which a pixel counts as uneven.
        threads: frames rendered at once.

    Returns:
        Frames uint8 [f, h, w, 3], identities uint8 [f, h, w], distances float32 [f, h, w].
    """
    count = stage.cameras.shape[0]
    tiles = -(-height // TILE) * -(-width // TILE)
    frames = np.empty((count, height, width, 3), np.uint8)
    identities = np.empty((count, height, width), np.uint8)
    depth = np.empty((count, height, width), np.float32)

    def one(frame: int) -> None:
        RENDER_FRAME(
            stage,
            frame,
            points,
            np.float32(contrast),
            np.empty(max(1, 2 * int(stage.counts[0]) * tiles), np.int32),
            np.empty(2 * tiles, np.int32),
            np.empty((height, width, 3), np.float32),
            np.empty((height, width), np.int32),
            frames[frame],
            identities[frame],
            depth[frame],
        )

    if threads == 1:
        for frame in range(count):
            one(frame)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(count)))
    return frames, identities, depth
