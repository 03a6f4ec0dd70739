"""The whole evaluation: films in, scorecard.json, scorecard.md and scorecard.html out."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.evaluation import runner, scorecard
from kinema.evaluation.generate_and_score import Timing, count_missing, generate_and_score
from kinema.evaluation.html_report import ReportExample, render_html, render_markdown
from kinema.evaluation.prompt_sets import build_prompt_set, prompt_set_digest
from kinema.evaluation.record import EvaluationRecord
from kinema.evaluation.synthetic_faults import FAULTS
from kinema.evaluation.video_sources import (
    GeneratorFactory,
    VideoFormat,
    load_video,
    pair_videos_with_prompts,
)
from kinema.evaluation.visualization import draw_annotated_strip, to_data_uri

MAX_FAILURES_SHOWN = 3
"""Films on the page for every measure."""


def prepare_output_dir(out: Path, request: dict[str, object]) -> None:
    """Make a folder for results, or see that an earlier run in it asked for the same.

    Raises:
        UserError: it holds something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "request.json"
    text = json.dumps(request, indent=1, sort_keys=True) + "\n"
    if path.exists() and path.read_text() != text:
        raise UserError(f"{out} holds the results of another request; choose an empty folder for --out")
    write_text(path, text)


def evaluate_baselines(
    prompt_set: str,
    video_format: VideoFormat,
    out: Path,
    *,
    clips_per_fault: int,
    seed: int = 0,
    vae: runner.Autoencoder | None = None,
    workers: int,
) -> Iterator[str]:
    """Judge the simulator, what is made of its films, and planted faults. Yields lines of progress.

    Args:
        prompt_set: whose kinds of prompts the simulator films.
        video_format: of the films.
        out: folder for the results.
        clips_per_fault: clips with each planted fault.
        seed: of the scenes; see `scene_seed`.
        vae: for the row of reconstructions; None leaves it out.
        workers: processes.
    """
    items = build_prompt_set(prompt_set)
    prepare_output_dir(
        out,
        {
            "list": prompt_set,
            "digest": prompt_set_digest(prompt_set),
            "format": asdict(video_format),
            "what": "anchors",
            "seed": seed,
        },
    )
    if vae is not None:
        # In a folder of its own, so that the row can be added to anchors that are there already.
        prepare_output_dir(runner.baseline_dir(out, "reconstructed"), {"autoencoder": vae.fingerprint()})
    for done in runner.run_baselines(items, video_format, out, seed=seed, vae=vae, workers=workers):
        yield f"anchors: {done} clips"
    for done in runner.evaluate_detectors(clips_per_fault, video_format, out, seed=seed, workers=workers):
        yield f"planted faults: {done}"
    card = scorecard.Scorecard(
        title="The judge on films that are true",
        prompt_set=prompt_set,
        digest=prompt_set_digest(prompt_set),
        video_format=str(video_format),
        rows=_baseline_rows(out),
        detector_rates=_detector_rates(out),
    )
    _write_reports(card, out, runner.load_baseline_records(out, "simulator"), out / "simulator" / "films")


def evaluate_model(
    name: str,
    generator_factory: GeneratorFactory,
    prompt_set: str,
    video_format: VideoFormat,
    out: Path,
    *,
    baselines: Path | None,
    workers: int,
) -> Iterator[str]:
    """Generate what is missing, judge it, write the scorecard. Yields lines of progress.

    Raises:
        UserError: there is no such list or model, or the folder holds the results of another request.
    """
    items = build_prompt_set(prompt_set)
    prepare_output_dir(
        out,
        {
            "list": prompt_set,
            "digest": prompt_set_digest(prompt_set),
            "format": asdict(video_format),
            "what": "model",
            "model": name,
            "weights": generator_factory.fingerprint(),
            "batch": generator_factory.batch_size,
        },
    )
    of = count_missing(items, video_format, out)
    spent: list[Timing] = []
    start = time.perf_counter()
    for one in generate_and_score(items, generator_factory, video_format, out, workers=workers):
        spent.append(one)
        filming = statistics.median(s.generation_seconds for s in spent)
        judging = statistics.median(s.scoring_seconds for s in spent)
        yield (
            f"{name}: {len(spent)} of {of} films in {time.perf_counter() - start:.0f} s; a film costs "
            f"{filming:.2f} s of processor time to make and {judging:.2f} s to judge"
        )
    _build_scorecard(name, prompt_set, prompt_set_digest(prompt_set), str(video_format), out, baselines)


def evaluate_videos(
    folder: Path, prompt_file: Path, out: Path, *, baselines: Path | None, workers: int
) -> Iterator[str]:
    """Judge films made elsewhere. Yields lines of progress."""
    pairs = pair_videos_with_prompts(folder, prompt_file)
    told = [[prompt, film.name, film.stat().st_size] for prompt, film in pairs]
    prepare_output_dir(out, {"what": "films", "films": told})
    for done in runner.score_video_files(pairs, out, workers=workers):
        yield f"{folder.name}: {done} films"
    _build_scorecard(
        folder.name, prompt_file.name, "", "as given", out, baselines, video_files=[film for _, film in pairs]
    )


def _build_scorecard(
    name: str,
    prompt_set: str,
    digest: str,
    video_format: str,
    out: Path,
    baselines: Path | None,
    video_files: list[Path] | None = None,
) -> None:
    records = runner.load_records(out / "judged")
    reference = runner.load_baseline_records(baselines, "simulator") if baselines else []
    rows = (
        scorecard.aggregate_records(name, records, reference),
        *(_baseline_rows(baselines) if baselines else ()),
    )
    card = scorecard.Scorecard(
        title=f"Scorecard of {name}",
        prompt_set=prompt_set,
        digest=digest,
        video_format=video_format,
        rows=rows,
        detector_rates=_detector_rates(baselines) if baselines else (),
    )
    _write_reports(card, out, records, video_files or out / "films")


def _baseline_rows(out: Path) -> tuple[scorecard.ScorecardRow, ...]:
    reference = runner.load_baseline_records(out, "simulator")
    return tuple(
        scorecard.aggregate_records(anchor, found, () if anchor == "simulator" else reference)
        for anchor in runner.BASELINES
        if (found := runner.load_baseline_records(out, anchor))
    )


def _detector_rates(
    out: Path,
) -> tuple[tuple[str, scorecard.IntervalEstimate, scorecard.IntervalEstimate], ...]:
    told = []
    for fault in FAULTS:
        found, alarms, n = runner.count_detections(out, fault)
        if n:
            told.append((fault, scorecard.wilson_interval(found, n), scorecard.wilson_interval(alarms, n)))
    return tuple(told)


def _write_reports(
    report: scorecard.Scorecard, out: Path, records: list[EvaluationRecord], videos: Path | list[Path]
) -> None:
    scorecard.save(report, out / "scorecard.json")
    write_text(out / "scorecard.md", render_markdown(report))
    write_text(out / "scorecard.html", render_html(report, _select_examples(report, records, videos)))


def _select_examples(
    report: scorecard.Scorecard, records: list[EvaluationRecord], videos: Path | list[Path]
) -> list[ReportExample]:
    """For every measure the films with most wrong among those that fail it; else one that is right."""
    found = []
    counts: dict[int, int] = {}
    numbered = []
    for record in records:
        numbered.append((record, counts.get(record.index, 0)))
        counts[record.index] = counts.get(record.index, 0) + 1
    for measure in report.rows[0].measures:
        told = scorecard.verdicts_for_measure(records, measure)
        asked = [(*one, right) for one, right in zip(numbered, told, strict=True) if right is not None]
        wrong = [one for one in asked if not one[2]]
        wrong.sort(key=lambda one: (-sum(v is False for v in one[0].verdicts.values()), one[0].index))
        for record, k, right in wrong[:MAX_FAILURES_SHOWN] or asked[:1]:
            path = videos[record.index] if isinstance(videos, list) else videos / f"{record.index:05}-{k}.mp4"
            if not path.exists():
                continue
            frames, fps = load_video(path)
            found.append(
                ReportExample(
                    measure=measure,
                    prompt=record.prompt,
                    is_correct=right,
                    image_url=to_data_uri(draw_annotated_strip(frames, fps)),
                )
            )
    return found
