"""The three render passes as CUDA kernels over a batch of frames, with one thread per tile or pixel.

A separate module, because it needs numba-cuda and because numba's CUDA simulator looks for `cuda` in the
globals of a kernel.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from kinema.simulator.render.kernel_compiler import compile_kernels

cuda: Any = importlib.import_module("numba.cuda")


@dataclass(frozen=True, kw_only=True)
class CudaKernels:
    """The passes in order of execution."""

    cull_tiles: Any
    primary_pass: Any
    antialias_pass: Any


def compile_cuda_kernels() -> CudaKernels:
    """Create the kernels. Each is compiled at its first launch."""
    device = compile_kernels(cuda.jit(device=True, fastmath=True))
    cull_tile: Any = device["cull_tile"]
    primary_pass: Any = device["primary_pass"]
    antialias_pass: Any = device["antialias_pass"]

    @cuda.jit(fastmath=True)
    def cull_tiles_kernel(buffers, start, height, width, across, tiles, rows, counts):
        tile = cuda.grid(1)
        slot = cuda.blockIdx.y
        if tile < tiles:
            cull_tile(buffers, start + slot, height, width, tile, across, rows[slot], counts[slot])

    @cuda.jit(fastmath=True)
    def primary_pass_kernel(
        buffers, start, height, width, across, rows, counts, colour, path_hashes, object_ids, depth
    ):
        pixel = cuda.grid(1)
        slot = cuda.blockIdx.y
        if pixel < height * width:
            primary_pass(
                buffers, start + slot, height, width, pixel % width, pixel // width, across, rows[slot],
                counts[slot], colour[slot], path_hashes[slot], object_ids[slot], depth[slot],
            )  # fmt: skip

    @cuda.jit(fastmath=True)
    def antialias_pass_kernel(
        buffers, start, height, width, across, rows, counts, colour, path_hashes, points, contrast, frames
    ):
        pixel = cuda.grid(1)
        slot = cuda.blockIdx.y
        if pixel < height * width:
            antialias_pass(
                buffers, start + slot, height, width, pixel % width, pixel // width, across, rows[slot],
                counts[slot], colour[slot], path_hashes[slot], points, contrast, frames[slot],
            )  # fmt: skip

    return CudaKernels(
        cull_tiles=cull_tiles_kernel, primary_pass=primary_pass_kernel, antialias_pass=antialias_pass_kernel
    )
