"""The specification of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.errors import UserError
from kinema.simulator.annotations import Event, Shape


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """Everything a clip depends on. Equal specs give equal clips on every machine.

    Raises:
        UserError: a seed, size, length or frame rate is out of range.
    """

    seed: int
    lab: bool = False
    """Use the lab: few colours and shapes, a neutral floor, a fixed camera."""
    event: Event | None = None
    """None chooses the event by the seed."""
    outcome: str | None = None
    """None chooses the outcome by the seed; the outcomes of an event are equally likely."""
    height: int = 128
    width: int = 128
    num_frames: int = 33
    fps: float = 12.0
    split: Literal["train", "test", "all"] = "all"
    """Lab only: combinations used for training, combinations held out for testing, or all."""
    swap: Literal["", "colours", "sides"] = ""
    """Lab only: swap the colours or mirror the sides of the clip that the seed gives without a swap."""
    main_shape: Shape | None = None
    """Lab only: shape of the first object, also one that the lab does not have otherwise."""
    partner_shape: Shape | None = None
    """Lab only: shape of the object that the first one meets, for combinations that the lab does not have
    otherwise: a ball that hits a cone."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"the seed must be at least 0, not {self.seed}")
        if min(self.height, self.width) < 16:
            raise UserError(f"{self.width}x{self.height} is too small for a clip; use at least 16x16")
        if self.num_frames < 2 or self.fps <= 0:
            raise UserError(
                f"a clip has at least 2 frames and a positive rate, not {self.num_frames} at {self.fps:g} fps"
            )
        if (self.swap or self.split != "all") and not self.lab:
            raise UserError("only lab clips have a split and swapped pairs; add lab=True or leave them out")
        if (self.main_shape or self.partner_shape) and not self.lab:
            raise UserError("only lab clips have shapes of your choice; add lab=True or leave them out")
