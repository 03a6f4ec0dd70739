"""Contact sheets of simulated clips: rows of frames under their captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from kinema.errors import UserError, did_you_mean
from kinema.media import contact_sheet, save_png
from kinema.shapes import parse_size
from kinema.simulator.annotations import Caption, ClipAnnotations
from kinema.simulator.captions import STYLES, generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.shards import derive_clip_seed, parse_event, rendered_frames


@dataclass(frozen=True, kw_only=True)
class PreviewSheetConfig:
    """Clips and captions of a sheet."""

    out: Path
    count: int = 12
    seed: int = 0
    event: str = ""
    lab: bool = False
    size: str = "128x128"
    num_frames: int = 33
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
        parse_event(self.event)


def row_caption(annotations: ClipAnnotations, captions: tuple[Caption, ...], style: str, index: int) -> str:
    """The caption of a row: one style, or the core caption and another style that changes by row."""
    if style:
        return next((caption.text for caption in captions if caption.style == style), captions[0].text)
    other = captions[1 + index % (len(captions) - 1)] if len(captions) > 1 else captions[0]
    prefix = f"[{annotations.event}: {annotations.outcome}]"
    return f"{prefix} {captions[0].text}  |  {other.style}: {other.text}"


def write_preview_sheet(config: PreviewSheetConfig) -> None:
    """Render the clips and write their sheet as a PNG file.

    Raises:
        UserError: an unknown event or style, or the file cannot be written.
    """
    width, height = parse_size(config.size)
    rows: list[tuple[str, np.ndarray]] = []
    for index in track(range(config.count), description="rendering"):
        spec = ClipSpec(
            seed=derive_clip_seed(config.seed, index),
            lab=config.lab,
            event=parse_event(config.event),
            height=height,
            width=width,
            num_frames=config.num_frames,
        )
        clip = make_clip(spec)
        rows.append(
            (
                row_caption(clip.annotations, generate_captions(clip.annotations), config.style, index),
                rendered_frames(clip),
            )
        )
    save_png(config.out, contact_sheet(rows, height=height))
