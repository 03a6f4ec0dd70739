"""From judged films to the scorecard: rates with intervals, figures, distances, comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.evaluation.frechet import RANDOM_WEIGHT_SEED, frechet_distance
from kinema.evaluation.record import EvaluationRecord
from kinema.evaluation.score_video import MEASURES

NUM_BOOTSTRAP_SAMPLES = 10_000
_METRICS = (
    "unevenness", "gravity", "bounce", "energy", "momentum", "survival", "flicker", "object flicker", "PSNR",
    "SSIM",
)  # fmt: skip
_LEFT_RIGHT_BOTH_WAYS = "left/right, both ways"
SURVIVAL_SECONDS = tuple(range(10, 70, 10))
"""Seconds after which it is asked whether everything is still the same."""
_MIN_VIDEOS_FOR_DISTANCE = 10
"""Films on either side from which a Fréchet distance is worth giving."""


@dataclass(frozen=True, kw_only=True)
class IntervalEstimate:
    """One figure with its 95% interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class ScorecardRow:
    """A set of films in one line of the table: a model, or an anchor."""

    name: str
    num_videos: int
    num_without_objects: int
    measures: dict[str, IntervalEstimate]
    """Share of films that are right, of those that the measure is asked of."""
    events: dict[str, IntervalEstimate]
    """Per object-minute for births, deaths, changes of colour and size; else share of films."""
    metrics: dict[str, IntervalEstimate]
    distances: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """Everything that is published about a set of films."""

    title: str
    prompt_set: str
    digest: str
    video_format: str
    rows: tuple[ScorecardRow, ...]
    """The films themselves first, anchors after them."""
    detector_rates: tuple[tuple[str, IntervalEstimate, IntervalEstimate], ...] = ()
    """Planted fault, recall, false alarms."""


def wilson_interval(successes: int, n: int) -> IntervalEstimate:
    """A share with its 95% score interval (Wilson 1927)."""
    if n == 0:
        return IntervalEstimate(value=math.nan, low=math.nan, high=math.nan, n=0)
    z, p = 1.959964, successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return IntervalEstimate(value=p, low=max(0.0, middle - half), high=min(1.0, middle + half), n=n)


def mean_interval(values: Sequence[float]) -> IntervalEstimate:
    """A mean with its 95% normal interval."""
    if not values:
        return IntervalEstimate(value=math.nan, low=math.nan, high=math.nan, n=0)
    middle = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((x - middle) ** 2 for x in values) / max(1, len(values) - 1))
    half = 1.959964 * spread / math.sqrt(len(values))
    return IntervalEstimate(value=middle, low=middle - half, high=middle + half, n=len(values))


def poisson_rate(count: int, exposure: float) -> IntervalEstimate:
    """Events per unit with a 95% interval (Byar's approximation to Poisson)."""
    if exposure <= 0:
        return IntervalEstimate(value=math.nan, low=math.nan, high=math.nan, n=count)
    high = (count + 1) * (1 - 1 / (9 * (count + 1)) + 1.96 / (3 * math.sqrt(count + 1))) ** 3
    low = 0.0 if count == 0 else count * (1 - 1 / (9 * count) - 1.96 / (3 * math.sqrt(count))) ** 3
    return IntervalEstimate(value=count / exposure, low=low / exposure, high=high / exposure, n=count)


def aggregate_records(
    name: str, records: Sequence[EvaluationRecord], reference: Sequence[EvaluationRecord] = ()
) -> ScorecardRow:
    """Sum up judged films.

    Args:
        name: of the row.
        records: in any order; the result does not depend on it.
        reference: simulator films for the Fréchet distances; none leaves them out.
    """
    records = sorted(records, key=lambda r: (r.index, r.prompt))
    measures: dict[str, IntervalEstimate] = {}
    for measure in MEASURES:
        asked = [v for r in records if (v := r.verdicts[measure]) is not None]
        if asked:
            measures[measure] = wilson_interval(sum(asked), len(asked))
    both = [*_swapped_pair_verdicts(records).values()]
    if both:
        measures[_LEFT_RIGHT_BOTH_WAYS] = wilson_interval(sum(both), len(both))
    for measure in map(survival_measure, SURVIVAL_SECONDS):
        lived = [right for right in verdicts_for_measure(records, measure) if right is not None]
        if lived:
            measures[measure] = wilson_interval(sum(lived), len(lived))
    minutes = math.fsum(r.metrics["object minutes"] or 0.0 for r in records)
    events = {}
    for event in ("births", "deaths", "recoloured", "resized"):
        events[event] = poisson_rate(sum(r.faults[event] for r in records), minutes)
    meetings = [r for r in records if r.verdicts["cause"] is not None]
    for event in ("early", "missed", "passed", "disturbed"):
        if meetings:
            events[event] = wilson_interval(sum(r.faults[event] for r in meetings), len(meetings))
    moving = [r for r in records if r.verdicts["direction"] is not None]
    if moving:
        events["frozen"] = wilson_interval(sum(r.faults["frozen"] for r in moving), len(moving))
    figures = {}
    for figure in _METRICS:
        told = [x for r in records if (x := r.metrics.get(figure)) is not None]
        if told:
            figures[figure] = mean_interval(told)
    return ScorecardRow(
        name=name,
        num_videos=len(records),
        num_without_objects=sum(not r.has_objects for r in records),
        measures=measures,
        events=events,
        metrics=figures,
        distances=_frechet_distances(records, reference),
    )


def survival_measure(seconds: int) -> str:
    """The name of the measure that everything is the same after so many seconds."""
    return f"identity, {seconds} s"


def verdicts_for_measure(records: Sequence[EvaluationRecord], measure: str) -> list[bool | None]:
    """Whether each film is right by a measure of a row; None where it is not asked."""
    if measure == _LEFT_RIGHT_BOTH_WAYS:
        both = _swapped_pair_verdicts(records)
        return [both.get(r.index) for r in records]
    for seconds in SURVIVAL_SECONDS:
        if measure == survival_measure(seconds):
            return [_survival_verdict(record, seconds) for record in records]
    return [record.verdicts[measure] for record in records]


def _survival_verdict(record: EvaluationRecord, seconds: int) -> bool | None:
    """Whether everything stayed the same so long; None for shorter films and moving cameras."""
    same, whole = record.metrics.get("survival"), record.metrics.get("seconds")
    # A film of a minute is a frame or two shorter when its length goes with the latent frames.
    if same is None or whole is None or round(whole) < seconds:
        return None
    return round(same) >= seconds


def _swapped_pair_verdicts(records: Sequence[EvaluationRecord]) -> dict[int, bool]:
    """Whether a prompt and its twin with the colours exchanged are both on the right sides."""
    swaps: dict[int, list[bool]] = {}
    for record in records:
        told = record.verdicts["left/right"]
        if told is not None and record.kind == "still":
            swaps.setdefault(record.index, []).append(told)
    return {index: all(pair) for index, pair in swaps.items() if len(pair) == 2}


def _frechet_distances(
    records: Sequence[EvaluationRecord], reference: Sequence[EvaluationRecord]
) -> dict[str, float]:
    if min(len(records), len(reference)) < _MIN_VIDEOS_FOR_DISTANCE:
        return {}
    reference = sorted(reference, key=lambda r: (r.index, r.prompt))
    return {
        f"random features (seed {RANDOM_WEIGHT_SEED})": frechet_distance(
            np.array([r.video_features for r in records]), np.array([r.video_features for r in reference])
        ),
        "tracker": frechet_distance(
            np.array([r.tracker_features for r in records]), np.array([r.tracker_features for r in reference])
        ),
    }


def save(scorecard: Scorecard, path: Path) -> None:
    """Write `scorecard.json`."""
    write_text(path, json.dumps(asdict(scorecard), indent=1) + "\n")


def load(path: Path) -> Scorecard:
    """Read `scorecard.json`.

    Raises:
        UserError: there is none.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a folder that `kinema evaluate` has written")
    told = json.loads(path.read_text())
    rows = tuple(_row_from_json(row) for row in told["rows"])
    detectors = tuple(
        (name, IntervalEstimate(**a), IntervalEstimate(**b)) for name, a, b in told["detectors"]
    )
    return Scorecard(**told | {"rows": rows, "detectors": detectors})


def _row_from_json(data: dict) -> ScorecardRow:
    def values(part: str) -> dict[str, IntervalEstimate]:
        return {name: IntervalEstimate(**value) for name, value in data[part].items()}

    return ScorecardRow(
        name=data["name"],
        num_videos=data["films"],
        num_without_objects=data["unparsed"],
        measures=values("measures"),
        events=values("events"),
        metrics=values("figures"),
        distances=data["distances"],
    )


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """One measure of two sets of films that answer the same prompts: B minus A."""

    measure: str
    a: float
    b: float
    low: float
    high: float
    n: int

    @property
    def is_significant(self) -> bool:
        """Whether the 95% interval leaves zero out."""
        return self.low > 0 or self.high < 0


def compare_records(
    a: Sequence[EvaluationRecord], b: Sequence[EvaluationRecord]
) -> tuple[PairedDifference, ...]:
    """Paired bootstrap over prompts (Efron 1979), 10,000 draws, the same ones every time.

    Raises:
        UserError: the two have no prompt in common.
    """
    ones = {(r.index, r.prompt): r for r in a}
    others = {(r.index, r.prompt): r for r in b}
    common = sorted(ones.keys() & others.keys())
    if not common:
        raise UserError("the two have no prompt in common; compare folders made from the same list")
    found = []
    pair = [ones[key] for key in common], [others[key] for key in common]
    for measure in (*MEASURES, *map(survival_measure, SURVIVAL_SECONDS)):
        told = zip(*(verdicts_for_measure(records, measure) for records in pair), strict=True)
        found.append(
            _bootstrap_difference(measure, [(x, y) for x, y in told if x is not None and y is not None])
        )
    both = _swapped_pair_verdicts(pair[0]), _swapped_pair_verdicts(pair[1])
    found.append(
        _bootstrap_difference(
            _LEFT_RIGHT_BOTH_WAYS, [(both[0][k], both[1][k]) for k in sorted(both[0].keys() & both[1].keys())]
        )
    )
    return tuple(one for one in found if one is not None)


def _bootstrap_difference(measure: str, pairs: list[tuple[bool, bool]]) -> PairedDifference | None:
    if not pairs:
        return None
    n = len(pairs)
    gains = [int(y) - int(x) for x, y in pairs]
    # A pair gains -1, 0 or 1, so drawing n of them with replacement is one multinomial draw.
    shares = [gains.count(gain) / n for gain in (-1, 0, 1)]
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
