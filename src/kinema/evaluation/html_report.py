"""The scorecard as Markdown and as one HTML page that needs nothing else."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

from kinema.evaluation.scorecard import (
    SURVIVAL_SECONDS,
    IntervalEstimate,
    Scorecard,
    ScorecardRow,
    survival_measure,
)

MEASURE_DESCRIPTIONS = {
    "binding": "Every thing has its own colour and its own shape, and there are as many as asked for, in at "
    "least 90% of the frames.",
    "colour": "The colours are right, whoever wears them.",
    "shape": "The shapes are right, whatever their colour.",
    "left/right": "The first thing is on the side that the prompt says, in at least 90% of the frames.",
    "left/right, both ways": "Right for the prompt and for the prompt with the colours exchanged, from the "
    "same seed. Guessing gives 25%.",
    "direction": "What is to move goes the way it is told, within 45 degrees and by at least its radius.",
    "camera": "Of nine camera moves, the one that was asked for; guessing gives 11%.",
    "permanence": "Nothing appears, vanishes, or changes its colour or size without a reason on screen.",
    "cause": "What is hit moves, what is missed does not, and nothing moves before it is touched.",
    "laws": "Rolls slow down evenly along a line; falls accelerate and bounces lose energy as they should.",
    "identity": "Everything keeps its colour, size and shape from the first part of the film to the last.",
} | {
    survival_measure(seconds): f"The same in films of at least {seconds} seconds, up to that time."
    for seconds in SURVIVAL_SECONDS
}
PUBLISHED_RESULTS = {
    "left/right": "VBench-2.0, 'dynamic spatial relationship': Sora 19.8%, Kling 1.6 20.8%. T2V-CompBench, "
    "'spatial relationships': 0.60 at best.",
    "direction": "T2V-CompBench, 'motion binding': 0.29 at best. Morpheus, 8,659 generated clips: 18.1% "
    "stand still.",
    "camera": "VBench-2.0, 'camera motion': Sora 27.2%, Kling 61.7%.",
    "permanence": "Morpheus, 8,659 generated clips: things disappear in 4.9% and double in 9.8%.",
}
"""What others published of the same fault, each on a test of its own: no figure here compares with them."""
EVENT_LABELS = {
    "births": "things out of nowhere, per object-minute",
    "deaths": "things gone into nothing, per object-minute",
    "recoloured": "changes of colour, per object-minute",
    "resized": "jumps in size, per object-minute",
    "early": "moved before it was touched, share of meetings",
    "missed": "should have touched, share of meetings",
    "passed": "went through, share of meetings",
    "disturbed": "moved though nothing touched it, share of meetings",
    "frozen": "should move and stands still, share of films",
}

METRIC_LABELS = {
    "gravity": "gravity in falls, m/s²",
    "bounce": "height of the first bounce over that of the fall",
    "unevenness": "stray from a steady slowing down, radii",
    "energy": "energy after a meeting over that before, for equal masses",
    "momentum": "share of a push that the other thing does not answer",
    "survival": "seconds that everything stays the same",
    "flicker": "flicker of the background, levels of 255",
    "object flicker": "flicker of the things, levels of 255",
    "PSNR": "PSNR against the original, dB",
    "SSIM": "SSIM against the original",
}


@dataclass(frozen=True, kw_only=True)
class ReportExample:
    """A film for the page: what went wrong, and the strip."""

    measure: str
    prompt: str
    is_correct: bool
    image_url: str
    """The address of an image."""


def format_percent(value: IntervalEstimate) -> str:
    """A share with its interval."""
    if math.isnan(value.value):
        return "–"
    return f"{100 * value.value:.1f}% ({100 * value.low:.1f}–{100 * value.high:.1f})"


def _format_number(value: IntervalEstimate) -> str:
    if math.isnan(value.value):
        return "–"
    # What is left of nothing by rounding is nothing.
    told, low, high = (f"{0 if abs(x) < 1e-9 else x:.3g}" for x in (value.value, value.low, value.high))
    return f"{told} ({low} to {high})"


def render_markdown(scorecard: Scorecard) -> str:
    """The tables as Markdown."""
    lines = [
        f"# {scorecard.title}",
        "",
        f"List {scorecard.prompt_set}{_digest_text(scorecard)}; {scorecard.video_format}.",
        "",
    ]
    names = [row.name for row in scorecard.rows]
    lines += ["| measure | n | " + " | ".join(names) + " |", "|---|--:|" + "--:|" * len(names)]
    for measure in _present_measures(scorecard):
        n = next(row.measures[measure].n for row in scorecard.rows if measure in row.measures)
        told = [
            format_percent(row.measures[measure]) if measure in row.measures else "" for row in scorecard.rows
        ]
        lines.append(f"| {measure} | {n} | " + " | ".join(told) + " |")
    lines += ["", "| events | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for event, words in EVENT_LABELS.items():
        told = [_format_event(row, event) for row in scorecard.rows]
        if any(told):
            lines.append(f"| {words} | " + " | ".join(told) + " |")
    lines += ["", "| figures | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for figure, words in METRIC_LABELS.items():
        told = [
            _format_number(row.metrics[figure]) if figure in row.metrics else "" for row in scorecard.rows
        ]
        if any(told):
            lines.append(f"| {words} | " + " | ".join(told) + " |")
    for distance in sorted({distance for row in scorecard.rows for distance in row.distances}):
        told = [
            f"{row.distances[distance]:.4g}" if distance in row.distances else "" for row in scorecard.rows
        ]
        lines.append(f"| Fréchet, {distance} | " + " | ".join(told) + " |")
    told = [str(row.num_without_objects) for row in scorecard.rows]
    lines.append("| films that could not be parsed | " + " | ".join(told) + " |")
    if scorecard.detector_rates:
        lines += ["", "| planted fault | found | false alarms | n |", "|---|--:|--:|--:|"]
        for name, recall, alarms in scorecard.detector_rates:
            lines.append(f"| {name} | {format_percent(recall)} | {format_percent(alarms)} | {recall.n} |")
    return "\n".join(lines) + "\n"


def _digest_text(scorecard: Scorecard) -> str:
    """The list's digest; nothing for prompts that are no list."""
    return f", digest {scorecard.digest[:16]}" if scorecard.digest else ""


def _present_measures(scorecard: Scorecard) -> list[str]:
    return [m for m in MEASURE_DESCRIPTIONS if any(m in row.measures for row in scorecard.rows)]


def _format_event(row: ScorecardRow, event: str) -> str:
    if event not in row.events:
        return ""
    value = row.events[event]
    return _format_number(value) if "minute" in EVENT_LABELS[event] else format_percent(value)


_PLOT_WIDTH, _ROW_HEIGHT, _LABEL_WIDTH, _VALUE_WIDTH = 720, 24, 150, 200


def _svg_element(name: str, content: str = "", **attributes: str | float) -> str:
    """One element of the plot; numbers to a tenth of a unit, `kind` is its class."""
    told = {
        "class" if key == "kind" else key.replace("_", "-"): f"{value:.1f}"
        if isinstance(value, float)
        else value
        for key, value in attributes.items()
    }
    return f"<{name} " + " ".join(f'{key}="{value}"' for key, value in told.items()) + f">{content}</{name}>"


def _bar_chart(rows: list[tuple[str, IntervalEstimate]], num_highlighted: int = 1) -> str:
    """Bars from 0 to 100% with their intervals as whiskers; the first `num_highlighted` are those that count."""
    tall = _ROW_HEIGHT * len(rows) + 22
    room = _PLOT_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    parts = []
    for share in (0, 25, 50, 75, 100):
        x = _LABEL_WIDTH + room * share / 100
        parts.append(_svg_element("line", kind="grid", x1=x, x2=x, y1=0.0, y2=float(tall - 18)))
        parts.append(
            _svg_element("text", str(share), kind="axis", x=x, y=float(tall - 5), text_anchor="middle")
        )
    for k, (name, value) in enumerate(rows):
        top = k * _ROW_HEIGHT + 4.0
        middle = top + 8
        parts.append(
            _svg_element("text", html.escape(name), x=_LABEL_WIDTH - 8.0, y=middle + 4, text_anchor="end")
        )
        if math.isnan(value.value):
            continue
        low, high = (_LABEL_WIDTH + room * v for v in (value.low, value.high))
        wide = max(1.0, room * value.value)
        kind = "first" if k < num_highlighted else "other"
        parts.append(
            _svg_element("rect", kind=kind, x=float(_LABEL_WIDTH), y=top, width=wide, height=16.0, rx=3.0)
        )
        line = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {top + 4}v8M{high:.1f} {top + 4}v8"
        parts.append(_svg_element("path", kind="whisker", d=line))
        interval = f" {100 * value.low:.1f}–{100 * value.high:.1f}, n {value.n}"
        count = _svg_element("tspan", interval, kind="n")
        shown = f"{100 * value.value:.1f}%{count}"
        parts.append(
            _svg_element("text", shown, kind="value", x=_PLOT_WIDTH - _VALUE_WIDTH + 12.0, y=middle + 4)
        )
    return f'<svg viewBox="0 0 {_PLOT_WIDTH} {tall}" role="img">{"".join(parts)}</svg>'


def _published_note(measure: str) -> str:
    if measure not in PUBLISHED_RESULTS:
        return ""
    return f'<p class="else">On other tests, not comparable: {html.escape(PUBLISHED_RESULTS[measure])}</p>'


_STYLE = """
:root{--ink:#1c2330;--soft:#667085;--line:#e4e7ec;--paper:#fbfbfa;--card:#fff;
--first:#2f6fed;--other:#b9c4d6}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf1;--soft:#98a2b3;--line:#2b3340;--paper:#12161d;
--card:#1a2029;--first:#6b9bff;--other:#47536a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:34px;margin:0 0 4px;letter-spacing:-.02em}
h2{font-size:21px;margin:0 0 4px}
.sub{color:var(--soft);margin:0 0 28px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin-bottom:28px}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px 18px}
.tile b{display:block;font-size:30px;letter-spacing:-.02em;white-space:nowrap}
.tile span{color:var(--soft);font-size:14px}
.card{margin:0 0 18px}
.card p{margin:0 0 10px;color:var(--soft)}
svg{width:100%;max-width:940px;height:auto;font:13px system-ui,sans-serif;fill:var(--ink)}
.card p.else{font-size:13px;margin:8px 0 0}
.grid{stroke:var(--line)}
.axis,.n{fill:var(--soft);font-size:11px}
.first{fill:var(--first)}
.other{fill:var(--other)}
.whisker{stroke:var(--ink);stroke-width:1.3;fill:none;opacity:.65}
figure{margin:14px 0 0}
figure img{width:100%;border-radius:8px;display:block}
figcaption{font-size:14px;margin:0 0 4px}
figcaption i{font-style:normal;color:#b42318}
figcaption i.ok{color:#067647}
table{border-collapse:collapse;width:100%;font-size:14px}
td,th{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line)}
td{font-variant-numeric:tabular-nums}
td:first-child,th:first-child{text-align:left}
th{color:var(--soft);font-weight:500}
.scroll{overflow-x:auto}
"""


def render_html(scorecard: Scorecard, examples: list[ReportExample]) -> str:
    """One HTML page: tiles, a plot for every measure with the films that failed it, tables."""
    first = scorecard.rows[0]
    tiles = "".join(
        f'<div class="tile"><b>{100 * first.measures[m].value:.1f}%</b><span>{html.escape(m)}</span></div>'
        for m in _present_measures(scorecard)
        if m in first.measures and m not in ("colour", "shape")
    )
    cards = []
    for measure in _present_measures(scorecard):
        bars = _bar_chart(
            [(row.name, row.measures[measure]) for row in scorecard.rows if measure in row.measures]
        )
        shown = "".join(
            f'<figure><figcaption>“{html.escape(e.prompt)}” <i class="{"ok" if e.is_correct else ""}">'
            f'{"right" if e.is_correct else "wrong"}</i></figcaption><img alt="" src="{e.image_url}"></figure>'
            for e in examples
            if e.measure == measure
        )
        cards.append(
            f'<section class="card"><h2>{html.escape(measure.capitalize())}</h2>'
            f"<p>{html.escape(MEASURE_DESCRIPTIONS[measure])}</p>{bars}{_published_note(measure)}{shown}</section>"
        )
    names = "".join(f"<th>{html.escape(row.name)}</th>" for row in scorecard.rows)
    lines = [
        f"<tr><td>{html.escape(words)}</td>"
        + "".join(f"<td>{html.escape(_format_event(row, event))}</td>" for row in scorecard.rows)
        + "</tr>"
        for event, words in EVENT_LABELS.items()
        if any(event in row.events for row in scorecard.rows)
    ]
    for figure, words in METRIC_LABELS.items():
        told = [
            _format_number(row.metrics[figure]) if figure in row.metrics else "" for row in scorecard.rows
        ]
        if any(told):
            cells = "".join(f"<td>{html.escape(value)}</td>" for value in told)
            lines.append(f"<tr><td>{html.escape(words)}</td>{cells}</tr>")
    for distance in sorted({distance for row in scorecard.rows for distance in row.distances}):
        told = [
            f"{row.distances[distance]:.4g}" if distance in row.distances else "" for row in scorecard.rows
        ]
        cells = "".join(f"<td>{value}</td>" for value in told)
        lines.append(f"<tr><td>Fréchet, {html.escape(distance)}</td>{cells}</tr>")
    detectors = ""
    if scorecard.detector_rates:
        found = _bar_chart(
            [(name, recall) for name, recall, _ in scorecard.detector_rates], len(scorecard.detector_rates)
        )
        alarms = _bar_chart([(name, alarm) for name, _, alarm in scorecard.detector_rates])
        detectors = (
            '<section class="card"><h2>Planted faults that the judge finds</h2>'
            "<p>Simulator clips in which one thing is wrong on purpose.</p>"
            f"{found}<p>The same detectors on the clips without the fault: false alarms.</p>"
            f"{alarms}</section>"
        )
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(scorecard.title)}</title><style>{_STYLE}</style>"
    )
    subtitle = (
        f"{first.num_videos} films, {html.escape(scorecard.video_format)}; prompts: {html.escape(scorecard.prompt_set)}"
        f"{_digest_text(scorecard)}. Bars are shares of films that are right; whiskers are 95% intervals. "
        f"{first.num_without_objects} films could not be parsed and count as wrong."
    )
    return (
        f'{head}<main><h1>{html.escape(scorecard.title)}</h1><p class="sub">{subtitle}</p>'
        f'<div class="tiles">{tiles}</div>{"".join(cards)}{detectors}'
        f'<section class="card"><h2>Events and figures</h2><div class="scroll"><table>'
        f"<tr><th></th>{names}</tr>{''.join(lines)}</table></div></section></main></html>\n"
    )
