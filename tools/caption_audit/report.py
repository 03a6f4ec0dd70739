"""Audits many clips in parallel and prints the results as tables."""

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
from kinema.simulator import lab_split as lab_split
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
"""Required share of correct statements of each kind."""
MIN_FRAMED_SHARE = 0.98
MIN_SIZE_PX = 6.0
"""Pixels, in an image 128 pixels high."""
MIN_OUTCOME_SHARE = 0.6
"""Required frequency of the rarest outcome of an event, relative to a uniform distribution."""
VARIETY_MIN_CAPTIONS, VARIETY_MIN_UNIQUE, VARIETY_MIN_WORDS = 2000, 1990, 400
_CHUNK_SIZE = 5
"""Clips per job of a worker process."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What to audit.

    Raises:
        UserError: a count or the size is invalid.
    """

    num_clips: int = 600
    num_draws: int = 2000
    seed: int = 0
    lab: bool = False
    size: str = "128x128"
    num_frames: int = 33
    max_examples: int = 3

    def __post_init__(self) -> None:
        if self.num_clips < 1 or self.num_draws < 0 or self.max_examples < 0:
            raise UserError("the number of clips must be at least 1; draws and examples at least 0")
        parse_size(self.size)


@dataclass(frozen=True, kw_only=True)
class FalseStatement:
    """A false statement of a caption."""

    kind: str
    seed: int
    event: str
    outcome: str
    caption: str
    text: str


@dataclass(kw_only=True)
class AuditResults:
    """Audit results of some clips. Results of several processes can be added."""

    num_clips: int = 0
    num_checked: Counter[str] = field(default_factory=Counter)
    num_correct: Counter[str] = field(default_factory=Counter)
    false_statements: list[FalseStatement] = field(default_factory=list)
    unparsed: Counter[str] = field(default_factory=Counter)
    unparsed_examples: dict[str, str] = field(default_factory=dict)
    num_framed: int = 0
    smallest_sizes: list[float] = field(default_factory=list)
    sampled_captions: list[str] = field(default_factory=list)
    """One random caption per clip."""
    failures: list[str] = field(default_factory=list)

    def add(self, other: AuditResults) -> None:
        """Add the results of other clips."""
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
        """Kinds of statements with too many false ones."""
        return [
            kind
            for kind, checked in self.num_checked.items()
            if self.num_correct[kind] < MIN_CORRECT_SHARE * checked
        ]


def audit_clip(annotations: ClipAnnotations, clip_captions: Sequence[Caption]) -> AuditResults:
    """Parse every caption of a clip and check every statement."""
    results = AuditResults(num_clips=1)
    for caption in clip_captions:
        parsed = parse_caption(caption.text, annotations, terse=caption.style == "terse")
        for word in parsed.unparsed:
            results.unparsed[word] += 1
            results.unparsed_examples.setdefault(word, caption.text)
        for statement in parsed.statements:
            is_true = check_statement(annotations, statement)
            if is_true is None:
                continue
            results.num_checked[statement.kind] += 1
            if is_true:
                results.num_correct[statement.kind] += 1
            else:
                results.false_statements.append(
                    FalseStatement(
                        kind=statement.kind,
                        seed=annotations.seed,
                        event=annotations.event,
                        outcome=annotations.outcome,
                        caption=caption.text,
                        text=statement.text,
                    )
                )
    results.num_framed = int(is_framed(annotations))
    results.smallest_sizes.append(smallest_named_size(annotations))
    results.sampled_captions.append(
        random.Random(f"audit {annotations.seed}").choice(list(clip_captions)).text
    )
    return results


def is_framed(annotations: ClipAnnotations) -> bool:
    """Whether the main object or group lies completely inside the frame at the event."""
    frame = min(annotations.event_frame, len(annotations.cameras) - 1)
    main = [e.index for e in annotations.entities if e.role == "main" and (e.named or e.group)]
    return all(_is_in_frame(annotations, frame, index) for index in main)


def _is_in_frame(annotations: ClipAnnotations, frame: int, index: int) -> bool:
    if annotations.tracks.pixels[frame, index] > 0:
        left, top, right, bottom = annotations.tracks.box[frame, index]
        margin = 0.5 / annotations.width, 0.5 / annotations.height
        return bool(left > margin[0] and top > margin[1] and right < 1 - margin[0] and bottom < 1 - margin[1])
    x, y = annotations.tracks.screen[frame, index]
    return bool(0 < x < 1 and 0 < y < 1 and annotations.tracks.depth[frame, index] > 0)


def smallest_named_size(annotations: ClipAnnotations) -> float:
    """Extent of the smallest named object at the event: pixels in an image 128 pixels high."""
    frame = min(annotations.event_frame, len(annotations.cameras) - 1)
    hiding = {claim.subject for claim in annotations.claims if claim.kind == "hides"}
    sizes = []
    for entity in annotations.entities:
        is_visible = annotations.tracks.pixels[:, entity.index] > 0
        if not entity.named or not is_visible.any():
            continue
        # An object that is hidden, or about to be, is measured where it is largest.
        is_whole = is_visible[frame] and entity.index not in hiding
        frames = [frame] if is_whole else list(np.flatnonzero(is_visible))
        boxes = annotations.tracks.box[frames, entity.index]
        widths = (boxes[:, 2] - boxes[:, 0]) * annotations.width / annotations.height
        sizes.append(float(np.maximum(widths, boxes[:, 3] - boxes[:, 1]).max()) * 128)
    return min(sizes, default=128.0)


def unique_words(texts: Iterable[str]) -> set[str]:
    """The distinct words of some texts."""
    return {word for text in texts for word in re.findall(r"[a-z]+(?:[-'][a-z]+)*", text.lower())}


def _audit_chunk(config: AuditConfig, indices: Sequence[int]) -> AuditResults:
    width, height = parse_size(config.size)
    results = AuditResults()
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
            results.failures.append(f"seed {spec.seed}: {error}")
            continue
        results.add(audit_clip(annotations, generate_captions(annotations)))
    return results


def _sample_outcomes_chunk(config: AuditConfig, indices: Sequence[int]) -> Counter[tuple[str, str]]:
    """Count the events and outcomes of some sampled scenes."""
    width, height = parse_size(config.size)
    counts: Counter[tuple[str, str]] = Counter()
    for index in indices:
        seed = derive_clip_seed(config.seed, index)
        spec = ClipSpec(seed=seed, lab=config.lab, height=height, width=width, num_frames=config.num_frames)
        try:
            scene = sample_scene(spec)
        except UserError:
            continue
        counts[scene.event, scene.outcome] += 1
    return counts


def _map_chunks(
    function: Callable[[AuditConfig, Sequence[int]], ChunkResult],
    config: AuditConfig,
    count: int,
    *,
    description: str,
    workers: int,
    quiet: bool,
) -> Iterator[ChunkResult]:
    """Apply `function` to chunks of the indices 0 .. count - 1 in several processes; yields in order."""
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
                raise UserError(
                    "a worker process was killed, perhaps for lack of memory; try --workers 1"
                ) from None


def audit_clips(config: AuditConfig, *, workers: int, quiet: bool = False) -> AuditResults:
    """Audit clips in `workers` processes (0: one per core), with a progress bar."""
    results = AuditResults()
    for chunk_results in _map_chunks(
        _audit_chunk, config, config.num_clips, description="auditing", workers=workers, quiet=quiet
    ):
        results.add(chunk_results)
    return results


def count_outcomes(config: AuditConfig, *, workers: int, quiet: bool = False) -> dict[str, dict[str, int]]:
    """Count the outcomes of each event in `config.num_draws` sampled scenes, including those with none."""
    names = tuple(LAB_EVENT_WEIGHTS if config.lab else EVENT_WEIGHTS)
    event_types = {name: EVENT_TYPES[name] for name in names}
    counts: dict[str, dict[str, int]] = {
        name: dict.fromkeys(lab_split.lab_outcomes(event_type) if config.lab else event_type.outcomes, 0)
        for name, event_type in event_types.items()
    }
    for chunk_results in _map_chunks(
        _sample_outcomes_chunk, config, config.num_draws, description="sampling", workers=workers, quiet=quiet
    ):
        for (event, outcome), count in chunk_results.items():
            counts[event][outcome] += count
    return counts


def run_audit(config: AuditConfig, *, workers: int = 0) -> bool:
    """Run the audit and print its tables.

    Args:
        config: what to audit.
        workers: number of processes; 0 uses one per core.

    Returns:
        Whether every check passed.
    """
    console = Console()
    results = audit_clips(config, workers=workers)
    console.print(_statement_table(results))
    for kind in sorted({false_statement.kind for false_statement in results.false_statements}):
        for false_statement in [f for f in results.false_statements if f.kind == kind][: config.max_examples]:
            console.print(
                f"{kind}: {false_statement.text!r} [{false_statement.event}: {false_statement.outcome}, "
                f"seed {false_statement.seed}] {false_statement.caption}",
                markup=False,
                highlight=False,
            )
    for word, count in results.unparsed.most_common(config.max_examples * 3):
        console.print(
            f"not parsed {count}x: {word!r} in {results.unparsed_examples[word]}",
            markup=False,
            highlight=False,
        )
    rows = _metric_rows(results)
    if config.num_draws:
        rows += _balance_rows(count_outcomes(config, workers=workers))
    table = Table("check", "value", "required", "passed", title="simulator")
    for check, value, required, passed in rows:
        table.add_row(check, value, required, "yes" if passed else "NO")
    console.print(table)
    for reason in results.failures[: config.max_examples]:
        console.print(reason, markup=False, highlight=False)
    return not results.failing_kinds() and not results.unparsed and all(passed for *_, passed in rows)


def _statement_table(results: AuditResults) -> Table:
    table = Table("statement", "number", "right", "share", title=f"captions of {results.num_clips} clips")
    for kind in sorted(results.num_checked):
        checked, correct = results.num_checked[kind], results.num_correct[kind]
        note = "" if correct >= MIN_CORRECT_SHARE * checked else "  below 99.5%"
        table.add_row(kind, str(checked), str(correct), f"{correct / checked:.2%}{note}")
    checked, correct = sum(results.num_checked.values()), sum(results.num_correct.values())
    table.add_row("all", str(checked), str(correct), f"{correct / max(1, checked):.2%}")
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
        ("words not parsed", str(sum(results.unparsed.values())), "0", not results.unparsed),
        ("clips that could not be sampled", str(len(results.failures)), "0", not results.failures),
        (
            "main object in view at the event",
            in_view,
            ">= 98%",
            results.num_framed >= MIN_FRAMED_SHARE * clips,
        ),
        ("smallest named object, px at 128", across, f">= {MIN_SIZE_PX:g}", not small),
        ("different captions", f"{unique} of {clips}", f">= {share:.1%}", unique >= share * clips),
        (
            "different words in them",
            str(words),
            f">= {VARIETY_MIN_WORDS}",
            words >= VARIETY_MIN_WORDS or not full,
        ),
    ]


def _balance_rows(counts: dict[str, dict[str, int]]) -> list[tuple[str, str, str, bool]]:
    """For each event, the frequency of its rarest outcome relative to a uniform distribution."""
    rows = []
    for event, outcomes in sorted(counts.items()):
        if len(outcomes) < 2:
            continue
        fair = sum(outcomes.values()) / len(outcomes)
        rarest = min(outcomes, key=lambda name: outcomes[name])
        share = outcomes[rarest] / fair if fair else 0.0
        check = f"{event}: {rarest!r}, the rarest of {len(outcomes)}"
        rows.append((check, f"{share:.0%} of its fair share", ">= 60%", share >= MIN_OUTCOME_SHARE))
    return rows
