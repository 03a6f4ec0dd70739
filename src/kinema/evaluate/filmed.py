"""Filming the prompts of a list with a model, and judging the films as they come."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.evaluate import record
from kinema.evaluate.lists import Item
from kinema.evaluate.makers import Format, Frames, Generator, Order, Source
from kinema.evaluate.run import spread, spread_apart
from kinema.media import write_film


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Processor seconds of one film. They are told, and never part of the scorecard."""

    filming: float
    judging: float


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A film that is not judged yet."""

    item: Item
    twin: int
    """0 for the item's prompt, 1 for the swapped one."""
    form: Format
    out: Path

    @property
    def prompt(self) -> str:
        return self.item.swapped if self.twin else self.item.prompt

    @property
    def stem(self) -> str:
        return f"{self.item.index:05}-{self.twin}"

    @property
    def judged(self) -> Path:
        return self.out / "judged" / f"{self.stem}.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Filmed:
    """A film in memory, on its way to a judge."""

    wanted: _Wanted
    frames: Frames
    filming: float


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Films that are made at once. Which they are follows from the list alone, so that a film is the same
    whoever makes it and whatever was made before."""

    wanted: tuple[_Wanted, ...]
    source: Source


@functools.cache
def _generator(source: Source) -> Generator:
    """Loaded once in every process."""
    return source.generator()


def _film(batch: _Batch) -> Iterator[_Filmed]:
    """All films of a batch are made; those not judged yet go on."""
    generator = _generator(batch.source)
    start = time.process_time()
    orders = [Order(prompt=one.prompt, seed=one.item.seed) for one in batch.wanted]
    made = list(generator.films(orders, batch.wanted[0].form))
    each = (time.process_time() - start) / len(made)
    for wanted, frames in zip(batch.wanted, made, strict=True):
        if not wanted.judged.exists():
            yield _Filmed(wanted=wanted, frames=frames, filming=each)


def _judge(filmed: _Filmed) -> Spent:
    wanted, start = filmed.wanted, time.process_time()
    write_film(wanted.out / "films" / f"{wanted.stem}.mp4", filmed.frames, fps=wanted.form.fps)
    item = wanted.item
    judged = record.record_of(item.index, item.kind, wanted.prompt, filmed.frames, wanted.form.fps)
    record.save(judged, wanted.judged)
    return Spent(filming=filmed.filming, judging=time.process_time() - start)


def _fill(batch: _Batch) -> list[Spent]:
    return [_judge(filmed) for filmed in _film(batch)]


def _wanted(items: tuple[Item, ...], form: Format, out: Path) -> list[_Wanted]:
    return [
        _Wanted(item=item, twin=twin, form=form, out=out)
        for item in items
        for twin in ((0, 1) if item.swapped else (0,))
    ]


def missing(items: tuple[Item, ...], form: Format, out: Path) -> int:
    """How many films are still to be made. One counts as made when its record is written, which comes
    last."""
    return sum(not one.judged.exists() for one in _wanted(items, form, out))


def filmed(
    items: tuple[Item, ...], source: Source, form: Format, out: Path, *, workers: int
) -> Iterator[Spent]:
    """Film and judge what is missing, in so many processes; one result for every film."""
    for part in ("films", "judged"):
        (out / part).mkdir(parents=True, exist_ok=True)
    wanted, size = _wanted(items, form, out), source.batch
    batches = [
        _Batch(wanted=tuple(wanted[first : first + size]), source=source)
        for first in range(0, len(wanted), size)
        if not all(one.judged.exists() for one in wanted[first : first + size])
    ]
    if source.apart:
        for spent in spread_apart(_fill, batches, workers):
            yield from spent
    else:
        yield from spread(_judge, (film for batch in batches for film in _film(batch)), workers)
