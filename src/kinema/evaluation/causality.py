"""Measure 6, cause and effect: objects move when they are hit, not when missed, and never before contact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from kinema.evaluation import camera_geometry, thresholds
from kinema.evaluation.camera_geometry import floor_positions
from kinema.evaluation.matching import MatchedScene
from kinema.evaluation.tracking import Track, TrackedVideo

_MIN_SPEED = 0.02 * camera_geometry.OBJECT_HALF_SIZE
"""Metres per frame below which energy and momentum are not measured."""


@dataclass(frozen=True, kw_only=True)
class Collision:
    """What happened when one object was sent at another. Frame numbers are None where it did not happen."""

    contact_frame: int | None
    """The first frame in which the objects touch on screen."""
    response_frame: int | None
    """The first frame in which the struck object has moved."""
    deflected: bool
    """The striking object lost or turned its velocity at the contact."""
    moved_before_contact: bool
    """The struck object moved before it was touched."""
    missed_contact: bool
    """The prompt asks for a contact, and there was none."""
    passed_through: bool
    """The striking object passed through the struck one."""
    moved_without_contact: bool
    """The prompt asks for no contact, and the second object moved nevertheless."""
    energy_ratio: float
    """Kinetic energy after the contact over that before, for equal masses. NaN without a contact, or if it is
    too close to the start or end of the video."""
    momentum_error: float = np.nan
    """See `momentum_error`; NaN under the same conditions."""

    def is_correct(self) -> bool:
        """Whether none of the faults happened."""
        return not (
            self.moved_before_contact
            or self.missed_contact
            or self.passed_through
            or self.moved_without_contact
        )


def measure_collision(scene: MatchedScene) -> Collision | None:
    """Measure the collision or near miss that a prompt asks for; None for other prompts."""
    if scene.prompt_spec.event != "meets":
        return None
    striking, struck = scene.main_track(0), scene.main_track(1)
    expects_contact = scene.prompt_spec.expects_contact
    if striking is None or struck is None:
        return Collision(
            contact_frame=None,
            response_frame=None,
            deflected=False,
            moved_before_contact=False,
            missed_contact=expects_contact,
            passed_through=False,
            moved_without_contact=False,
            energy_ratio=np.nan,
        )
    video = scene.video
    contact = first_contact_frame(video, striking, struck)
    response = _response_frame(struck)
    deflected = contact is not None and _is_deflected(video, striking, struck, contact)
    touched = contact is not None and (response is not None or deflected)
    velocities = _velocities_around_contact(video, (striking, struck), contact)
    return Collision(
        contact_frame=contact,
        response_frame=response,
        deflected=deflected,
        moved_before_contact=response is not None and (contact is None or response < contact),
        missed_contact=expects_contact and not touched,
        passed_through=expects_contact and contact is not None and not deflected and response is None,
        moved_without_contact=not expects_contact and response is not None,
        energy_ratio=np.nan if velocities is None else _energy_ratio(*velocities),
        momentum_error=np.nan
        if velocities is None or not touched
        else momentum_error(*(velocities[1] - velocities[0])),
    )


def first_contact_frame(video: TrackedVideo, first: Track, second: Track) -> int | None:
    """The first frame in which the outlines of two objects touch, allowing for blur; None if they never
    do."""
    max_gap = thresholds.MAX_CONTACT_GAP * min(first.radius, second.radius) + video.scale
    # A fast object can touch and rebound between two frames, so its displacement per frame is added to the
    # gap.
    displacement = np.linalg.norm(np.diff(first.centre, axis=0, prepend=first.centre[:1]), axis=1)
    reach = max_gap + np.nan_to_num(ndimage.maximum_filter1d(np.nan_to_num(displacement), 3))
    for frame in np.flatnonzero(first.visible & second.visible):
        a, b = first.blobs[frame], second.blobs[frame]
        if a is None or b is None or min(a.gap, b.gap) > reach[frame]:
            continue
        if np.hypot(a.x - b.x, a.y - b.y) < 2 * (first.radius + second.radius):
            return int(frame)
    hidden = np.flatnonzero(first.visible & ~second.visible)
    return int(hidden[0]) if len(hidden) and hidden[0] > 0 and first.touching[hidden[0] - 1] else None


def _response_frame(track: Track) -> int | None:
    """The first frame of a lasting displacement from the initial position; None if the object stays."""
    frames = np.flatnonzero(track.visible)
    if len(frames) < thresholds.MIN_FRAMES:
        return None
    start = np.median(track.centre[frames[:3]], axis=0)
    displacement = np.linalg.norm(track.centre[frames] - start, axis=1) / track.radius
    # Next to another object the outline is cut, and the centroid shifts without any motion.
    touching = track.touching[frames]
    covered = track.area[frames] < thresholds.MIN_VISIBLE_AREA * np.pi * track.radius**2
    moved = (
        (displacement > thresholds.MIN_RESPONSE)
        & (~touching | (displacement > 2.5 * thresholds.MIN_RESPONSE))
        & ~(touching & covered)
    )
    lasting = moved[:-1] & moved[1:]
    if lasting.any():
        first = int(np.argmax(lasting))
    elif moved[-1] and not touching[-1]:
        first = len(frames) - 1
    else:
        return None
    # A slow motion began before it had gone that far.
    while first and displacement[first - 1] > thresholds.MOTION_ONSET and not touching[first - 1]:
        first -= 1
    return int(frames[first])


def _is_partly_occluded(track: Track, frame: int) -> bool:
    blob = track.blobs[frame]
    return blob is not None and bool(blob.neighbours) and blob.area < 0.93 * np.pi * track.radius**2


def _is_deflected(video: TrackedVideo, striking: Track, struck: Track, contact_frame: int) -> bool:
    """Whether the striking object leaves the straight line of its velocity on the floor after the contact.

    Frames in which it is partly occluded are ignored, because its centroid seems to slow down there. If it is
    not fully visible after the contact, its last position decides: beyond the struck object it passed, before
    it, it was stopped.
    """
    positions = floor_positions(video, striking)
    window = max(3, round(video.fps / 3))
    frames = np.array(
        [
            frame
            for frame in np.flatnonzero(striking.visible & ~striking.touches_border)
            if not _is_partly_occluded(striking, int(frame))
        ],
        dtype=int,
    )
    before, after = frames[frames <= contact_frame][-window:], frames[frames > contact_frame + 1][:window]
    if len(before) < 2:
        before = frames[:3]
    if len(before) < 2:
        return False
    displacement = positions[before[-1]] - positions[before[0]]
    if not len(after):
        offset = positions[striking.last_frame] - floor_positions(video, struck)[struck.last_frame]
        return bool(np.dot(offset, displacement) < 0)
    velocity = displacement / (before[-1] - before[0])
    elapsed = (after - before[-1])[:, None]
    deviation = np.linalg.norm(positions[after] - (positions[before[-1]] + elapsed * velocity), axis=1)
    return bool(deviation[-1] > thresholds.MIN_DEFLECTION * np.linalg.norm(velocity) * elapsed[-1, 0])


def _energy_ratio(before: Float[np.ndarray, "2 2"], after: Float[np.ndarray, "2 2"]) -> float:
    energy_before, energy_after = float((before**2).sum()), float((after**2).sum())
    return energy_after / energy_before if energy_before > _MIN_SPEED**2 else np.nan


def momentum_error(first: Float[np.ndarray, "2"], second: Float[np.ndarray, "2"]) -> float:
    """Share of the first object's change of velocity that the second object's does not balance.

    Masses cannot be read from pixels, so the mass ratio that leaves the smallest error is used: the error
    measures whether the objects push each other in opposite directions.

    Args:
        first: change of velocity of the first object, metres per frame.
        second: of the second object.

    Returns:
        0 (balanced) to 1; NaN where the first object does not change its velocity.
    """
    first_squared, second_squared = float(first @ first), float(second @ second)
    if first_squared < _MIN_SPEED**2:
        return np.nan
    mass_ratio = max(0.0, -float(first @ second) / second_squared) if second_squared > 0 else 0.0
    return float(np.linalg.norm(first + mass_ratio * second)) / first_squared**0.5


def _velocities_around_contact(
    video: TrackedVideo, pair: tuple[Track, Track], contact_frame: int | None
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]] | None:
    """Velocities of both objects before and after the contact; None too close to the start or end of the
    video."""
    if contact_frame is None or contact_frame < 2 or contact_frame > video.num_frames - 4:
        return None
    before = np.stack([_floor_velocity(video, t, max(0, contact_frame - 3), contact_frame) for t in pair])
    return before, np.stack([_floor_velocity(video, t, contact_frame + 1, contact_frame + 4) for t in pair])


def _floor_velocity(video: TrackedVideo, track: Track, first: int, last: int) -> Float[np.ndarray, "2"]:
    """Mean velocity on the floor between two frames, metres per frame."""
    frames = np.flatnonzero(track.visible)
    frames = frames[(frames >= first) & (frames <= last)]
    if len(frames) < 2:
        return np.zeros(2)
    positions = floor_positions(video, track)
    return np.nan_to_num(positions[frames[-1]] - positions[frames[0]]) / (frames[-1] - frames[0])
