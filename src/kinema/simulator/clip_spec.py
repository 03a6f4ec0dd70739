"""What a clip is made from: a few plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.errors import UserError
from kinema.simulator.annotations import Event


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """Everything a clip depends on. The same spec gives the same bytes anywhere.

    Raises:
        UserError: a size, length or rate that no clip can have.
    """

    seed: int
    lab: bool = False
    """The plain subset for measuring: few colours and shapes, a neutral floor, a known camera."""
    event: Event | None = None
    """None: drawn from the seed."""
    outcome: str | None = None
    """None: drawn from the seed, each outcome of the event as likely as the others."""
    height: int = 128
    width: int = 128
    num_frames: int = 33
    fps: float = 12.0
    split: Literal["train", "test", "all"] = "all"
    """Lab only: whether to keep to combinations that training sees, or to those held out of it."""
    swap: Literal["", "colours", "sides"] = ""
    """Lab only: the minimal pair of the clip with the same seed and no swap."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"a seed is a whole number from 0 up, not {self.seed}")
        if min(self.height, self.width) < 16:
            raise UserError(f"{self.width}x{self.height} is too small for a clip; the least is 16x16")
        if self.num_frames < 2 or self.fps <= 0:
            raise UserError(
                f"a clip has at least 2 frames at a positive rate, not {self.num_frames} at {self.fps:g}"
            )
        if (self.swap or self.split != "all") and not self.lab:
            raise UserError("only lab clips have a split and swapped pairs; add lab=True or leave them out")
