"""Building a curated set: `kinema data build` and `kinema data filter`.

A set is a folder:

    set.json        options
    sources.jsonl   the sources, one per line
    analysis/       measurements of each source (`analysis.py`)
    captions.jsonl  captions that a model wrote
    clips.parquet   all candidate clips (`clip_table.py`)
    cache/          latents and text states (`encoded_set.py`)

Only the analysis decodes, one job for each source, in any order and on any number of processes. The table is
a function of the sources, the measurements, the captions and the options. Each file is written whole. A build
that was interrupted therefore continues where it stopped and ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinema.atomic_io import file_sha256, require_readable, write_text
from kinema.data.analysis import AnalysisJob, analysis_path, load_analysis, run_analysis
from kinema.data.clip_table import ClipRow, read_clips, write_clips
from kinema.data.content_meter import require_scenedetect
from kinema.data.duplicates import mark_duplicates
from kinema.data.formats.detect import SET_FILE, read_sources
from kinema.data.media_item import ClipOptions, MediaItem
from kinema.data.model_captions import load_captions
from kinema.data.selection import SelectionOptions, select_clips
from kinema.data.thresholds import Thresholds
from kinema.errors import UserError
from kinema.process_pool import JobRunner, run_jobs

SOURCES_FILE = "sources.jsonl"


@dataclass(frozen=True, kw_only=True)
class CurationOptions:
    """What makes the table of a set.

    Attributes:
        selection: how clips are made and chosen.
        against: folder of an earlier set whose clips are not repeated; empty for none.
        cut_network: weights of TransNet V2, which finds cuts in place of thresholds; empty for none.
    """

    selection: SelectionOptions = field(default_factory=SelectionOptions)
    against: str = ""
    cut_network: str = ""

    @property
    def network_digest(self) -> str:
        """Of the weights of the network for cuts; empty without one.

        Raises:
            UserError: the file is missing.
        """
        return file_sha256(require_readable(self.cut_network)) if self.cut_network else ""


@dataclass(frozen=True, kw_only=True)
class CurationProgress:
    """Sources analysed so far.

    Attributes:
        done: sources, including those of earlier runs.
        total: sources.
        frames: decoded in this run.
        seconds: of video decoded in this run.
        stage_seconds: core-seconds of each stage in this run.
    """

    done: int
    total: int
    frames: int = 0
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)


def build_set(
    sources: Sequence[Path],
    out: Path,
    options: CurationOptions,
    *,
    format_name: str | None = None,
    workers: int | JobRunner = 1,
) -> Iterator[CurationProgress]:
    """Read sources, analyse those that the set lacks, and write the table.

    Args:
        sources: files and folders in any format.
        out: folder of the set.
        options: how clips are made and chosen.
        format_name: of the sources; None detects it.
        workers: processes, or what runs jobs elsewhere.

    Raises:
        UserError: a source is damaged or missing, or the folder can't be written.
    """
    require_scenedetect()
    if options.cut_network:
        from kinema.data.transition_network import load_transition_network

        # A wrong file would otherwise be the error of every source.
        load_transition_network(Path(options.cut_network))
    items = read_sources(sources, options.selection.clips, format_name=format_name)
    try:
        (out / "analysis").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't create {out}: {error.strerror}; choose another folder") from None
    for partial in out.rglob(".*.part*"):
        partial.unlink(missing_ok=True)
    lines = [json.dumps(dataclasses.asdict(item), ensure_ascii=False) for item in items]
    write_text(out / SOURCES_FILE, "".join(f"{line}\n" for line in lines))
    _write_options(out, options)
    yield from _analyse_missing(out, items, options, workers)
    filter_set(out, options)


def filter_set(out: Path, options: CurationOptions) -> list[ClipRow]:
    """Write the table again from the measurements, without decoding.

    Raises:
        UserError: the folder is not a set, or a source was never analysed.
    """
    items, network_digest = _load_items(out), options.network_digest
    earlier = read_clips(Path(options.against)) if options.against else []
    rows: list[ClipRow] = []
    occurrences: Counter[str] = Counter()
    for item in items:
        analysis = "the file does not exist"
        if item.kind == "caption_only":
            analysis = "a caption without a video or image"
        elif item.kind != "missing":
            path = _stored_analysis(out, item, network_digest)
            analysis = load_analysis(path)
        digest = "" if isinstance(analysis, str) else analysis.sha256
        rows += select_clips(
            item, analysis, options.selection, occurrence=occurrences[digest] if digest else 0
        )
        occurrences[digest] += 1
    limits = options.selection.thresholds
    if "duplicates" not in options.selection.skip:
        rows = mark_duplicates(rows, limits.duplicates_max, against=earlier)
    rows = apply_captions(rows, load_captions(out))
    write_clips(out, rows)
    _write_options(out, options)
    return rows


def apply_captions(rows: Sequence[ClipRow], written: dict[str, tuple[str, tuple[str, ...]]]) -> list[ClipRow]:
    """Fill the captions of clips without one: from a model, else the file name.

    Args:
        rows: of the table.
        written: source and captions by a model, for each clip_id.
    """
    result: list[ClipRow] = []
    for row in rows:
        if row.clip_id in written and row.caption_source in ("", "file_name"):
            source, captions = written[row.clip_id]
        elif row.captions or row.kind == "caption_only":
            result.append(row)
            continue
        else:
            name = row.item.stem.replace("_", " ").replace("-", " ").strip()
            source, captions = "file_name", (" ".join(name.split()),)
        result.append(dataclasses.replace(row, captions=captions, caption=captions[0], caption_source=source))
    return result


def load_options(out: Path) -> CurationOptions:
    """The options of a set.

    Raises:
        UserError: the folder is not a set, or another version wrote it.
    """
    path = out / SET_FILE
    if not path.is_file():
        raise UserError(f"{out} is not a curated set (no {SET_FILE}); make one with `kinema data build`")
    try:
        values = json.loads(path.read_text())
        selection = values["selection"]
        return CurationOptions(
            selection=SelectionOptions(
                clips=_clip_options(selection["clips"]),
                thresholds=Thresholds(**selection["thresholds"]),
                skip=tuple(selection["skip"]),
            ),
            against=values["against"],
            cut_network=values.get("cut_network", ""),
        )
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged or from another version; run `kinema data build` again") from None


def _analyse_missing(
    out: Path, items: Sequence[MediaItem], options: CurationOptions, workers: int | JobRunner
) -> Iterator[CurationProgress]:
    network, digest = Path(options.cut_network) if options.cut_network else None, options.network_digest
    files = [item for item in items if item.kind not in ("missing", "caption_only")]
    jobs: dict[Path, AnalysisJob] = {}
    targets: set[Path] = set()
    for item in files:
        target = analysis_path(out, item, network_digest=digest)
        targets.add(target)
        if not target.is_file():
            jobs[target] = AnalysisJob(item=item, target=target, cut_network=network)
    progress = CurationProgress(done=len(targets) - len(jobs), total=len(targets))
    yield progress
    for result in run_jobs(run_analysis, list(jobs.values()), workers):
        stages = Counter(progress.stage_seconds)
        stages.update(result.stage_seconds)
        progress = CurationProgress(
            done=progress.done + 1,
            total=progress.total,
            frames=progress.frames + result.num_frames,
            seconds=progress.seconds + result.seconds,
            stage_seconds=dict(stages),
        )
        yield progress


def _stored_analysis(out: Path, item: MediaItem, network_digest: str) -> Path:
    try:
        return analysis_path(out, item, network_digest=network_digest)
    except OSError:
        raise UserError(f"{item.name} is missing; restore it, or run `kinema data build` again") from None


def _load_items(out: Path) -> list[MediaItem]:
    path = out / SOURCES_FILE
    if not path.is_file():
        raise UserError(f"{out} is not a curated set (no {SOURCES_FILE}); make one with `kinema data build`")
    items: list[MediaItem] = []
    for line in path.read_text().splitlines():
        values = json.loads(line)
        values["captions"] = tuple(values["captions"])
        values["clips"] = None if values["clips"] is None else _clip_options(values["clips"])
        items.append(MediaItem(**values))
    return items


def _clip_options(values: dict[str, Any]) -> ClipOptions:
    """`ClipOptions` from JSON, whose lists are tuples."""

    def to_tuple(value: Any) -> Any:
        return tuple(to_tuple(one) for one in value) if isinstance(value, list) else value

    return ClipOptions(**{name: to_tuple(value) for name, value in values.items()})


def _write_options(out: Path, options: CurationOptions) -> None:
    values = {"version": 1, **dataclasses.asdict(options)}
    write_text(out / SET_FILE, json.dumps(values, indent=1) + "\n")
