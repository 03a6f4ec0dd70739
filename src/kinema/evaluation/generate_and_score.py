"""Generates the videos of a prompt set with a model and scores them one by one."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.evaluation import record
from kinema.evaluation.prompt_sets import PromptItem
from kinema.evaluation.video_sources import GeneratorFactory, SampleRequest, VideoFormat, VideoGenerator
from kinema.frames import FrameArray
from kinema.media import write_video
from kinema.process_pool import JobRunner, run_jobs


@dataclass(frozen=True, kw_only=True)
class Timing:
    """CPU seconds of one video. Shown as progress, never part of the scorecard."""

    generation_seconds: float
    scoring_seconds: float


@dataclass(frozen=True, kw_only=True)
class _VideoJob:
    """A video of the prompt set."""

    item: PromptItem
    variant: int
    """0 for the item's prompt, 1 for the swapped one."""
    video_format: VideoFormat
    out: Path

    @property
    def prompt(self) -> str:
        return self.item.swapped_prompt if self.variant else self.item.prompt

    @property
    def record_path(self) -> Path:
        return record.record_path(self.out, self.item.index, self.variant)

    @property
    def is_done(self) -> bool:
        """The record is written last."""
        return self.record_path.exists()


@dataclass(frozen=True, kw_only=True, eq=False)
class _GeneratedVideo:
    """A video in memory, not yet scored."""

    job: _VideoJob
    frames: FrameArray
    generation_seconds: float


@dataclass(frozen=True, kw_only=True)
class _JobBatch:
    """Videos generated at once. The batches depend on the prompt set alone, so that a video is the same
    whichever process generates it and whatever was generated before."""

    jobs: tuple[_VideoJob, ...]
    generator_factory: GeneratorFactory


@functools.cache
def _load_generator(generator_factory: GeneratorFactory) -> VideoGenerator:
    """Loaded once in every process."""
    return generator_factory.load_generator()


def _generate_batch(batch: _JobBatch) -> Iterator[_GeneratedVideo]:
    """Generate all videos of a batch; yield those that are not scored yet."""
    generator = _load_generator(batch.generator_factory)
    start = time.process_time()
    requests = [SampleRequest(prompt=job.prompt, seed=job.item.seed) for job in batch.jobs]
    videos = list(generator.generate(requests, batch.jobs[0].video_format))
    seconds_per_video = (time.process_time() - start) / len(videos)
    for job, frames in zip(batch.jobs, videos, strict=True):
        if not job.is_done:
            yield _GeneratedVideo(job=job, frames=frames, generation_seconds=seconds_per_video)


def _score_generated(generated: _GeneratedVideo) -> Timing:
    job, start = generated.job, time.process_time()
    item, fps = job.item, job.video_format.fps
    write_video(record.video_path(job.out, item.index, job.variant), generated.frames, fps=fps)
    scored = record.build_record(
        item.index, item.kind, job.prompt, generated.frames, fps, meaning=item.meaning
    )
    record.save(scored, job.record_path)
    return Timing(
        generation_seconds=generated.generation_seconds, scoring_seconds=time.process_time() - start
    )


def _generate_and_score_batch(batch: _JobBatch) -> list[Timing]:
    return [_score_generated(generated) for generated in _generate_batch(batch)]


def _list_jobs(items: tuple[PromptItem, ...], video_format: VideoFormat, out: Path) -> list[_VideoJob]:
    return [
        _VideoJob(item=item, variant=variant, video_format=video_format, out=out)
        for item in items
        for variant in range(2 if item.swapped_prompt else 1)
    ]


def count_missing(items: tuple[PromptItem, ...], video_format: VideoFormat, out: Path) -> int:
    """The number of videos that are not scored yet."""
    return sum(not job.is_done for job in _list_jobs(items, video_format, out))


def generate_and_score(
    items: tuple[PromptItem, ...],
    generator_factory: GeneratorFactory,
    video_format: VideoFormat,
    out: Path,
    *,
    workers: int | JobRunner,
) -> Iterator[Timing]:
    """Generate and score the missing videos of a prompt set.

    Args:
        items: the prompts.
        generator_factory: loads the model; decides the batch size and whether each process generates.
        video_format: of the videos.
        out: the output folder.
        workers: number of processes, or what runs jobs elsewhere.

    Returns:
        One timing per video.
    """
    for name in ("videos", "records"):
        (out / name).mkdir(parents=True, exist_ok=True)
    jobs, size = _list_jobs(items, video_format, out), generator_factory.batch_size
    batches = [
        _JobBatch(jobs=tuple(jobs[first : first + size]), generator_factory=generator_factory)
        for first in range(0, len(jobs), size)
        if not all(job.is_done for job in jobs[first : first + size])
    ]
    if generator_factory.per_process or not isinstance(workers, int):
        for timings in run_jobs(_generate_and_score_batch, batches, workers, isolated=True):
            yield from timings
    else:
        videos = (video for batch in batches for video in _generate_batch(batch))
        yield from run_jobs(_score_generated, videos, workers)
