"""The film set as torch datasets: rendered on the fly, or read from a folder of films."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import UInt8
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset

from kinema.errors import UserError
from kinema.media import read_video
from kinema.shapes import VideoShape
from kinema.simulator.annotation_io import TRACK_NAMES, annotations_from_json, captions_from_json
from kinema.simulator.annotations import Caption, ClipAnnotations, Event
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.shards import Split, rendered_frames

MAX_ATTEMPTS = 8
"""Seeds tried for one place of a dataset; hardly any needs a second."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One clip with one of its captions."""

    frames: UInt8[Tensor, "f h w c"]
    caption: str
    annotations: ClipAnnotations
    index: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Several clips of one shape."""

    frames: UInt8[Tensor, "b f h w c"]
    captions: tuple[str, ...]
    annotations: tuple[ClipAnnotations, ...]
    indices: tuple[int, ...]


def collate(samples: Sequence[Sample]) -> Batch:
    """What a DataLoader makes of a list of samples: `DataLoader(dataset, collate_fn=collate)`."""
    return Batch(
        frames=torch.stack([sample.frames for sample in samples]),
        captions=tuple(sample.caption for sample in samples),
        annotations=tuple(sample.annotations for sample in samples),
        indices=tuple(sample.index for sample in samples),
    )


def stable_hash(*parts: object) -> int:
    """48 bits of a hash of the words, the same on any machine."""
    digest = hashlib.blake2b(" ".join(map(str, parts)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def choose_caption(
    candidates: Sequence[Caption], *, seed: int, epoch: int, index: int, styles: Sequence[str] = ()
) -> str:
    """One caption of a clip, by a hash of seed, epoch and index; of the given styles, where it has them."""
    fitting = [caption for caption in candidates if caption.style in styles] or list(candidates)
    return fitting[stable_hash("caption", seed, epoch, index) % len(fitting)].text


@dataclass(frozen=True, kw_only=True)
class SimulatorDataset(Dataset[Sample]):
    """Clips rendered when they are asked for: a pure function of seed and index, captions of the epoch too.

    The same on any number of DataLoader workers. A new epoch, `dataset.at_epoch(1)`, has the same clips
    under other captions; `new_clips_each_epoch` gives it other clips as well.
    """

    length: int
    shape: VideoShape = field(default_factory=lambda: VideoShape(frames=33, height=128, width=128))
    seed: int = 0
    epoch: int = 0
    lab: bool = False
    split: Split = "all"
    events: tuple[Event, ...] = ()
    """Only these, in equal shares; empty leaves the choice to the set."""
    styles: tuple[str, ...] = ()
    """Only captions of these styles; empty takes all."""
    fps: float = 12.0
    new_clips_each_epoch: bool = False

    def __len__(self) -> int:
        return self.length

    def at_epoch(self, epoch: int) -> SimulatorDataset:
        """The same dataset in another epoch."""
        return replace(self, epoch=epoch)

    def clip_spec(self, index: int, attempt: int = 0) -> ClipSpec:
        """What the clip at a place is made from."""
        words = ["film set", self.seed, index, attempt] + ([self.epoch] if self.new_clips_each_epoch else [])
        seed = stable_hash(*words)
        return ClipSpec(
            seed=seed,
            lab=self.lab,
            event=self.events[seed % len(self.events)] if self.events else None,
            height=self.shape.height,
            width=self.shape.width,
            num_frames=self.shape.frames,
            fps=self.fps,
            split=self.split if self.lab else "all",
        )

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"the dataset has {self.length} clips; there is no clip {index}")
        for attempt in range(MAX_ATTEMPTS):
            try:
                clip = make_clip(self.clip_spec(index, attempt))
            except UserError:
                if attempt == MAX_ATTEMPTS - 1:
                    raise
                continue
            caption = choose_caption(
                generate_captions(clip.annotations),
                seed=self.seed,
                epoch=self.epoch,
                index=index,
                styles=self.styles,
            )
            return Sample(
                frames=torch.from_numpy(np.ascontiguousarray(rendered_frames(clip))),
                caption=caption,
                annotations=clip.annotations,
                index=index,
            )
        raise AssertionError("unreachable: the last attempt returns or raises")


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """What the manifest says of one clip."""

    index: int
    file: str
    row_in_shard: int
    tracks: str
    captions: str
    annotations: str


@dataclass(frozen=True, kw_only=True)
class ShardDataset(Dataset[Sample]):
    """Clips that `kinema world films` wrote, MP4 or raw; those that failed are left out."""

    folder: Path
    entries: tuple[ManifestRow, ...]
    seed: int = 0
    epoch: int = 0
    styles: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, folder: Path, *, seed: int = 0, epoch: int = 0, styles: tuple[str, ...] = ()
    ) -> ShardDataset:
        """The films of a folder.

        Raises:
            UserError: the folder holds no finished films.
        """
        manifest = Path(folder) / "manifest.parquet"
        if not manifest.exists():
            raise UserError(f"{folder} has no manifest.parquet; make or finish it with `kinema world films`")
        columns = ["index", "file", "place", "tracks", "captions", "facts", "status"]
        rows = pq.read_table(manifest, columns=columns).to_pylist()
        entries = tuple(
            ManifestRow(**{name: row[name] for name in columns if name != "status"})
            for row in rows
            if row["status"] == "ok"
        )
        return cls(folder=Path(folder), entries=entries, seed=seed, epoch=epoch, styles=styles)

    def __len__(self) -> int:
        return len(self.entries)

    def at_epoch(self, epoch: int) -> ShardDataset:
        """The same clips under the captions of another epoch."""
        return replace(self, epoch=epoch)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self.entries):
            raise IndexError(f"the dataset has {len(self.entries)} clips; there is no clip {index}")
        entry = self.entries[index]
        file = self.folder / entry.file
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as shard:
                frames = shard.get_slice("frames")[entry.row_in_shard]
        else:
            frames = torch.from_numpy(np.ascontiguousarray(read_video(file).frames))
        with safe_open(self.folder / entry.tracks, framework="np") as measured:
            arrays = {
                name: measured.get_tensor(f"{entry.index:07d}/{name}") for name in (*TRACK_NAMES, "cameras")
            }
        caption = choose_caption(
            captions_from_json(entry.captions),
            seed=self.seed,
            epoch=self.epoch,
            index=entry.index,
            styles=self.styles,
        )
        return Sample(
            frames=frames,
            caption=caption,
            annotations=annotations_from_json(entry.annotations, arrays),
            index=entry.index,
        )
