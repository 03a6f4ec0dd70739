"""Scores many videos: baselines, synthetic faults, and video files. Resumable, in any number of processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args, runtime_checkable

from kinema.atomic_io import write_text
from kinema.evaluation import record
from kinema.evaluation.corruptions import DEFAULT_CORRUPTION, corrupt_frames, freeze_frames, shuffle_frames
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.prompt_sets import PromptItem
from kinema.evaluation.record import record_path, video_path
from kinema.evaluation.score_video import score_video
from kinema.evaluation.synthetic_faults import FAULTS, Fault, is_detected, render_fault_pair
from kinema.evaluation.video_sources import CaptionedVideo, VideoFormat, load_video, render_reference
from kinema.frames import FrameArray
from kinema.media import write_video
from kinema.process_pool import JobRunner, run_jobs

Job = TypeVar("Job")
Baseline = Literal[
    "simulator", "simulator, corrupted", "reconstructed", "shuffled captions", "frozen", "frames shuffled"
]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
FAULT_SEED_STRIDE = 10_000
"""Clip indices between consecutive seeds, so that no two seeds share a clip."""
_SIMILARITY_BASELINES: tuple[Baseline, ...] = ("simulator, corrupted", "reconstructed")
"""Baselines whose similarity to the simulator's videos is measured too."""


@runtime_checkable
class Autoencoder(Protocol):
    """Loads a function that reconstructs videos. Hashable and picklable: worker processes load their own."""

    def load_reconstructor(self) -> Callable[[FrameArray], FrameArray]:
        """Load the autoencoder."""
        ...

    def fingerprint(self) -> str:
        """Identify the weights: different weights have different fingerprints."""
        ...


@functools.cache
def _cached_reconstructor(vae: Autoencoder) -> Callable[[FrameArray], FrameArray]:
    """Loaded once in every process."""
    return vae.load_reconstructor()


def baseline_dir(out: Path, baseline: Baseline) -> Path:
    """The folder of one baseline's records."""
    return out / baseline.replace(", ", "-").replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class _BaselineJob:
    item: PromptItem
    shuffled_item: PromptItem
    """Another item of the same kind."""
    video_format: VideoFormat
    seed: int
    vae: Autoencoder | None
    out: Path

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """All baselines; without an autoencoder there is no reconstruction."""
        return tuple(b for b in BASELINES if self.vae is not None or b != "reconstructed")

    def record_path(self, baseline: Baseline, variant: int) -> Path:
        return record_path(baseline_dir(self.out, baseline), self.item.index, variant)

    def is_done(self) -> bool:
        variants = range(2 if self.item.swapped_prompt else 1)
        return all(self.record_path(b, variant).exists() for b in self.baselines for variant in variants)


def _run_baseline_job(job: _BaselineJob) -> None:
    item, fps = job.item, job.video_format.fps
    for variant, reference in enumerate(render_reference(item, job.video_format, job.seed)):
        # The video is written before the records: the records mark the job as done.
        path = video_path(baseline_dir(job.out, "simulator"), item.index, variant)
        if not path.exists():
            write_video(path, reference.frames, fps=fps)
        for baseline in job.baselines:
            if job.record_path(baseline, variant).exists():
                continue
            video = _baseline_video(job, baseline, reference)
            scored = record.build_record(
                item.index, item.kind, video.prompt, video.frames, fps, meaning=video.meaning
            )
            if baseline in _SIMILARITY_BASELINES:
                scored = record.with_similarity(scored, video.frames, reference.frames)
            record.save(scored, job.record_path(baseline, variant))


def _baseline_video(job: _BaselineJob, baseline: Baseline, reference: CaptionedVideo) -> CaptionedVideo:
    prompt, meaning, frames, seed = reference.prompt, reference.meaning, reference.frames, job.item.seed
    match baseline:
        case "simulator, corrupted":
            frames = corrupt_frames(frames, DEFAULT_CORRUPTION, seed=seed)
        case "reconstructed" if job.vae is not None:
            frames = _cached_reconstructor(job.vae)(frames)
        case "shuffled captions":
            prompt, meaning = job.shuffled_item.prompt, job.shuffled_item.meaning
        case "frozen":
            frames = freeze_frames(frames)
        case "frames shuffled":
            frames = shuffle_frames(frames, seed=seed)
    return CaptionedVideo(prompt=prompt, frames=frames, meaning=meaning)


def run_baselines(
    items: tuple[PromptItem, ...],
    video_format: VideoFormat,
    out: Path,
    *,
    seed: int = 0,
    vae: Autoencoder | None = None,
    workers: int | JobRunner,
) -> Iterator[int]:
    """Score simulator videos and modified copies of them. Yields the number of finished prompts.

    Args:
        items: the prompts whose kinds and outcomes are rendered.
        video_format: of the videos.
        out: the output folder.
        seed: of the scenes; see `scene_seed`.
        vae: for the reconstructions; None leaves them out.
        workers: number of processes, or what runs jobs elsewhere.
    """
    jobs = []
    for item in items:
        same_kind = [other for other in items if other.kind == item.kind]
        shuffled_item = same_kind[(same_kind.index(item) + 1) % len(same_kind)]
        jobs.append(
            _BaselineJob(
                item=item,
                shuffled_item=shuffled_item,
                video_format=video_format,
                seed=seed,
                vae=vae,
                out=out,
            )
        )
    for baseline in jobs[0].baselines:
        (baseline_dir(out, baseline) / "records").mkdir(parents=True, exist_ok=True)
    (baseline_dir(out, "simulator") / "videos").mkdir(exist_ok=True)
    yield from _run_and_count(_run_baseline_job, [job for job in jobs if not job.is_done()], workers)


@dataclass(frozen=True, kw_only=True)
class _FaultJob:
    fault: Fault
    index: int
    video_format: VideoFormat
    seed: int
    result_path: Path


def _run_fault_job(job: _FaultJob) -> None:
    clip = render_fault_pair(
        job.fault,
        job.index + FAULT_SEED_STRIDE * job.seed,
        size=job.video_format.height,
        num_frames=job.video_format.num_frames,
        fps=job.video_format.fps,
    )
    prompt_spec = parse_prompt(clip.prompt)
    found, false_alarm = (
        is_detected(job.fault, score_video(prompt_spec, frames, clip.fps))
        for frames in (clip.faulty, clip.clean)
    )
    write_text(job.result_path, f"{int(found)} {int(false_alarm)} {clip.prompt}\n")


def evaluate_detectors(
    clips_per_fault: int, video_format: VideoFormat, out: Path, *, seed: int = 0, workers: int | JobRunner
) -> Iterator[int]:
    """Score clips with and without each synthetic fault. Yields the number of finished pairs."""
    (out / "faults").mkdir(parents=True, exist_ok=True)
    jobs = [
        _FaultJob(
            fault=fault,
            index=index,
            video_format=video_format,
            seed=seed,
            result_path=out / "faults" / f"{_fault_stem(fault)}-{index:03}.txt",
        )
        for index in range(clips_per_fault)
        for fault in FAULTS
    ]
    yield from _run_and_count(_run_fault_job, [job for job in jobs if not job.result_path.exists()], workers)


def count_detections(out: Path, fault: Fault) -> tuple[int, int, int]:
    """The number of detections, false alarms, and clips of one fault."""
    lines = [
        path.read_text().split() for path in sorted((out / "faults").glob(f"{_fault_stem(fault)}-*.txt"))
    ]
    return sum(int(line[0]) for line in lines), sum(int(line[1]) for line in lines), len(lines)


def _fault_stem(fault: Fault) -> str:
    return fault.replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class _VideoFileJob:
    index: int
    kind: str
    prompt: str
    video_file: Path
    out: Path

    @property
    def record_path(self) -> Path:
        return record_path(self.out, self.index, 0)


def _run_video_file_job(job: _VideoFileJob) -> None:
    frames, fps = load_video(job.video_file)
    record.save(record.build_record(job.index, job.kind, job.prompt, frames, fps), job.record_path)


def score_video_files(pairs: list[tuple[str, Path]], out: Path, *, workers: int | JobRunner) -> Iterator[int]:
    """Score video files against their prompts. Yields the number of finished videos.

    Raises:
        UserError: a prompt cannot be parsed, or a file is not a video.
    """
    (out / "records").mkdir(parents=True, exist_ok=True)
    jobs = [
        _VideoFileJob(
            index=index, kind=parse_prompt(prompt).event, prompt=prompt, video_file=video_file, out=out
        )
        for index, (prompt, video_file) in enumerate(pairs)
    ]
    yield from _run_and_count(
        _run_video_file_job, [job for job in jobs if not job.record_path.exists()], workers
    )


def _run_and_count(
    work: Callable[[Job], object], jobs: Iterable[Job], workers: int | JobRunner
) -> Iterator[int]:
    for num_done, _ in enumerate(run_jobs(work, jobs, workers), 1):
        yield num_done
