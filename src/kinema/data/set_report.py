"""The HTML page of a curated set: counts per reason, histograms, and images of kept and dropped clips.

The images were kept by the analysis, so that the page needs no decoding.
"""

from __future__ import annotations

import base64
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from kinema.atomic_io import write_text
from kinema.data.analysis import Analysis, analysis_path, load_analysis
from kinema.data.clip_table import ClipRow, read_clips
from kinema.data.curation import load_options
from kinema.data.selection import FILTERS, SelectionOptions
from kinema.errors import UserError

REPORT_FILE = "report.html"
IMAGES_PER_CLIP = 4
_SCORES = (
    ("motion", "motion", ("motion_min", "motion_max")),
    ("motion_patch_min", "motion of the stillest patch", ("motion_patch_min",)),
    ("frozen", "share of frozen steps", ("frozen_max",)),
    ("black", "share of black frames", ("black_max",)),
    ("white", "share of white frames", ("white_max",)),
    ("sharpness", "sharpness (variance of the Laplacian)", ("sharpness_min",)),
    ("flicker", "flicker", ("flicker_max",)),
    ("duplicate_distance", "distance to the nearest other clip, bits", ("duplicates_max",)),
    ("upscale", "enlargement to the bucket", ("resolution_upscale",)),
)
_BARS = 40


@dataclass(frozen=True, kw_only=True)
class SetSummary:
    """Counts of a set.

    Attributes:
        num_sources: files.
        num_clips: candidates.
        num_kept: clips that are used.
        kept_seconds: of these.
        reasons: number of candidates per reason, the most frequent first.
        caption_sources: number of kept clips per source of their captions.
        buckets: number of kept clips per bucket.
    """

    num_sources: int
    num_clips: int
    num_kept: int
    kept_seconds: float
    reasons: dict[str, int]
    caption_sources: dict[str, int]
    buckets: dict[str, int]

    def lines(self) -> list[str]:
        """The summary as text."""
        lines = [
            f"{self.num_kept} of {self.num_clips} clips kept from {self.num_sources} sources, "
            f"{self.kept_seconds:.1f} s"
        ]
        if self.reasons:
            lines.append("dropped: " + ", ".join(f"{count} {name}" for name, count in self.reasons.items()))
        if self.buckets:
            lines.append(
                "buckets: " + ", ".join(f"{count} in {name}" for name, count in self.buckets.items())
            )
        unnamed = self.caption_sources.get("file_name", 0)
        if unnamed:
            lines.append(
                f"{unnamed} clips have no caption; their file names are used (caption_source = file_name). "
                "Write captions with --caption URL or --caption-model ID, or add a .txt next to each file"
            )
        return lines


def summarize(rows: Sequence[ClipRow]) -> SetSummary:
    """Count the clips of a set."""
    kept = [row for row in rows if row.kept]
    return SetSummary(
        num_sources=len({row.source for row in rows}),
        num_clips=len(rows),
        num_kept=len(kept),
        kept_seconds=float(sum(row.end_s - row.start_s for row in kept if row.num_frames > 1)),
        reasons=dict(Counter(row.reason for row in rows if not row.kept).most_common()),
        caption_sources=dict(sorted(Counter(row.caption_source for row in kept).items())),
        buckets=dict(sorted(Counter(bucket for row in kept for bucket in row.buckets).items())),
    )


def write_report(folder: Path, *, clips_per_reason: int = 24) -> Path:
    """Write the page of a set.

    Args:
        folder: of the set.
        clips_per_reason: clips that are shown of each reason, evenly chosen.

    Returns:
        The page's path.

    Raises:
        UserError: the folder is not a curated set.
    """
    rows, options = read_clips(folder), load_options(folder)
    groups: defaultdict[str, list[ClipRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.source, row.start_s, row.clip_id)):
        groups[row.reason].append(row)
    analyses: dict[str, Analysis | None] = {}
    sections = [
        {
            "name": reason or "kept",
            "count": len(members),
            "clips": [_clip_view(folder, row, analyses) for row in _spread(members, clips_per_reason)],
        }
        for reason, members in sorted(groups.items(), key=lambda group: (group[0] != "", -len(group[1])))
    ]
    template = Path(__file__).with_name("set_report.html.jinja").read_text()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(
        name=folder.name,
        folder=str(folder),
        summary=summarize(rows),
        sections=sections,
        histograms=_histograms(rows, options.selection),
        skipped=[name for name in FILTERS if name in options.selection.skip],
    )
    target = folder / REPORT_FILE
    write_text(target, page)
    return target


def _clip_view(folder: Path, row: ClipRow, analyses: dict[str, Analysis | None]) -> dict[str, object]:
    if row.source not in analyses:
        analyses.clear()
        analyses[row.source] = _find_analysis(folder, row)
    analysis = analyses[row.source]
    scores = (
        ""
        if not row.buckets
        else (
            f"motion {row.motion:g}, sharpness {row.sharpness:g}, frozen {row.frozen:g}, "
            f"flicker {row.flicker:g}"
        )
    )
    return {
        "row": row,
        "file": row.source.rsplit("/", 1)[-1],
        "scores": scores,
        "images": [] if analysis is None else _images(analysis, row),
    }


def _find_analysis(folder: Path, row: ClipRow) -> Analysis | None:
    try:
        analysis = load_analysis(analysis_path(folder, row.item))
    except (OSError, UserError):
        return None
    return None if isinstance(analysis, str) else analysis


def _images(analysis: Analysis, row: ClipRow) -> list[str]:
    """Previews between the first and last frame of a clip as data addresses."""
    times = analysis.times[analysis.preview_index]
    # The preview of a second is that of its first frame.
    inside = np.flatnonzero((times >= row.start_s - 0.999) & (times < max(row.end_s, row.start_s + 1e-3)))
    if not len(inside):
        inside = np.array([max(0, int(np.searchsorted(times, row.start_s, side="right")) - 1)])
    picked = inside[np.unique(np.linspace(0, len(inside) - 1, IMAGES_PER_CLIP).round().astype(int))]
    return [
        "data:image/jpeg;base64," + base64.b64encode(analysis.preview(int(index))).decode()
        for index in picked
    ]


def _spread(rows: Sequence[ClipRow], count: int) -> list[ClipRow]:
    if len(rows) <= count:
        return list(rows)
    return [rows[int(index)] for index in np.linspace(0, len(rows) - 1, count)]


def _histograms(rows: Sequence[ClipRow], options: SelectionOptions) -> list[dict[str, object]]:
    """Bars of each score, kept and dropped, on a logarithmic scale where values span decades."""
    scored = [row for row in rows if row.buckets]
    histograms: list[dict[str, object]] = []
    for name, title, limits in _SCORES:
        values = np.array([getattr(row, name) for row in scored], np.float64)
        kept = np.array([row.kept for row in scored], bool)
        if not len(values):
            continue
        borders = {one: getattr(options.thresholds, one) for one in limits}
        shown = [value for value in borders.values() if math.isfinite(value) and value >= 0]
        low, high = float(min(values.min(), *shown, 0)), float(max(values.max(), *shown, 1e-6))
        logarithmic = high > 60
        scale = np.log1p if logarithmic else np.asarray
        edges = np.linspace(scale(low), scale(high) * 1.0001, _BARS + 1)
        both = [np.histogram(scale(values[chosen]), edges)[0] for chosen in (kept, ~kept)]
        top = max(1, int((both[0] + both[1]).max()))
        width = edges[-1] - edges[0] or 1.0
        histograms.append(
            {
                "title": title,
                "bars": [
                    {"kept": 60 * a / top, "dropped": 60 * b / top, "counts": f"{a} kept, {b} dropped"}
                    for a, b in zip(both[0].tolist(), both[1].tolist(), strict=True)
                ],
                "limits": [
                    {
                        "name": one.replace("_", ".", 1),
                        "value": f"{value:g}",
                        "at": float(100 * (scale(value) - edges[0]) / width),
                    }
                    for one, value in borders.items()
                    if math.isfinite(value) and value >= 0
                ],
                "low": f"{low:g}",
                "high": f"{high:g}",
                "logarithmic": logarithmic,
            }
        )
    return histograms
