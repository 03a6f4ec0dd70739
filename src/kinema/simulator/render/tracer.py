"""Renders a scene to frames."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float32

from kinema.errors import UserError
from kinema.simulator.render import cpu
from kinema.simulator.render.packing import pack_scene
from kinema.simulator.render.scene import RenderResult, RenderScene

EDGE_CONTRAST = 0.08
"""Deviation of a pixel from the mean of its neighbours, in 0..1, above which it is antialiased."""


def sample_points(samples: int) -> Float32[np.ndarray, "{samples} 2"]:
    """Sample points of a pixel, 0..1 from its corner: stratified in both axes by a golden-ratio sequence."""
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

    The result is the same for any number of threads on the same kind of processor.

    Args:
        scene: what to render; the number of frames is that of its cameras.
        height: pixels.
        width: pixels.
        samples: samples per pixel at edges; 1 turns antialiasing off.
        object_ids: also return the object-id buffer, sampled at pixel centres.
        depth: also return distances along the rays through pixel centres, metres.
        device: 'cpu', or 'cuda' for a GPU (the optional extra `kinema[cuda]`).
        threads: number of frames rendered in parallel on the CPU.

    Raises:
        UserError: an unknown sky, floor or device, or a size below 1.
        ValueError: the scene is inconsistent.
    """
    if min(height, width, samples, threads) < 1:
        raise UserError(
            f"{width}x{height} with {samples} samples on {threads} threads cannot be rendered; "
            "all must be at least 1"
        )
    buffers = pack_scene(scene)
    points = sample_points(samples)
    if device == "cpu":
        frames, id_buffer, depth_buffer = cpu.render_buffers(
            buffers, height, width, points, EDGE_CONTRAST, threads
        )
    elif device == "cuda":
        from kinema.simulator.render import gpu  # an optional extra, imported only on request

        frames, id_buffer, depth_buffer = gpu.render_buffers(buffers, height, width, points, EDGE_CONTRAST)
    else:
        raise UserError(f"there is no device {device!r}; use cpu or cuda")
    return RenderResult(
        frames=frames,
        object_ids=id_buffer if object_ids else None,
        depth=np.where(depth_buffer < 1e8, depth_buffer, np.inf).astype(np.float32) if depth else None,
    )
