"""A parsed film beside the meaning of its prompt: who is who, and where they are in the room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from kinema.evaluate import limits, room, shapes
from kinema.evaluate.meaning import Meaning
from kinema.evaluate.tracks import Parsed, Track


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What was asked for, what was seen, and which track is which thing."""

    meaning: Meaning
    film: Parsed
    cast: tuple[tuple[Track, ...], ...]
    """For each thing of the prompt, the tracks of its colour, as many as it wants at most, longest first.
    Empty where its colour is not seen."""

    def main(self, place: int = 0) -> Track | None:
        """The longest track of a thing, by its place in the prompt."""
        return self.cast[place][0] if place < len(self.cast) and self.cast[place] else None


def scene_of(meaning: Meaning, film: Parsed) -> Scene:
    """Tell who is who, by colour alone: shapes are judged, not assumed."""
    cast = []
    taken: set[int] = set()
    for thing in meaning.things:
        candidates = [k for k, t in enumerate(film.tracks) if t.colour == thing.colour and k not in taken]
        candidates.sort(key=lambda k: -int(film.tracks[k].seen.sum()))
        chosen = candidates[: thing.count]
        taken.update(chosen)
        cast.append(tuple(film.tracks[k] for k in chosen))
    return Scene(meaning=meaning, film=film, cast=tuple(cast))


def on_floor(film: Parsed, track: Track) -> Float[np.ndarray, "f 2"]:
    """Where a thing is on the floor, metres: x to the right, y away from the camera."""
    return room.on_plane(track.centre, film.height, film.width)


def on_screen(film: Parsed, track: Track) -> Float[np.ndarray, "f 2"]:
    """Its place in the upright plane through the middle of the room, metres: x and height."""
    return room.on_wall(track.centre, film.height, film.width)


def shape_evidence(track: Track) -> Float[np.ndarray, "f shapes"]:
    """Log evidence for each shape in each frame; zero in frames that tell nothing."""
    found = np.zeros((len(track.seen), len(shapes.SHAPES)))
    for frame in np.flatnonzero(telling(track)):
        blob = track.blobs[frame]
        if blob is not None:
            found[frame] = shapes.evidence(blob)
    return found


def shapes_seen(track: Track) -> tuple[str | None, ...]:
    """The shape in every frame, from the evidence of that frame and its neighbours.

    Frames without evidence of their own take that of the nearest frame that has some. None where there is
    none at all, or where it does not favour one shape.
    """
    evidence = shape_evidence(track)
    span = np.ones(2 * limits.WINDOW + 1)
    total = ndimage.correlate1d(evidence, span, axis=0, mode="constant")
    known = np.flatnonzero(ndimage.correlate1d(telling(track).astype(float), span, mode="constant"))
    if not len(known):
        return (None,) * len(track.seen)
    nearest = known[np.abs(np.arange(len(track.seen))[:, None] - known).argmin(axis=1)]
    chosen = total[nearest]
    second, best = np.sort(chosen, axis=1)[:, -2:].T
    return tuple(
        shapes.SHAPES[int(k)] if sure else None
        for k, sure in zip(chosen.argmax(axis=1), best - second >= limits.UNDECIDED, strict=True)
    )


def telling(track: Track) -> Bool[np.ndarray, " f"]:
    """Frames that tell its shape: those in which it is seen whole, or else those in which it is next to
    another thing, which may hide part of it, but not cut off by the picture."""
    good = whole(track)
    return good if good.any() else track.seen & ~track.border


def whole(track: Track) -> Bool[np.ndarray, " f"]:
    """Frames in which it is seen, not cut off by the picture and not next to another thing."""
    return track.seen & ~track.border & ~track.touching
