"""Contact sheets of the film set: frames in a row under what is said of them."""

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
    """Which clips to show, and how."""

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


def row_caption(
    annotations: ClipAnnotations, clip_captions: tuple[Caption, ...], style: str, index: int
) -> str:
    """What stands above a row: one style, or the core caption and a paraphrase that goes through them all."""
    if style:
        return next(
            (caption.text for caption in clip_captions if caption.style == style), clip_captions[0].text
        )
    other = (
        clip_captions[1 + index % (len(clip_captions) - 1)] if len(clip_captions) > 1 else clip_captions[0]
    )
    return f"[{annotations.event}: {annotations.outcome}] {clip_captions[0].text}  |  {other.style}: {other.text}"


def write_preview_sheet(config: PreviewSheetConfig) -> None:
    """Film the clips and write their sheet as a PNG.

    Raises:
        UserError: no such event or style, or the file can't be written.
    """
    width, height = parse_size(config.size)
    rows: list[tuple[str, np.ndarray]] = []
    for place in track(range(config.count), description="filming"):
        spec = ClipSpec(
            seed=derive_clip_seed(config.seed, place),
            lab=config.lab,
            event=parse_event(config.event),
            height=height,
            width=width,
            num_frames=config.num_frames,
        )
        clip = make_clip(spec)
        rows.append(
            (
                row_caption(clip.annotations, generate_captions(clip.annotations), config.style, place),
                rendered_frames(clip),
            )
        )
    save_png(config.out, contact_sheet(rows, height=height))
