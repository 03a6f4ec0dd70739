"""The three passes over a batch of frames as CUDA kernels: a thread for each tile or pixel of a frame.

In a module of its own because it needs numba-cuda, and because numba's simulator looks for `cuda` among a
kernel's globals.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from kinema.world.render.specialise import specialise

cuda: Any = importlib.import_module("numba.cuda")


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The passes, in order."""

    gather: Any
    first_look: Any
    second_look: Any


def kernels() -> Kernels:
    """The kernels, compiled at their first launch."""
    device = specialise(cuda.jit(device=True, fastmath=True))
    gather: Any = device["gather"]
    first_look: Any = device["first_look"]
    second_look: Any = device["second_look"]

    @cuda.jit(fastmath=True)
    def gather_tiles(stage, start, height, width, across, tiles, rows, counts):
        tile = cuda.grid(1)
        slot = cuda.blockIdx.y
        if tile < tiles:
            gather(stage, start + slot, height, width, tile, across, rows[slot], counts[slot])

    @cuda.jit(fastmath=True)
    def first_looks(stage, start, height, width, across, rows, counts, colour, marks, identities, depth):
        pixel = cuda.grid(1)
        slot = cuda.blockIdx.y
        if pixel < height * width:
            first_look(
                stage, start + slot, height, width, pixel % width, pixel // width, across, rows[slot],
                counts[slot], colour[slot], marks[slot], identities[slot], depth[slot],
            )  # fmt: skip

    @cuda.jit(fastmath=True)
    def second_looks(
        stage, start, height, width, across, rows, counts, colour, marks, points, contrast, frames
    ):
        pixel = cuda.grid(1)
        slot = cuda.blockIdx.y
        if pixel < height * width:
            second_look(
                stage, start + slot, height, width, pixel % width, pixel // width, across, rows[slot],
                counts[slot], colour[slot], marks[slot], points, contrast, frames[slot],
            )  # fmt: skip

    return Kernels(gather=gather_tiles, first_look=first_looks, second_look=second_looks)
