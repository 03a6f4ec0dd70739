"""Derived measurements of a clip, used by the checks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kinema.simulator.annotations import ClipAnnotations
from tools.caption_audit.parser import EntityRef

CheckResult = bool | None
"""None: the statement cannot be checked with the annotations."""


class ClipMeasurements:
    """Derived measurements of one clip."""

    def __init__(self, annotations: ClipAnnotations) -> None:
        self.annotations = annotations
        self.tracks = annotations.tracks
        self.num_frames = len(annotations.cameras)
        self.last_frame = self.num_frames - 1

    def members(self, ref: EntityRef) -> list[int]:
        """Indices of the entities of a reference: an index or a group name."""
        if isinstance(ref, int):
            return [ref]
        return [entity.index for entity in self.annotations.entities if entity.group and entity.group == ref]

    @staticmethod
    def entity_index(ref: EntityRef) -> int:
        """The index of a single entity.

        Raises:
            ValueError: the reference is a group or empty.
        """
        if isinstance(ref, int):
            return ref
        raise ValueError(f"{ref!r} is not a single entity")

    def contact_frames(self, first: EntityRef, second: EntityRef) -> list[float]:
        """Start frames of the contacts between two references, sorted."""
        mine, theirs = set(self.members(first)), set(self.members(second))
        return sorted(
            contact.first
            for contact in self.annotations.contacts
            if (contact.a in mine and contact.b in theirs) or (contact.b in mine and contact.a in theirs)
        )

    def first_contact_frame(self, entity: int) -> int:
        """The frame of the first contact that did not exist at the start; else the last frame."""
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
        """Displacement along the camera's right, up and forward axes, with camera motion removed."""
        steps = np.diff(self.tracks.position[first : last + 1, entity], axis=0)
        axes = self.annotations.cameras[first:last, 3:12].reshape(-1, 3, 3)
        return np.einsum("fij,fj->i", axes, steps)

    def mean_speed(self, entity: int, first: int, last: int) -> float:
        """Path length over time between two frames, metres per second."""
        steps = np.diff(self.tracks.position[first : last + 1, entity], axis=0)
        return float(np.linalg.norm(steps, axis=1).sum() * self.annotations.fps / max(1, last - first))

    def max_displacement(self, entity: int, first: int = 0) -> float:
        """The largest distance from the position in frame `first`, metres."""
        path = self.tracks.position[first:, entity]
        return float(np.linalg.norm(path - path[0], axis=1).max())

    def at_rest(self, entity: int) -> bool:
        """Whether the entity is at rest at the end."""
        return self.mean_speed(entity, max(0, self.last_frame - 3), self.last_frame) < 0.15

    def has_fallen(self, entity: int) -> bool:
        """Whether the entity lies at the end, or is lower than at the start."""
        height = self.tracks.position[:, entity, 2]
        return bool(self.tracks.upright[-1, entity] < 0.8 or height[-1] < height[0] - 0.2)

    def in_frame(self, entity: int, frame: int) -> bool:
        """Whether the entity's centre is inside the frame and in front of the camera."""
        x, y = self.tracks.screen[frame, entity]
        return bool(0 < x < 1 and 0 < y < 1 and self.tracks.depth[frame, entity] > 0)

    def invisible_frames(self, entity: int) -> np.ndarray:
        """Mask of the frames in which the entity has no pixels."""
        return self.tracks.pixels[:, entity] == 0


def is_toward_side(displacement: float, side: str, threshold: float = 0.0) -> bool:
    """Whether a displacement (positive: to the right) exceeds a threshold towards a side."""
    return displacement < -threshold if side == "left" else displacement > threshold
