"""Contact sheets of the film set: frames in a row under what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from kinema.errors import UserError, did_you_mean
from kinema.media import contact_sheet, save_png
from kinema.shapes import parse_size
from kinema.simulator.captions import STYLES, generate_captions
from kinema.world.clip import make_clip
from kinema.world.facts import Caption, ClipFacts
from kinema.world.films import clip_seed, known_event, pictures
from kinema.world.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class SheetRequest:
    """Which clips to show, and how."""

    out: Path
    count: int = 12
    seed: int = 0
    event: str = ""
    lab: bool = False
    size: str = "128x128"
    frames: int = 33
    style: str = ""

    def __post_init__(self) -> None:
        names = [style.name for style in STYLES]
        if self.style and self.style not in names:
            raise UserError(
                f"there is no caption style {self.style!r}{did_you_mean(self.style, names)}; "
                f"choose one of: {', '.join(names)}"
            )
        if self.count < 1:
            raise UserError(f"a sheet of {self.count} clips is empty; the count must be at least 1")
        known_event(self.event)


def shown(facts: ClipFacts, told: tuple[Caption, ...], style: str, place: int) -> str:
    """What stands above a row: one style, or the core caption and a paraphrase that goes through them all."""
    if style:
        return next((caption.text for caption in told if caption.style == style), told[0].text)
    other = told[1 + place % (len(told) - 1)] if len(told) > 1 else told[0]
    return f"[{facts.event}: {facts.outcome}] {told[0].text}  |  {other.style}: {other.text}"


def write_sheet(request: SheetRequest) -> None:
    """Film the clips and write their sheet as a PNG.

    Raises:
        UserError: no such event or style, or the file can't be written.
    """
    width, height = parse_size(request.size)
    rows: list[tuple[str, np.ndarray]] = []
    for place in track(range(request.count), description="filming"):
        spec = ClipSpec(
            seed=clip_seed(request.seed, place),
            lab=request.lab,
            event=known_event(request.event),
            height=height,
            width=width,
            frames=request.frames,
        )
        clip = make_clip(spec)
        rows.append((shown(clip.facts, generate_captions(clip.facts), request.style, place), pictures(clip)))
    save_png(request.out, contact_sheet(rows, height=height))
