"""Judging many films: resumable, in any number of processes, with one result."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from kinema.atomic_io import write_text
from kinema.evaluation import record
from kinema.evaluation.corruptions import DEFAULT_CORRUPTION, corrupt_frames, freeze_frames, shuffle_frames
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.prompt_sets import PromptItem
from kinema.evaluation.record import EvaluationRecord
from kinema.evaluation.score_video import score_video
from kinema.evaluation.synthetic_faults import FAULTS, Fault, is_detected, render_fault_pair
from kinema.evaluation.video_sources import VideoFormat, load_video, render_reference
from kinema.media import write_video
from kinema.process_pool import process_pool

FrameArray = UInt8[np.ndarray, "f h w 3"]
Job = TypeVar("Job")
JobResult = TypeVar("JobResult")
Baseline = Literal[
    "simulator", "simulator, worn", "reconstructed", "shuffled captions", "frozen", "frames shuffled"
]  # fmt: skip
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
FAULT_SEED_STRIDE = 10_000
"""Clips between those of one seed and of the next: no two seeds share a planted fault."""


_BASELINES_WITHOUT_VAE: tuple[Baseline, ...] = tuple(
    anchor for anchor in BASELINES if anchor != "reconstructed"
)
_SIMILARITY_BASELINES: tuple[Baseline, ...] = ("simulator, worn", "reconstructed")
"""Anchors that are to look like the simulator's films: how far they do is measured too."""


@runtime_checkable
class Autoencoder(Protocol):
    """Whose reconstructions are judged. Hashable, and little enough to be handed to another process."""

    def load_reconstructor(self) -> Callable[[FrameArray], FrameArray]:
        """Load it."""
        ...

    def fingerprint(self) -> str:
        """Changes when its reconstructions would."""
        ...


@functools.cache
def _cached_reconstructor(vae: Autoencoder) -> Callable[[FrameArray], FrameArray]:
    """Loaded once in every process."""
    return vae.load_reconstructor()


def baseline_dir(out: Path, baseline: Baseline) -> Path:
    """Where the films and records of one anchor lie."""
    return out / baseline.replace(", ", "-").replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class _BaselineJob:
    item: PromptItem
    shuffled_caption: str
    """The prompt of another item of the same kind: the shuffled caption."""
    video_format: VideoFormat
    seed: int
    vae: Autoencoder | None
    out: Path

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """The reconstruction needs an autoencoder."""
        return BASELINES if self.vae is not None else _BASELINES_WITHOUT_VAE

    def record_paths(self) -> dict[Baseline, list[Path]]:
        """Where each anchor's records go."""
        films = 2 if self.item.swapped_prompt else 1
        return {
            anchor: [
                baseline_dir(self.out, anchor) / "judged" / f"{self.item.index:05}-{k}.json"
                for k in range(films)
            ]
            for anchor in self.baselines
        }

    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return all(path.exists() for paths in self.record_paths().values() for path in paths)


def _run_baseline_job(job: _BaselineJob) -> None:
    paths = job.record_paths()
    item, fps = job.item, job.video_format.fps
    for k, told in enumerate(render_reference(item, job.video_format, job.seed)):
        # Before the records: they say that all is done.
        film = job.out / "simulator" / "films" / f"{item.index:05}-{k}.mp4"
        if not film.exists():
            write_video(film, told.frames, fps=fps)
        for anchor in job.baselines:
            if paths[anchor][k].exists():
                continue
            prompt, frames = told.prompt, told.frames
            if anchor == "simulator, worn":
                frames = corrupt_frames(frames, DEFAULT_CORRUPTION, seed=item.seed)
            elif anchor == "reconstructed" and job.vae is not None:
                frames = _cached_reconstructor(job.vae)(frames)
            elif anchor == "shuffled captions":
                prompt = job.shuffled_caption
            elif anchor == "frozen":
                frames = freeze_frames(frames)
            elif anchor == "frames shuffled":
                frames = shuffle_frames(frames, seed=item.seed)
            judged = record.build_record(item.index, item.kind, prompt, frames, fps)
            if anchor in _SIMILARITY_BASELINES:
                judged = record.with_similarity(judged, frames, told.frames)
            record.save(judged, paths[anchor][k])


def run_baselines(
    items: tuple[PromptItem, ...],
    video_format: VideoFormat,
    out: Path,
    *,
    seed: int = 0,
    vae: Autoencoder | None = None,
    workers: int,
) -> Iterator[int]:
    """Judge simulator films, and what is made of them, for the anchors' rows. Yields how many are done."""
    for anchor in BASELINES if vae is not None else _BASELINES_WITHOUT_VAE:
        (baseline_dir(out, anchor) / "judged").mkdir(parents=True, exist_ok=True)
    (out / "simulator" / "films").mkdir(parents=True, exist_ok=True)
    jobs = []
    for item in items:
        same = [other for other in items if other.kind == item.kind]
        other = same[(same.index(item) + 1) % len(same)]
        jobs.append(
            _BaselineJob(
                item=item,
                shuffled_caption=other.prompt,
                video_format=video_format,
                seed=seed,
                vae=vae,
                out=out,
            )
        )
    yield from _run_and_count(_run_baseline_job, [job for job in jobs if not job.is_done()], workers)


def load_baseline_records(out: Path, baseline: Baseline) -> list[EvaluationRecord]:
    """What has been judged of an anchor."""
    return load_records(baseline_dir(out, baseline) / "judged")


def load_records(folder: Path) -> list[EvaluationRecord]:
    """All records of a folder, in the order of their names."""
    return [record.load(path) for path in sorted(folder.glob("*.json"))]


@dataclass(frozen=True, kw_only=True)
class _FaultJob:
    fault: Fault
    index: int
    video_format: VideoFormat
    seed: int
    result_path: Path


def _run_fault_job(job: _FaultJob) -> None:
    form = job.video_format
    number = job.index + FAULT_SEED_STRIDE * job.seed
    clip = render_fault_pair(job.fault, number, size=form.height, num_frames=form.num_frames, fps=form.fps)
    meaning = parse_prompt(clip.prompt)
    found = is_detected(job.fault, score_video(meaning, clip.faulty, clip.fps))
    alarm = is_detected(job.fault, score_video(meaning, clip.clean, clip.fps))
    write_text(job.result_path, f"{int(found)} {int(alarm)} {clip.prompt}\n")


def evaluate_detectors(
    clips_per_fault: int, video_format: VideoFormat, out: Path, *, seed: int = 0, workers: int
) -> Iterator[int]:
    """Plant every fault so many times and see whether its detector goes off, with it and without."""
    (out / "faults").mkdir(parents=True, exist_ok=True)
    jobs = [
        _FaultJob(
            fault=f,
            index=k,
            video_format=video_format,
            seed=seed,
            result_path=out / "faults" / f"{f.replace(' ', '-')}-{k:03}.txt",
        )
        for k in range(clips_per_fault)
        for f in FAULTS
    ]
    yield from _run_and_count(_run_fault_job, [job for job in jobs if not job.result_path.exists()], workers)


def count_detections(out: Path, fault: Fault) -> tuple[int, int, int]:
    """Found, false alarms and clips of one planted fault."""
    lines = [p.read_text().split() for p in sorted((out / "faults").glob(f"{fault.replace(' ', '-')}-*.txt"))]
    return sum(int(line[0]) for line in lines), sum(int(line[1]) for line in lines), len(lines)


@dataclass(frozen=True, kw_only=True)
class _VideoFileJob:
    index: int
    kind: str
    prompt: str
    video_path: Path
    record_path: Path


def _run_video_file_job(job: _VideoFileJob) -> None:
    frames, fps = load_video(job.video_path)
    record.save(record.build_record(job.index, job.kind, job.prompt, frames, fps), job.record_path)


def score_video_files(pairs: list[tuple[str, Path]], out: Path, *, workers: int) -> Iterator[int]:
    """Judge film files against their prompts."""
    (out / "judged").mkdir(parents=True, exist_ok=True)
    jobs = [
        _VideoFileJob(
            index=k,
            kind=parse_prompt(prompt).event,
            prompt=prompt,
            video_path=film,
            record_path=out / "judged" / f"{k:05}-0.json",
        )
        for k, (prompt, film) in enumerate(pairs)
    ]
    yield from _run_and_count(
        _run_video_file_job, [job for job in jobs if not job.record_path.exists()], workers
    )


def run_jobs(work: Callable[[Job], JobResult], jobs: Iterable[Job], workers: int) -> Iterator[JobResult]:
    """Do all jobs; each writes its own file, so neither their order nor who does them matters.

    Jobs are taken as they are needed, a few ahead of the processes, so that they may be large.
    """
    if workers <= 1:
        for job in jobs:
            yield work(job)
        return
    yield from run_jobs_isolated(work, jobs, workers)


def run_jobs_isolated(
    work: Callable[[Job], JobResult], jobs: Iterable[Job], workers: int
) -> Iterator[JobResult]:
    """The same, in other processes even if it is only one: of one thread each."""
    with process_pool(workers) as pool:
        begun: deque[Future[JobResult]] = deque()
        for job in jobs:
            begun.append(pool.submit(work, job))
            if len(begun) >= 3 * workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _run_and_count(work: Callable[[Job], object], jobs: Iterable[Job], workers: int) -> Iterator[int]:
    for done, _ in enumerate(run_jobs(work, jobs, workers), 1):
        yield done
