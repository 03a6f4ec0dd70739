"""What makes films for a worker: the models, and the test card in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.serve.served import Served
from kinema.serve.wanted import Wanted


@dataclass(frozen=True, kw_only=True, eq=False)
class Progress:
    """A film has come so far.

    Attributes:
        stage: what was done last.
        done: share of the whole, 0 to 1.
        step: of the solver, from 1; 0 before the first.
        steps: of the solver.
        preview: a rough picture, `f h w 3`; None where there is none.
        save: writes the state to a path, from which `make` goes on to the same film; None where it can't.
    """

    stage: Literal["text", "pictures", "steps", "decode", "write"]
    done: float
    step: int = 0
    steps: int = 0
    preview: Callable[[], UInt8[np.ndarray, "f h w 3"]] | None = None
    save: Callable[[Path], None] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """The film is ready to be written.

    Attributes:
        write: writes it as MP4.
        frames: of the film, or some of them evenly spread: for thumbnail and sprite sheet.
    """

    write: Callable[[Path], None]
    frames: UInt8[np.ndarray, "f h w 3"]


class Maker(Protocol):
    """A model that makes films."""

    @property
    def served(self) -> Served:
        """What it can make."""
        ...

    def make(self, wanted: Wanted, folder: Path, *, start: Path | None) -> Iterator[Progress | Made]:
        """Make a film and say how far it is; the last is the film. Stop reading to cancel.

        Args:
            wanted: names of files in it are in `folder`.
            folder: of the film.
            start: a state that was saved; the film goes on from there.

        Raises:
            UserError: the film can't be made as it is wanted; the message says why.
        """
        ...


def open_maker(model: str, device: str, place: int = 0) -> Maker:
    """The maker of that name: `testcard`, or a model as `kinema.load` takes it.

    Args:
        model: its name.
        device: auto, cpu, cuda, or cuda:1.
        place: of the worker among several, for each to have a GPU of its own.

    Raises:
        UserError: there is no such model or device.
    """
    if model == "testcard":
        from kinema.serve.testcard import TestCard

        return TestCard()
    from kinema.serve.films import Films

    return Films(model, device, place)


def needed(folder: Path, name: str | None) -> Path | None:
    """The path of a file the film is made from.

    Raises:
        UserError: it is not there any more.
    """
    if name is None:
        return None
    path = folder / name
    if not path.is_file():
        raise UserError(f"the given file {name} is not there any more; ask for the film again")
    return path
