"""The scores of one video on disk: small JSON files from which every table is computed.

An output folder has `records/00012-0.json` and `videos/00012-0.mp4` for prompt 12; `-1` is its swapped
prompt.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.evaluation.everyday import score_meaning
from kinema.evaluation.flicker import measure_flicker
from kinema.evaluation.frechet import tracker_features, video_features
from kinema.evaluation.permanence import PermanenceEvents, measure_permanence
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import VideoScores, score_video
from kinema.evaluation.whole import SceneMeaning, score_scene
from kinema.frames import FrameArray
from kinema.media import psnr, ssim
from kinema.simulator.captions.everyday.meaning import Meaning

PERMANENCE_FAULTS = ("births", "deaths", "colour_changes", "size_changes")
COLLISION_FAULTS = ("moved_before_contact", "missed_contact", "passed_through", "moved_without_contact")
"""Fields of `PermanenceEvents` and `Collision` that are faults."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """Verdicts and metrics of one video. NaN is stored as None."""

    index: int
    kind: str
    prompt: str
    has_objects: bool
    verdicts: dict[str, bool | None]
    """Measure -> pass, fail, or None where it does not apply."""
    faults: dict[str, int]
    """Number of faults by name: `PERMANENCE_FAULTS`, `COLLISION_FAULTS` and 'frozen'."""
    metrics: dict[str, float | None]
    video_features: tuple[float, ...]
    tracker_features: tuple[float, ...]


def build_record(
    index: int,
    kind: str,
    prompt: str,
    frames: FrameArray,
    fps: float,
    meaning: Meaning | SceneMeaning | None = None,
) -> EvaluationRecord:
    """Score a video.

    Args:
        index: of the prompt in its set.
        kind: of the prompt.
        prompt: a lab prompt, or any prompt with a meaning.
        frames: the video.
        fps: frames per second.
        meaning: of the prompt; None parses the prompt.

    Raises:
        UserError: the prompt cannot be parsed.
    """
    if isinstance(meaning, SceneMeaning):
        return _build_whole_record(index, kind, prompt, frames, fps, meaning)
    if meaning is not None:
        return _build_everyday_record(index, kind, prompt, frames, fps, meaning)
    scores = score_video(parse_prompt(prompt), frames, fps)
    return EvaluationRecord(
        index=index,
        kind=kind,
        prompt=prompt,
        has_objects=scores.has_objects,
        verdicts={str(measure): passed for measure, passed in scores.verdicts.items()},
        faults=_count_faults(scores),
        metrics=_collect_metrics(scores, len(frames) / fps),
        video_features=tuple(float(x) for x in video_features(frames)),
        tracker_features=tuple(float(x) for x in tracker_features(scores.video)),
    )


def _build_everyday_record(
    index: int, kind: str, prompt: str, frames: FrameArray, fps: float, meaning: Meaning
) -> EvaluationRecord:
    scores = score_meaning(meaning, frames, fps)
    permanence = measure_permanence(scores.video)
    metrics = {"seconds": len(frames) / fps, "object_minutes": permanence.object_minutes}
    if meaning.camera in ("", "static"):
        flicker = measure_flicker(frames, scores.video)
        metrics |= {"background_flicker": flicker.background, "object_flicker": flicker.objects}
    return EvaluationRecord(
        index=index,
        kind=kind,
        prompt=prompt,
        has_objects=bool(scores.video.tracks),
        verdicts={str(measure): passed for measure, passed in scores.verdicts.items()},
        faults=_count_permanence_faults(permanence),
        metrics=_finite_or_none(metrics),
        video_features=tuple(float(x) for x in video_features(frames)),
        tracker_features=tuple(float(x) for x in tracker_features(scores.video)),
    )


def _build_whole_record(
    index: int, kind: str, prompt: str, frames: FrameArray, fps: float, meaning: SceneMeaning
) -> EvaluationRecord:
    """Score a video of the whole simulator, in which objects can't be tracked by their colours."""
    return EvaluationRecord(
        index=index,
        kind=kind,
        prompt=prompt,
        has_objects=True,
        verdicts={str(measure): passed for measure, passed in score_scene(meaning, frames).items()},
        faults=dict.fromkeys(PERMANENCE_FAULTS, 0),
        metrics={"seconds": len(frames) / fps, "object_minutes": None},
        video_features=tuple(float(x) for x in video_features(frames)),
        tracker_features=(),
    )


def with_similarity(record: EvaluationRecord, frames: FrameArray, reference: FrameArray) -> EvaluationRecord:
    """The record of a copy, with its PSNR in dB and SSIM against the original added."""
    similarity = {"psnr": psnr(frames, reference), "ssim": ssim(frames, reference)}
    return replace(record, metrics=record.metrics | _finite_or_none(similarity))


def _finite_or_none(values: dict[str, float]) -> dict[str, float | None]:
    return {name: float(x) if math.isfinite(x) else None for name, x in values.items()}


def _count_permanence_faults(permanence: PermanenceEvents) -> dict[str, int]:
    return {name: len(getattr(permanence, name)) for name in PERMANENCE_FAULTS}


def _count_faults(scores: VideoScores) -> dict[str, int]:
    collision = scores.collision
    return {
        **_count_permanence_faults(scores.permanence),
        **{name: int(collision is not None and getattr(collision, name)) for name in COLLISION_FAULTS},
        "frozen": int(bool(scores.frozen)),
    }


def _collect_metrics(scores: VideoScores, seconds: float) -> dict[str, float | None]:
    collision, laws = scores.collision, scores.motion_laws
    # A moving camera changes every pixel and every size, so metrics of a static camera do not apply.
    static = scores.camera is None
    values = {
        "seconds": seconds,
        "object_minutes": scores.permanence.object_minutes,
        "energy_ratio": collision.energy_ratio if collision else math.nan,
        "momentum_error": collision.momentum_error if collision else math.nan,
        "deceleration_residual": laws.deceleration_residual if laws else math.nan,
        "gravity": laws.gravity if laws else math.nan,
        "bounce_ratio": laws.bounce_ratio if laws else math.nan,
        "survival_seconds": scores.survival_seconds if static else math.nan,
        "background_flicker": scores.flicker.background if static else math.nan,
        "object_flicker": scores.flicker.objects if static else math.nan,
    }
    return _finite_or_none(values)


def record_path(out: Path, index: int, variant: int) -> Path:
    """The record of a prompt (variant 0) or its swapped prompt (1) in an output folder."""
    return out / "records" / f"{index:05}-{variant}.json"


def video_path(out: Path, index: int, variant: int) -> Path:
    """The video of a prompt (variant 0) or its swapped prompt (1) in an output folder."""
    return out / "videos" / f"{index:05}-{variant}.mp4"


def save(record: EvaluationRecord, path: Path) -> None:
    """Write a record atomically."""
    write_text(path, json.dumps(asdict(record)))


def load(path: Path) -> EvaluationRecord:
    """Read a record.

    Raises:
        UserError: another version of Kinema wrote it.
    """
    values = json.loads(path.read_text())
    try:
        features = {name: tuple(values[name]) for name in ("video_features", "tracker_features")}
        return EvaluationRecord(**values | features)
    except (KeyError, TypeError):
        raise UserError(f"{path} was written by another version of Kinema; evaluate again") from None


def load_records(out: Path) -> list[EvaluationRecord]:
    """All records of an output folder, in the order of their names; empty if there are none."""
    return [load(path) for path in sorted((out / "records").glob("*.json"))]
