"""One judged film as it is kept on disk: small, plain and complete enough for every table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.atomic_io import write_text
from kinema.evaluation.frechet import tracker_features, video_features
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import MEASURES, VideoScores, score_video
from kinema.media import psnr, ssim


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """A film's verdicts and figures. NaN is kept as None."""

    index: int
    kind: str
    prompt: str
    has_objects: bool
    verdicts: dict[str, bool | None]
    """Measure -> right, wrong, or not asked."""
    faults: dict[str, int]
    """Events found: births, deaths, recoloured, resized, frozen, early, missed, passed, disturbed."""
    metrics: dict[str, float | None]
    video_features: tuple[float, ...]
    tracker_features: tuple[float, ...]


def build_record(
    index: int, kind: str, prompt: str, frames: UInt8[np.ndarray, "f h w 3"], fps: float
) -> EvaluationRecord:
    """Judge a film and keep what counts."""
    seen = score_video(parse_prompt(prompt), frames, fps)
    return EvaluationRecord(
        index=index,
        kind=kind,
        prompt=prompt,
        has_objects=seen.has_objects,
        verdicts={measure: seen.verdict(measure) for measure in MEASURES},
        faults=_count_faults(seen),
        metrics=_collect_metrics(seen, len(frames) / fps),
        video_features=tuple(float(x) for x in video_features(frames)),
        tracker_features=tuple(float(x) for x in tracker_features(seen.video)),
    )


def with_similarity(
    record: EvaluationRecord, frames: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]
) -> EvaluationRecord:
    """The record of a copy, with how like the original it is: PSNR in dB and SSIM."""
    likeness = {"PSNR": psnr(frames, reference), "SSIM": ssim(frames, reference)}
    return replace(record, metrics=record.metrics | _finite_or_none(likeness))


def _finite_or_none(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: float(x) if math.isfinite(x) else None for name, x in numbers.items()}


def _count_faults(scores: VideoScores) -> dict[str, int]:
    lasting, met = scores.permanence, scores.collision
    return {
        "births": len(lasting.births),
        "deaths": len(lasting.deaths),
        "recoloured": len(lasting.colour_changes),
        "resized": len(lasting.size_changes),
        "frozen": int(bool(scores.frozen)),
        "early": int(met is not None and met.moved_before_contact),
        "missed": int(met is not None and met.missed_contact),
        "passed": int(met is not None and met.passed_through),
        "disturbed": int(met is not None and met.moved_without_contact),
    }


def _collect_metrics(scores: VideoScores, seconds: float) -> dict[str, float | None]:
    # A moving camera changes every pixel and every size, so what is told of a still one is left out.
    still = scores.camera is None
    numbers = {
        "seconds": seconds,
        "object minutes": scores.permanence.object_minutes,
        "energy": scores.collision.energy_ratio if scores.collision else math.nan,
        "momentum": scores.collision.momentum_error if scores.collision else math.nan,
        "unevenness": scores.motion_laws.deceleration_residual if scores.motion_laws else math.nan,
        "gravity": scores.motion_laws.gravity if scores.motion_laws else math.nan,
        "bounce": scores.motion_laws.bounce_ratio if scores.motion_laws else math.nan,
        "survival": scores.survival_seconds if still else math.nan,
        "flicker": scores.flicker.background if still else math.nan,
        "object flicker": scores.flicker.objects if still else math.nan,
    }
    return _finite_or_none(numbers)


def save(record: EvaluationRecord, path: Path) -> None:
    """Write a record, whole or not at all."""
    write_text(path, json.dumps(asdict(record)))


def load(path: Path) -> EvaluationRecord:
    """Read a record."""
    told = json.loads(path.read_text())
    return EvaluationRecord(**told | {"features": tuple(told["features"]), "tracked": tuple(told["tracked"])})
