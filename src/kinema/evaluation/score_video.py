"""All scores of one video against its prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

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
from kinema.frames import FrameArray

Measure = Literal[
    "colour", "shape", "binding", "left/right", "direction", "camera", "permanence", "causality", "physics",
    "identity",
]  # fmt: skip
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoScores:
    """The scores of one video. None where a measure does not apply to the prompt."""

    has_objects: bool
    """False if no object was found; every measure that applies then fails."""
    colour: bool
    shape: bool
    binding: bool
    """Colours, shapes and counts together."""
    left_right: bool | None
    direction: bool | None
    camera: bool | None
    frozen: bool | None
    """An object that should move stands still: a fault."""
    permanence: PermanenceEvents
    collision: Collision | None
    motion_laws: MotionLaws | None
    survival_seconds: float
    """Seconds until the first change of identity; see `identity`."""
    identity_preserved: bool
    flicker: Flicker
    video: TrackedVideo

    @property
    def is_correct(self) -> bool:
        """Whether the requested objects do what the prompt says and none appears or disappears.

        Measures of quality (changes of colour and size, laws of motion, identity, camera) are not included.
        """
        passed = (
            self.binding,
            self.direction is not False,
            self.left_right is not False,
            self.collision is None or self.collision.is_correct(),
            not self.frozen,
            not self.permanence.births,
            not self.permanence.deaths,
        )
        return all(passed)

    @property
    def verdicts(self) -> dict[Measure, bool | None]:
        """Pass or fail by every measure; None where it does not apply."""
        static = self.camera is None
        collision, laws = self.collision, self.motion_laws
        return {
            "colour": self.colour,
            "shape": self.shape,
            "binding": self.binding,
            "left/right": self.left_right,
            "direction": self.direction,
            "camera": self.camera,
            "permanence": self.has_objects and not self.permanence.num_faults if static else None,
            # A near miss without any motion is not a success.
            "causality": None if collision is None else collision.is_correct() and not self.frozen,
            "physics": None if laws is None else laws.is_correct,
            "identity": self.identity_preserved if static else None,
        }


def score_video(prompt_spec: PromptSpec, frames: FrameArray, fps: float) -> VideoScores:
    """Score a video of the lab by all measures.

    Args:
        prompt_spec: the parsed prompt.
        frames: at least 48 pixels high, seen by the lab's own camera.
        fps: frames per second.
    """
    video = track_objects(frames, fps)
    scene = match_objects(prompt_spec, video)
    binding = measure_binding(scene)
    permanence = measure_permanence(video)
    chunks = measure_identity(
        video, grounded=prompt_spec.event != "falls", lost_frame=permanence.first_lost_frame
    )
    return VideoScores(
        has_objects=bool(video.tracks),
        colour=binding.passes(binding.colour),
        shape=binding.passes(binding.shape),
        binding=binding.passes(binding.pairs),
        left_right=check_left_right(scene),
        direction=check_direction(scene),
        camera=check_camera_move(scene),
        frozen=is_frozen(scene),
        permanence=permanence,
        collision=measure_collision(scene),
        motion_laws=measure_motion_laws(scene),
        survival_seconds=survival_seconds(chunks, video.num_frames / fps),
        identity_preserved=all(chunk.is_same for chunk in chunks),
        flicker=measure_flicker(frames, video),
        video=video,
    )
