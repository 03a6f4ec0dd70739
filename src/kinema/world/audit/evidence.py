"""A clip's measurements under the questions that the checks ask of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kinema.world.audit.reading import Who
from kinema.world.facts import ClipFacts

Verdict = bool | None
"""None: the statement can't be checked from the facts."""


class Evidence:
    """A clip's measurements under the questions the checks ask."""

    def __init__(self, facts: ClipFacts) -> None:
        self.facts = facts
        self.tracks = facts.tracks
        self.frames = len(facts.cameras)
        self.last = self.frames - 1

    def members(self, who: Who) -> list[int]:
        """The entities meant by an index or a group's name."""
        if isinstance(who, int):
            return [who]
        return [entity.index for entity in self.facts.entities if entity.group and entity.group == who]

    @staticmethod
    def one(who: Who) -> int:
        """The entity; a statement about one thing is never checked of a group."""
        if isinstance(who, int):
            return who
        raise ValueError(f"{who!r} is not one thing")

    def touches(self, one: Who, other: Who) -> list[float]:
        """Frames at which contacts between the two begin."""
        mine, theirs = set(self.members(one)), set(self.members(other))
        return sorted(
            contact.first
            for contact in self.facts.contacts
            if (contact.a in mine and contact.b in theirs) or (contact.b in mine and contact.a in theirs)
        )

    def meeting(self, who: int) -> int:
        """The frame in which it first meets anything it did not touch at the beginning; else the last."""
        mine = set(self.members(self.facts.entities[who].group)) if self.facts.entities[who].group else {who}
        begun = [
            contact.first
            for contact in self.facts.contacts
            if contact.first > 0.5
            and contact.a >= 0
            and contact.b >= 0
            and (contact.a in mine) != (contact.b in mine)
        ]
        return min([int(np.ceil(frame)) for frame in begun], default=self.last)

    def shift(self, who: int, first: int, last: int) -> Float[np.ndarray, "3"]:
        """Motion between two frames along the camera's right, up and forward, camera motion taken out."""
        steps = np.diff(self.tracks.position[first : last + 1, who], axis=0)
        axes = self.facts.cameras[first:last, 3:12].reshape(-1, 3, 3)
        return np.einsum("fij,fj->i", axes, steps)

    def speed(self, who: int, first: int, last: int) -> float:
        """Length of the path over the time it took, metres per second."""
        steps = np.diff(self.tracks.position[first : last + 1, who], axis=0)
        return float(np.linalg.norm(steps, axis=1).sum() * self.facts.fps / max(1, last - first))

    def moved(self, who: int, first: int = 0) -> float:
        """Farthest it gets from where it was."""
        path = self.tracks.position[first:, who]
        return float(np.linalg.norm(path - path[0], axis=1).max())

    def resting(self, who: int) -> bool:
        """Whether it is at rest at the end."""
        return self.speed(who, max(0, self.last - 3), self.last) < 0.15

    def tipped(self, who: int) -> bool:
        """Whether it lies at the end, or has come down from where it stood."""
        height = self.tracks.position[:, who, 2]
        return bool(self.tracks.upright[-1, who] < 0.8 or height[-1] < height[0] - 0.2)

    def in_frame(self, who: int, frame: int) -> bool:
        """Whether its centre is on screen and before the camera."""
        x, y = self.tracks.screen[frame, who]
        return bool(0 < x < 1 and 0 < y < 1 and self.tracks.depth[frame, who] > 0)

    def gone(self, who: int) -> np.ndarray:
        """Frames in which not a pixel of it is seen."""
        return self.tracks.pixels[:, who] == 0


def leftward(value: float, side: str, least: float = 0.0) -> bool:
    """Whether a distance to the right (negative: to the left) goes to the side that is said."""
    return value < -least if side == "left" else value > least
