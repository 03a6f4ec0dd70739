"""The tracer on a GPU: the functions of `kernels/` compiled by numba-cuda, a thread for each tile or
pixel."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from kinema.errors import UserError, missing_extra
from kinema.simulator.render.buffers import RenderBuffers
from kinema.simulator.render.kernels.camera_pass import TILE

THREADS_PER_BLOCK = 64
MAX_BATCH_FRAMES = 128
"""Frames per batch; limits the memory of long clips."""


@functools.cache
def _load_kernels() -> Any:
    # Cached, because compilation takes most of a minute.
    try:
        return importlib.import_module("kinema.simulator.render.cuda_kernels").compile_cuda_kernels()
    except ImportError:
        raise missing_extra("rendering on the device 'cuda'", "cuda") from None


def render_buffers(
    buffers: RenderBuffers, height: int, width: int, points: np.ndarray, contrast: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render all frames; the arguments and results are those of `cpu.render_buffers`.

    Raises:
        UserError: numba-cuda or a GPU is missing.
    """
    kernels = _load_kernels()
    cuda: Any = importlib.import_module("numba.cuda")
    if not cuda.is_available():
        raise UserError(
            "device 'cuda' needs an NVIDIA GPU and its driver, but none was found; use device 'cpu'"
        )
    count = buffers.cameras.shape[0]
    across = -(-width // TILE)
    tiles = -(-height // TILE) * across
    # Kernels do not accept empty arrays.
    device_buffers = RenderBuffers(
        *(cuda.to_device(np.zeros((1, *a.shape[1:]), a.dtype) if a.size == 0 else a) for a in buffers)
    )
    device_points = cuda.to_device(points)
    frames = np.empty((count, height, width, 3), np.uint8)
    object_ids = np.empty((count, height, width), np.uint8)
    depth = np.empty((count, height, width), np.float32)
    for start in range(0, count, MAX_BATCH_FRAMES):
        batch = min(MAX_BATCH_FRAMES, count - start)
        rows = cuda.device_array((batch, max(1, 2 * int(buffers.counts[0]) * tiles)), np.int32)
        counts = cuda.device_array((batch, 2 * tiles), np.int32)
        colour = cuda.device_array((batch, height, width, 3), np.float32)
        path_hashes = cuda.device_array((batch, height, width), np.int32)
        batch_object_ids = cuda.device_array((batch, height, width), np.uint8)
        batch_depth = cuda.device_array((batch, height, width), np.float32)
        batch_frames = cuda.device_array((batch, height, width, 3), np.uint8)
        by_tile = (-(-tiles // THREADS_PER_BLOCK), batch), THREADS_PER_BLOCK
        by_pixel = (-(-height * width // THREADS_PER_BLOCK), batch), THREADS_PER_BLOCK
        kernels.cull_tiles[by_tile](device_buffers, start, height, width, across, tiles, rows, counts)
        kernels.primary_pass[by_pixel](
            device_buffers,
            start,
            height,
            width,
            across,
            rows,
            counts,
            colour,
            path_hashes,
            batch_object_ids,
            batch_depth,
        )
        kernels.antialias_pass[by_pixel](
            device_buffers,
            start,
            height,
            width,
            across,
            rows,
            counts,
            colour,
            path_hashes,
            device_points,
            np.float32(contrast),
            batch_frames,
        )
        stop = start + batch
        frames[start:stop], object_ids[start:stop], depth[start:stop] = (
            batch_frames.copy_to_host(),
            batch_object_ids.copy_to_host(),
            batch_depth.copy_to_host(),
        )
    return frames, object_ids, depth
