"""Filming the prompts of a list with a model, and judging the films as they come."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.evaluate import record
from kinema.evaluate.lists import Item
from kinema.evaluate.makers import Format, Frames, Generator, Source
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
class _Order:
    """A film to be made where it is judged."""

    wanted: _Wanted
    source: Source


@functools.cache
def _generator(source: Source) -> Generator:
    """Loaded once in every process."""
    return source.generator()


def _film(source: Source, wanted: _Wanted) -> _Filmed:
    generator = _generator(source)
    start = time.process_time()
    frames = generator.film(wanted.prompt, wanted.item.seed, wanted.form)
    return _Filmed(wanted=wanted, frames=frames, filming=time.process_time() - start)


def _judge(filmed: _Filmed) -> Spent:
    wanted, start = filmed.wanted, time.process_time()
    write_film(wanted.out / "films" / f"{wanted.stem}.mp4", filmed.frames, fps=wanted.form.fps)
    item = wanted.item
    judged = record.record_of(item.index, item.kind, wanted.prompt, filmed.frames, wanted.form.fps)
    record.save(judged, wanted.judged)
    return Spent(filming=filmed.filming, judging=time.process_time() - start)


def _fill(order: _Order) -> Spent:
    return _judge(_film(order.source, order.wanted))


def missing(items: tuple[Item, ...], form: Format, out: Path) -> list[_Wanted]:
    """What is still to be filmed. A film counts as made when its record is written, which comes last."""
    wanted = [
        _Wanted(item=item, twin=twin, form=form, out=out)
        for item in items
        for twin in ((0, 1) if item.swapped else (0,))
    ]
    return [one for one in wanted if not one.judged.exists()]


def filmed(
    items: tuple[Item, ...], source: Source, form: Format, out: Path, *, workers: int
) -> Iterator[Spent]:
    """Film and judge what is missing, in so many processes; one result for every film."""
    for part in ("films", "judged"):
        (out / part).mkdir(parents=True, exist_ok=True)
    wanted = missing(items, form, out)
    if source.apart:
        yield from spread_apart(_fill, (_Order(wanted=one, source=source) for one in wanted), workers)
    else:
        yield from spread(_judge, (_film(source, one) for one in wanted), workers)
