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
from kinema.evaluate import record
from kinema.evaluate.degrade import WORN, frozen, shuffled, worn
from kinema.evaluate.faults import FAULTS, Fault, detected, plant
from kinema.evaluate.judgement import judgement
from kinema.evaluate.lists import Item
from kinema.evaluate.makers import Format, opened, simulated
from kinema.evaluate.meaning import read
from kinema.evaluate.record import Record
from kinema.media import write_film
from kinema.process_pool import process_pool

Frames = UInt8[np.ndarray, "f h w 3"]
Job = TypeVar("Job")
Done = TypeVar("Done")
Anchor = Literal[
    "simulator", "simulator, worn", "reconstructed", "shuffled captions", "frozen", "frames shuffled"
]  # fmt: skip
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)
FAULT_SEEDS = 10_000
"""Clips between those of one seed and of the next: no two seeds share a planted fault."""


_WITHOUT: tuple[Anchor, ...] = tuple(anchor for anchor in ANCHORS if anchor != "reconstructed")
_COPIES: tuple[Anchor, ...] = ("simulator, worn", "reconstructed")
"""Anchors that are to look like the simulator's films: how far they do is measured too."""


@runtime_checkable
class Autoencoder(Protocol):
    """Whose reconstructions are judged. Hashable, and little enough to be handed to another process."""

    def reconstruct(self) -> Callable[[Frames], Frames]:
        """Load it."""
        ...

    def fingerprint(self) -> str:
        """Changes when its reconstructions would."""
        ...


@functools.cache
def _reconstruction(vae: Autoencoder) -> Callable[[Frames], Frames]:
    """Loaded once in every process."""
    return vae.reconstruct()


def anchor_folder(out: Path, anchor: Anchor) -> Path:
    """Where the films and records of one anchor lie."""
    return out / anchor.replace(", ", "-").replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class _AnchorJob:
    item: Item
    other: str
    """The prompt of another item of the same kind: the shuffled caption."""
    form: Format
    seed: int
    vae: Autoencoder | None
    out: Path

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The reconstruction needs an autoencoder."""
        return ANCHORS if self.vae is not None else _WITHOUT

    def paths(self) -> dict[Anchor, list[Path]]:
        """Where each anchor's records go."""
        films = 2 if self.item.swapped else 1
        return {
            anchor: [
                anchor_folder(self.out, anchor) / "judged" / f"{self.item.index:05}-{k}.json"
                for k in range(films)
            ]
            for anchor in self.anchors
        }

    def done(self) -> bool:
        """Whether nothing is left to do."""
        return all(path.exists() for paths in self.paths().values() for path in paths)


def _anchor_job(job: _AnchorJob) -> None:
    paths = job.paths()
    item, fps = job.item, job.form.fps
    for k, told in enumerate(simulated(item, job.form, job.seed)):
        # Before the records: they say that all is done.
        film = job.out / "simulator" / "films" / f"{item.index:05}-{k}.mp4"
        if not film.exists():
            write_film(film, told.frames, fps=fps)
        for anchor in job.anchors:
            if paths[anchor][k].exists():
                continue
            prompt, frames = told.prompt, told.frames
            if anchor == "simulator, worn":
                frames = worn(frames, WORN, seed=item.seed)
            elif anchor == "reconstructed" and job.vae is not None:
                frames = _reconstruction(job.vae)(frames)
            elif anchor == "shuffled captions":
                prompt = job.other
            elif anchor == "frozen":
                frames = frozen(frames)
            elif anchor == "frames shuffled":
                frames = shuffled(frames, seed=item.seed)
            judged = record.record_of(item.index, item.kind, prompt, frames, fps)
            if anchor in _COPIES:
                judged = record.beside(judged, frames, told.frames)
            record.save(judged, paths[anchor][k])


def anchors(
    items: tuple[Item, ...],
    form: Format,
    out: Path,
    *,
    seed: int = 0,
    vae: Autoencoder | None = None,
    workers: int,
) -> Iterator[int]:
    """Judge simulator films, and what is made of them, for the anchors' rows. Yields how many are done."""
    for anchor in ANCHORS if vae is not None else _WITHOUT:
        (anchor_folder(out, anchor) / "judged").mkdir(parents=True, exist_ok=True)
    (out / "simulator" / "films").mkdir(parents=True, exist_ok=True)
    jobs = []
    for item in items:
        same = [other for other in items if other.kind == item.kind]
        other = same[(same.index(item) + 1) % len(same)]
        jobs.append(_AnchorJob(item=item, other=other.prompt, form=form, seed=seed, vae=vae, out=out))
    yield from _counted(_anchor_job, [job for job in jobs if not job.done()], workers)


def anchor_records(out: Path, anchor: Anchor) -> list[Record]:
    """What has been judged of an anchor."""
    return records_in(anchor_folder(out, anchor) / "judged")


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
    yield from _counted(_fault_job, [job for job in jobs if not job.path.exists()], workers)


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
    yield from _counted(_film_job, [job for job in jobs if not job.path.exists()], workers)


def spread(work: Callable[[Job], Done], jobs: Iterable[Job], workers: int) -> Iterator[Done]:
    """Do all jobs; each writes its own file, so neither their order nor who does them matters.

    Jobs are taken as they are needed, a few ahead of the processes, so that they may be large.
    """
    if workers <= 1:
        for job in jobs:
            yield work(job)
        return
    yield from spread_apart(work, jobs, workers)


def spread_apart(work: Callable[[Job], Done], jobs: Iterable[Job], workers: int) -> Iterator[Done]:
    """The same, in other processes even if it is only one: of one thread each."""
    with process_pool(workers) as pool:
        begun: deque[Future[Done]] = deque()
        for job in jobs:
            begun.append(pool.submit(work, job))
            if len(begun) >= 3 * workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _counted(work: Callable[[Job], object], jobs: Iterable[Job], workers: int) -> Iterator[int]:
    for done, _ in enumerate(spread(work, jobs, workers), 1):
        yield done
