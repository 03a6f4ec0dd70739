"""Projects a scene for a camera path and checks claims about the screen before rendering."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from kinema.simulator.annotations import Claim
from kinema.simulator.entities import Entity
from kinema.simulator.geometry import Body
from kinema.simulator.physics import Trajectory
from kinema.simulator.render.camera import project

MIN_SCREEN_SHIFT = 0.05
"""Smallest horizontal distance that counts as left or right, as a share of the image width."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OutlinePoints:
    """Outline points of all entities in world coordinates, concatenated along the point axis."""

    points: Float[np.ndarray, "f p 3"]
    slices: tuple[slice, ...]
    """The points of each entity."""


def compute_outline_points(bodies: tuple[Body, ...], trajectory: Trajectory) -> OutlinePoints:
    """Outline points of every entity in every frame."""
    points, slices, start = [], [], 0
    for index, body in enumerate(bodies):
        rotated = np.einsum("fij,kj->fki", trajectory.rotation[:, index], body.outline)
        points.append(rotated + trajectory.position[:, index, None])
        slices.append(slice(start, start + len(body.outline)))
        start += len(body.outline)
    return OutlinePoints(points=np.concatenate(points, axis=1), slices=tuple(slices))


@dataclass(frozen=True, kw_only=True, eq=False)
class ProjectedScene:
    """Projected entities, in the screen coordinates of `annotations`."""

    centre: Float[np.ndarray, "f n 2"]
    depth: Float[np.ndarray, "f n"]
    box: Float[np.ndarray, "f n 4"]
    """Left, top, right and bottom of the outline, not clipped to the frame."""


def project_scene(
    cameras: Float[np.ndarray, "f 13"], outline_points: OutlinePoints, trajectory: Trajectory, aspect: float
) -> ProjectedScene:
    """Project the centres and outline points of a scene."""
    centre, depth = project(cameras[:, None], trajectory.position, aspect)
    screen, point_depth = project(cameras[:, None], outline_points.points, aspect)
    screen = np.where(point_depth[..., None] > 0.05, screen, np.nan)
    boxes = []
    for points_of_entity in outline_points.slices:
        entity_points = screen[:, points_of_entity]
        boxes.append(np.concatenate([entity_points.min(axis=1), entity_points.max(axis=1)], axis=1))
    return ProjectedScene(centre=centre, depth=depth, box=np.stack(boxes, axis=1))


def is_inside_frame(box: Float[np.ndarray, "*b 4"]) -> Bool[np.ndarray, "*b"]:
    """Whether a box lies completely inside the frame; False for NaN."""
    return np.asarray((box[..., :2] >= 0).all(-1) & (box[..., 2:] <= 1).all(-1))


def is_outside_frame(box: Float[np.ndarray, "*b 4"]) -> Bool[np.ndarray, "*b"]:
    """Whether a box lies completely outside the frame."""
    return (box[..., 0] > 1) | (box[..., 2] < 0) | (box[..., 1] > 1) | (box[..., 3] < 0)


def occluded_fraction(
    cameras: Float[np.ndarray, "f 13"],
    points: Float[np.ndarray, "f k 3"],
    occluder: Entity,
) -> Float[np.ndarray, " f"]:
    """Share of the points that an axis-aligned box hides from the camera in each frame."""
    half, centre = np.array(occluder.dimensions), np.array(occluder.position)
    start = cameras[:, None, 0:3] - centre
    ray = points - cameras[:, None, 0:3]
    safe_ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
    near_t, far_t = (-half - start) / safe_ray, (half - start) / safe_ray
    enter = np.minimum(near_t, far_t).max(axis=-1)
    leave = np.maximum(near_t, far_t).min(axis=-1)
    is_hit = (enter < leave) & (enter > 0) & (enter < 1)
    return is_hit.mean(axis=1)


def _moves_sideways(projected: ProjectedScene, entity: int, first: int, last: int, value: str) -> bool:
    """Whether an entity moves on screen in the claimed direction between two frames."""
    shift = projected.centre[last, entity, 0] - projected.centre[first, entity, 0]
    return bool(shift > MIN_SCREEN_SHIFT if value == "right" else shift < -MIN_SCREEN_SHIFT)


def _are_separated(projected: ProjectedScene, members: list[int]) -> bool:
    """Whether neighbours have a gap between them in the first, middle and last frame."""
    for frame in (0, len(projected.box) // 2, len(projected.box) - 1):
        boxes = sorted(projected.box[frame, members].tolist())
        if any(before[2] > after[0] for before, after in pairwise(boxes)):
            return False
    return True


def claim_holds_on_screen(
    claim: Claim,
    projected: ProjectedScene,
    entities: tuple[Entity, ...],
    trajectory: Trajectory,
    event_frame: int,
) -> bool:
    """Whether a claim of direction, order or number holds on screen. True for claims of other kinds."""
    last = trajectory.num_frames - 1
    match claim.kind:
        case "count":
            return _are_separated(
                projected, [k for k, entity in enumerate(entities) if entity.group == claim.group]
            )
        case "topple" if claim.subject is not None and claim.object is not None:
            gap = projected.centre[0, claim.object, 0] - projected.centre[0, claim.subject, 0]
            return bool(gap > 2 * MIN_SCREEN_SHIFT if claim.value == "left" else gap < -2 * MIN_SCREEN_SHIFT)
        case "moves" if claim.value in ("left", "right") and claim.subject is not None:
            first, end = 0, min(last, max(event_frame, last // 4))
            return _moves_sideways(projected, claim.subject, first, end, claim.value)
        case "moves" if claim.value in ("away", "toward") and claim.subject is not None:
            depth_change = projected.depth[last, claim.subject] - projected.depth[0, claim.subject]
            return bool(depth_change > 0.5 if claim.value == "away" else depth_change < -0.5)
        case "pushed" | "slides down" if claim.value in ("left", "right") and claim.subject is not None:
            first = min(last - 1, event_frame) if claim.kind == "pushed" else 0
            return _moves_sideways(projected, claim.subject, first, last, claim.value)
        case "left of" | "right of" if claim.subject is not None and claim.object is not None:
            gap = projected.centre[:, claim.object, 0] - projected.centre[:, claim.subject, 0]
            return bool(
                (gap > MIN_SCREEN_SHIFT).all() if claim.kind == "left of" else (gap < -MIN_SCREEN_SHIFT).all()
            )
        case "re-emerges" if claim.subject is not None and claim.object is not None:
            gap = projected.centre[-1, claim.subject, 0] - projected.centre[-1, claim.object, 0]
            return bool(gap > 0 if claim.value == "right" else gap < 0)
        case "leaves" if claim.subject is not None:
            return bool(is_outside_frame(projected.box[-1, claim.subject]))
    return True
