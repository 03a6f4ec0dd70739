"""A backend without a model: moving colour bars, at once and without torch.

`kinema serve --model testcard` is for authors of clients: each call of the API works as with a model, a video
takes a second and needs no memory. The state goes through as many steps as a solver's, each computed from the
one before, so that the result shows whether a job was resumed correctly.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.pipeline.request import VideoRequest
from kinema.server.backends.base import JobProgress, JobResult, load_checkpoint, save_checkpoint
from kinema.server.backends.live import TestCardLiveSource
from kinema.server.model_info import ModelInfo

_BARS = np.array(
    [[235, 235, 235], [235, 235, 16], [16, 235, 235], [16, 235, 16], [235, 16, 235], [235, 16, 16],
     [16, 16, 235]],
    np.uint8,
)  # fmt: skip
_STEP_DELAY = re.compile(r"\bpace=(\d{1,3}(?:\.\d{1,3})?)\b")
_CRASH_STEP = re.compile(r"\bdie=(\d{1,3})\b")


class FakeBackend:
    """Colour bars. `pace=0.1` in the prompt makes steps of 0.1 s; `die=3` crashes the worker at step 3.

    Args:
        loras: names of LoRAs that requests may use; they change nothing.
    """

    __test__ = False  # pytest would take the class for a test.

    def __init__(self, loras: tuple[str, ...] = ()) -> None:
        self._loras = loras

    @property
    def model_info(self) -> ModelInfo:
        """Small videos of any multiple of 16 pixels."""
        return ModelInfo(
            name="testcard",
            width=64,
            height=64,
            size_multiple=16,
            num_frames=17,
            fps=8.0,
            temporal_stride=4,
            num_inference_steps=10,
            guidance_scale=1.0,
            supports_images=True,
            tasks=("edit", "extend", "interpolate"),
            upscale_factors=(1, 2, 4),
            num_experts=2,
            boundary_ratio=0.875,
            loras=self._loras,
            can_stream=True,
            control_inputs=("control", "references", "expand"),
        )

    def generate(
        self, request: VideoRequest, output: Path, *, resume_from: Path | None
    ) -> Generator[JobProgress | JobResult]:
        """See `Backend.generate`."""
        total_steps = request.num_inference_steps or self.model_info.num_inference_steps
        delay = float(match[1]) if (match := _STEP_DELAY.search(request.prompt)) else 0.0
        crash_step = int(match[1]) if (match := _CRASH_STEP.search(request.prompt)) else None
        inputs = [Path(path).read_bytes() for path in request.files()]
        yield JobProgress(stage="text", fraction=0.0, total_steps=total_steps)
        state = np.random.default_rng(request.seed).standard_normal((16, 16))
        first_step = 0
        if resume_from is not None:
            last_step, state = load_checkpoint(resume_from)
            first_step = last_step + 1
        for index in range(first_step, total_steps):
            if crash_step == index:
                os._exit(9)
            time.sleep(delay)
            # A chaotic map: a wrong or repeated step changes every later one.
            state = np.sin(3 * state + np.roll(state, 1, 0) + index)
            yield JobProgress(
                stage="sample",
                fraction=0.9 * (index + 1) / total_steps,
                step=index + 1,
                total_steps=total_steps,
                preview=lambda state=state: _state_to_image(state),
                save_checkpoint=lambda path, index=index, state=state: save_checkpoint(
                    path, index=index, state=state
                ),
            )
        salt = hashlib.sha256(b"".join([request.prompt.encode(), *inputs])).digest()
        frames = self._render_frames(request, state, salt)
        yield JobProgress(stage="decode", fraction=0.99, step=total_steps, total_steps=total_steps)
        _write_mp4(output, frames, request.fps or self.model_info.fps)
        yield JobResult(sample_frames=frames)

    def live(self, request: VideoRequest) -> TestCardLiveSource:
        """See `Backend.live`."""
        return TestCardLiveSource(request, fps=self.model_info.fps, bars=_BARS)

    def _render_frames(
        self, request: VideoRequest, state: np.ndarray, salt: bytes
    ) -> UInt8[np.ndarray, "f h w 3"]:
        fps = request.fps or self.model_info.fps
        requested = request.num_frames or round((request.seconds or self.model_info.seconds) * fps)
        # Only a new video is rounded, as with a model: others continue or change what exists.
        exact = request.source is not None or request.storyboard
        num_frames = max(1, requested) if exact else self.model_info.nearest_num_frames(requested)
        width, height = (side * request.upscale for side in request.size or (64, 64))
        columns = np.arange(width) * len(_BARS) // width
        frames = np.empty((num_frames, height, width, 3), np.uint8)
        for index in range(num_frames):
            frames[index] = _BARS[(columns + index + salt[0]) % len(_BARS)]
        square = np.repeat(np.repeat(_state_to_image(state)[0], 2, 0), 2, 1)[: height // 2, : width // 2]
        frames[:, : square.shape[0], : square.shape[1]] = square
        return frames


def _state_to_image(state: np.ndarray) -> UInt8[np.ndarray, "1 16 16 3"]:
    gray = (np.clip(state, -1, 1) * 127 + 128).astype(np.uint8)
    return np.stack([gray, np.roll(gray, 5, 0), np.roll(gray, 5, 1)], axis=-1)[None]


def _write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    from kinema.media.write import write_video

    write_video(path, frames, fps)
