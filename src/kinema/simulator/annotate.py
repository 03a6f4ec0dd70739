"""From a drawn scene and its id buffer to the facts of the clip."""

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
"""Pixels of a thing that is out of sight."""
MIN_CLEAR_EXTENT = 6.0 / 128
"""Share of the picture's height that a thing must span to be recognised."""
MIN_REAPPEARED_SHARE = 0.5
"""Share of its pixels in the first frame that a thing must show to count as seen again."""


def pixel_stats(
    object_ids: UInt8[np.ndarray, "f h w"], num_entities: int
) -> tuple[Int[np.ndarray, "f n"], Float[np.ndarray, "f n 4"]]:
    """Pixels and boxes of each entity in each frame."""
    frames, height, width = object_ids.shape
    pixels = np.zeros((frames, num_entities), dtype=np.int32)
    box = np.full((frames, num_entities, 4), np.nan)
    scale = np.array([width, height, width, height], dtype=float)
    for frame, picture in enumerate(object_ids):
        pixels[frame] = np.bincount(picture.ravel(), minlength=256)[1 : num_entities + 1]
        for index, found in enumerate(ndimage.find_objects(picture, max_label=num_entities)):
            if found is not None:
                rows, columns = found
                box[frame, index] = (columns.start, rows.start, columns.stop, rows.stop) / scale
    return pixels, box


def measure_tracks(scene: SampledScene, object_ids: UInt8[np.ndarray, "f h w"]) -> Tracks:
    """Everything measured frame by frame."""
    _, height, width = object_ids.shape
    seen, cameras = scene.trajectory, scene.cameras[:, None]
    pixels, box = pixel_stats(object_ids, len(scene.entities))
    centre, depth = project(cameras, seen.position, width / height)
    radii = np.array([solid.radius for solid in scene.bodies])
    return Tracks(
        position=seen.position.astype(np.float32),
        rotation=seen.rotation.astype(np.float32),
        velocity=seen.velocity.astype(np.float32),
        upright=seen.upright().astype(np.float32),
        screen=centre.astype(np.float32),
        depth=depth.astype(np.float32),
        radius=projected_radius(cameras, seen.position, radii[None]).astype(np.float32),
        pixels=pixels,
        box=box.astype(np.float32),
    )


def claim_holds_in_pixels(claim: Claim, tracks: Tracks) -> bool:
    """Whether what a claim says about sight is so in the id buffer. True for claims of other kinds."""
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
    """Whether what is to be seen of an entity in a frame is large enough to be recognised."""
    left, top, right, bottom = tracks.box[frame, entity].tolist()
    return max((right - left) * aspect, bottom - top) >= MIN_CLEAR_EXTENT


_MIN_MEMBER_PIXELS = 3
"""Pixels by which a member of a group must show in some frame."""


def claims_visible(scene: SampledScene, tracks: Tracks, aspect: float) -> bool:
    """Whether the id buffer bears the verdict out: claims hold, and what is named is clearly seen."""
    claims = scene.event_outcome.claims
    hiding = {claim.subject for claim in claims if claim.kind == "hides"}
    clear = all(
        is_clearly_visible(tracks, index, scene.event_frame, aspect)
        for index, entity in enumerate(scene.entities)
        if entity.named and entity.role != "background" and index not in hiding
    )
    # Members of a group are counted: a pin that never shows makes 'three pins' a claim nobody can check.
    counted = [index for index, entity in enumerate(scene.entities) if entity.group]
    shown = bool((tracks.pixels[:, counted].max(0) >= _MIN_MEMBER_PIXELS).all())
    return clear and shown and all(claim_holds_in_pixels(claim, tracks) for claim in claims)


def _is_unclear_background(scene: SampledScene, tracks: Tracks, index: int, spec: ClipSpec) -> bool:
    """Whether a background thing is so hard to see that no caption should speak of it."""
    if scene.entities[index].role != "background":
        return False
    seen = is_clearly_visible(tracks, index, scene.event_frame, spec.width / spec.height)
    return index in scene.hidden_background or not seen


def annotate_clip(
    spec: ClipSpec, scene: SampledScene, tracks: Tracks, environment: Environment
) -> ClipAnnotations:
    """The facts of a clip. The camera's claim comes last, unless the event is about the camera."""
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
