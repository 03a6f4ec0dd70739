"""Filming the prompts of a list with a model, and judging the films as they come."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.evaluation import record
from kinema.evaluation.prompt_sets import PromptItem
from kinema.evaluation.runner import run_jobs, run_jobs_isolated
from kinema.evaluation.video_sources import (
    FrameArray,
    GeneratorFactory,
    SampleRequest,
    VideoFormat,
    VideoGenerator,
)
from kinema.media import write_video


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Processor seconds of one film. They are told, and never part of the scorecard."""

    generation_seconds: float
    scoring_seconds: float


@dataclass(frozen=True, kw_only=True)
class _VideoJob:
    """A film that is not judged yet."""

    item: PromptItem
    variant: int
    """0 for the item's prompt, 1 for the swapped one."""
    video_format: VideoFormat
    out: Path

    @property
    def prompt(self) -> str:
        return self.item.swapped_prompt if self.variant else self.item.prompt

    @property
    def stem(self) -> str:
        return f"{self.item.index:05}-{self.variant}"

    @property
    def record_path(self) -> Path:
        return self.out / "judged" / f"{self.stem}.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class _GeneratedVideo:
    """A film in memory, on its way to a judge."""

    job: _VideoJob
    frames: FrameArray
    generation_seconds: float


@dataclass(frozen=True, kw_only=True)
class _JobBatch:
    """Films that are made at once. Which they are follows from the list alone, so that a film is the same
    whoever makes it and whatever was made before."""

    jobs: tuple[_VideoJob, ...]
    generator_factory: GeneratorFactory


@functools.cache
def _load_generator(generator_factory: GeneratorFactory) -> VideoGenerator:
    """Loaded once in every process."""
    return generator_factory.load_generator()


def _generate_batch(batch: _JobBatch) -> Iterator[_GeneratedVideo]:
    """All films of a batch are made; those not judged yet go on."""
    generator = _load_generator(batch.generator_factory)
    start = time.process_time()
    orders = [SampleRequest(prompt=one.prompt, seed=one.item.seed) for one in batch.jobs]
    made = list(generator.generate(orders, batch.jobs[0].video_format))
    each = (time.process_time() - start) / len(made)
    for wanted, frames in zip(batch.jobs, made, strict=True):
        if not wanted.record_path.exists():
            yield _GeneratedVideo(job=wanted, frames=frames, generation_seconds=each)


def _score_generated(generated: _GeneratedVideo) -> Timing:
    wanted, start = generated.job, time.process_time()
    write_video(wanted.out / "films" / f"{wanted.stem}.mp4", generated.frames, fps=wanted.video_format.fps)
    item = wanted.item
    judged = record.build_record(
        item.index, item.kind, wanted.prompt, generated.frames, wanted.video_format.fps
    )
    record.save(judged, wanted.record_path)
    return Timing(
        generation_seconds=generated.generation_seconds, scoring_seconds=time.process_time() - start
    )


def _generate_and_score_batch(batch: _JobBatch) -> list[Timing]:
    return [_score_generated(filmed) for filmed in _generate_batch(batch)]


def _list_jobs(items: tuple[PromptItem, ...], video_format: VideoFormat, out: Path) -> list[_VideoJob]:
    return [
        _VideoJob(item=item, variant=twin, video_format=video_format, out=out)
        for item in items
        for twin in ((0, 1) if item.swapped_prompt else (0,))
    ]


def count_missing(items: tuple[PromptItem, ...], video_format: VideoFormat, out: Path) -> int:
    """How many films are still to be made. One counts as made when its record is written, which comes
    last."""
    return sum(not one.record_path.exists() for one in _list_jobs(items, video_format, out))


def generate_and_score(
    items: tuple[PromptItem, ...],
    generator_factory: GeneratorFactory,
    video_format: VideoFormat,
    out: Path,
    *,
    workers: int,
) -> Iterator[Timing]:
    """Film and judge what is missing, in so many processes; one result for every film."""
    for part in ("films", "judged"):
        (out / part).mkdir(parents=True, exist_ok=True)
    wanted, size = _list_jobs(items, video_format, out), generator_factory.batch_size
    batches = [
        _JobBatch(jobs=tuple(wanted[first : first + size]), generator_factory=generator_factory)
        for first in range(0, len(wanted), size)
        if not all(one.record_path.exists() for one in wanted[first : first + size])
    ]
    if generator_factory.per_process:
        for spent in run_jobs_isolated(_generate_and_score_batch, batches, workers):
            yield from spent
    else:
        yield from run_jobs(
            _score_generated, (film for batch in batches for film in _generate_batch(batch)), workers
        )
