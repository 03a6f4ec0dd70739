"""What a scene looks like from a camera path, without rendering it: checks on claims before any pixel."""

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
"""Share of the picture's width by which something must move, or stand apart, to be told as left or right."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OutlinePoints:
    """Surface points of all entities in the world, frame by frame, laid end to end."""

    points: Float[np.ndarray, "f p 3"]
    slices: tuple[slice, ...]
    """Where each entity's points lie."""


def compute_outline_points(bodies: tuple[Body, ...], trajectory: Trajectory) -> OutlinePoints:
    """The outline points of every entity in every frame."""
    points, slices, at = [], [], 0
    for index, solid in enumerate(bodies):
        turned = np.einsum("fij,kj->fki", trajectory.rotation[:, index], solid.outline)
        points.append(turned + trajectory.position[:, index, None])
        slices.append(slice(at, at + len(solid.outline)))
        at += len(solid.outline)
    return OutlinePoints(points=np.concatenate(points, axis=1), slices=tuple(slices))


@dataclass(frozen=True, kw_only=True, eq=False)
class ProjectedScene:
    """Where everything is seen. Screen coordinates are those of `facts`."""

    centre: Float[np.ndarray, "f n 2"]
    depth: Float[np.ndarray, "f n"]
    box: Float[np.ndarray, "f n 4"]
    """Left, top, right, bottom of the outline, not cut off at the frame."""


def project_scene(
    cameras: Float[np.ndarray, "f 13"], outline_points: OutlinePoints, trajectory: Trajectory, aspect: float
) -> ProjectedScene:
    """Project a scene."""
    centre, depth = project(cameras[:, None], trajectory.position, aspect)
    spots, deep = project(cameras[:, None], outline_points.points, aspect)
    spots = np.where(deep[..., None] > 0.05, spots, np.nan)
    boxes = []
    for part in outline_points.slices:
        cloud = spots[:, part]
        boxes.append(np.concatenate([cloud.min(axis=1), cloud.max(axis=1)], axis=1))
    return ProjectedScene(centre=centre, depth=depth, box=np.stack(boxes, axis=1))


def is_inside_frame(box: Float[np.ndarray, "*b 4"]) -> Bool[np.ndarray, "*b"]:
    """Whether a box lies wholly inside the picture; NaN does not."""
    return np.asarray((box[..., :2] >= 0).all(-1) & (box[..., 2:] <= 1).all(-1))


def is_outside_frame(box: Float[np.ndarray, "*b 4"]) -> Bool[np.ndarray, "*b"]:
    """Whether a box lies wholly outside the picture."""
    return (box[..., 0] > 1) | (box[..., 2] < 0) | (box[..., 1] > 1) | (box[..., 3] < 0)


def occluded_fraction(
    cameras: Float[np.ndarray, "f 13"],
    points: Float[np.ndarray, "f k 3"],
    occluder: Entity,
) -> Float[np.ndarray, " f"]:
    """Share of the points that an upright box, unturned, hides from the camera in each frame."""
    half, centre = np.array(occluder.dimensions), np.array(occluder.position)
    start = cameras[:, None, 0:3] - centre
    way = points - cameras[:, None, 0:3]
    safe = np.where(np.abs(way) < 1e-9, 1e-9, way)
    one, two = (-half - start) / safe, (half - start) / safe
    enters = np.minimum(one, two).max(axis=-1)
    leaves = np.maximum(one, two).min(axis=-1)
    hit = (enters < leaves) & (enters > 0) & (enters < 1)
    return hit.mean(axis=1)


def _moves_sideways(projected: ProjectedScene, entity: int, first: int, last: int, value: str) -> bool:
    """Whether an entity moves left or right on screen between two frames as the value says."""
    shift = projected.centre[last, entity, 0] - projected.centre[first, entity, 0]
    return bool(shift > MIN_SCREEN_SHIFT if value == "right" else shift < -MIN_SCREEN_SHIFT)


def _are_separated(projected: ProjectedScene, members: list[int]) -> bool:
    """Whether a gap is seen between any two neighbours in the first, middle and last frames."""
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
    """Whether a claim of direction, order or number holds on screen too. True for other kinds."""
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
            deeper = projected.depth[last, claim.subject] - projected.depth[0, claim.subject]
            return bool(deeper > 0.5 if claim.value == "away" else deeper < -0.5)
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
