"""The ray tracer on the CPU: one compiled function renders a frame without holding the GIL."""

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
):  # compiled; see `render_buffers` for the shapes
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
    """Compile `render_frame`. The machine code is created at the first call and cached on disk.

    Numba stores it in `__pycache__` next to this file, or in the user's cache folder if the package is
    read-only. If neither is writable, every process compiles it again.
    """
    namespace: dict[str, object] = {**globals(), **compile_kernels(_jit)}
    frame = narrow_literals(render_frame, namespace)
    # Numba checks only the date of this file; the hash in the name covers the other kernel modules.
    frame.__qualname__ = f"render_frame_{source_hash(sys.modules[__name__])}"
    try:
        return numba.njit(cache=True, **_NUMBA_OPTIONS)(frame)
    except RuntimeError:  # numba found no writable cache folder
        return _jit(frame)


def _jit(function: FunctionType) -> Callable[..., None]:
    # Force inlining: passing a whole RenderBuffers costs more than most of these functions and doubles the
    # time per frame. Nothing here allocates.
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
        points: float32 [k, 2], sample points of antialiased pixels, 0..1 from the corner.
        contrast: difference between neighbours, in 0..1, from which a pixel is antialiased.
        threads: number of frames rendered in parallel.

    Returns:
        Frames uint8 [f, h, w, 3], object ids uint8 [f, h, w], distances float32 [f, h, w].
    """
    count = buffers.cameras.shape[0]
    tiles = -(-height // TILE) * -(-width // TILE)
    frames = np.empty((count, height, width, 3), np.uint8)
    object_ids = np.empty((count, height, width), np.uint8)
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
            object_ids[frame],
            depth[frame],
        )

    if threads == 1:
        for frame in range(count):
            render_one(frame)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(render_one, range(count)))
    return frames, object_ids, depth
