"""Judging many films: resumable, in any number of processes, with one result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from jaxtyping import UInt8

from kinema.crew import crew
from kinema.evaluate import record
from kinema.evaluate.degrade import WORN, frozen, shuffled, worn
from kinema.evaluate.faults import FAULTS, Fault, detected, plant
from kinema.evaluate.judgement import judgement
from kinema.evaluate.lists import Item
from kinema.evaluate.makers import Format, Told, opened, simulated
from kinema.evaluate.meaning import read
from kinema.evaluate.record import Record
from kinema.files import write_text
from kinema.media import write_film

Frames = UInt8[np.ndarray, "f h w 3"]
Job = TypeVar("Job")
Anchor = Literal["simulator", "simulator, worn", "shuffled captions", "frozen", "frames shuffled"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)
FAULT_SEEDS = 10_000
"""Clips between those of one seed and of the next: no two seeds share a planted fault."""


def _folder(anchor: str) -> str:
    return anchor.replace(", ", "-").replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class _AnchorJob:
    item: Item
    other: str
    """The prompt of another item of the same kind: the shuffled caption."""
    form: Format
    seed: int
    out: Path

    def paths(self) -> dict[Anchor, list[Path]]:
        """Where each anchor's records go."""
        films = 2 if self.item.swapped else 1
        return {
            anchor: [
                self.out / _folder(anchor) / "judged" / f"{self.item.index:05}-{k}.json" for k in range(films)
            ]
            for anchor in ANCHORS
        }

    def done(self) -> bool:
        """Whether nothing is left to do."""
        return all(path.exists() for paths in self.paths().values() for path in paths)


def _anchor_job(job: _AnchorJob) -> None:
    paths = job.paths()
    item, fps = job.item, job.form.fps
    for k, told in enumerate(simulated(item, job.form, job.seed)):
        for anchor in ANCHORS:
            prompt, frames = told.prompt, told.frames
            if anchor == "simulator, worn":
                frames = worn(frames, WORN, seed=item.seed)
            elif anchor == "shuffled captions":
                prompt = job.other
            elif anchor == "frozen":
                frames = frozen(frames)
            elif anchor == "frames shuffled":
                frames = shuffled(frames, seed=item.seed)
            record.save(record.record_of(item.index, item.kind, prompt, frames, fps), paths[anchor][k])
        film = job.out / "simulator" / "films" / f"{item.index:05}-{k}.mp4"
        write_film(film, told.frames, fps=fps)


def anchors(
    items: tuple[Item, ...], form: Format, out: Path, *, seed: int = 0, workers: int
) -> Iterator[int]:
    """Judge simulator films, and what is made of them, for the anchors' rows. Yields how many are done."""
    for anchor in ANCHORS:
        (out / _folder(anchor) / "judged").mkdir(parents=True, exist_ok=True)
    (out / "simulator" / "films").mkdir(parents=True, exist_ok=True)
    jobs = []
    for item in items:
        same = [other for other in items if other.kind == item.kind]
        other = same[(same.index(item) + 1) % len(same)]
        jobs.append(_AnchorJob(item=item, other=other.prompt, form=form, seed=seed, out=out))
    yield from _spread(_anchor_job, [job for job in jobs if not job.done()], workers)


def anchor_records(out: Path, anchor: Anchor) -> list[Record]:
    """What has been judged of an anchor."""
    return records_in(out / _folder(anchor) / "judged")


def records_in(folder: Path) -> list[Record]:
    """All records of a folder, in the order of their names."""
    return [record.load(path) for path in sorted(folder.glob("*.json"))]


@dataclass(frozen=True, kw_only=True)
class _FaultJob:
    fault: Fault
    number: int
    form: Format
    seed: int
    path: Path


def _fault_job(job: _FaultJob) -> None:
    form = job.form
    number = job.number + FAULT_SEEDS * job.seed
    clip = plant(job.fault, number, size=form.height, frames=form.frames, fps=form.fps)
    meaning = read(clip.prompt)
    found = detected(job.fault, judgement(meaning, clip.faulty, clip.fps))
    alarm = detected(job.fault, judgement(meaning, clip.clean, clip.fps))
    write_text(job.path, f"{int(found)} {int(alarm)} {clip.prompt}\n")


def plant_faults(number: int, form: Format, out: Path, *, seed: int = 0, workers: int) -> Iterator[int]:
    """Plant every fault so many times and see whether its detector goes off, with it and without."""
    (out / "faults").mkdir(parents=True, exist_ok=True)
    jobs = [
        _FaultJob(
            fault=f, number=k, form=form, seed=seed, path=out / "faults" / f"{f.replace(' ', '-')}-{k:03}.txt"
        )
        for k in range(number)
        for f in FAULTS
    ]
    yield from _spread(_fault_job, [job for job in jobs if not job.path.exists()], workers)


def detections(out: Path, fault: Fault) -> tuple[int, int, int]:
    """Found, false alarms and clips of one planted fault."""
    lines = [p.read_text().split() for p in sorted((out / "faults").glob(f"{fault.replace(' ', '-')}-*.txt"))]
    return sum(int(line[0]) for line in lines), sum(int(line[1]) for line in lines), len(lines)


@dataclass(frozen=True, kw_only=True)
class _FilmJob:
    index: int
    kind: str
    prompt: str
    film: Path
    path: Path


def _film_job(job: _FilmJob) -> None:
    frames, fps = opened(job.film)
    record.save(record.record_of(job.index, job.kind, job.prompt, frames, fps), job.path)


def films(pairs: list[tuple[str, Path]], out: Path, *, workers: int) -> Iterator[int]:
    """Judge film files against their prompts."""
    (out / "judged").mkdir(parents=True, exist_ok=True)
    jobs = [
        _FilmJob(
            index=k, kind=read(prompt).story, prompt=prompt, film=film, path=out / "judged" / f"{k:05}-0.json"
        )
        for k, (prompt, film) in enumerate(pairs)
    ]
    yield from _spread(_film_job, [job for job in jobs if not job.path.exists()], workers)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ToldJob:
    item: Item
    told: Told
    fps: float
    stem: str
    out: Path


def _told_job(job: _ToldJob) -> None:
    write_film(job.out / "films" / f"{job.stem}.mp4", job.told.frames, fps=job.fps)
    judged = record.record_of(job.item.index, job.item.kind, job.told.prompt, job.told.frames, job.fps)
    record.save(judged, job.out / "judged" / f"{job.stem}.json")


def judge_generated(
    work: Iterable[tuple[Item, int, Told]], fps: float, out: Path, *, workers: int
) -> Iterator[int]:
    """Judge films as they are generated; (item, 0 for its prompt and 1 for the swapped one, film)."""
    for part in ("films", "judged"):
        (out / part).mkdir(parents=True, exist_ok=True)
    jobs = (
        _ToldJob(item=item, told=told, fps=fps, stem=f"{item.index:05}-{k}", out=out)
        for item, k, told in work
    )
    if workers <= 1:
        for done, job in enumerate(jobs, 1):
            _told_job(job)
            yield done
        return
    yield from _spread(_told_job, jobs, workers)


def _spread(work: Callable[[Job], None], jobs: Iterable[Job], workers: int) -> Iterator[int]:
    """Do all jobs; each writes its own file, so neither their order nor who does them matters."""
    if workers <= 1:
        for done, job in enumerate(jobs, 1):
            work(job)
            yield done
        return
    with crew(workers) as pool:
        for done, _ in enumerate(pool.map(work, jobs, chunksize=1), 1):
            yield done
