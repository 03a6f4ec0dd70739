"""Which format a path has, and its items."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from kinema.data.formats import archives, configs, sidecars, tables
from kinema.data.media_item import MEDIA_SUFFIXES, ClipOptions, MediaItem, media_kind
from kinema.data.video_folder import MANIFEST
from kinema.data.video_shards import shard_path
from kinema.errors import UserError, did_you_mean

Format = Literal[
    "sidecars", "captions-json", "musubi", "diffusion-pipe", "ai-toolkit", "simpletuner", "table",
    "fastvideo", "line-files", "webdataset", "cosmos", "simulated",
]  # fmt: skip
"""`table`: a .csv, .json or .jsonl of DiffSynth, Hugging Face, LTX-2, musubi, finetrainers or Open-Sora."""
SET_FILE = "set.json"
"""The configuration of a curated set; its presence marks one."""
_TABLE_NAMES = tuple(f"metadata.{suffix}" for suffix in ("csv", "jsonl", "json"))


def read_sources(
    sources: Sequence[Path], default: ClipOptions, *, format_name: str | None = None
) -> list[MediaItem]:
    """All items of some sources, in their order, each file once.

    Args:
        sources: files and folders in any format.
        default: options of sources whose configuration leaves them open.
        format_name: of all sources; None detects it.

    Raises:
        UserError: a source does not exist, has no videos, or is damaged.
    """
    if format_name is not None and format_name not in get_args(Format):
        raise UserError(
            f"unknown format {format_name!r}{did_you_mean(format_name, get_args(Format))}; "
            f"choose one of {', '.join(get_args(Format))}"
        )
    items: list[MediaItem] = []
    seen: set[str] = set()
    for source in sources:
        path = source.absolute()
        if not path.exists():
            raise UserError(f"{source} does not exist; check the name")
        found = read_source(path, format_name or detect_format(path), default)
        if not any(item.kind not in ("missing", "caption_only") for item in found):
            raise UserError(_nothing_found(source, found))
        for item in found:
            if item.name not in seen or item.clips is not None:
                items.append(item)
            seen.add(item.name)
    return items


def detect_format(path: Path) -> Format:
    """The format of a file or folder.

    Raises:
        UserError: a file of a kind that no format has, or a curated set.
    """
    return _detect_folder(path) if path.is_dir() else _detect_file(path)


def read_source(path: Path, name: str, default: ClipOptions) -> list[MediaItem]:
    """The items of one source in a format.

    Raises:
        UserError: it is damaged or lacks the format's files.
    """
    match name:
        case "musubi":
            return configs.read_musubi(path, default)
        case "diffusion-pipe":
            return configs.read_diffusion_pipe(path, default)
        case "ai-toolkit":
            return configs.read_ai_toolkit(path, default)
        case "simpletuner":
            return configs.read_simpletuner(path, default)
        case "webdataset":
            tars = sorted(path.glob("*.tar")) if path.is_dir() else [path]
            return [item for tar in tars for item in archives.read_webdataset(tar)]
        case "cosmos":
            return archives.read_cosmos(_need_folder(path, name, "videos"))
        case "simulated":
            return archives.read_simulated(path)
        case "line-files":
            return tables.read_line_files(path)
        case "fastvideo":
            if path.suffix == ".json" or (path.is_dir() and not (path / "merge.txt").exists()):
                file = path / tables.FASTVIDEO_ANNOTATION if path.is_dir() else path
                return tables.rows_to_items(file, tables.load_rows(file))
            return tables.read_fastvideo(path / "merge.txt" if path.is_dir() else path)
        case "captions-json":
            folder = path if path.is_dir() else path.parent
            file = folder / "captions.json" if path.is_dir() else path
            return sidecars.read_captions_json(folder, tables.load_json(file))
        case "table":
            if path.is_dir():
                file = next((path / one for one in _TABLE_NAMES if (path / one).is_file()), None)
                if file is None:
                    raise UserError(f"{path} has no {', '.join(_TABLE_NAMES)}; name the table itself")
                path = file
            return tables.read_table(path)
        case _:
            return sidecars.read_folder(path) if path.is_dir() else [sidecars.read_file(path)]


def _detect_file(path: Path) -> Format:
    suffix = path.suffix.lower()
    if suffix in MEDIA_SUFFIXES:
        return "sidecars"
    if suffix == ".toml":
        return "diffusion-pipe" if "directory" in configs.load_toml(path) else "musubi"
    if suffix in (".yaml", ".yml"):
        return "ai-toolkit"
    if suffix == ".tar":
        return "webdataset"
    if suffix in (".csv", ".jsonl"):
        return "table"
    if suffix == ".json":
        return _detect_json(path)
    if suffix == ".txt":
        lines = sidecars.read_text(path).splitlines()
        if lines and all(line.rstrip().endswith(".json") and "," in line for line in lines if line.strip()):
            return "fastvideo"
        raise UserError(f"{path} is a text file without videos; give a folder, a table or a configuration")
    raise UserError(
        f"{path} is not a video and not a list of videos; give a folder, a video, or .toml, .yaml, .json, "
        ".jsonl, .csv, .tar"
    )


def _detect_json(path: Path) -> Format:
    values = tables.load_json(path)
    if isinstance(values, dict):
        objects = all(isinstance(value, dict) for value in values.values())
        return "ai-toolkit" if values and objects else "captions-json"
    if isinstance(values, list) and values and isinstance(values[0], dict):
        if "dataset_type" in values[0] or "instance_data_dir" in values[0]:
            return "simpletuner"
        return "fastvideo" if {"path", "cap"} <= set(values[0]) else "table"
    raise UserError(f"{path} is neither a table nor a configuration; write a list of objects")


def _detect_folder(path: Path) -> Format:
    names = set(os.listdir(path))
    if SET_FILE in names and "clips.parquet" in names:
        raise UserError(
            f"{path} is a curated set already; give its sources, or change it with `kinema data filter`"
        )
    if MANIFEST in names or shard_path(path, 0).name in names:
        return "simulated"
    if "merge.txt" in names or tables.FASTVIDEO_ANNOTATION in names:
        return "fastvideo"
    if "captions.json" in names:
        return "captions-json"
    if names & set(_TABLE_NAMES):
        return "table"
    if names & set(tables.VIDEO_LIST_FILES) and names & set(tables.PROMPT_FILES):
        return "line-files"
    if {"videos", "metas"} <= names:
        return "cosmos"
    if any(name.endswith(".tar") for name in names) and not any(media_kind(name) for name in names):
        return "webdataset"
    return "sidecars"


def _need_folder(path: Path, name: str, inner: str) -> Path:
    if not (path / inner).is_dir():
        raise UserError(f"{path} has no folder {inner!r}, which the format {name} needs")
    return path


def _nothing_found(source: Path, found: Sequence[MediaItem]) -> str:
    missing = sum(item.kind == "missing" for item in found)
    captions = sum(item.kind == "caption_only" for item in found)
    if missing:
        return f"none of the {missing} files that {source} names exists; the first is {found[0].path}"
    if captions:
        return (
            f"{source} has {captions} caption files and no videos or images; put the videos next to them, "
            "with the same names"
        )
    return f"{source} has no videos or images; supported suffixes: {', '.join(sorted(MEDIA_SUFFIXES))}"
