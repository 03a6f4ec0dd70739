"""Scores a video against the meaning of an everyday prompt.

The prompt itself is not parsed. Its meaning is data (`kinema.simulator.captions.everyday.meaning`), so any
wording can be scored. Attributes that the prompt leaves open match any value. Videos must look like the lab:
its camera, its floor and its eight colours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from kinema.evaluation import thresholds
from kinema.evaluation.binding import check_left_right, measure_binding, scorable_frames
from kinema.evaluation.camera import CAMERA_MOVES, estimate_camera
from kinema.evaluation.camera_geometry import OBJECT_HALF_SIZE, floor_positions
from kinema.evaluation.causality import first_contact_frame, measure_collision
from kinema.evaluation.direction import check_direction, max_displacement
from kinema.evaluation.matching import MatchedScene, match_objects, shape_per_frame
from kinema.evaluation.palette import COLOURS
from kinema.evaluation.permanence import measure_permanence, visibility_gaps
from kinema.evaluation.physics_laws import measure_motion_laws
from kinema.evaluation.prompt_parser import (
    SHAPES,
    Direction,
    EventKind,
    LabShape,
    ObjectSpec,
    Outcome,
    PromptSpec,
)
from kinema.evaluation.tracking import Track, TrackedVideo, track_objects
from kinema.frames import FrameArray
from kinema.simulator.annotations import Colour
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning, order_by_role

EverydayMeasure = Literal[
    "objects", "colours", "counts", "relation", "motion", "camera move", "permanence", "everything"
]
EVERYDAY_MEASURES: tuple[EverydayMeasure, ...] = get_args(EverydayMeasure)

_EVENTS: dict[str, tuple[EventKind, Outcome]] = {
    "move": ("moves", ""),
    "stop": ("moves", "stops"),
    "fall": ("falls", ""),
    "bounce": ("falls", "bounces high"),
    "bounce a little": ("falls", "bounces a little"),
    "fall without a bounce": ("falls", "no bounce"),
    "land on": ("falls", "lands on"),
    "land beside": ("falls", "falls beside"),
    "hit": ("meets", "hits"),
    "push": ("meets", "hits"),
    "hit, it stays": ("meets", "hits"),
    "knock over": ("meets", "tips over"),
    "miss": ("meets", "misses"),
    "stop short": ("meets", "short of"),
    "hide": ("hides", ""),
    "hide and come out": ("hides", "re-emerges"),
    "hide and stay": ("hides", "stays hidden"),
    "pass in front": ("hides", "in front"),
    "still": ("stands", ""),
    "none": ("stands", ""),
}
"""The events that can be scored, as the lab's prompts name them."""
LAB_SHAPES: dict[str, LabShape] = {
    "ball": "ball", "cube": "cube", "cylinder": "cylinder", "cone": "cone", "wall": "screen",
}  # fmt: skip
"""Shapes of the lab by their names in meanings."""
_CAMERA_CLASSES = {"dolly in": "zoom in", "dolly out": "zoom out"}
"""A dolly and a zoom look alike in a scene with few objects; either is accepted for the other."""
_MAX_NEIGHBOUR_DISTANCE = 2.6
"""Largest distance between the centres of objects that stand next to each other, in metres. Two lab objects
that touch are 0.84 m apart."""
_TIPPED_HEIGHT_RATIO = 0.85
"""Height of the outline after a fall over that before, below which an object has tipped over."""
_TIPPED_OVERLAP, _TIPPED_OVERLAP_HIDDEN = 0.8, 0.65
"""Intersection over union of the outlines before and after, below which an object has tipped over; the second
value where another object may hide a part of it. Of simulated objects that are pushed it is 0.89 and more."""
_OUTLINE_SIZE, _OUTLINE_SIDE = 33, 12
"""Pixels of a normalised outline, and the square root of its area."""


def can_score(meaning: Meaning) -> bool:
    """Whether every part of a meaning can be seen by the evaluator: events, shapes and colours of the lab."""
    return (
        meaning.event in _EVENTS
        and all(obj.shape in ("", *LAB_SHAPES) and obj.colour in ("", *COLOURS) for obj in meaning.objects)
        and all(obj.count > 0 for obj in meaning.objects)
        and meaning.direction in ("", "left", "right", "toward", "away", "down")
        and meaning.relation in ("", "left of", "next to", "between", "in a row")
        and meaning.camera in ("", *CAMERA_MOVES, *_CAMERA_CLASSES)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class MeaningScores:
    """The scores of one video against a meaning."""

    verdicts: dict[EverydayMeasure, bool | None]
    """Pass or fail by every measure; None where a measure does not apply. `everything` is the conjunction of
    all others except `permanence`."""
    video: TrackedVideo
    scene: MatchedScene
    """The tracks of the objects, by their roles: the actor first, as `order_by_role` has it."""


def score_meaning(meaning: Meaning, frames: FrameArray, fps: float) -> MeaningScores:
    """Score a video of the lab against a meaning.

    Objects of equal colour and shape, or with open attributes, may be any of the tracks that fit: the
    assignment that passes the most measures counts.

    Args:
        meaning: for which `can_score` is true.
        frames: at least 48 pixels high, seen by the lab's own camera.
        fps: frames per second.
    """
    video = track_objects(frames, fps)
    best: dict[EverydayMeasure, bool | None] = {}
    best_scene: MatchedScene | None = None
    for spec, order in _interpretations(meaning, video):
        scene = match_objects(spec, video)
        verdicts = _score_scene(meaning, scene, order)
        if best_scene is None or _num_passed(verdicts) > _num_passed(best):
            best, best_scene = verdicts, scene
        if best["everything"]:
            break
    assert best_scene is not None
    return MeaningScores(verdicts=best, video=video, scene=best_scene)


def _num_passed(verdicts: dict[EverydayMeasure, bool | None]) -> int:
    return sum(verdict is True for verdict in verdicts.values())


def _interpretations(meaning: Meaning, video: TrackedVideo) -> Iterator[tuple[PromptSpec, list[int]]]:
    """Yield lab prompts with every open colour and shape filled in, and the order of the meaning's objects.

    The actor comes first and the patient second, as in prompts of the lab; the list has the index in the
    meaning of each object of the prompt.
    """
    order = order_by_role(meaning)
    kind, outcome = _EVENTS[meaning.event]
    side = "left of" if meaning.relation == "left of" else None
    direction: Direction | None = "down" if kind == "falls" else None
    if meaning.direction in ("left", "right", "toward", "away"):
        direction = meaning.direction
    objects = [meaning.objects[k] for k in order]
    # What the prompt leaves open may end with a hidden object, which still counts as present.
    outcomes: tuple[Outcome, ...] = ("", "stays hidden") if meaning.event in ("none", "hide") else (outcome,)
    for choice, outcome in itertools.product(_attribute_choices(objects, video), outcomes):
        yield (
            PromptSpec(objects=choice, event=kind, direction=direction, side=side, outcome=outcome),
            order,
        )


def _attribute_choices(objects: list[ObjectMeaning], video: TrackedVideo) -> Iterator[tuple[ObjectSpec, ...]]:
    """Yield the objects with open colours and shapes taken from the tracks of the video."""
    stated = {obj.colour for obj in objects}
    found = sorted({track.colour for track in video.tracks} - stated)
    # With fewer colours than objects, the others are not in the video.
    others = [colour for colour in COLOURS if colour not in stated and colour not in found]
    open_colours = [*found, *others[: max(0, len(objects) - len(found))]]
    choices: list[list[Colour]] = [
        [colour for colour in COLOURS if colour == obj.colour] or open_colours for obj in objects
    ]
    shapes = {track.colour: main_shape(track) for track in video.tracks}
    for colours in itertools.product(*choices):
        if len(set(colours)) < len(colours):
            continue
        yield tuple(
            ObjectSpec(
                colour=colour,
                shape=LAB_SHAPES[obj.shape] if obj.shape else shapes.get(colour, "ball"),
                count=obj.count,
            )
            for obj, colour in zip(objects, colours, strict=True)
        )


def main_shape(track: Track) -> LabShape:
    """The shape that a track has in most frames."""
    found = [shape for shape in shape_per_frame(track) if shape is not None]
    return max(SHAPES, key=found.count)


def _score_scene(
    meaning: Meaning, scene: MatchedScene, order: list[int]
) -> dict[EverydayMeasure, bool | None]:
    objects, colours, counts = _score_attributes(scene)
    motion = _check_motion(meaning, scene)
    verdicts: dict[EverydayMeasure, bool | None] = {
        "objects": objects,
        "colours": colours if any(obj.colour for obj in meaning.objects) else None,
        "counts": counts,
        "relation": _check_relation(meaning, scene, order),
        "motion": motion,
        "camera move": _check_camera(meaning, scene.video),
    }
    passed = all(verdict is not False for verdict in verdicts.values())
    static = meaning.camera in ("", "static")
    permanence = not measure_permanence(scene.video).num_faults if static and scene.video.tracks else None
    return verdicts | {"permanence": permanence, "everything": passed}


def _score_attributes(scene: MatchedScene) -> tuple[bool, bool, bool]:
    """Whether shapes with their colours, colours, and the number of objects are those of the prompt.

    Each must hold in 90% of the frames in which no object is cut off by the border. A hidden object counts
    as it was before.
    """
    scores = measure_binding(scene)
    return (
        scores.passes(scores.pairs),
        scores.passes(scores.colour),
        scores.passes(scores.count),
    )


def _check_relation(meaning: Meaning, scene: MatchedScene, order: list[int]) -> bool | None:
    if not meaning.relation:
        return None
    if meaning.relation == "left of":
        return bool(check_left_right(scene))
    tracks = [scene.main_track(order.index(k)) for k in range(len(meaning.objects))]
    if any(track is None for track in tracks):
        return False
    frames = scorable_frames(scene)
    found = [_mean_position(scene.video, track, frames) for track in tracks if track is not None]
    if meaning.relation == "next to":
        assert meaning.related is not None
        first, second = (found[k] for k in meaning.related)
        return bool(np.linalg.norm(first - second) <= _MAX_NEIGHBOUR_DISTANCE)
    x = np.array([position[0] for position in found])
    if meaning.relation == "between":
        assert meaning.related is not None
        others = np.delete(x, meaning.related[0])
        return bool(others.min() < x[meaning.related[0]] < others.max())
    depth = np.array([position[1] for position in found])
    return bool(np.ptp(depth) <= np.ptp(x))


def _mean_position(video: TrackedVideo, track: Track, frames: np.ndarray) -> np.ndarray:
    positions = floor_positions(video, track)[frames & track.visible]
    return np.nanmean(positions, axis=0) if len(positions) else np.full(2, np.nan)


def _check_motion(meaning: Meaning, scene: MatchedScene) -> bool | None:
    """Whether the actor does what the event says; None where the meaning has no event."""
    if meaning.event == "none":
        return None
    actor, patient = scene.main_track(0), scene.main_track(1)
    if actor is None or (meaning.patient is not None and patient is None):
        return False
    video = scene.video
    if meaning.event == "still":
        if meaning.camera not in ("", "static"):
            return None
        return all(max_displacement(video, track) < thresholds.MIN_TRAVEL for track in video.tracks)
    checks = [check_direction(scene) is not False]
    match scene.prompt_spec.event:
        case "moves":
            checks.append(max_displacement(video, actor) >= thresholds.MIN_TRAVEL)
            if scene.prompt_spec.outcome == "stops":
                checks.append(_comes_to_rest(video, actor))
        case "falls":
            checks += _check_fall(scene, actor, patient)
        case "meets":
            collision = measure_collision(scene)
            assert collision is not None
            checks += [max_displacement(video, actor) >= thresholds.MIN_TRAVEL, collision.is_correct()]
            if meaning.event in ("push", "knock over"):
                checks.append(collision.response_frame is not None)
            if meaning.event == "knock over" and patient is not None:
                checks.append(_is_tipped(patient))
            if meaning.event == "hit, it stays":
                checks.append(collision.response_frame is None)
        case "hides":
            outcome = "" if meaning.event == "hide" else scene.prompt_spec.outcome
            checks += [
                max_displacement(video, actor) >= thresholds.MIN_TRAVEL,
                *_check_hiding(scene, actor, outcome),
            ]
    return all(checks)


def _comes_to_rest(video: TrackedVideo, track: Track) -> bool:
    """Whether an object moves less than a tenth of its radius over its last third of a second."""
    frames = np.flatnonzero(track.visible)[-max(3, round(video.fps / 3)) :]
    positions = floor_positions(video, track)[frames] / OBJECT_HALF_SIZE
    return bool(np.linalg.norm(positions[-1] - positions[0]) < 0.1 * len(frames))


def _check_fall(scene: MatchedScene, actor: Track, patient: Track | None) -> list[bool]:
    outcome = scene.prompt_spec.outcome
    if outcome in ("lands on", "falls beside"):
        if patient is None:
            return [False]
        last = np.flatnonzero(actor.visible & patient.visible)
        if not len(last):
            return [False]
        left, top, right, _ = patient.box[last[-1]]
        x, bottom = actor.centre[last[-1], 0], actor.box[last[-1], 3]
        is_above = bool(left <= x <= right and bottom <= top + 0.5 * actor.radius)
        return [is_above == (outcome == "lands on")]
    laws = measure_motion_laws(scene)
    return [laws is not None and laws.is_correct]


def _check_hiding(scene: MatchedScene, actor: Track, outcome: Outcome) -> list[bool]:
    video = scene.video
    is_gone = not actor.visible[-1] and not actor.touches_border[actor.last_frame]
    match outcome:
        case "re-emerges":
            return [bool(visibility_gaps(actor)), not is_gone]
        case "stays hidden":
            return [is_gone]
        case "in front":
            wall = scene.main_track(1)
            return [
                not visibility_gaps(actor) and not is_gone,
                wall is not None and first_contact_frame(video, actor, wall) is not None,
            ]
        case _:
            return [bool(visibility_gaps(actor)) or is_gone]


def _is_tipped(track: Track) -> bool:
    """Whether the outline of an object is another one at the end: lower, or turned.

    An object that lies with its long axis away from the camera is as high as before, but its outline is not
    the same. Where another object may hide a part of it, the outline must differ more.
    """
    frames = np.flatnonzero(track.visible & ~track.touches_border)
    if len(frames) < 2 * thresholds.MIN_FRAMES:
        return False
    height = track.box[frames, 3] - track.box[frames, 1]
    before, after = np.median(height[: thresholds.MIN_FRAMES]), np.median(height[-thresholds.MIN_FRAMES :])
    if after <= _TIPPED_HEIGHT_RATIO * before:
        return True
    upright = _normalized_outlines(track, frames[: thresholds.MIN_FRAMES])
    later = frames[len(frames) // 2 :]
    clear = later[track.unoccluded[later]]
    is_clear = len(clear) >= thresholds.MIN_FRAMES
    last = (clear if is_clear else later)[-thresholds.MIN_FRAMES :]
    overlap = np.median(
        [max(_overlap(end, one) for one in upright) for end in _normalized_outlines(track, last)]
    )
    return bool(overlap <= (_TIPPED_OVERLAP if is_clear else _TIPPED_OVERLAP_HIDDEN))


def _normalized_outlines(track: Track, frames: Int[np.ndarray, " n"]) -> list[Float[np.ndarray, "s s"]]:
    """The coverage of an object's pixels in some frames, moved to the middle and scaled to a fixed area."""
    half = _OUTLINE_SIZE // 2
    unit = np.mgrid[-half : half + 1, -half : half + 1] / _OUTLINE_SIDE
    outlines = []
    for frame in frames:
        blob = track.blobs[frame]
        assert blob is not None
        mask = blob.soft_mask
        area = mask.sum()
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        centre = np.array([(mask * rows).sum(), (mask * columns).sum()]) / area
        outlines.append(ndimage.map_coordinates(mask, centre[:, None, None] + unit * np.sqrt(area), order=1))
    return outlines


def _overlap(one: Float[np.ndarray, "s s"], other: Float[np.ndarray, "s s"]) -> float:
    """Intersection over union of two outlines."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def _check_camera(meaning: Meaning, video: TrackedVideo) -> bool | None:
    """Whether the camera moves as stated; None where the objects don't show it.

    Objects that move themselves do not distinguish a static camera from a moving one, and a single object
    does not show an orbit around it.
    """
    if not meaning.camera or meaning.event not in ("none", "still"):
        return None
    if meaning.camera.startswith("orbit") and len(meaning.objects) == 1:
        return None
    estimate = estimate_camera(video)
    if meaning.camera == "static" and (estimate is None or estimate.move != "static"):
        displacements = [max_displacement(video, track) for track in video.tracks]
        return True if min(displacements, default=0.0) < thresholds.MIN_TRAVEL else None
    return estimate is not None and estimate.move == _CAMERA_CLASSES.get(meaning.camera, meaning.camera)
