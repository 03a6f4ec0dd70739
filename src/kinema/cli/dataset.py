"""`kinema dataset`: render simulated videos, build datasets, preview them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, subcommand


@dataclass(frozen=True, kw_only=True)
class ClipArgs:
    """Options of every simulated clip."""

    seed: int = 0
    """Seed; equal seeds give equal clips, on any number of workers."""
    size: str = "128x128"
    """Width x height in pixels."""
    num_frames: int = 33
    """Frames of each clip."""
    lab: bool = False
    """The lab: plain objects, neutral floor, known camera."""


@dataclass(frozen=True, kw_only=True)
class RenderClip(ClipArgs):
    """Render one clip and print its caption."""

    event: Positional[str] = ""
    """The event: roll, collide, drop, tower, seesaw, ... Empty samples one."""
    out: Path = Path("video.mp4")
    """File to write; its suffix chooses the format."""

    def run(self) -> None:
        """Render it."""
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
class BuildDataset(ClipArgs):
    """Render many clips with captions and annotations on all cores; run it again to continue."""

    out: Path
    """Folder to write; it need not exist."""
    count: int = 1000
    """Number of clips."""
    split: Literal["train", "test", "all"] = "all"
    """Lab only: combinations for training, held-out combinations, or both."""
    event: str = ""
    """Only this event; empty samples events."""
    format: Literal["mp4", "raw"] = "mp4"
    """One MP4 per clip, or uint8 shards (safetensors)."""
    workers: int = 0
    """Processes; 0 takes every core."""
    shard_size: int = 64
    """Clips in a shard."""

    def run(self) -> None:
        """Render them."""
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
class PreviewSheet(ClipArgs):
    """Render a contact sheet of clips with their captions; it shows eight frames of each clip."""

    count: int = 12
    """Number of clips, with consecutive seeds."""
    event: str = ""
    """Only this event; empty samples events."""
    style: str = ""
    """Caption style; empty prints the core caption and one other."""
    out: Path = Path("sheet.png")
    """File to write."""

    def run(self) -> None:
        """Render and write it."""
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
class Dataset:
    """Render simulated videos."""

    command: (
        Annotated[RenderClip, subcommand("render")]
        | Annotated[BuildDataset, subcommand("build")]
        | Annotated[PreviewSheet, subcommand("preview")]
    )

    def run(self) -> None:
        """Run the subcommand."""
        self.command.run()
