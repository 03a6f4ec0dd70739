"""Rendering a scene to frames."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float32

from kinema.errors import UserError
from kinema.simulator.render import cpu
from kinema.simulator.render.packing import pack_scene
from kinema.simulator.render.scene import RenderResult, RenderScene

EDGE_CONTRAST = 0.08
"""How far (of 1) a pixel may lie from the line through its neighbours before it is seen again."""


def sample_points(samples: int) -> Float32[np.ndarray, "{samples} 2"]:
    """Points of a pixel, 0..1 from its corner: evenly spread, no two on one row or column (R2 sequence)."""
    if samples == 1:
        return np.full((1, 2), 0.5, np.float32)
    i = np.arange(samples)
    first = (i + 0.5) / samples
    golden = np.argsort((0.5 + i * 0.6180339887) % 1, kind="stable")
    second = np.empty(samples)
    second[golden] = first
    return np.stack([first, second], 1).astype(np.float32)


def render(
    scene: RenderScene,
    height: int,
    width: int,
    *,
    samples: int = 8,
    object_ids: bool = False,
    depth: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int = 1,
) -> RenderResult:
    """Render every frame of a scene.

    The same scene gives the same bytes on the same kind of processor, for any number of threads.

    Args:
        scene: what to render; the number of frames is that of its cameras.
        height: pixels.
        width: pixels.
        samples: points through which a pixel with an edge in it is seen; 1 turns smoothing of edges off.
        object_ids: also return the object-id buffer, as seen through the middle of each pixel.
        depth: also return distances along the rays through the middle of each pixel.
        device: 'cpu', or 'cuda' for a GPU (the optional extra `kinema[cuda]`).
        threads: frames rendered at once on the CPU.

    Raises:
        UserError: no such sky, floor or device, or sizes that make no picture.
        ValueError: the scene contradicts itself.
    """
    if min(height, width, samples, threads) < 1:
        raise UserError(
            f"{width}x{height} with {samples} samples on {threads} threads makes no picture; "
            "all must be at least 1"
        )
    stage = pack_scene(scene)
    points = sample_points(samples)
    if device == "cpu":
        frames, identities, distances = cpu.render_buffers(
            stage, height, width, points, EDGE_CONTRAST, threads
        )
    elif device == "cuda":
        from kinema.simulator.render import gpu  # an optional extra: imported only where it is asked for

        frames, identities, distances = gpu.render_buffers(stage, height, width, points, EDGE_CONTRAST)
    else:
        raise UserError(f"there is no device {device!r}; devices are cpu and cuda")
    return RenderResult(
        frames=frames,
        object_ids=identities if object_ids else None,
        depth=np.where(distances < 1e8, distances, np.inf).astype(np.float32) if depth else None,
    )
