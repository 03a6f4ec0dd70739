"""How much the videos of a prompt vary with the seed, against simulated clips of the same meaning."""

from __future__ import annotations

import functools
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness import BenchRow
from kinema.evaluation.variety import (
    FACT_KINDS,
    OPEN_PROMPTS,
    OpenPrompt,
    VideoFacts,
    read_facts,
    simulate_open_prompt,
    total_variation,
)
from kinema.models.formats.loader import open_model
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import VideoRequest
from kinema.process_pool import run_jobs

MAX_TOTAL_VARIATION = 0.2
NUM_REFERENCE_CLIPS = 2
"""Simulated clips of the reference for each video of the model. As many again as there are videos are the
simulator's own row, which shows what the number of videos alone makes of equal distributions."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One video of a prompt; `model` is empty for a simulated one."""

    model: str
    rewrites: bool
    size: tuple[int, int]
    num_frames: int
    fps: float
    prompt_index: int
    seed: int

    @property
    def item(self) -> OpenPrompt:
        return OPEN_PROMPTS[self.prompt_index]


def run_benchmark(
    *, model: str = "world", num_seeds: int = 64, workers: int = 2, rewrites: bool = True
) -> list[BenchRow]:
    """Total variation of each kind of fact, as a mean over the prompts and objects that leave it open.

    Args:
        model: as for `kinema.load`.
        num_seeds: videos of each prompt.
        workers: processes.
        rewrites: let the model's prompt rewriter choose what a prompt leaves open.
    """
    defaults = open_model(model).sampling_defaults

    def jobs(name: str, count: int) -> list[_Job]:
        return [
            _Job(
                model=name,
                rewrites=rewrites,
                size=defaults.size,
                num_frames=defaults.num_frames,
                fps=defaults.fps,
                prompt_index=index,
                seed=seed,
            )
            for index in range(len(OPEN_PROMPTS))
            for seed in range(count)
        ]

    def measure(name: str, count: int) -> list[list[VideoFacts]]:
        facts = list(run_jobs(_measure, jobs(name, count), workers, isolated=True))
        return [facts[first : first + count] for first in range(0, len(facts), count)]

    simulated = measure("", num_seeds * (1 + NUM_REFERENCE_CLIPS))
    own = [clips[:num_seeds] for clips in simulated]
    reference = [clips[num_seeds:] for clips in simulated]
    return compare(measure(model, num_seeds), own, reference)


def compare(
    videos: Sequence[Sequence[VideoFacts]],
    own: Sequence[Sequence[VideoFacts]],
    reference: Sequence[Sequence[VideoFacts]],
) -> list[BenchRow]:
    """The rows of the table.

    Args:
        videos: of the model, for each prompt.
        own: simulated clips in their place.
        reference: other simulated clips.
    """
    distances, floors = (_distances_by_kind(one, reference) for one in (videos, own))
    rows = [_row(kind, distances[kind], floors[kind]) for kind in FACT_KINDS if kind in distances]
    every, every_floor = (
        [value for values in one.values() for value in values] for one in (distances, floors)
    )
    rows.append(_row("all", every, every_floor))
    right, own_right = (
        statistics.mean(facts.is_right for facts_of_prompt in one for facts in facts_of_prompt)
        for one in (videos, own)
    )
    rows.append(
        BenchRow(label="videos that show what the prompt says", ours=right, theirs=own_right, unit="")
    )
    return rows


def _row(label: str, values: Sequence[float], floor: Sequence[float]) -> BenchRow:
    return BenchRow(
        label=label,
        ours=statistics.mean(values),
        theirs=statistics.mean(floor),
        at_most=MAX_TOTAL_VARIATION,
        unit="",
        note=f"largest {max(values):.2f}",
    )


def _distances_by_kind(
    videos: Sequence[Sequence[VideoFacts]], reference: Sequence[Sequence[VideoFacts]]
) -> dict[str, list[float]]:
    distances: defaultdict[str, list[float]] = defaultdict(list)
    for own, other in zip(videos, reference, strict=True):
        values = ([facts.values for facts in part] for part in (own, other))
        for name, distance in total_variation(*values).items():
            distances[name.rstrip(" 0123456789")].append(distance)
    return distances


def _measure(job: _Job) -> VideoFacts:
    item, fps = job.item, job.fps
    if job.model:
        request = VideoRequest(
            prompt=item.prompt,
            seed=job.seed,
            size=job.size,
            num_frames=job.num_frames,
            fps=fps,
            rewrite_prompt=job.rewrites,
        )
        frames = _load(job.model).generate(request).frames
    else:
        frames = simulate_open_prompt(item, job.seed, size=job.size, num_frames=job.num_frames, fps=fps)
    return read_facts(item.meaning, frames, fps)


@functools.cache
def _load(model: str) -> Pipeline:
    return load(model)
