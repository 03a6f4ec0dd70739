"""Tar files of samples (WebDataset), Cosmos folders, and sets that the simulator rendered."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq

from kinema.data.formats.sidecars import read_text
from kinema.data.media_item import ClipOptions, MediaItem, media_kind
from kinema.data.video_folder import MANIFEST
from kinema.data.video_shards import open_shards, shard_path
from kinema.errors import UserError

_MAX_CAPTION_BYTES = 1 << 20


def read_webdataset(path: Path, *, repeats: int = 1, clips: ClipOptions | None = None) -> list[MediaItem]:
    """A tar of samples: members with one stem, for example `000001.mp4` with `000001.txt` or `.json`.

    Members are read in place; nothing is unpacked here.

    Raises:
        UserError: the tar is damaged.
    """
    media: dict[str, str] = {}
    captions: dict[str, tuple[str, ...]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                stem, _, suffix = member.name.rpartition(".")
                if not member.isfile() or not stem:
                    continue
                if media_kind(member.name):
                    media[stem] = member.name
                elif suffix in ("txt", "caption", "json") and member.size <= _MAX_CAPTION_BYTES:
                    file = archive.extractfile(member)
                    text = file.read().decode("utf-8-sig", "replace").strip() if file else ""
                    found = _json_captions(text) if suffix == "json" else ((text,) if text else ())
                    captions[stem] = tuple(dict.fromkeys((*captions.get(stem, ()), *found)))
    except (tarfile.TarError, EOFError, OSError):
        raise UserError(f"{path} is a damaged tar file; create or download it again") from None
    items = [
        MediaItem(
            path=str(path.absolute()),
            member=name,
            kind=media_kind(name) or "video",
            captions=captions.get(stem, ()),
            caption_source="archive" if captions.get(stem) else "",
            repeats=repeats,
            clips=clips,
        )
        for stem, name in sorted(media.items())
    ]
    orphans = sorted(set(captions) - set(media))
    return items + [
        MediaItem(path=str(path.absolute()), member=stem, kind="caption_only", captions=captions[stem])
        for stem in orphans
        if captions[stem]
    ]


def _json_captions(text: str) -> tuple[str, ...]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        return ()
    if not isinstance(values, dict):
        return ()
    found = (values.get(name) for name in ("caption", "prompt", "text", "caption_short", "caption_long"))
    return tuple(one.strip() for one in found if isinstance(one, str) and one.strip())


def read_cosmos(folder: Path) -> list[MediaItem]:
    """Cosmos post-training: `videos/x.mp4` with `metas/x.txt`."""
    items: list[MediaItem] = []
    for path in sorted((folder / "videos").iterdir()):
        kind = media_kind(path.name)
        if kind:
            file = folder / "metas" / f"{path.stem}.txt"
            text = read_text(file) if file.is_file() else ""
            items.append(
                MediaItem(
                    path=str(path),
                    kind=kind,
                    captions=(text,) if text else (),
                    caption_source="sidecar" if text else "",
                )
            )
    return items


def read_simulated(folder: Path) -> list[MediaItem]:
    """A set of `kinema dataset build`, or the shards that a training run rendered.

    Raises:
        UserError: the folder has no videos.
    """
    if not (folder / MANIFEST).is_file():
        shards = open_shards(folder)
        return [
            MediaItem(
                path=str(shard_path(folder, shard)),
                kind="array",
                row_in_shard=row,
                captions=tuple(dict.fromkeys(shards.texts[first + row])),
                caption_source="simulator",
            )
            for shard, (first, pixels) in enumerate(zip(shards.starts, shards.pixels, strict=True))
            for row in range(len(pixels))
        ]
    columns = ["file", "row_in_shard", "captions", "status", "fps"]
    rows = [
        one for one in pq.read_table(folder / MANIFEST, columns=columns).to_pylist() if one["status"] == "ok"
    ]
    return [
        MediaItem(
            path=str(folder / row["file"]),
            kind="array" if row["file"].endswith(".safetensors") else "video",
            row_in_shard=row["row_in_shard"],
            captions=tuple(dict.fromkeys(one["text"] for one in json.loads(row["captions"]))),
            caption_source="simulator",
            fps=row["fps"],
        )
        for row in rows
    ]
