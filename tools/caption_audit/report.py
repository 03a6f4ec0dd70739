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
from kinema.simulator import lab_split as lab
from kinema.simulator.annotations import Caption, ClipAnnotations
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.events import EVENT_TYPES, EVENT_WEIGHTS, LAB_EVENT_WEIGHTS
from kinema.simulator.scene_sampler import sample_scene
from kinema.simulator.shards import derive_clip_seed
from tools.caption_audit.event_checks import check_statement
from tools.caption_audit.parser import parse_caption

ChunkResult = TypeVar("ChunkResult")

MIN_CORRECT_SHARE = 0.995
"""Share of statements of each kind that must be right."""
MIN_FRAMED_SHARE = 0.98
MIN_SIZE_PX = 6.0
"""Pixels across, in a picture 128 pixels high."""
MIN_OUTCOME_SHARE = 0.6
"""Share of its fair share that the rarest outcome of an event must have."""
VARIETY_MIN_CAPTIONS, VARIETY_MIN_UNIQUE, VARIETY_MIN_WORDS = 2000, 1990, 400
_CHUNK_SIZE = 5
"""Clips given to a process at a time."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What to audit."""

    num_clips: int = 600
    num_draws: int = 2000
    seed: int = 0
    lab: bool = False
    size: str = "128x128"
    num_frames: int = 33
    max_examples: int = 3

    def __post_init__(self) -> None:
        if self.num_clips < 1 or self.num_draws < 0 or self.max_examples < 0:
            raise UserError("count must be at least 1, draws and examples at least 0")
        parse_size(self.size)


@dataclass(frozen=True, kw_only=True)
class FalseStatement:
    """A statement that is not so."""

    kind: str
    seed: int
    event: str
    outcome: str
    caption: str
    text: str


@dataclass(kw_only=True)
class AuditResults:
    """What was found in some clips; those of several processes are added up."""

    num_clips: int = 0
    num_checked: Counter[str] = field(default_factory=Counter)
    num_correct: Counter[str] = field(default_factory=Counter)
    false_statements: list[FalseStatement] = field(default_factory=list)
    unparsed: Counter[str] = field(default_factory=Counter)
    unparsed_examples: dict[str, str] = field(default_factory=dict)
    num_framed: int = 0
    smallest_sizes: list[float] = field(default_factory=list)
    sampled_captions: list[str] = field(default_factory=list)
    """One caption a clip, at random among all its wordings."""
    failures: list[str] = field(default_factory=list)

    def add(self, other: AuditResults) -> None:
        """Count the findings of `other` too."""
        self.num_clips += other.num_clips
        self.num_checked += other.num_checked
        self.num_correct += other.num_correct
        self.false_statements += other.false_statements
        self.unparsed += other.unparsed
        self.unparsed_examples = other.unparsed_examples | self.unparsed_examples
        self.num_framed += other.num_framed
        self.smallest_sizes += other.smallest_sizes
        self.sampled_captions += other.sampled_captions
        self.failures += other.failures

    def failing_kinds(self) -> list[str]:
        """Kinds of statements that are right too seldom."""
        return [
            kind
            for kind, said in self.num_checked.items()
            if self.num_correct[kind] < MIN_CORRECT_SHARE * said
        ]


def audit_clip(annotations: ClipAnnotations, clip_captions: Sequence[Caption]) -> AuditResults:
    """Read every caption of a clip back and check every statement it makes."""
    found = AuditResults(num_clips=1)
    for caption in clip_captions:
        reading = parse_caption(caption.text, annotations, terse=caption.style == "terse")
        for word in reading.unparsed:
            found.unparsed[word] += 1
            found.unparsed_examples.setdefault(word, caption.text)
        for statement in reading.statements:
            verdict = check_statement(annotations, statement)
            if verdict is None:
                continue
            found.num_checked[statement.kind] += 1
            if verdict:
                found.num_correct[statement.kind] += 1
            else:
                found.false_statements.append(
                    FalseStatement(
                        kind=statement.kind,
                        seed=annotations.seed,
                        event=annotations.event,
                        outcome=annotations.outcome,
                        caption=caption.text,
                        text=statement.text,
                    )
                )
    found.num_framed = int(is_framed(annotations))
    found.smallest_sizes.append(smallest_named_size(annotations))
    found.sampled_captions.append(random.Random(f"audit {annotations.seed}").choice(list(clip_captions)).text)
    return found


def is_framed(annotations: ClipAnnotations) -> bool:
    """Whether the main thing, or the main group, lies wholly within the picture in the event's frame."""
    frame = min(annotations.event_frame, len(annotations.cameras) - 1)
    main = [e.index for e in annotations.entities if e.role == "main" and (e.named or e.group)]
    return all(_is_in_frame(annotations, frame, index) for index in main)


def _is_in_frame(annotations: ClipAnnotations, frame: int, index: int) -> bool:
    if annotations.tracks.pixels[frame, index] > 0:
        left, top, right, bottom = annotations.tracks.box[frame, index]
        edge = 0.5 / annotations.width, 0.5 / annotations.height
        return bool(left > edge[0] and top > edge[1] and right < 1 - edge[0] and bottom < 1 - edge[1])
    x, y = annotations.tracks.screen[frame, index]
    return bool(0 < x < 1 and 0 < y < 1 and annotations.tracks.depth[frame, index] > 0)


def smallest_named_size(annotations: ClipAnnotations) -> float:
    """How large the smallest named thing is in the event's frame: pixels across in a picture 128 high."""
    frame = min(annotations.event_frame, len(annotations.cameras) - 1)
    hiding = {claim.subject for claim in annotations.claims if claim.kind == "hides"}
    sizes = []
    for entity in annotations.entities:
        seen = annotations.tracks.pixels[:, entity.index] > 0
        if not entity.named or not seen.any():
            continue
        # What is hidden just then, or about to be, is measured where it is seen best.
        whole = seen[frame] and entity.index not in hiding
        frames = [frame] if whole else list(np.flatnonzero(seen))
        boxes = annotations.tracks.box[frames, entity.index]
        wide = (boxes[:, 2] - boxes[:, 0]) * annotations.width / annotations.height
        sizes.append(float(np.maximum(wide, boxes[:, 3] - boxes[:, 1]).max()) * 128)
    return min(sizes, default=128.0)


def unique_words(texts: Iterable[str]) -> set[str]:
    """The different words of some texts."""
    return {word for text in texts for word in re.findall(r"[a-z]+(?:[-'][a-z]+)*", text.lower())}


def _audit_chunk(config: AuditConfig, indices: Sequence[int]) -> AuditResults:
    width, height = parse_size(config.size)
    found = AuditResults()
    for index in indices:
        spec = ClipSpec(
            seed=derive_clip_seed(config.seed, index),
            lab=config.lab,
            height=height,
            width=width,
            num_frames=config.num_frames,
        )
        try:
            annotations = make_clip(spec, render=False).annotations
        except UserError as error:
            found.failures.append(f"seed {spec.seed}: {error}")
            continue
        found.add(audit_clip(annotations, generate_captions(annotations)))
    return found


def _sample_outcomes_chunk(config: AuditConfig, indices: Sequence[int]) -> Counter[tuple[str, str]]:
    """Event and outcome of some draws, by the simulation."""
    width, height = parse_size(config.size)
    happened: Counter[tuple[str, str]] = Counter()
    for index in indices:
        seed = derive_clip_seed(config.seed, index)
        spec = ClipSpec(seed=seed, lab=config.lab, height=height, width=width, num_frames=config.num_frames)
        try:
            scene = sample_scene(spec)
        except UserError:
            continue
        happened[scene.event, scene.outcome] += 1
    return happened


def _map_chunks(
    function: Callable[[AuditConfig, Sequence[int]], ChunkResult],
    config: AuditConfig,
    count: int,
    *,
    description: str,
    workers: int,
    quiet: bool,
) -> Iterator[ChunkResult]:
    """The results of `function` on pieces of 0 .. count - 1, in order, from several processes."""
    chunks = [range(at, min(at + _CHUNK_SIZE, count)) for at in range(0, count, _CHUNK_SIZE)]
    processes = min(workers or os.cpu_count() or 1, len(chunks))
    with Progress(
        TextColumn(description), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=quiet
    ) as bar:
        task = bar.add_task("", total=count)
        if processes == 1:
            for chunk in chunks:
                yield function(config, chunk)
                bar.advance(task, len(chunk))
            return
        with process_pool(processes) as pool:
            futures = [pool.submit(function, config, chunk) for chunk in chunks]
            try:
                for future, chunk in zip(futures, chunks, strict=True):
                    yield future.result()
                    bar.advance(task, len(chunk))
            except BrokenProcessPool:
                raise UserError("a worker was stopped, perhaps for want of memory; try --workers 1") from None


def audit_clips(config: AuditConfig, *, workers: int, quiet: bool = False) -> AuditResults:
    """Audit the clips of a request in `workers` processes (0: every core), with a progress bar."""
    found = AuditResults()
    for part in _map_chunks(
        _audit_chunk, config, config.num_clips, description="auditing", workers=workers, quiet=quiet
    ):
        found.add(part)
    return found


def count_outcomes(config: AuditConfig, *, workers: int, quiet: bool = False) -> dict[str, dict[str, int]]:
    """How often each outcome of each event happened in `request.num_draws` draws; also those that never did."""
    names = tuple(LAB_EVENT_WEIGHTS if config.lab else EVENT_WEIGHTS)
    kinds = {name: EVENT_TYPES[name] for name in names}
    counts: dict[str, dict[str, int]] = {
        name: dict.fromkeys(lab.lab_outcomes(kind) if config.lab else kind.outcomes, 0)
        for name, kind in kinds.items()
    }
    for part in _map_chunks(
        _sample_outcomes_chunk, config, config.num_draws, description="drawing", workers=workers, quiet=quiet
    ):
        for (event, outcome), number in part.items():
            counts[event][outcome] += number
    return counts


def run_audit(config: AuditConfig, *, workers: int = 0) -> bool:
    """Audit, print the tables, and say whether everything holds."""
    console = Console()
    found = audit_clips(config, workers=workers)
    console.print(_statement_table(found))
    for kind in sorted({fault.kind for fault in found.false_statements}):
        for fault in [f for f in found.false_statements if f.kind == kind][: config.max_examples]:
            console.print(
                f"{kind}: {fault.text!r} [{fault.event}: {fault.outcome}, seed {fault.seed}] {fault.caption}",
                markup=False,
                highlight=False,
            )
    for word, number in found.unparsed.most_common(config.max_examples * 3):
        console.print(
            f"not read {number}x: {word!r} in {found.unparsed_examples[word]}", markup=False, highlight=False
        )
    figures = _metric_rows(found)
    if config.num_draws:
        figures += _balance_rows(count_outcomes(config, workers=workers))
    table = Table("what", "figure", "needed", "holds", title="film set")
    for what, figure, needed, holds in figures:
        table.add_row(what, figure, needed, "yes" if holds else "NO")
    console.print(table)
    for reason in found.failures[: config.max_examples]:
        console.print(reason, markup=False, highlight=False)
    return not found.failing_kinds() and not found.unparsed and all(holds for *_, holds in figures)


def _statement_table(results: AuditResults) -> Table:
    table = Table("statement", "number", "right", "share", title=f"captions of {results.num_clips} clips")
    for kind in sorted(results.num_checked):
        said, right = results.num_checked[kind], results.num_correct[kind]
        mark = "" if right >= MIN_CORRECT_SHARE * said else "  below 99.5%"
        table.add_row(kind, str(said), str(right), f"{right / said:.2%}{mark}")
    said, right = sum(results.num_checked.values()), sum(results.num_correct.values())
    table.add_row("all", str(said), str(right), f"{right / max(1, said):.2%}")
    return table


def _metric_rows(results: AuditResults) -> list[tuple[str, str, str, bool]]:
    clips = max(1, results.num_clips)
    small = sum(size < MIN_SIZE_PX for size in results.smallest_sizes)
    unique, words = len(set(results.sampled_captions)), len(unique_words(results.sampled_captions))
    full = results.num_clips >= VARIETY_MIN_CAPTIONS
    share = VARIETY_MIN_UNIQUE / VARIETY_MIN_CAPTIONS
    in_view = f"{results.num_framed / clips:.2%}"
    across = f"{min(results.smallest_sizes, default=0):.1f}"
    return [
        ("words not read", str(sum(results.unparsed.values())), "0", not results.unparsed),
        ("clips that could not be drawn", str(len(results.failures)), "0", not results.failures),
        (
            "main thing in view at its event",
            in_view,
            ">= 98%",
            results.num_framed >= MIN_FRAMED_SHARE * clips,
        ),
        ("smallest named thing, px at 128", across, f">= {MIN_SIZE_PX:g}", not small),
        ("different captions", f"{unique} of {clips}", f">= {share:.1%}", unique >= share * clips),
        (
            "different words in them",
            str(words),
            f">= {VARIETY_MIN_WORDS}",
            words >= VARIETY_MIN_WORDS or not full,
        ),
    ]


def _balance_rows(counts: dict[str, dict[str, int]]) -> list[tuple[str, str, str, bool]]:
    """For each event with several outcomes, the rarest one's share of its fair share."""
    rows = []
    for event, outcomes in sorted(counts.items()):
        if len(outcomes) < 2:
            continue
        fair = sum(outcomes.values()) / len(outcomes)
        rarest = min(outcomes, key=lambda name: outcomes[name])
        share = outcomes[rarest] / fair if fair else 0.0
        what = f"{event}: {rarest!r}, the rarest of {len(outcomes)}"
        rows.append((what, f"{share:.0%} of its fair share", ">= 60%", share >= MIN_OUTCOME_SHARE))
    return rows
