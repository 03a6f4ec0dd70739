"""The audit of many clips, on all cores, and its tables."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from kinema.errors import UserError
from kinema.process_pool import process_pool
from kinema.shapes import parse_size
from kinema.world import lab
from kinema.world.audit.checks import check
from kinema.world.audit.reading import read
from kinema.world.captions import captions
from kinema.world.clip import make_clip
from kinema.world.draw import drawn
from kinema.world.events import EVENT_KINDS, LAB_WEIGHTS, WEIGHTS
from kinema.world.facts import Caption, ClipFacts
from kinema.world.films import clip_seed
from kinema.world.spec import ClipSpec

Part = TypeVar("Part")

NEEDED = 0.995
"""Share of statements of each kind that must be right."""
FRAMED = 0.98
SMALLEST = 6.0
"""Pixels across, in a picture 128 pixels high."""
BALANCED = 0.6
"""Share of its fair share that the rarest outcome of an event must have."""
VARIETY_CAPTIONS, VARIETY_UNIQUE, VARIETY_WORDS = 2000, 1990, 400
_CHUNK = 5
"""Clips given to a process at a time."""


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to audit."""

    count: int = 600
    draws: int = 2000
    seed: int = 0
    lab: bool = False
    size: str = "128x128"
    frames: int = 33
    examples: int = 3

    def __post_init__(self) -> None:
        if self.count < 1 or self.draws < 0 or self.examples < 0:
            raise UserError("count must be at least 1, draws and examples at least 0")
        parse_size(self.size)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A statement that is not so."""

    kind: str
    seed: int
    event: str
    outcome: str
    caption: str
    text: str


@dataclass(kw_only=True)
class Findings:
    """What was found in some clips; those of several processes are added up."""

    clips: int = 0
    said: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)
    unread_in: dict[str, str] = field(default_factory=dict)
    framed: int = 0
    smallest: list[float] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)
    """One caption a clip, at random among all its wordings."""
    failed: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Count the findings of `other` too."""
        self.clips += other.clips
        self.said += other.said
        self.right += other.right
        self.faults += other.faults
        self.unread += other.unread
        self.unread_in = other.unread_in | self.unread_in
        self.framed += other.framed
        self.smallest += other.smallest
        self.chosen += other.chosen
        self.failed += other.failed

    def wrong(self) -> list[str]:
        """Kinds of statements that are right too seldom."""
        return [kind for kind, said in self.said.items() if self.right[kind] < NEEDED * said]


def audit_clip(facts: ClipFacts, told: Sequence[Caption]) -> Findings:
    """Read every caption of a clip back and check every statement it makes."""
    found = Findings(clips=1)
    for caption in told:
        reading = read(caption.text, facts, terse=caption.style == "terse")
        for word in reading.unread:
            found.unread[word] += 1
            found.unread_in.setdefault(word, caption.text)
        for statement in reading.statements:
            verdict = check(facts, statement)
            if verdict is None:
                continue
            found.said[statement.kind] += 1
            if verdict:
                found.right[statement.kind] += 1
            else:
                found.faults.append(
                    Fault(
                        kind=statement.kind,
                        seed=facts.seed,
                        event=facts.event,
                        outcome=facts.outcome,
                        caption=caption.text,
                        text=statement.text,
                    )
                )
    found.framed = int(framed(facts))
    found.smallest.append(smallest(facts))
    found.chosen.append(random.Random(f"audit {facts.seed}").choice(list(told)).text)
    return found


def framed(facts: ClipFacts) -> bool:
    """Whether the main thing, or the main group, lies wholly within the picture in the event's frame."""
    frame = min(facts.event_frame, len(facts.cameras) - 1)
    main = [e.index for e in facts.entities if e.role == "main" and (e.named or e.group)]
    return all(_inside(facts, frame, index) for index in main)


def _inside(facts: ClipFacts, frame: int, index: int) -> bool:
    if facts.tracks.pixels[frame, index] > 0:
        left, top, right, bottom = facts.tracks.box[frame, index]
        edge = 0.5 / facts.width, 0.5 / facts.height
        return bool(left > edge[0] and top > edge[1] and right < 1 - edge[0] and bottom < 1 - edge[1])
    x, y = facts.tracks.screen[frame, index]
    return bool(0 < x < 1 and 0 < y < 1 and facts.tracks.depth[frame, index] > 0)


def smallest(facts: ClipFacts) -> float:
    """How large the smallest named thing is in the event's frame: pixels across in a picture 128 high."""
    frame = min(facts.event_frame, len(facts.cameras) - 1)
    hiding = {claim.subject for claim in facts.claims if claim.kind == "hides"}
    sizes = []
    for entity in facts.entities:
        seen = facts.tracks.pixels[:, entity.index] > 0
        if not entity.named or not seen.any():
            continue
        # What is hidden just then, or about to be, is measured where it is seen best.
        whole = seen[frame] and entity.index not in hiding
        frames = [frame] if whole else list(np.flatnonzero(seen))
        boxes = facts.tracks.box[frames, entity.index]
        wide = (boxes[:, 2] - boxes[:, 0]) * facts.width / facts.height
        sizes.append(float(np.maximum(wide, boxes[:, 3] - boxes[:, 1]).max()) * 128)
    return min(sizes, default=128.0)


def words_of(texts: Iterable[str]) -> set[str]:
    """The different words of some texts."""
    return {word for text in texts for word in re.findall(r"[a-z]+(?:[-'][a-z]+)*", text.lower())}


def _audit_some(request: AuditRequest, indices: Sequence[int]) -> Findings:
    width, height = parse_size(request.size)
    found = Findings()
    for index in indices:
        spec = ClipSpec(
            seed=clip_seed(request.seed, index),
            lab=request.lab,
            height=height,
            width=width,
            frames=request.frames,
        )
        try:
            facts = make_clip(spec, render=False).facts
        except UserError as error:
            found.failed.append(f"seed {spec.seed}: {error}")
            continue
        found.add(audit_clip(facts, captions(facts)))
    return found


def _draw_some(request: AuditRequest, indices: Sequence[int]) -> Counter[tuple[str, str]]:
    """Event and outcome of some draws, by the simulation."""
    width, height = parse_size(request.size)
    happened: Counter[tuple[str, str]] = Counter()
    for index in indices:
        seed = clip_seed(request.seed, index)
        spec = ClipSpec(seed=seed, lab=request.lab, height=height, width=width, frames=request.frames)
        try:
            scene = drawn(spec)
        except UserError:
            continue
        happened[scene.event, scene.outcome] += 1
    return happened


def _shared_out(
    work: Callable[[AuditRequest, Sequence[int]], Part],
    request: AuditRequest,
    count: int,
    *,
    doing: str,
    workers: int,
    quiet: bool,
) -> Iterator[Part]:
    """The results of `work` on pieces of 0 .. count - 1, in order, from several processes."""
    chunks = [range(at, min(at + _CHUNK, count)) for at in range(0, count, _CHUNK)]
    processes = min(workers or os.cpu_count() or 1, len(chunks))
    with Progress(
        TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=quiet
    ) as bar:
        task = bar.add_task("", total=count)
        if processes == 1:
            for chunk in chunks:
                yield work(request, chunk)
                bar.advance(task, len(chunk))
            return
        with process_pool(processes) as pool:
            futures = [pool.submit(work, request, chunk) for chunk in chunks]
            try:
                for future, chunk in zip(futures, chunks, strict=True):
                    yield future.result()
                    bar.advance(task, len(chunk))
            except BrokenProcessPool:
                raise UserError("a worker was stopped, perhaps for want of memory; try --workers 1") from None


def gather(request: AuditRequest, *, workers: int, quiet: bool = False) -> Findings:
    """Audit the clips of a request in `workers` processes (0: every core), with a progress bar."""
    found = Findings()
    for part in _shared_out(
        _audit_some, request, request.count, doing="auditing", workers=workers, quiet=quiet
    ):
        found.add(part)
    return found


def balance(request: AuditRequest, *, workers: int, quiet: bool = False) -> dict[str, dict[str, int]]:
    """How often each outcome of each event happened in `request.draws` draws; also those that never did."""
    names = tuple(LAB_WEIGHTS if request.lab else WEIGHTS)
    kinds = {name: EVENT_KINDS[name] for name in names}
    counts: dict[str, dict[str, int]] = {
        name: dict.fromkeys(lab.outcomes(kind) if request.lab else kind.outcomes, 0)
        for name, kind in kinds.items()
    }
    for part in _shared_out(
        _draw_some, request, request.draws, doing="drawing", workers=workers, quiet=quiet
    ):
        for (event, outcome), number in part.items():
            counts[event][outcome] += number
    return counts


def run_audit(request: AuditRequest, *, workers: int = 0) -> bool:
    """Audit, print the tables, and say whether everything holds."""
    console = Console()
    found = gather(request, workers=workers)
    console.print(_statements(found))
    for kind in sorted({fault.kind for fault in found.faults}):
        for fault in [f for f in found.faults if f.kind == kind][: request.examples]:
            console.print(
                f"{kind}: {fault.text!r} [{fault.event}: {fault.outcome}, seed {fault.seed}] {fault.caption}",
                markup=False,
                highlight=False,
            )
    for word, number in found.unread.most_common(request.examples * 3):
        console.print(
            f"not read {number}x: {word!r} in {found.unread_in[word]}", markup=False, highlight=False
        )
    figures = _figures(found)
    if request.draws:
        figures += _balance(balance(request, workers=workers))
    table = Table("what", "figure", "needed", "holds", title="film set")
    for what, figure, needed, holds in figures:
        table.add_row(what, figure, needed, "yes" if holds else "NO")
    console.print(table)
    for reason in found.failed[: request.examples]:
        console.print(reason, markup=False, highlight=False)
    return not found.wrong() and not found.unread and all(holds for *_, holds in figures)


def _statements(found: Findings) -> Table:
    table = Table("statement", "number", "right", "share", title=f"captions of {found.clips} clips")
    for kind in sorted(found.said):
        said, right = found.said[kind], found.right[kind]
        mark = "" if right >= NEEDED * said else "  below 99.5%"
        table.add_row(kind, str(said), str(right), f"{right / said:.2%}{mark}")
    said, right = sum(found.said.values()), sum(found.right.values())
    table.add_row("all", str(said), str(right), f"{right / max(1, said):.2%}")
    return table


def _figures(found: Findings) -> list[tuple[str, str, str, bool]]:
    clips = max(1, found.clips)
    small = sum(size < SMALLEST for size in found.smallest)
    unique, words = len(set(found.chosen)), len(words_of(found.chosen))
    full = found.clips >= VARIETY_CAPTIONS
    share = VARIETY_UNIQUE / VARIETY_CAPTIONS
    in_view = f"{found.framed / clips:.2%}"
    across = f"{min(found.smallest, default=0):.1f}"
    return [
        ("words not read", str(sum(found.unread.values())), "0", not found.unread),
        ("clips that could not be drawn", str(len(found.failed)), "0", not found.failed),
        ("main thing in view at its event", in_view, ">= 98%", found.framed >= FRAMED * clips),
        ("smallest named thing, px at 128", across, f">= {SMALLEST:g}", not small),
        ("different captions", f"{unique} of {clips}", f">= {share:.1%}", unique >= share * clips),
        ("different words in them", str(words), f">= {VARIETY_WORDS}", words >= VARIETY_WORDS or not full),
    ]


def _balance(counts: dict[str, dict[str, int]]) -> list[tuple[str, str, str, bool]]:
    """For each event with several outcomes, the rarest one's share of its fair share."""
    rows = []
    for event, outcomes in sorted(counts.items()):
        if len(outcomes) < 2:
            continue
        fair = sum(outcomes.values()) / len(outcomes)
        rarest = min(outcomes, key=lambda name: outcomes[name])
        share = outcomes[rarest] / fair if fair else 0.0
        what = f"{event}: {rarest!r}, the rarest of {len(outcomes)}"
        rows.append((what, f"{share:.0%} of its fair share", ">= 60%", share >= BALANCED))
    return rows
