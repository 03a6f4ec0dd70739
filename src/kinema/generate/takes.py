"""Films that are made in several takes, each one run of the solver, and how the takes are joined.

A take goes on from the film so far in its sight: it is given the end of that film, so that both show the same
frames where they meet, and over these one is faded into the other. Where no picture has to be seen among
them, they are let go when the rest has taken shape (`LET_GO`) and made again with it: held to the end, they
are sharper than what the model makes beside them, and the step from one to the other shows. The end is given
as latents where they are at hand; only the frame in front of them, which a causal autoencoder keeps apart, is
encoded again. So nothing wears off from join to join.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from kinema.generate.condition import Clip, Condition, Latents, Picture
from kinema.shapes import Stride, VideoShape

LET_GO = 0.2
"""The noise level at which shared frames are let go: only how things are drawn is decided below it."""
LET_GO_OF_LOOPS = 0.7
"""The same where a loop closes. Where things stand may still change there, and then one dissolves into the
other; held longer, what could not come back in time jumps."""
Joint = Literal["cut", "after", "before", "bridge", "loop"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """One run of the solver: a stretch of film.

    Attributes:
        condition: what is known of it beforehand; the film so far joins it when the take is made.
        film: what is made, with the frames it shares with the film so far.
        hidden: frames that are made and not shown.
        joint: `cut`: behind the film so far, without a look at it. `after`: it goes on from it. `before`: it
            leads up to it. `bridge`: it goes on from it and leads up to the film that follows. `loop`: it
            leads back to its beginning.
        carried: groups of frames (latent frames behind the first) shared with the end of the film so far.
        reached: groups shared with the beginning of the film it leads up to.
        until: the noise level at which what is shared is let go; 0 where it has to be seen as it is.
    """

    condition: Condition
    film: VideoShape
    hidden: tuple[int, ...] = ()
    joint: Joint = "cut"
    carried: int = 0
    reached: int = 0
    until: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Reel:
    """The film so far.

    Attributes:
        frames: all that were made.
        shown: which of them the film shows.
        tail: latents of its last groups, if they are known.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    shown: Bool[np.ndarray, " f"]
    tail: Float[Tensor, "1 c g h2 w2"] | None = None

    @classmethod
    def of(cls, frames: UInt8[np.ndarray, "f h w 3"], tail: Tensor | None = None) -> Reel:
        """A film that is there; all of it is shown."""
        return cls(frames=frames, shown=np.ones(len(frames), dtype=bool), tail=tail)

    @property
    def film(self) -> UInt8[np.ndarray, "f h w 3"]:
        """What is shown."""
        return self.frames[self.shown]

    @property
    def end(self) -> Float[Tensor, "1 c g h2 w2"] | None:
        """The tail, if the film ends with it: None where its last frame is not shown."""
        return self.tail if len(self.shown) and self.shown[-1] else None

    def condition(self, take: Take, stride: Stride, goal: UInt8[np.ndarray, "f3 h w 3"] | None) -> Condition:
        """What the take is made from, with the film so far.

        Args:
            take: the next.
            stride: of the autoencoder.
            goal: the film that a bridge leads up to.
        """
        told, group = take.condition, stride.temporal
        if take.joint in ("after", "bridge", "loop"):
            start = len(self.frames) - stride.frames(take.carried)
            head = Picture(image=self.frames[start])
            if take.carried and self.tail is not None and self.tail.shape[2] >= take.carried:
                carried = Latents(latents=self.tail[:, :, -take.carried :], frame=1, until=take.until)
                told = dataclasses.replace(
                    told, pictures=(head, *told.pictures), latents=(carried, *told.latents)
                )
            elif take.carried:
                told = dataclasses.replace(
                    told, clips=(Clip(frames=self.frames[start:], until=take.until), *told.clips)
                )
            else:
                told = dataclasses.replace(told, pictures=(head, *told.pictures))
        onward = {"before": self.frames, "loop": self.frames, "bridge": goal}.get(take.joint)
        if onward is None:
            return told
        if not take.reached:
            last = Picture(image=onward[0], frame=take.film.frames - 1)
            return dataclasses.replace(told, pictures=(*told.pictures, last))
        length = take.reached * group
        clip = Clip(frames=onward[:length], frame=take.film.frames - length, until=take.until)
        return dataclasses.replace(told, clips=(*told.clips, clip))

    def joined(
        self,
        take: Take,
        stride: Stride,
        frames: UInt8[np.ndarray, "f h w 3"],
        latents: Float[Tensor, "1 c f2 h2 w2"],
        goal: UInt8[np.ndarray, "f3 h w 3"] | None,
    ) -> Reel:
        """The film with a take that is finished."""
        shown = np.ones(len(frames), dtype=bool)
        shown[list(take.hidden)] = False
        group = stride.temporal
        made = Reel(frames=frames, shown=shown, tail=latents[:, :, 1:] if latents.shape[2] > 1 else None)
        if take.joint == "cut":
            return _spliced(self, made, 0)
        reached = max(1, take.reached * group)
        if take.joint == "before":
            return _spliced(made, self, reached)
        longer = _spliced(self, made, stride.frames(take.carried))
        if take.joint == "bridge" and goal is not None:
            return _spliced(longer, Reel.of(goal), reached)
        if take.joint == "loop":
            # The last frames are the first ones, made once more: the film fades from them into its beginning.
            faded = faded_into(longer.frames[-reached:], longer.frames[:reached])
            body = longer.frames[reached:-reached]
            return Reel(frames=np.concatenate([faded, body]), shown=longer.shown[:-reached])
        return longer


def _spliced(first: Reel, second: Reel, shared: int) -> Reel:
    """Two films as one, where the last frames of the first are the first of the second."""
    if not shared:
        frames, shown = [first.frames, second.frames], [first.shown, second.shown]
    else:
        faded = faded_into(first.frames[-shared:], second.frames[:shared])
        frames = [first.frames[:-shared], faded, second.frames[shared:]]
        shown = [first.shown, second.shown[shared:]]
    return Reel(frames=np.concatenate(frames), shown=np.concatenate(shown), tail=second.tail)


def faded_into(
    a: UInt8[np.ndarray, "f h w 3"], b: UInt8[np.ndarray, "f h w 3"]
) -> UInt8[np.ndarray, "f h w 3"]:
    """From a to b, frame by frame more of b, slowly at first and at last.

    What is faded begins and ends where groups of frames do, and there films change most anyhow.
    """
    time = np.arange(1, len(a) + 1, dtype=np.float32) / (len(a) + 1)
    share = (time * time * (3 - 2 * time))[:, None, None, None]
    return np.rint(a + share * (b.astype(np.float32) - a)).astype(np.uint8)


def chained(take: Take, stride: Stride, *, window: int, overlap: int) -> tuple[Take, ...]:
    """A take that is longer than the model's films as several, each going on from the one before.

    Args:
        take: it begins with a cut.
        stride: of the autoencoder.
        window: latent frames that the model makes at a time.
        overlap: groups that a take shares with the one before.
    """
    groups = stride.groups(take.film.frames)
    if groups < window:
        return (take,)
    count = -(-(groups - overlap) // (window - 1 - overlap))
    # Every take has as many groups as the others, within one.
    total = groups + (count - 1) * overlap
    lengths = [total // count + (number < total % count) for number in range(count)]
    takes, start = [], 0
    for number, length in enumerate(lengths):
        carried = overlap if number else 0
        takes.append(_part(take, stride, start, length, carried))
        start += length - overlap
    return tuple(takes)


def _part(take: Take, stride: Stride, start: int, length: int, carried: int) -> Take:
    """`length` groups of a take, behind the last frame of group `start` (0 is the film's first frame)."""
    first = start * stride.temporal
    frames = stride.frames(length)
    new = range(stride.frames(carried) if carried else 0, frames)
    told = take.condition
    speaking = max(number for number, line in enumerate(told.lines) if line.frame <= first)
    lines = [dataclasses.replace(told.lines[speaking], frame=0)]
    lines += [
        dataclasses.replace(line, frame=line.frame - first)
        for line in told.lines[speaking + 1 :]
        if line.frame - first < frames
    ]
    pictures = tuple(
        dataclasses.replace(picture, frame=picture.frame - first)
        for picture in told.pictures
        if picture.frame - first in new
    )
    base = told.base
    if base is not None:
        base = dataclasses.replace(base, frames=base.frames[first : first + frames])
    return Take(
        condition=dataclasses.replace(told, lines=tuple(lines), pictures=pictures, base=base),
        film=dataclasses.replace(take.film, frames=frames),
        hidden=tuple(frame - first for frame in take.hidden if frame - first in new),
        joint="after" if carried else take.joint,
        carried=carried,
    )


def difference(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> float:
    """Mean absolute difference of two frames, 0 to 255."""
    return float(np.abs(a.astype(np.int16) - b).mean())


def steps_of(frames: UInt8[np.ndarray, "f h w 3"]) -> list[float]:
    """The differences of neighbouring frames."""
    return [difference(a, b) for a, b in itertools.pairwise(frames)]


def seam(frames: UInt8[np.ndarray, "f h w 3"]) -> float:
    """How the step from the last frame to the first compares with the film's usual step: 1 is no seam.

    The difference between the two frames over the median difference of neighbours; a film that stands still
    has 1 if it ends as it begins, and infinity if not.
    """
    steps = steps_of(frames)
    usual = float(np.median(steps)) if steps else 0.0
    last = difference(frames[-1], frames[0])
    if usual == 0:
        return 1.0 if last == 0 else float("inf")
    return last / usual


def empty_reel(film: VideoShape) -> Reel:
    """Before anything is made."""
    return Reel.of(np.zeros((0, film.height, film.width, 3), dtype=np.uint8))


def takes_in(latents: Tensor, takes: tuple[Take, ...], stride: Stride) -> tuple[Tensor, ...]:
    """Latents that hold several takes one behind the other, take by take, as far as they go."""
    lengths, rest = [], latents.shape[2]
    for take in takes:
        length = 1 + stride.groups(take.film.frames)
        lengths.append(min(length, rest))
        rest -= lengths[-1]
        if not rest:
            break
    if rest:
        lengths.append(rest)
    return torch.split(latents, lengths, dim=2)
