"""The whole evaluation: films in, scorecard.json, scorecard.md and scorecard.html out."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.evaluate import run, scorecard
from kinema.evaluate.faults import FAULTS
from kinema.evaluate.filmed import Spent, filmed, missing
from kinema.evaluate.lists import digest, prompts
from kinema.evaluate.makers import Format, Source, from_folder, opened
from kinema.evaluate.page import Example, markdown, page
from kinema.evaluate.record import Record
from kinema.evaluate.strips import embedded, strip

WORST = 3
"""Films on the page for every measure."""


def check_folder(out: Path, told: dict[str, object]) -> None:
    """Make a folder for results, or see that an earlier run in it asked for the same.

    Raises:
        UserError: it holds something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "request.json"
    text = json.dumps(told, indent=1, sort_keys=True) + "\n"
    if path.exists() and path.read_text() != text:
        raise UserError(f"{out} holds the results of another request; choose an empty folder for --out")
    write_text(path, text)


def evaluate_anchors(
    list_name: str,
    form: Format,
    out: Path,
    *,
    faults: int,
    seed: int = 0,
    vae: run.Autoencoder | None = None,
    workers: int,
) -> Iterator[str]:
    """Judge the simulator, what is made of its films, and planted faults. Yields lines of progress.

    Args:
        list_name: whose kinds of prompts the simulator films.
        form: of the films.
        out: folder for the results.
        faults: clips with each planted fault.
        seed: of the scenes; see `scene_seed`.
        vae: for the row of reconstructions; None leaves it out.
        workers: processes.
    """
    items = prompts(list_name)
    check_folder(
        out,
        {
            "list": list_name,
            "digest": digest(list_name),
            "format": asdict(form),
            "what": "anchors",
            "seed": seed,
        },
    )
    if vae is not None:
        # In a folder of its own, so that the row can be added to anchors that are there already.
        check_folder(run.anchor_folder(out, "reconstructed"), {"autoencoder": vae.fingerprint()})
    for done in run.anchors(items, form, out, seed=seed, vae=vae, workers=workers):
        yield f"anchors: {done} clips"
    for done in run.plant_faults(faults, form, out, seed=seed, workers=workers):
        yield f"planted faults: {done}"
    card = scorecard.Scorecard(
        title="The judge on films that are true",
        list_name=list_name,
        digest=digest(list_name),
        size=str(form),
        rows=_anchor_rows(out),
        detectors=_detectors(out),
    )
    _write(card, out, run.anchor_records(out, "simulator"), out / "simulator" / "films")


def evaluate_model(
    name: str,
    source: Source,
    list_name: str,
    form: Format,
    out: Path,
    *,
    anchors: Path | None,
    workers: int,
) -> Iterator[str]:
    """Generate what is missing, judge it, write the scorecard. Yields lines of progress.

    Raises:
        UserError: there is no such list or model, or the folder holds the results of another request.
    """
    items = prompts(list_name)
    check_folder(
        out,
        {
            "list": list_name,
            "digest": digest(list_name),
            "format": asdict(form),
            "what": "model",
            "model": name,
            "weights": source.fingerprint(),
            "batch": source.batch,
        },
    )
    of = missing(items, form, out)
    spent: list[Spent] = []
    start = time.perf_counter()
    for one in filmed(items, source, form, out, workers=workers):
        spent.append(one)
        filming = statistics.median(s.filming for s in spent)
        judging = statistics.median(s.judging for s in spent)
        yield (
            f"{name}: {len(spent)} of {of} films in {time.perf_counter() - start:.0f} s; a film costs "
            f"{filming:.2f} s of processor time to make and {judging:.2f} s to judge"
        )
    _finish(name, list_name, digest(list_name), str(form), out, anchors)


def evaluate_films(
    folder: Path, prompt_file: Path, out: Path, *, anchors: Path | None, workers: int
) -> Iterator[str]:
    """Judge films made elsewhere. Yields lines of progress."""
    pairs = from_folder(folder, prompt_file)
    told = [[prompt, film.name, film.stat().st_size] for prompt, film in pairs]
    check_folder(out, {"what": "films", "films": told})
    for done in run.films(pairs, out, workers=workers):
        yield f"{folder.name}: {done} films"
    _finish(folder.name, prompt_file.name, "", "as given", out, anchors, source=[film for _, film in pairs])


def _finish(
    name: str,
    list_name: str,
    pinned: str,
    size: str,
    out: Path,
    anchors: Path | None,
    source: list[Path] | None = None,
) -> None:
    records = run.records_in(out / "judged")
    reference = run.anchor_records(anchors, "simulator") if anchors else []
    rows = (scorecard.row_of(name, records, reference), *(_anchor_rows(anchors) if anchors else ()))
    card = scorecard.Scorecard(
        title=f"Scorecard of {name}",
        list_name=list_name,
        digest=pinned,
        size=size,
        rows=rows,
        detectors=_detectors(anchors) if anchors else (),
    )
    _write(card, out, records, source or out / "films")


def _anchor_rows(out: Path) -> tuple[scorecard.Row, ...]:
    reference = run.anchor_records(out, "simulator")
    return tuple(
        scorecard.row_of(anchor, found, () if anchor == "simulator" else reference)
        for anchor in run.ANCHORS
        if (found := run.anchor_records(out, anchor))
    )


def _detectors(out: Path) -> tuple[tuple[str, scorecard.Value, scorecard.Value], ...]:
    told = []
    for fault in FAULTS:
        found, alarms, n = run.detections(out, fault)
        if n:
            told.append((fault, scorecard.wilson(found, n), scorecard.wilson(alarms, n)))
    return tuple(told)


def _write(card: scorecard.Scorecard, out: Path, records: list[Record], films: Path | list[Path]) -> None:
    scorecard.save(card, out / "scorecard.json")
    write_text(out / "scorecard.md", markdown(card))
    write_text(out / "scorecard.html", page(card, _examples(card, records, films)))


def _examples(card: scorecard.Scorecard, records: list[Record], films: Path | list[Path]) -> list[Example]:
    """For every measure the films with most wrong among those that fail it; else one that is right."""
    found = []
    counts: dict[int, int] = {}
    numbered = []
    for record in records:
        numbered.append((record, counts.get(record.index, 0)))
        counts[record.index] = counts.get(record.index, 0) + 1
    for measure in card.rows[0].measures:
        told = scorecard.answers(records, measure)
        asked = [(*one, right) for one, right in zip(numbered, told, strict=True) if right is not None]
        wrong = [one for one in asked if not one[2]]
        wrong.sort(key=lambda one: (-sum(v is False for v in one[0].verdicts.values()), one[0].index))
        for record, k, right in wrong[:WORST] or asked[:1]:
            path = films[record.index] if isinstance(films, list) else films / f"{record.index:05}-{k}.mp4"
            if not path.exists():
                continue
            frames, fps = opened(path)
            found.append(
                Example(
                    measure=measure,
                    prompt=record.prompt,
                    right=right,
                    picture=embedded(strip(frames, fps)),
                )
            )
    return found
