"""A clip's measurements under the questions that the checks ask of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kinema.simulator.annotations import ClipAnnotations
from tools.caption_audit.parser import EntityRef

CheckResult = bool | None
"""None: the statement can't be checked from the facts."""


class ClipMeasurements:
    """A clip's measurements under the questions the checks ask."""

    def __init__(self, annotations: ClipAnnotations) -> None:
        self.annotations = annotations
        self.tracks = annotations.tracks
        self.num_frames = len(annotations.cameras)
        self.last_frame = self.num_frames - 1

    def members(self, ref: EntityRef) -> list[int]:
        """The entities meant by an index or a group's name."""
        if isinstance(ref, int):
            return [ref]
        return [entity.index for entity in self.annotations.entities if entity.group and entity.group == ref]

    @staticmethod
    def entity_index(ref: EntityRef) -> int:
        """The entity; a statement about one thing is never checked of a group."""
        if isinstance(ref, int):
            return ref
        raise ValueError(f"{ref!r} is not one thing")

    def contact_frames(self, first: EntityRef, second: EntityRef) -> list[float]:
        """Frames at which contacts between the two begin."""
        mine, theirs = set(self.members(first)), set(self.members(second))
        return sorted(
            contact.first
            for contact in self.annotations.contacts
            if (contact.a in mine and contact.b in theirs) or (contact.b in mine and contact.a in theirs)
        )

    def first_contact_frame(self, entity: int) -> int:
        """The frame in which it first meets anything it did not touch at the beginning; else the last."""
        mine = (
            set(self.members(self.annotations.entities[entity].group))
            if self.annotations.entities[entity].group
            else {entity}
        )
        begun = [
            contact.first
            for contact in self.annotations.contacts
            if contact.first > 0.5
            and contact.a >= 0
            and contact.b >= 0
            and (contact.a in mine) != (contact.b in mine)
        ]
        return min([int(np.ceil(frame)) for frame in begun], default=self.last_frame)

    def camera_displacement(self, entity: int, first: int, last: int) -> Float[np.ndarray, "3"]:
        """Motion between two frames along the camera's right, up and forward, camera motion taken out."""
        steps = np.diff(self.tracks.position[first : last + 1, entity], axis=0)
        axes = self.annotations.cameras[first:last, 3:12].reshape(-1, 3, 3)
        return np.einsum("fij,fj->i", axes, steps)

    def mean_speed(self, entity: int, first: int, last: int) -> float:
        """Length of the path over the time it took, metres per second."""
        steps = np.diff(self.tracks.position[first : last + 1, entity], axis=0)
        return float(np.linalg.norm(steps, axis=1).sum() * self.annotations.fps / max(1, last - first))

    def max_displacement(self, entity: int, first: int = 0) -> float:
        """Farthest it gets from where it was."""
        path = self.tracks.position[first:, entity]
        return float(np.linalg.norm(path - path[0], axis=1).max())

    def at_rest(self, entity: int) -> bool:
        """Whether it is at rest at the end."""
        return self.mean_speed(entity, max(0, self.last_frame - 3), self.last_frame) < 0.15

    def has_fallen(self, entity: int) -> bool:
        """Whether it lies at the end, or has come down from where it stood."""
        height = self.tracks.position[:, entity, 2]
        return bool(self.tracks.upright[-1, entity] < 0.8 or height[-1] < height[0] - 0.2)

    def in_frame(self, entity: int, frame: int) -> bool:
        """Whether its centre is on screen and before the camera."""
        x, y = self.tracks.screen[frame, entity]
        return bool(0 < x < 1 and 0 < y < 1 and self.tracks.depth[frame, entity] > 0)

    def invisible_frames(self, entity: int) -> np.ndarray:
        """Frames in which not a pixel of it is seen."""
        return self.tracks.pixels[:, entity] == 0


def is_toward_side(displacement: float, side: str, threshold: float = 0.0) -> bool:
    """Whether a distance to the right (negative: to the left) goes to the side that is said."""
    return displacement < -threshold if side == "left" else displacement > threshold
