"""`kinema world`: film the set, look at it, audit it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, subcommand


@dataclass(frozen=True, kw_only=True)
class RenderClip:
    """Film one clip and print its caption."""

    event: Positional[str] = ""
    """What shall happen: roll, collide, drop, tower, seesaw, ... Empty draws one."""
    seed: int = 0
    """The same seed makes the same film."""
    size: str = "128x128"
    """Width x height in pixels."""
    num_frames: int = 33
    """Number of frames."""
    lab: bool = False
    """Film in the lab: plain objects, neutral floor, known camera."""
    out: Path = Path("film.mp4")
    """File to write; its ending chooses the format."""

    def run(self) -> None:
        """Film it."""
        from kinema.simulator import shards

        clip = shards.render_clip(
            event=self.event,
            seed=self.seed,
            size=self.size,
            num_frames=self.num_frames,
            lab=self.lab,
            out=self.out,
        )
        print(clip.caption)
        print(self.out)


@dataclass(frozen=True, kw_only=True)
class BuildDataset:
    """Film many clips with captions and facts, on all cores; run it again to go on after a stop."""

    out: Path
    """Folder to write; made if it does not exist."""
    count: int = 1000
    """Number of clips."""
    seed: int = 0
    """The same seed makes the same clips, on any number of workers."""
    size: str = "128x128"
    """Width x height in pixels."""
    num_frames: int = 33
    """Frames in each clip."""
    lab: bool = False
    """Film in the lab: plain objects, neutral floor, known cameras."""
    split: Literal["train", "test", "all"] = "all"
    """Lab only: combinations that training sees, those held out of it, or both."""
    event: str = ""
    """Only this event; empty draws."""
    format: Literal["mp4", "raw"] = "mp4"
    """One MP4 a clip, or uint8 shards (safetensors)."""
    workers: int = 0
    """Processes to work in; 0 takes every core."""
    shard_size: int = 64
    """Clips in a shard."""

    def run(self) -> None:
        """Film them."""
        from kinema.simulator import parallel_render, shards

        summary = parallel_render.render_dataset(
            shards.DatasetConfig(
                out=self.out,
                count=self.count,
                seed=self.seed,
                size=self.size,
                num_frames=self.num_frames,
                lab=self.lab,
                split=self.split,
                event=self.event,
                format=self.format,
                shard_size=self.shard_size,
            ),
            workers=self.workers,
        )
        print(summary.line())


@dataclass(frozen=True, kw_only=True)
class PreviewSheet:
    """A contact sheet of clips with their captions."""

    count: int = 12
    """Number of clips."""
    seed: int = 0
    """Seed of the first clip."""
    event: str = ""
    """Only this event; empty draws."""
    lab: bool = False
    """From the lab."""
    size: str = "128x128"
    """Width x height of one frame, in pixels."""
    num_frames: int = 33
    """Frames in each clip; eight of them are shown."""
    style: str = ""
    """Caption style to print; empty prints the core caption and one other."""
    out: Path = Path("sheet.png")
    """File to write."""

    def run(self) -> None:
        """Film, lay out, write."""
        from kinema.simulator import preview_sheet

        preview_sheet.write_preview_sheet(
            preview_sheet.PreviewSheetConfig(
                count=self.count,
                seed=self.seed,
                event=self.event,
                lab=self.lab,
                size=self.size,
                num_frames=self.num_frames,
                style=self.style,
                out=self.out,
            )
        )
        print(self.out)


@dataclass(frozen=True, kw_only=True)
class CheckDataset:
    """Check what the captions say against what the simulation measured."""

    count: int = 600
    """Clips whose captions are read back and checked."""
    draws: int = 2000
    """Draws for the balance of outcomes; 0 leaves it out."""
    seed: int = 0
    """Seed of the first clip."""
    lab: bool = False
    """Audit the lab."""
    workers: int = 0
    """Processes to work in; 0 takes every core."""
    size: str = "128x128"
    """Width x height at which pixels are counted."""
    num_frames: int = 33
    """Frames in each clip."""
    examples: int = 3
    """Wrong statements to print for each kind."""

    def run(self) -> None:
        """Audit and print the tables. Exits with 1 where something does not hold."""
        from tools import caption_audit

        holds = caption_audit.run_audit(
            caption_audit.AuditConfig(
                num_clips=self.count,
                num_draws=self.draws,
                seed=self.seed,
                lab=self.lab,
                size=self.size,
                num_frames=self.num_frames,
                max_examples=self.examples,
            ),
            workers=self.workers,
        )
        if not holds:
            sys.exit(1)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The simulated film set."""

    command: (
        Annotated[RenderClip, subcommand("film")]
        | Annotated[BuildDataset, subcommand("films")]
        | Annotated[PreviewSheet, subcommand("sheet")]
        | Annotated[CheckDataset, subcommand("audit")]
    )

    def run(self) -> None:
        """Do what was asked for."""
        self.command.run()
