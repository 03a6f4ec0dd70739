"""Aggregates the records of many videos into rates with confidence intervals, and compares two sets of
them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy import stats

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.evaluation.everyday import EVERYDAY_MEASURES
from kinema.evaluation.frechet import RANDOM_WEIGHT_SEED, frechet_distance
from kinema.evaluation.record import COLLISION_FAULTS, PERMANENCE_FAULTS, EvaluationRecord
from kinema.evaluation.score_video import MEASURES
from kinema.evaluation.whole import WHOLE_MEASURES

NUM_BOOTSTRAP_SAMPLES = 10_000
METRICS = (
    "deceleration_residual", "gravity", "bounce_ratio", "energy_ratio", "momentum_error", "survival_seconds",
    "background_flicker", "object_flicker", "psnr", "ssim",
)  # fmt: skip
"""Metrics of a record whose means are part of a row."""
ALL_MEASURES: tuple[str, ...] = tuple(dict.fromkeys((*MEASURES, *EVERYDAY_MEASURES, *WHOLE_MEASURES)))
"""The measures of lab prompts, then those that only prompts with a meaning have."""
LEFT_RIGHT_BOTH_WAYS = "left/right, both ways"
SURVIVAL_SECONDS = tuple(range(10, 70, 10))
"""Durations after which identity is checked."""
_CONFIDENCE = 0.95
_Z = float(stats.norm.ppf((1 + _CONFIDENCE) / 2))
_MIN_VIDEOS_FOR_DISTANCE = 10
"""Smallest number of videos in both sets for a Fréchet distance."""


@dataclass(frozen=True, kw_only=True)
class IntervalEstimate:
    """An estimate with its 95% confidence interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class ScorecardRow:
    """The results of one set of videos: a model or a baseline."""

    name: str
    num_videos: int
    num_without_objects: int
    measures: dict[str, IntervalEstimate]
    """Share of videos that pass, of those to which the measure applies."""
    events: dict[str, IntervalEstimate]
    """Per object-minute for `PERMANENCE_FAULTS`, otherwise share of videos."""
    metrics: dict[str, IntervalEstimate]
    distances: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """All published results of an evaluation."""

    title: str
    prompt_set: str
    digest: str
    video_format: str
    rows: tuple[ScorecardRow, ...]
    """The evaluated videos first, then the baselines."""
    detector_rates: tuple[tuple[str, IntervalEstimate, IntervalEstimate], ...] = ()
    """Synthetic fault, recall, false alarm rate."""
    classifier_accuracy: dict[str, float] = field(default_factory=dict)
    """Accuracy of the scene classifier for each attribute, where it scored the videos."""

    def save(self, path: Path) -> None:
        """Write the scorecard as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def _undefined_estimate(n: int) -> IntervalEstimate:
    return IntervalEstimate(value=math.nan, low=math.nan, high=math.nan, n=n)


def wilson_interval(successes: int, n: int) -> IntervalEstimate:
    """A share with its score interval (Wilson 1927)."""
    if n == 0:
        return _undefined_estimate(0)
    interval = stats.binomtest(successes, n).proportion_ci(_CONFIDENCE, method="wilson")
    return IntervalEstimate(value=successes / n, low=float(interval.low), high=float(interval.high), n=n)


def mean_interval(values: Sequence[float]) -> IntervalEstimate:
    """A mean with its normal interval."""
    n = len(values)
    if n == 0:
        return _undefined_estimate(0)
    mean = math.fsum(values) / n
    half = _Z * float(stats.sem(values)) if n > 1 else 0.0
    return IntervalEstimate(value=mean, low=mean - half, high=mean + half, n=n)


def poisson_rate(count: int, exposure: float) -> IntervalEstimate:
    """Events per unit of exposure with an interval by Byar's approximation to the Poisson distribution."""
    if exposure <= 0:
        return _undefined_estimate(count)
    high = (count + 1) * (1 - 1 / (9 * (count + 1)) + _Z / (3 * math.sqrt(count + 1))) ** 3
    low = 0.0 if count == 0 else count * (1 - 1 / (9 * count) - _Z / (3 * math.sqrt(count))) ** 3
    return IntervalEstimate(value=count / exposure, low=low / exposure, high=high / exposure, n=count)


def aggregate_records(
    name: str, records: Sequence[EvaluationRecord], reference: Sequence[EvaluationRecord] = ()
) -> ScorecardRow:
    """Aggregate the records of a set of videos.

    Args:
        name: of the row.
        records: in any order; the result does not depend on it.
        reference: records of simulator videos for the Fréchet distances; empty leaves them out.
    """
    records = sorted(records, key=lambda r: (r.index, r.prompt))
    measures = {}
    for measure in (*ALL_MEASURES, LEFT_RIGHT_BOTH_WAYS, *map(survival_measure, SURVIVAL_SECONDS)):
        if measure == LEFT_RIGHT_BOTH_WAYS:
            verdicts = list(_swapped_pair_verdicts(records).values())
        else:
            verdicts = [v for v in verdicts_for_measure(records, measure) if v is not None]
        if verdicts:
            measures[measure] = wilson_interval(sum(verdicts), len(verdicts))
    object_minutes = math.fsum(r.metrics["object_minutes"] or 0.0 for r in records)
    events = {
        fault: poisson_rate(sum(r.faults[fault] for r in records), object_minutes)
        for fault in PERMANENCE_FAULTS
    }
    for faults, measure in ((COLLISION_FAULTS, "causality"), (("frozen",), "direction")):
        applicable = [r for r in records if r.verdicts.get(measure) is not None]
        if applicable:
            events |= {
                fault: wilson_interval(sum(r.faults[fault] for r in applicable), len(applicable))
                for fault in faults
            }
    metrics = {}
    for metric in METRICS:
        values = [x for r in records if (x := r.metrics.get(metric)) is not None]
        if values:
            metrics[metric] = mean_interval(values)
    return ScorecardRow(
        name=name,
        num_videos=len(records),
        num_without_objects=sum(not r.has_objects for r in records),
        measures=measures,
        events=events,
        metrics=metrics,
        distances=_frechet_distances(records, reference),
    )


def survival_measure(seconds: int) -> str:
    """The name of the measure that identity is preserved for a number of seconds."""
    return f"identity, {seconds} s"


def verdicts_for_measure(records: Sequence[EvaluationRecord], measure: str) -> list[bool | None]:
    """Whether each video passes a measure of a row; None where it does not apply."""
    if measure == LEFT_RIGHT_BOTH_WAYS:
        pairs = _swapped_pair_verdicts(records)
        return [pairs.get(r.index) for r in records]
    for seconds in SURVIVAL_SECONDS:
        if measure == survival_measure(seconds):
            return [_survival_verdict(record, seconds) for record in records]
    return [record.verdicts.get(measure) for record in records]


def _survival_verdict(record: EvaluationRecord, seconds: int) -> bool | None:
    """Whether identity is preserved for so long; None for shorter videos and moving cameras."""
    survival, duration = record.metrics.get("survival_seconds"), record.metrics.get("seconds")
    # A one-minute video may be a frame or two shorter, because its length is a number of latent frames.
    if survival is None or duration is None or round(duration) < seconds:
        return None
    return round(survival) >= seconds


def _swapped_pair_verdicts(records: Sequence[EvaluationRecord]) -> dict[int, bool]:
    """Prompt index -> whether both the prompt and its swapped prompt pass left/right."""
    pairs: dict[int, list[bool]] = {}
    for record in records:
        verdict = record.verdicts.get("left/right")
        if verdict is not None and record.kind == "still":
            pairs.setdefault(record.index, []).append(verdict)
    return {index: all(pair) for index, pair in pairs.items() if len(pair) == 2}


def _frechet_distances(
    records: Sequence[EvaluationRecord], reference: Sequence[EvaluationRecord]
) -> dict[str, float]:
    if min(len(records), len(reference)) < _MIN_VIDEOS_FOR_DISTANCE:
        return {}
    reference = sorted(reference, key=lambda r: (r.index, r.prompt))
    distances = {
        f"random features (seed {RANDOM_WEIGHT_SEED})": frechet_distance(
            np.array([r.video_features for r in records]), np.array([r.video_features for r in reference])
        )
    }
    if all(r.tracker_features for r in (*records, *reference)):
        distances["tracker"] = frechet_distance(
            np.array([r.tracker_features for r in records]), np.array([r.tracker_features for r in reference])
        )
    return distances


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """One measure of two sets of videos for the same prompts, and the interval of B minus A."""

    measure: str
    a: float
    b: float
    low: float
    high: float
    n: int

    @property
    def is_significant(self) -> bool:
        """Whether the 95% interval excludes zero."""
        return self.low > 0 or self.high < 0


def compare_records(
    a: Sequence[EvaluationRecord], b: Sequence[EvaluationRecord]
) -> tuple[PairedDifference, ...]:
    """Compare two sets of videos by a paired bootstrap over prompts (Efron 1979), with a fixed seed.

    Raises:
        UserError: the two have no prompt in common.
    """
    by_prompt = [{(r.index, r.prompt): r for r in records} for records in (a, b)]
    common = sorted(by_prompt[0].keys() & by_prompt[1].keys())
    if not common:
        raise UserError("the two evaluations have no prompt in common; compare those of one prompt set")
    first, second = ([records[key] for key in common] for records in by_prompt)
    differences = []
    for measure in (*ALL_MEASURES, *map(survival_measure, SURVIVAL_SECONDS)):
        pairs = zip(verdicts_for_measure(first, measure), verdicts_for_measure(second, measure), strict=True)
        differences.append(
            _bootstrap_difference(measure, [(x, y) for x, y in pairs if x is not None and y is not None])
        )
    swapped_first, swapped_second = _swapped_pair_verdicts(first), _swapped_pair_verdicts(second)
    indices = sorted(swapped_first.keys() & swapped_second.keys())
    differences.append(
        _bootstrap_difference(LEFT_RIGHT_BOTH_WAYS, [(swapped_first[k], swapped_second[k]) for k in indices])
    )
    return tuple(difference for difference in differences if difference is not None)


def _bootstrap_difference(measure: str, pairs: list[tuple[bool, bool]]) -> PairedDifference | None:
    if not pairs:
        return None
    n = len(pairs)
    differences = [int(y) - int(x) for x, y in pairs]
    # A difference is -1, 0 or 1, so a resample of n is one multinomial draw. For 1,000 prompts
    # scipy.stats.bootstrap takes seconds per measure.
    shares = [differences.count(value) / n for value in (-1, 0, 1)]
    counts = np.random.default_rng(0).multinomial(n, shares, size=NUM_BOOTSTRAP_SAMPLES)
    low, high = np.percentile((counts[:, 2] - counts[:, 0]) / n, [2.5, 97.5])
    return PairedDifference(
        measure=measure,
        a=sum(x for x, _ in pairs) / n,
        b=sum(y for _, y in pairs) / n,
        low=float(low),
        high=float(high),
        n=n,
    )
