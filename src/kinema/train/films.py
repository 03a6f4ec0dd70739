"""What the two tasks read: films with captions, all in memory or mapped from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from kinema.train import chance


@runtime_checkable
class Films(Protocol):
    """Films of one size and length with the captions that fit each."""

    def __len__(self) -> int:
        """How many."""
        ...

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of film `index`."""
        ...

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of film `index`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldFilms:
    """Films in one array, which may be mapped from a file."""

    pixels: UInt8[np.ndarray, "n f h w 3"]
    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.texts):
            raise ValueError(f"{len(self.pixels)} films have {len(self.texts)} sets of captions")

    def __len__(self) -> int:
        return len(self.texts)

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of film `index`."""
        return self.pixels[index]

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of film `index`."""
        return self.texts[index]

    def part(self, first: int, last: int) -> HeldFilms:
        """Films `first` up to `last`."""
        return HeldFilms(pixels=self.pixels[first:last], texts=self.texts[first:last])


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretches:
    """Stretches of films as films of their own: they begin anywhere, and in the midst of what happens."""

    whole: Films
    length: int
    """Frames of a stretch; no film has fewer."""
    each: int
    """Stretches of a film, their beginnings spread over it."""
    seed: int = 0

    def __len__(self) -> int:
        return len(self.whole) * self.each

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of stretch `index`."""
        film, place = divmod(index, self.each)
        frames = self.whole.frames(film)
        room = len(frames) - self.length + 1
        start = int((place + chance.uniform(self.seed, "stretch", index)) / self.each * room)
        return frames[start : start + self.length]

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of the film that stretch `index` is of."""
        return self.whole.captions(index // self.each)
