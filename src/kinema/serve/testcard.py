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
from kinema.serve.maker import Made, Progress, needed
from kinema.serve.served import Served
from kinema.serve.wanted import Wanted

_BARS = np.array(
    [[235, 235, 235], [235, 235, 16], [16, 235, 235], [16, 235, 16], [235, 16, 235], [235, 16, 16],
     [16, 16, 235]],
    np.uint8,
)  # fmt: skip
_PACE = re.compile(r"\bpace=(\d{1,3}(?:\.\d{1,3})?)\b")
_DEATH = re.compile(r"\bdie=(\d{1,3})\b")


class TestCard:
    """Colour bars that wander. `pace=0.1` in the prompt makes steps of 0.1 s, `die=3` kills it there."""

    __test__ = False  # It is no test of pytest's, whatever its name.

    @property
    def served(self) -> Served:
        """Small films, any multiple of 16 pixels."""
        return Served(
            name="testcard", width=64, height=64, unit=16, frames=17, fps=8.0, temporal=4, steps=10,
            guidance=1.0, pictures=True, verbs=("edit", "extend", "connect"),
        )  # fmt: skip

    def make(self, wanted: Wanted, folder: Path, *, start: Path | None) -> Iterator[Progress | Made]:
        """See `Maker.make`."""
        steps = wanted.steps or self.served.steps
        pace = float(found[1]) if (found := _PACE.search(wanted.prompt)) else 0.0
        death = int(found[1]) if (found := _DEATH.search(wanted.prompt)) else None
        names = [wanted.image, wanted.last_image, wanted.source, wanted.second]
        given = [path.read_bytes() for name in names if (path := needed(folder, name)) is not None]
        yield Progress(stage="text", done=0.0, steps=steps)
        state = np.random.default_rng(wanted.seed).standard_normal((16, 16))
        first = 0
        if start is not None:
            try:
                with np.load(start) as kept:
                    first, state = int(kept["index"]) + 1, kept["state"]
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                raise UserError(f"{start.name} is no saved state") from None
        for index in range(first, steps):
            if death == index:
                os._exit(9)
            time.sleep(pace)
            # A map that never settles: a wrong or repeated step shows in every later one.
            state = np.sin(3 * state + np.roll(state, 1, 0) + index)
            yield Progress(
                stage="steps",
                done=0.9 * (index + 1) / steps,
                step=index + 1,
                steps=steps,
                preview=lambda state=state: _picture(state),
                save=lambda path, index=index, state=state: _save(path, index, state),
            )
        salt = hashlib.sha256(b"".join([wanted.prompt.encode(), *given])).digest()
        frames = self._frames(wanted, state, salt)
        yield Progress(stage="decode", done=0.99, step=steps, steps=steps)
        yield Made(write=lambda path: _write(path, frames, wanted.fps or self.served.fps), frames=frames)

    def _frames(self, wanted: Wanted, state: np.ndarray, salt: bytes) -> UInt8[np.ndarray, "f h w 3"]:
        fps = wanted.fps or self.served.fps
        count = max(1, round((wanted.seconds or self.served.seconds) * fps))
        width, height = wanted.width or 64, wanted.height or 64
        across = np.arange(width) * len(_BARS) // width
        frames = np.empty((count, height, width, 3), np.uint8)
        for number in range(count):
            frames[number] = _BARS[(across + number + salt[0]) % len(_BARS)]
        square = np.repeat(np.repeat(_picture(state)[0], 2, 0), 2, 1)[: height // 2, : width // 2]
        frames[:, : square.shape[0], : square.shape[1]] = square
        return frames


def _picture(state: np.ndarray) -> UInt8[np.ndarray, "1 16 16 3"]:
    grey = (np.clip(state, -1, 1) * 127 + 128).astype(np.uint8)
    return np.stack([grey, np.roll(grey, 5, 0), np.roll(grey, 5, 1)], axis=-1)[None]


def _save(path: Path, index: int, state: np.ndarray) -> None:
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez(file, index=index, state=state)


def _write(path: Path, frames: np.ndarray, fps: float) -> None:
    from kinema.media.write import write_film

    write_film(path, frames, fps)
