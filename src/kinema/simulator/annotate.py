"""Annotations: measures a sampled scene and its object-id buffer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy import ndimage

from kinema.simulator.annotations import PAIRED_EVENTS, Claim, ClipAnnotations, Environment, Tracks
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.render.camera import project, projected_radius
from kinema.simulator.scene_sampler import SampledScene

HIDDEN_PIXELS = 0
"""Pixel count of an entity that is out of sight."""
MIN_CLEAR_EXTENT = 6.0 / 128
"""Smallest extent at which an entity is recognisable, as a share of the image height."""
MIN_REAPPEARED_SHARE = 0.5
"""Pixels that an entity must show to count as re-emerged, as a share of those in the first frame."""


def pixel_stats(
    object_ids: UInt8[np.ndarray, "f h w"], num_entities: int
) -> tuple[Int[np.ndarray, "f n"], Float[np.ndarray, "f n 4"]]:
    """Count the pixels of each entity in each frame and find their bounding boxes.

    Args:
        object_ids: the object-id buffer; entity k has the id k + 1.
        num_entities: number of entities.

    Returns:
        Pixel counts (frames, entities) and boxes (frames, entities, 4) as left, top, right and bottom in
        0..1; a box without pixels is NaN.
    """
    frames, height, width = object_ids.shape
    pixels = np.zeros((frames, num_entities), dtype=np.int32)
    box = np.full((frames, num_entities, 4), np.nan)
    scale = np.array([width, height, width, height], dtype=float)
    for frame, image in enumerate(object_ids):
        pixels[frame] = np.bincount(image.ravel(), minlength=256)[1 : num_entities + 1]
        for index, bounds in enumerate(ndimage.find_objects(image, max_label=num_entities)):
            if bounds is not None:
                rows, columns = bounds
                box[frame, index] = (columns.start, rows.start, columns.stop, rows.stop) / scale
    return pixels, box


def measure_tracks(scene: SampledScene, object_ids: UInt8[np.ndarray, "f h w"]) -> Tracks:
    """Measure the tracks of a scene: poses, projections, pixel counts and boxes in every frame."""
    _, height, width = object_ids.shape
    trajectory, cameras = scene.trajectory, scene.cameras[:, None]
    pixels, box = pixel_stats(object_ids, len(scene.entities))
    screen, depth = project(cameras, trajectory.position, width / height)
    radii = np.array([solid.radius for solid in scene.bodies])
    return Tracks(
        position=trajectory.position.astype(np.float32),
        rotation=trajectory.rotation.astype(np.float32),
        velocity=trajectory.velocity.astype(np.float32),
        upright=trajectory.upright().astype(np.float32),
        screen=screen.astype(np.float32),
        depth=depth.astype(np.float32),
        radius=projected_radius(cameras, trajectory.position, radii[None]).astype(np.float32),
        pixels=pixels,
        box=box.astype(np.float32),
    )


def claim_holds_in_pixels(claim: Claim, tracks: Tracks) -> bool:
    """Whether a claim about visibility holds in the id buffer. True for claims of other kinds."""
    if claim.subject is None:
        return True
    pixels = tracks.pixels[:, claim.subject]
    start = int(pixels[0])
    match claim.kind:
        case "hides":
            return start > 0 and bool((pixels == HIDDEN_PIXELS).any())
        case "re-emerges":
            gone = np.flatnonzero(pixels == HIDDEN_PIXELS)
            return (
                len(gone) > 0
                and bool(pixels[-1] >= MIN_REAPPEARED_SHARE * start)
                and int(gone[-1]) < len(pixels) - 1
            )
        case "stays hidden":
            return bool((pixels[-2:] == HIDDEN_PIXELS).all())
        case "in front":
            return bool((pixels > 0.6 * np.median(pixels)).all())
        case "leaves":
            return bool(pixels[-1] == 0) and start > 0
        case "moves":
            return start > 0
    return True


def is_clearly_visible(tracks: Tracks, entity: int, frame: int, aspect: float) -> bool:
    """Whether the visible part of an entity is large enough in a frame to be recognised."""
    left, top, right, bottom = tracks.box[frame, entity].tolist()
    return max((right - left) * aspect, bottom - top) >= MIN_CLEAR_EXTENT


_MIN_MEMBER_PIXELS = 3
"""Pixels that a member of a group must show in at least one frame."""


def claims_visible(scene: SampledScene, tracks: Tracks, aspect: float) -> bool:
    """Whether all claims hold in the id buffer and all named entities are clearly visible."""
    claims = scene.event_outcome.claims
    hiding = {claim.subject for claim in claims if claim.kind == "hides"}
    is_clear = all(
        is_clearly_visible(tracks, index, scene.event_frame, aspect)
        for index, entity in enumerate(scene.entities)
        if entity.named and entity.role != "background" and index not in hiding
    )
    # Captions state the number of a group's members, so each of them must be visible at least once.
    group_members = [index for index, entity in enumerate(scene.entities) if entity.group]
    members_visible = bool((tracks.pixels[:, group_members].max(0) >= _MIN_MEMBER_PIXELS).all())
    return is_clear and members_visible and all(claim_holds_in_pixels(claim, tracks) for claim in claims)


def _is_unclear_background(scene: SampledScene, tracks: Tracks, index: int, spec: ClipSpec) -> bool:
    """Whether a background entity is too hard to see to be mentioned in captions."""
    if scene.entities[index].role != "background":
        return False
    visible = is_clearly_visible(tracks, index, scene.event_frame, spec.width / spec.height)
    return index in scene.hidden_background or not visible


def annotate_clip(
    spec: ClipSpec, scene: SampledScene, tracks: Tracks, environment: Environment
) -> ClipAnnotations:
    """Annotate a clip. The claim about the camera comes last, unless the event is a camera move."""
    claims = scene.event_outcome.claims
    if not any(claim.kind == "camera" for claim in claims):
        claims = (*claims, Claim(kind="camera", value=scene.shot.move))
    entities = tuple(
        replace(
            entity.to_annotation(index),
            named=entity.named and not _is_unclear_background(scene, tracks, index, spec),
        )
        for index, entity in enumerate(scene.entities)
    )
    paired = scene.event in PAIRED_EVENTS
    return ClipAnnotations(
        seed=spec.seed,
        lab=spec.lab,
        event=scene.event,
        outcome=scene.outcome,
        fps=spec.fps,
        height=spec.height,
        width=spec.width,
        entities=entities,
        tracks=tracks,
        contacts=scene.trajectory.contacts,
        claims=claims,
        event_frame=scene.event_frame,
        camera=scene.shot.move,
        cameras=scene.cameras,
        environment=environment,
        pair_id=f"{scene.event} {spec.seed}" if paired else "",
        cause=scene.outcome if paired else "",
    )
