"""The tracer on the CPU: one compiled function renders a frame and lets go of the interpreter meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import Any

import numba
import numpy as np

from kinema.simulator.render.buffers import RenderBuffers
from kinema.simulator.render.kernel_compiler import compile_kernels, narrow_literals, source_hash
from kinema.simulator.render.kernels.camera_pass import TILE, antialias_pass, cull_tile, primary_pass

_NUMBA_OPTIONS: Any = {"nogil": True, "fastmath": True, "error_model": "numpy", "_nrt": False}


def render_frame(
    buffers, frame, points, contrast, rows, counts, colour, path_hashes, frames, object_ids, depth
):  # compiled: shapes stand in `render_buffers`
    """Render one frame into `frames`, `object_ids` and `depth` of [h, w]."""
    height = frames.shape[0]
    width = frames.shape[1]
    across = (width + TILE - 1) // TILE
    down = (height + TILE - 1) // TILE
    for tile in range(across * down):
        cull_tile(buffers, frame, height, width, tile, across, rows, counts)
    for y in range(height):
        for x in range(width):
            primary_pass(
                buffers,
                frame,
                height,
                width,
                x,
                y,
                across,
                rows,
                counts,
                colour,
                path_hashes,
                object_ids,
                depth,
            )
    for y in range(height):
        for x in range(width):
            antialias_pass(
                buffers,
                frame,
                height,
                width,
                x,
                y,
                across,
                rows,
                counts,
                colour,
                path_hashes,
                points,
                contrast,
                frames,
            )


def compile_render_frame() -> Callable[..., None]:
    """`render_frame` as machine code, made at its first call and kept on disk beside the package.

    The stored code lives where numba puts it: `__pycache__` beside this file, or the user's cache folder
    where the package is read-only. Where neither can be written it is compiled anew in each process.
    """
    namespace: dict[str, object] = {**globals(), **compile_kernels(_jit)}
    frame = narrow_literals(render_frame, namespace)
    # Numba looks only at this file's date to see whether stored code is stale; the name holds the rest.
    frame.__qualname__ = f"render_frame_{source_hash(sys.modules[__name__])}"
    try:
        return numba.njit(cache=True, **_NUMBA_OPTIONS)(frame)
    except RuntimeError:  # numba found no folder to keep it in
        return _jit(frame)


def _jit(function: FunctionType) -> Callable[..., None]:
    # Inlined by force, without reference counts: a call that hands a whole Stage on costs more than most
    # of the functions themselves (measured: twice the time of a frame). Nothing here allocates.
    return numba.njit(forceinline=True, **_NUMBA_OPTIONS)(function)


RENDER_FRAME = compile_render_frame()


def render_buffers(
    buffers: RenderBuffers,
    height: int,
    width: int,
    points: np.ndarray,
    contrast: float,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render all frames.

    Args:
        buffers: the packed scene.
        height: pixels.
        width: pixels.
        points: float32 [k, 2], where uneven pixels are seen through, 0..1 from the corner.
        contrast: difference between neighbours, of 1, from which a pixel counts as uneven.
        threads: frames rendered at once.

    Returns:
        Frames uint8 [f, h, w, 3], identities uint8 [f, h, w], distances float32 [f, h, w].
    """
    count = buffers.cameras.shape[0]
    tiles = -(-height // TILE) * -(-width // TILE)
    frames = np.empty((count, height, width, 3), np.uint8)
    identities = np.empty((count, height, width), np.uint8)
    depth = np.empty((count, height, width), np.float32)

    def render_one(frame: int) -> None:
        RENDER_FRAME(
            buffers,
            frame,
            points,
            np.float32(contrast),
            np.empty(max(1, 2 * int(buffers.counts[0]) * tiles), np.int32),
            np.empty(2 * tiles, np.int32),
            np.empty((height, width, 3), np.float32),
            np.empty((height, width), np.int32),
            frames[frame],
            identities[frame],
            depth[frame],
        )

    if threads == 1:
        for frame in range(count):
            render_one(frame)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(render_one, range(count)))
    return frames, identities, depth
