"""A stand-in for a model: a test card that moves, at once and without torch.

`kinema serve --model testcard` is for whoever writes a client: every call of the API works as with a model,
films take a second and need no memory. Its state goes through as many steps as a solver's, each depending
on the one before, so that a film that goes on from a saved state shows whether it did so rightly.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.atomic_io import atomic_write
from kinema.errors import UserError
from kinema.server.backends.base import JobProgress, JobResult, require_file
from kinema.server.job_spec import JobSpec
from kinema.server.model_info import ModelInfo

_BARS = np.array(
    [[235, 235, 235], [235, 235, 16], [16, 235, 235], [16, 235, 16], [235, 16, 235], [235, 16, 16],
     [16, 16, 235]],
    np.uint8,
)  # fmt: skip
_STEP_DELAY = re.compile(r"\bpace=(\d{1,3}(?:\.\d{1,3})?)\b")
_CRASH_STEP = re.compile(r"\bdie=(\d{1,3})\b")


class FakeBackend:
    """Colour bars that wander. `pace=0.1` in the prompt makes steps of 0.1 s, `die=3` kills it there."""

    __test__ = False  # It is no test of pytest's, whatever its name.

    @property
    def model_info(self) -> ModelInfo:
        """Small films, any multiple of 16 pixels."""
        return ModelInfo(
            name="testcard", width=64, height=64, size_multiple=16, num_frames=17, fps=8.0, temporal_stride=4, num_inference_steps=10,
            guidance_scale=1.0, supports_images=True, tasks=("edit", "extend", "connect"),
        )  # fmt: skip

    def generate(
        self, spec: JobSpec, job_dir: Path, *, resume_from: Path | None
    ) -> Iterator[JobProgress | JobResult]:
        """See `Maker.generate`."""
        steps = spec.num_inference_steps or self.model_info.num_inference_steps
        pace = float(found[1]) if (found := _STEP_DELAY.search(spec.prompt)) else 0.0
        death = int(found[1]) if (found := _CRASH_STEP.search(spec.prompt)) else None
        names = [spec.image, spec.last_image, spec.source_video, spec.next_video]
        given = [path.read_bytes() for name in names if (path := require_file(job_dir, name)) is not None]
        yield JobProgress(stage="text", fraction=0.0, total_steps=steps)
        state = np.random.default_rng(spec.seed).standard_normal((16, 16))
        first = 0
        if resume_from is not None:
            try:
                with np.load(resume_from) as kept:
                    first, state = int(kept["index"]) + 1, kept["state"]
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                raise UserError(f"{resume_from.name} is no saved state") from None
        for index in range(first, steps):
            if death == index:
                os._exit(9)
            time.sleep(pace)
            # A map that never settles: a wrong or repeated step shows in every later one.
            state = np.sin(3 * state + np.roll(state, 1, 0) + index)
            yield JobProgress(
                stage="steps",
                fraction=0.9 * (index + 1) / steps,
                step=index + 1,
                total_steps=steps,
                preview=lambda state=state: _state_to_image(state),
                save_checkpoint=lambda path, index=index, state=state: _save_state(path, index, state),
            )
        salt = hashlib.sha256(b"".join([spec.prompt.encode(), *given])).digest()
        frames = self._render_frames(spec, state, salt)
        yield JobProgress(stage="decode", fraction=0.99, step=steps, total_steps=steps)
        yield JobResult(
            write_video=lambda path: _write_mp4(path, frames, spec.fps or self.model_info.fps), frames=frames
        )

    def _render_frames(self, spec: JobSpec, state: np.ndarray, salt: bytes) -> UInt8[np.ndarray, "f h w 3"]:
        fps = spec.fps or self.model_info.fps
        count = max(1, round((spec.seconds or self.model_info.seconds) * fps))
        width, height = spec.width or 64, spec.height or 64
        across = np.arange(width) * len(_BARS) // width
        frames = np.empty((count, height, width, 3), np.uint8)
        for number in range(count):
            frames[number] = _BARS[(across + number + salt[0]) % len(_BARS)]
        square = np.repeat(np.repeat(_state_to_image(state)[0], 2, 0), 2, 1)[: height // 2, : width // 2]
        frames[:, : square.shape[0], : square.shape[1]] = square
        return frames


def _state_to_image(state: np.ndarray) -> UInt8[np.ndarray, "1 16 16 3"]:
    grey = (np.clip(state, -1, 1) * 127 + 128).astype(np.uint8)
    return np.stack([grey, np.roll(grey, 5, 0), np.roll(grey, 5, 1)], axis=-1)[None]


def _save_state(path: Path, index: int, state: np.ndarray) -> None:
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez(file, index=index, state=state)


def _write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    from kinema.media.write import write_video

    write_video(path, frames, fps)
