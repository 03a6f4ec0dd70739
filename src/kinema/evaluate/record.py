"""One judged film as it is kept on disk: small, plain and complete enough for every table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.atomic_io import write_text
from kinema.evaluate.frechet import film_features, tracker_features
from kinema.evaluate.judgement import MEASURES, Judgement, judgement
from kinema.evaluate.meaning import read
from kinema.media import psnr, ssim


@dataclass(frozen=True, kw_only=True)
class Record:
    """A film's verdicts and figures. NaN is kept as None."""

    index: int
    kind: str
    prompt: str
    parsed: bool
    verdicts: dict[str, bool | None]
    """Measure -> right, wrong, or not asked."""
    faults: dict[str, int]
    """Events found: births, deaths, recoloured, resized, frozen, early, missed, passed, disturbed."""
    figures: dict[str, float | None]
    features: tuple[float, ...]
    tracked: tuple[float, ...]


def record_of(index: int, kind: str, prompt: str, frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> Record:
    """Judge a film and keep what counts."""
    seen = judgement(read(prompt), frames, fps)
    return Record(
        index=index,
        kind=kind,
        prompt=prompt,
        parsed=seen.parsed,
        verdicts={measure: seen.verdict(measure) for measure in MEASURES},
        faults=_faults(seen),
        figures=_figures(seen, len(frames) / fps),
        features=tuple(float(x) for x in film_features(frames)),
        tracked=tuple(float(x) for x in tracker_features(seen.film)),
    )


def beside(
    record: Record, frames: UInt8[np.ndarray, "f h w 3"], truth: UInt8[np.ndarray, "f h w 3"]
) -> Record:
    """The record of a copy, with how like the original it is: PSNR in dB and SSIM."""
    likeness = {"PSNR": psnr(frames, truth), "SSIM": ssim(frames, truth)}
    return replace(record, figures=record.figures | _plain(likeness))


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: float(x) if math.isfinite(x) else None for name, x in numbers.items()}


def _faults(seen: Judgement) -> dict[str, int]:
    lasting, met = seen.permanence, seen.meeting
    return {
        "births": len(lasting.births),
        "deaths": len(lasting.deaths),
        "recoloured": len(lasting.recoloured),
        "resized": len(lasting.resized),
        "frozen": int(bool(seen.frozen)),
        "early": int(met is not None and met.early),
        "missed": int(met is not None and met.missed),
        "passed": int(met is not None and met.passed),
        "disturbed": int(met is not None and met.disturbed),
    }


def _figures(seen: Judgement, seconds: float) -> dict[str, float | None]:
    # A moving camera changes every pixel and every size, so what is told of a still one is left out.
    still = seen.camera is None
    numbers = {
        "seconds": seconds,
        "object minutes": seen.permanence.object_minutes,
        "energy": seen.meeting.energy if seen.meeting else math.nan,
        "momentum": seen.meeting.momentum if seen.meeting else math.nan,
        "unevenness": seen.laws.unevenness if seen.laws else math.nan,
        "gravity": seen.laws.gravity if seen.laws else math.nan,
        "bounce": seen.laws.bounce if seen.laws else math.nan,
        "survival": seen.survival if still else math.nan,
        "flicker": seen.flicker.background if still else math.nan,
        "object flicker": seen.flicker.objects if still else math.nan,
    }
    return _plain(numbers)


def save(record: Record, path: Path) -> None:
    """Write a record, whole or not at all."""
    write_text(path, json.dumps(asdict(record)))


def load(path: Path) -> Record:
    """Read a record."""
    told = json.loads(path.read_text())
    return Record(**told | {"features": tuple(told["features"]), "tracked": tuple(told["tracked"])})
