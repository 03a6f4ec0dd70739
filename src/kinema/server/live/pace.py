"""When the next part of a live video has to be made, and with how many solver steps.

Frames are made just in time: what is made early shows the old prompt when a new one comes.
"""

from __future__ import annotations

from dataclasses import dataclass

MARGIN_S = 0.08
"""Frames are ready this long before they are to be shown."""
URGENT_S = 1.0
"""The first frames of a new prompt may be ready this long before they are to be shown: a new scene takes
longer than other blocks."""
FIRST_STEPS = 4
MIN_STEPS = 2
SLOW_SHARE = 0.7
"""A block that takes more than this share of its own length gets fewer steps: the rest is for changes of the
prompt, for saving, and for other work on the machine."""
FAST_SHARE = 0.45
"""With less than this share, the next one gets more steps."""
_SMOOTHING = 0.3


@dataclass(kw_only=True, eq=False)
class Pace:
    """The clock of a live video.

    Attributes:
        fps: frames per second.
        steps: solver steps of the next block; None: the model's own.
        max_steps: beyond which nothing gets better.
        shown_until: time at which all frames made so far have been shown.
        block_s: time that a block takes; 0: none was made.
        chunk_s: time that a chunk takes whose block was sampled before.
        speed: how many times real time blocks are made; 0: none was made.
        adapts: whether `steps` follow the machine.
        is_urgent: whether the prompt has changed since the last chunk.
    """

    fps: float
    steps: int | None
    max_steps: int
    shown_until: float = 0.0
    block_s: float = 0.0
    chunk_s: float = 0.0
    speed: float = 0.0
    adapts: bool = True
    is_urgent: bool = False

    def start_time(self, *, is_block: bool) -> float:
        """When to begin to make the next chunk."""
        if self.is_urgent:
            return self.shown_until - URGENT_S
        return self.shown_until - MARGIN_S - (self.block_s if is_block else self.chunk_s)

    def note(self, *, begun: float, ended: float, num_frames: int, is_block: bool, is_first: bool) -> None:
        """A chunk was made.

        Args:
            begun: when.
            ended: when; times of one monotonic clock.
            num_frames: what it shows.
            is_block: whether it took a run of the solver.
            is_first: whether it follows a cut: such blocks are larger, and not what the pace is about.
        """
        self.is_urgent = False
        took, length = ended - begun, num_frames / self.fps
        self.shown_until = max(self.shown_until, ended) + length
        if not is_block:
            self.chunk_s = _smooth(self.chunk_s, took)
            return
        if is_first:
            return
        self.block_s = _smooth(self.block_s, took)
        self.speed = length / self.block_s
        if self.steps is None or not self.adapts:
            return
        share = took / length
        if share > SLOW_SHARE:
            self.steps = max(MIN_STEPS, self.steps - 1)
        elif self.block_s < FAST_SHARE * length and share < FAST_SHARE:
            self.steps = min(self.max_steps, self.steps + 1)


def _smooth(before: float, new: float) -> float:
    return new if not before else before + _SMOOTHING * (new - before)
