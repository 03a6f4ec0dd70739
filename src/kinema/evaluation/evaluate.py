"""Complete evaluations: videos in, scorecard.json, scorecard.md and scorecard.html out."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.evaluation import runner
from kinema.evaluation.generate_and_score import Timing, count_missing, generate_and_score
from kinema.evaluation.prompt_sets import build_prompt_set, prompt_set_digest
from kinema.evaluation.record import EvaluationRecord, load_records, video_path
from kinema.evaluation.report import ReportExample, render_html, render_markdown
from kinema.evaluation.scorecard import (
    IntervalEstimate,
    PairedDifference,
    Scorecard,
    ScorecardRow,
    aggregate_records,
    compare_records,
    verdicts_for_measure,
    wilson_interval,
)
from kinema.evaluation.synthetic_faults import FAULTS
from kinema.evaluation.video_sources import (
    GeneratorFactory,
    VideoFormat,
    load_video,
    pair_videos_with_prompts,
)
from kinema.evaluation.visualization import draw_annotated_strip, to_data_uri
from kinema.evaluation.whole import scene_classifier
from kinema.process_pool import JobRunner

MAX_FAILURES_SHOWN = 3
"""Failed videos on the page for every measure."""


def prepare_output_dir(out: Path, request: dict[str, object]) -> None:
    """Create an output folder, or check that an earlier run in it had the same request.

    Raises:
        UserError: the folder has the results of another request.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "request.json"
    text = json.dumps(request, indent=1, sort_keys=True) + "\n"
    if path.exists() and path.read_text() != text:
        raise UserError(f"{out} has the results of another request; choose an empty folder for --out")
    write_text(path, text)


def evaluate_baselines(
    prompt_set: str,
    video_format: VideoFormat,
    out: Path,
    *,
    clips_per_fault: int,
    seed: int = 0,
    vae: runner.Autoencoder | None = None,
    workers: int | JobRunner,
) -> Iterator[str]:
    """Score the simulator's videos, modified copies of them, and synthetic faults. Yields lines of progress.

    Args:
        prompt_set: whose kinds of prompts the simulator renders.
        video_format: of the videos.
        out: folder for the results.
        clips_per_fault: number of clips with each synthetic fault.
        seed: of the scenes; see `scene_seed`.
        vae: for the reconstructions; None leaves them out.
        workers: number of processes, or what runs jobs elsewhere.

    Raises:
        UserError: there is no such prompt set, or the folder has the results of another request.
    """
    items, digest = build_prompt_set(prompt_set), prompt_set_digest(prompt_set)
    prepare_output_dir(
        out,
        {
            "kind": "baselines",
            "prompt_set": prompt_set,
            "digest": digest,
            "video_format": asdict(video_format),
            "seed": seed,
        },
    )
    if vae is not None:
        # A request of its own, so that the row can be added to existing baselines.
        prepare_output_dir(runner.baseline_dir(out, "reconstructed"), {"autoencoder": vae.fingerprint()})
    for num_done in runner.run_baselines(items, video_format, out, seed=seed, vae=vae, workers=workers):
        yield f"baselines: {num_done} prompts"
    if prompt_set != "whole":  # The detectors see the lab alone.
        for num_done in runner.evaluate_detectors(
            clips_per_fault, video_format, out, seed=seed, workers=workers
        ):
            yield f"synthetic faults: {num_done} clips"
    simulator = runner.baseline_dir(out, "simulator")
    scorecard = Scorecard(
        title="Scorecard of the baselines",
        prompt_set=prompt_set,
        digest=digest,
        video_format=str(video_format),
        rows=_baseline_rows(out),
        detector_rates=_detector_rates(out),
        classifier_accuracy=_classifier_accuracy(prompt_set),
    )
    _write_reports(scorecard, out, load_records(simulator), simulator)


def evaluate_model(
    name: str,
    generator_factory: GeneratorFactory,
    prompt_set: str,
    video_format: VideoFormat,
    out: Path,
    *,
    baselines: Path | None,
    workers: int | JobRunner,
) -> Iterator[str]:
    """Generate and score the videos of a prompt set. Yields lines of progress.

    Args:
        name: of the model, for the scorecard.
        generator_factory: loads the model.
        prompt_set: the prompts.
        video_format: of the videos.
        out: folder for the results; an interrupted evaluation continues where it stopped.
        baselines: folder of `evaluate_baselines`, whose rows are added; None for none.
        workers: number of processes, or what runs jobs elsewhere.

    Raises:
        UserError: there is no such prompt set or model, or the folder has the results of another request.
    """
    items, digest = build_prompt_set(prompt_set), prompt_set_digest(prompt_set)
    prepare_output_dir(
        out,
        {
            "kind": "model",
            "prompt_set": prompt_set,
            "digest": digest,
            "video_format": asdict(video_format),
            "model": name,
            "weights": generator_factory.fingerprint(),
            "batch_size": generator_factory.batch_size,
        },
    )
    num_missing = count_missing(items, video_format, out)
    timings: list[Timing] = []
    start = time.perf_counter()
    for timing in generate_and_score(items, generator_factory, video_format, out, workers=workers):
        timings.append(timing)
        generation = statistics.median(t.generation_seconds for t in timings)
        scoring = statistics.median(t.scoring_seconds for t in timings)
        yield (
            f"{name}: {len(timings)} of {num_missing} videos in {time.perf_counter() - start:.0f} s; "
            f"CPU seconds per video: {generation:.2f} to generate, {scoring:.2f} to score"
        )
    _write_model_scorecard(name, prompt_set, digest, str(video_format), out, baselines)


def evaluate_videos(
    folder: Path, prompt_file: Path, out: Path, *, baselines: Path | None, workers: int | JobRunner
) -> Iterator[str]:
    """Score existing videos. Yields lines of progress.

    Args:
        folder: of the videos.
        prompt_file: one prompt per line, in the order of the file names.
        out: folder for the results.
        baselines: folder of `evaluate_baselines`, whose rows are added; None for none.
        workers: number of processes, or what runs jobs elsewhere.

    Raises:
        UserError: the numbers of videos and prompts differ, a prompt cannot be parsed, a file is not a video,
            or the folder has the results of another request.
    """
    pairs = pair_videos_with_prompts(folder, prompt_file)
    prepare_output_dir(
        out,
        {"kind": "videos", "videos": [[prompt, file.name, file.stat().st_size] for prompt, file in pairs]},
    )
    for num_done in runner.score_video_files(pairs, out, workers=workers):
        yield f"{folder.name}: {num_done} videos"
    video_files = [file for _, file in pairs]
    _write_model_scorecard(
        folder.name, prompt_file.name, "", "various sizes", out, baselines, video_files=video_files
    )


def compare_evaluations(a: Path, b: Path) -> tuple[PairedDifference, ...]:
    """Compare the results in two output folders.

    Raises:
        UserError: a folder has no results, or they have no prompt in common.
    """
    records = [load_records(out) for out in (a, b)]
    for out, found in zip((a, b), records, strict=True):
        if not found:
            raise UserError(f"{out} has no results; pass a folder that `kinema evaluate` has written")
    return compare_records(*records)


def _write_model_scorecard(
    name: str,
    prompt_set: str,
    digest: str,
    video_format: str,
    out: Path,
    baselines: Path | None,
    video_files: list[Path] | None = None,
) -> None:
    records = load_records(out)
    reference = load_records(runner.baseline_dir(baselines, "simulator")) if baselines else []
    scorecard = Scorecard(
        title=f"Scorecard of {name}",
        prompt_set=prompt_set,
        digest=digest,
        video_format=video_format,
        rows=(
            aggregate_records(name, records, reference),
            *(_baseline_rows(baselines) if baselines else ()),
        ),
        detector_rates=_detector_rates(baselines) if baselines else (),
        classifier_accuracy=_classifier_accuracy(prompt_set),
    )
    _write_reports(scorecard, out, records, video_files or out)


def _baseline_rows(out: Path) -> tuple[ScorecardRow, ...]:
    records = {baseline: load_records(runner.baseline_dir(out, baseline)) for baseline in runner.BASELINES}
    return tuple(
        aggregate_records(baseline, found, () if baseline == "simulator" else records["simulator"])
        for baseline, found in records.items()
        if found
    )


def _detector_rates(out: Path) -> tuple[tuple[str, IntervalEstimate, IntervalEstimate], ...]:
    counts = {fault: runner.count_detections(out, fault) for fault in FAULTS}
    return tuple(
        (fault, wilson_interval(found, n), wilson_interval(false_alarms, n))
        for fault, (found, false_alarms, n) in counts.items()
        if n
    )


def _classifier_accuracy(prompt_set: str) -> dict[str, float]:
    """The accuracy of the scene classifier for each attribute, where it scores the prompt set."""
    return scene_classifier()[1] if prompt_set == "whole" else {}


def _write_reports(
    scorecard: Scorecard, out: Path, records: list[EvaluationRecord], videos: Path | list[Path]
) -> None:
    scorecard.save(out / "scorecard.json")
    write_text(out / "scorecard.md", render_markdown(scorecard))
    write_text(out / "scorecard.html", render_html(scorecard, _select_examples(scorecard, records, videos)))


def _select_examples(
    scorecard: Scorecard, records: list[EvaluationRecord], videos: Path | list[Path]
) -> list[ReportExample]:
    """For every measure the videos that fail it and most other measures, or one that passes if none fails.

    Args:
        scorecard: its first row has the measures.
        records: of the videos.
        videos: the output folder that has the videos, or one video file per prompt.
    """
    is_lab = not scorecard.classifier_accuracy
    seen: Counter[int] = Counter()
    variants = []
    for record in records:
        variants.append(seen[record.index])
        seen[record.index] += 1
    examples = []
    for measure in scorecard.rows[0].measures:
        verdicts = verdicts_for_measure(records, measure)
        applicable = [
            (record, variant, passed)
            for record, variant, passed in zip(records, variants, verdicts, strict=True)
            if passed is not None
        ]
        failed = [one for one in applicable if not one[2]]
        failed.sort(key=lambda one: (-sum(v is False for v in one[0].verdicts.values()), one[0].index))
        for record, variant, passed in failed[:MAX_FAILURES_SHOWN] or applicable[:1]:
            path = (
                videos[record.index]
                if isinstance(videos, list)
                else video_path(videos, record.index, variant)
            )
            if not path.exists():
                continue
            frames, fps = load_video(path)
            examples.append(
                ReportExample(
                    measure=measure,
                    prompt=record.prompt,
                    is_correct=passed,
                    image_url=to_data_uri(draw_annotated_strip(frames, fps, with_tracks=is_lab)),
                )
            )
    return examples
