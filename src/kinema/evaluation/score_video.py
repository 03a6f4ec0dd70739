"""Everything the judge says about one film, and the smoke test's short form of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from kinema.evaluation.binding import check_left_right, measure_binding
from kinema.evaluation.camera import check_camera_move
from kinema.evaluation.causality import Collision, measure_collision
from kinema.evaluation.direction import check_direction, is_frozen
from kinema.evaluation.flicker import Flicker, measure_flicker
from kinema.evaluation.identity import measure_identity, survival_seconds
from kinema.evaluation.matching import match_objects
from kinema.evaluation.permanence import PermanenceEvents, measure_permanence
from kinema.evaluation.physics_laws import MotionLaws, measure_motion_laws
from kinema.evaluation.prompt_parser import PromptSpec
from kinema.evaluation.tracking import TrackedVideo, track_objects

Measure = Literal[
    "colour", "shape", "binding", "left/right", "direction", "camera", "permanence", "cause", "laws",
    "identity",
]  # fmt: skip
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoScores:
    """One film judged. None where the prompt does not ask for a measure."""

    has_objects: bool
    """False: nothing was found that could be judged; everything asked for then counts as wrong."""
    colour: bool
    shape: bool
    binding: bool
    left_right: bool | None
    direction: bool | None
    camera: bool | None
    frozen: bool | None
    permanence: PermanenceEvents
    collision: Collision | None
    motion_laws: MotionLaws | None
    survival_seconds: float
    """Seconds up to which everything stayed the same; see `identity`."""
    identity_preserved: bool
    flicker: Flicker
    video: TrackedVideo

    def verdict(self, measure: Measure) -> bool | None:
        """Right, wrong, or not asked."""
        match measure:
            case "colour":
                return self.colour
            case "shape":
                return self.shape
            case "binding":
                return self.binding
            case "left/right":
                return self.left_right
            case "direction":
                return self.direction
            case "camera":
                return self.camera
            case "permanence":
                return (
                    None if self.camera is not None else self.has_objects and not self.permanence.num_faults
                )
            case "cause":
                # A thing that never sets out can't fail to miss another one.
                return None if self.collision is None else self.collision.is_correct() and not self.frozen
            case "laws":
                return None if self.motion_laws is None else self.motion_laws.is_correct
            case "identity":
                return None if self.camera is not None else self.identity_preserved


def score_video(prompt_spec: PromptSpec, frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> VideoScores:
    """Judge a film against the meaning of its prompt: all measures at once."""
    film = track_objects(frames, fps)
    scene = match_objects(prompt_spec, film)
    bound = measure_binding(scene)
    lasting = measure_permanence(film)
    chunks = measure_identity(
        film, grounded=prompt_spec.event != "falls", lost_frame=lasting.first_lost_frame
    )
    return VideoScores(
        has_objects=bool(film.tracks),
        colour=bound.passes(bound.colour),
        shape=bound.passes(bound.shape),
        binding=bound.passes(bound.pairs),
        left_right=check_left_right(scene),
        direction=check_direction(scene),
        camera=check_camera_move(scene),
        frozen=is_frozen(scene),
        permanence=lasting,
        collision=measure_collision(scene),
        motion_laws=measure_motion_laws(scene),
        survival_seconds=survival_seconds(chunks, film.num_frames / fps),
        identity_preserved=all(chunk.is_same for chunk in chunks),
        flicker=measure_flicker(frames, film),
        video=film,
    )
