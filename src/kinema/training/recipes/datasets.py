"""The videos of a single-model run: folders that exist, or clips that are rendered first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kinema.data.dataset import DatasetSplit
from kinema.data.video_folder import open_dataset, open_datasets
from kinema.errors import UserError
from kinema.training.render_shards import RenderConfig
from kinema.training.run_context import Progress, RunContext
from kinema.training.stages import open_split, render_split, split_dirs


@dataclass(frozen=True, kw_only=True)
class SetConfig:
    """A curated set, and the share of the steps that it gets, relative to the other sets."""

    folder: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise UserError(f"the weight of {self.folder} is {self.weight:g} and must be above 0")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The datasets of a run.

    Attributes:
        folders: of existing videos, one for each shape; empty renders clips.
        sets: curated or simulated sets with their weights; each of their sizes and lengths becomes a dataset.
        held_out_share: share of each folder to validate on.
        render: clips to render where no folder is set.
        extra_datasets: clips of other shapes to render.
        num_held_out: rendered clips of each shape to validate on.
    """

    folders: tuple[str, ...] = ()
    sets: tuple[SetConfig, ...] = ()
    held_out_share: float = 0.05
    render: RenderConfig = field(default_factory=lambda: RenderConfig(num_clips=2048))
    extra_datasets: tuple[RenderConfig, ...] = ()
    num_held_out: int = 128

    def held_out_config(self, render_config: RenderConfig) -> RenderConfig:
        """Return the held-out clips for a rendered dataset."""
        return dataclasses.replace(
            render_config,
            num_clips=self.num_held_out,
            seed=render_config.seed + 1,
            split="test" if render_config.lab else "all",
        )


def prepare_datasets(
    config: DataConfig, run_context: RunContext, splits: list[DatasetSplit]
) -> Iterator[Progress]:
    """Open the folders, or render clips, and append the datasets to `splits`.

    Raises:
        UserError: a folder has no videos, too few, or several shapes.
    """
    if config.folders and config.sets:
        raise UserError("videos come from --videos or from --data; give one of the two")
    for one in config.sets:
        opened = open_datasets(Path(one.folder))
        num_videos = sum(len(dataset.videos) for dataset in opened)
        for dataset in opened:
            count = len(dataset.videos)
            if count < 2:
                continue  # Nothing would be left to validate on.
            train, held_out = dataset.split(max(1, round(config.held_out_share * count)))
            # The sets share the steps by their weights, and the sizes of a set by their numbers of clips.
            weight = one.weight * count / num_videos
            splits.append(DatasetSplit(train=train, held_out=held_out, weight=weight))
    if config.sets:
        if not splits:
            raise UserError(f"{config.sets[0].folder} has no size with two clips or more; add videos")
        return
    if config.folders:
        for folder in config.folders:
            opened = open_dataset(Path(folder))
            train, held_out = opened.split(max(1, round(config.held_out_share * len(opened.videos))))
            splits.append(DatasetSplit(train=train, held_out=held_out))
        return
    for i, render_config in enumerate((config.render, *config.extra_datasets)):
        train_dir, held_out_dir = split_dirs(i)
        held_out_config = config.held_out_config(render_config)
        yield from render_split(run_context, held_out_config, held_out_dir)
        yield from render_split(run_context, render_config, train_dir)
        if run_context.stop_requested():
            return
        splits.append(open_split(run_context, render_config, held_out_config, i))
