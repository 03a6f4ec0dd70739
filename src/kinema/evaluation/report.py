"""The scorecard as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from kinema.evaluation.scorecard import (
    LEFT_RIGHT_BOTH_WAYS,
    SURVIVAL_SECONDS,
    IntervalEstimate,
    Scorecard,
    survival_measure,
)
from kinema.evaluation.whole import MIN_ACCURACY

MEASURE_DESCRIPTIONS = {
    "binding": "Colours, shapes and counts of all objects are right in at least 90% of the frames.",
    "colour": "The colours are right, whichever object has them.",
    "shape": "The shapes are right, whatever their colour.",
    "left/right": "The first object is on the requested side of the second in at least 90% of the frames.",
    LEFT_RIGHT_BOTH_WAYS: "Right for the prompt and for the prompt with the colours exchanged, from the "
    "same seed. The chance level is 25%.",
    "direction": "Objects move in the requested direction, within 45 degrees and by at least their radius.",
    "camera": "The camera move is the requested one of nine; the chance level is 11%.",
    "permanence": "No object appears, disappears, or changes its colour or size without a visible reason.",
    "causality": "Objects move when they are hit, not when they are missed, and never before contact.",
    "physics": "Rolls decelerate uniformly along a line; falls accelerate and bounces lose energy.",
    "identity": "Every object keeps its colour, size and shape from the first part of the video to the last.",
    "objects": "Everyday prompts: every object has its colour and shape in at least 90% of the frames.",
    "colours": "The stated colours are there, whichever object has them.",
    "counts": "Everyday prompts: there are as many objects as stated.",
    "relation": "Everyday prompts: left of, next to, between or in a row, as stated.",
    "motion": "Everyday prompts: the right object does what the prompt says, in the stated direction.",
    "camera move": "The camera moves as stated, where that can be seen.",
    "event": "Prompts of the whole simulator: the scene classifier sees the event.",
    "outcome": "Prompts of the whole simulator: the scene classifier sees the outcome of the event.",
    "setting": "Prompts of the whole simulator: floor, place and background, as far as they are stated.",
    "shapes": "Prompts of the whole simulator: every shape is seen.",
    "materials": "Prompts of the whole simulator: every stated material is seen.",
    "everything": "Everyday prompts: all of objects, colours, counts, relation, motion and camera. Prompts "
    "of the whole simulator: all that is stated and scored.",
} | {
    survival_measure(seconds): f"Identity up to {seconds} seconds, in videos of at least that length."
    for seconds in SURVIVAL_SECONDS
}
PUBLISHED_RESULTS = {
    "left/right": "VBench-2.0, 'dynamic spatial relationship': Sora 19.8%, Kling 1.6 20.8%. T2V-CompBench, "
    "'spatial relationships': 0.60 at best.",
    "direction": "T2V-CompBench, 'motion binding': 0.29 at best. Morpheus, 8,659 generated clips: 18.1% are "
    "static.",
    "camera": "VBench-2.0, 'camera motion': Sora 27.2%, Kling 61.7%.",
    "permanence": "Morpheus, 8,659 generated clips: objects disappear in 4.9% and are duplicated in 9.8%.",
}
"""Results of others on similar faults. Each has a test of its own, so the numbers are not comparable."""
_PER_OBJECT_MINUTE = {
    "births": "objects that appear",
    "deaths": "objects that disappear",
    "colour_changes": "changes of colour",
    "size_changes": "jumps in size",
}
_PER_VIDEO = {
    "moved_before_contact": "motion before contact, share of collisions",
    "missed_contact": "missed contacts, share of collisions",
    "passed_through": "objects that pass through another, share of collisions",
    "moved_without_contact": "motion without contact, share of collisions",
    "frozen": "static objects that should move, share of videos",
}
_METRIC_LABELS = {
    "gravity": "gravity in falls, m/s²",
    "bounce_ratio": "height of the first bounce over that of the fall",
    "deceleration_residual": "residual from uniform deceleration, radii",
    "energy_ratio": "kinetic energy after over before a collision, equal masses",
    "momentum_error": "unbalanced share of the momentum change",
    "survival_seconds": "seconds until the first change of identity",
    "background_flicker": "flicker of the background, 0 to 255",
    "object_flicker": "flicker of the objects, 0 to 255",
    "psnr": "PSNR against the original, dB",
    "ssim": "SSIM against the original",
}


@dataclass(frozen=True, kw_only=True)
class ReportExample:
    """A video on the page: one that fails a measure, or one that passes if none fails."""

    measure: str
    prompt: str
    is_correct: bool
    image_url: str


def render_markdown(scorecard: Scorecard) -> str:
    """The tables as Markdown."""
    names = [row.name for row in scorecard.rows]
    measure_rows = []
    for measure in _present_measures(scorecard):
        estimates = [row.measures.get(measure) for row in scorecard.rows]
        n = next(estimate.n for estimate in estimates if estimate is not None)
        measure_rows.append([measure, str(n), *_cells(estimates, _format_percent)])
    detail_rows = [[label, *cells] for label, cells in _detail_rows(scorecard)]
    parts = [
        f"# {scorecard.title}\n\n{_describe_prompts(scorecard)}\n",
        _markdown_table(["measure", "n", *names], measure_rows),
        _markdown_table(["events and metrics", *names], detail_rows),
    ]
    if scorecard.detector_rates:
        detectors = [
            [name, _format_percent(recall), _format_percent(false_alarms), str(recall.n)]
            for name, recall, false_alarms in scorecard.detector_rates
        ]
        parts.append(_markdown_table(["synthetic fault", "recall", "false alarms", "n"], detectors))
    if scorecard.classifier_accuracy:
        parts.append(_markdown_table(["scene classifier", "accuracy", "scored"], accuracy_rows(scorecard)))
    return "\n".join(parts)


def render_html(scorecard: Scorecard, examples: list[ReportExample]) -> str:
    """One HTML page: key results, a chart and examples for every measure, and the tables."""
    return _html_template().render(
        scorecard=scorecard,
        main=scorecard.rows[0],
        prompts=_describe_prompts(scorecard),
        measures=_present_measures(scorecard),
        descriptions=MEASURE_DESCRIPTIONS,
        published=PUBLISHED_RESULTS,
        details=_detail_rows(scorecard),
        accuracy=accuracy_rows(scorecard),
        examples=examples,
    )


def accuracy_rows(scorecard: Scorecard) -> list[list[str]]:
    """Attribute, accuracy on simulated videos that it never saw, and whether it is scored."""
    return [
        [name, f"{100 * accuracy:.1f}%", "yes" if accuracy >= MIN_ACCURACY else "no"]
        for name, accuracy in scorecard.classifier_accuracy.items()
    ]


@functools.cache
def _html_template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.tests["nan"] = lambda value: math.isnan(value)
    return environment.from_string(Path(__file__).with_name("report.html.jinja").read_text())


def _describe_prompts(scorecard: Scorecard) -> str:
    digest = f", digest {scorecard.digest[:16]}" if scorecard.digest else ""
    return f"Prompts: {scorecard.prompt_set}{digest}. Videos: {scorecard.video_format}."


def _present_measures(scorecard: Scorecard) -> list[str]:
    return [m for m in MEASURE_DESCRIPTIONS if any(m in row.measures for row in scorecard.rows)]


def _detail_rows(scorecard: Scorecard) -> list[tuple[str, list[str]]]:
    """Label and cells, one per row of the scorecard, of every event, metric and distance that any row has."""
    rows = scorecard.rows
    details = [
        (f"{label}, per object-minute", _cells([row.events.get(event) for row in rows], _format_number))
        for event, label in _PER_OBJECT_MINUTE.items()
    ]
    details += [
        (label, _cells([row.events.get(event) for row in rows], _format_percent))
        for event, label in _PER_VIDEO.items()
    ]
    details += [
        (label, _cells([row.metrics.get(metric) for row in rows], _format_number))
        for metric, label in _METRIC_LABELS.items()
    ]
    for name in sorted({name for row in rows for name in row.distances}):
        distances = [row.distances.get(name) for row in rows]
        details.append((f"Fréchet distance, {name}", ["" if d is None else f"{d:.4g}" for d in distances]))
    details.append(("videos without objects", [str(row.num_without_objects) for row in rows]))
    return [(label, cells) for label, cells in details if any(cells)]


def _cells(
    estimates: Sequence[IntervalEstimate | None], format_estimate: Callable[[IntervalEstimate], str]
) -> list[str]:
    return ["" if estimate is None else format_estimate(estimate) for estimate in estimates]


def _markdown_table(header: list[str], rows: list[list[str]]) -> str:
    alignment = ["---"] + ["--:"] * (len(header) - 1)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, alignment, *rows])


def _format_percent(estimate: IntervalEstimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    return f"{100 * estimate.value:.1f}% ({100 * estimate.low:.1f}–{100 * estimate.high:.1f})"


def _format_number(estimate: IntervalEstimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    # Rounding errors around zero are shown as zero.
    value, low, high = (
        f"{0 if abs(x) < 1e-9 else x:.3g}" for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"
