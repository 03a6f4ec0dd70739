"""Tables of files and captions: CSV, JSON, JSONL; FastVideo's lists; line files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinema.data.formats.sidecars import frames_folder, read_text
from kinema.data.media_item import ClipOptions, MediaItem, media_kind
from kinema.errors import UserError

FILE_COLUMNS = (
    "video", "video_path", "media_path", "file_name", "path", "image", "image_path", "file", "filename"
)  # fmt: skip
"""Columns of the media file, in order of preference: DiffSynth, musubi, LTX-2, Hugging Face, Open-Sora."""
CAPTION_COLUMNS = (
    "caption",
    "prompt",
    "text",
    "cap",
    "captions",
    "caption_short",
    "caption_medium",
    "caption_long",
)
"""Columns of captions; all that are filled are captions of the file, in this order."""
VIDEO_LIST_FILES, PROMPT_FILES = (
    ("videos.txt", "video.txt"),
    ("prompt.txt", "prompts.txt", "caption.txt", "captions.txt"),
)
FASTVIDEO_ANNOTATION = "videos2caption.json"


def read_table(path: Path, *, repeats: int = 1, clips: ClipOptions | None = None) -> list[MediaItem]:
    """The rows of `metadata.csv`, `.json` (a list) or `.jsonl`.

    Paths are relative to the table's folder, or to the working folder where the file exists only there.

    Raises:
        UserError: the table is damaged, or has no column of files.
    """
    return rows_to_items(path, load_rows(path), repeats=repeats, clips=clips)


def load_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV, JSON or JSONL file.

    Raises:
        UserError: it is damaged; the message names the line.
    """
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        return list(csv.DictReader(io.StringIO(text)))
    rows: object
    if path.suffix.lower() == ".json":
        rows = load_json(path)
    else:
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    raise UserError(f"{path}, line {number} is not JSON; write one object per line") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not a table; write a list of objects")
    return rows


def load_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        UserError: it is damaged; the message names the line.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno} is not JSON ({error.msg}); correct it") from None


def rows_to_items(
    table: Path,
    rows: Sequence[dict[str, Any]],
    *,
    folder: Path | None = None,
    repeats: int = 1,
    clips: ClipOptions | None = None,
) -> list[MediaItem]:
    """Items of the rows of a table.

    Args:
        table: for messages and relative paths.
        rows: one for each file.
        folder: of relative paths; None is that of the table.
        repeats: of each item.
        clips: options of each item.

    Raises:
        UserError: there is no column of files, or a row without a file.
    """
    if not rows:
        raise UserError(f"{table} has no rows; write one for each video")
    columns = [name for name in FILE_COLUMNS if any(row.get(name) for row in rows)]
    if not columns:
        known = ", ".join(sorted({str(key) for row in rows[:5] for key in row}))
        raise UserError(
            f"{table} has no column of files (columns: {known}); name one of {', '.join(FILE_COLUMNS)}"
        )
    items: list[MediaItem] = []
    for number, row in enumerate(rows, 1):
        file = next((str(row[name]) for name in columns if row.get(name)), "")
        if not file:
            raise UserError(f"{table}, row {number} names no file; fill the column {columns[0]!r}")
        path = _resolve(file, folder or table.parent)
        captions: list[str] = []
        for name in CAPTION_COLUMNS:
            value = row.get(name)
            texts = value if isinstance(value, list) else [value]
            captions += [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        kind = media_kind(file) or "video"
        if path.is_dir():
            kind = "frames" if frames_folder(path) else "missing"
        elif not path.exists():
            kind = "missing"
        items.append(
            MediaItem(
                path=str(path),
                kind=kind,
                captions=tuple(dict.fromkeys(captions)),
                caption_source=table.name if captions else "",
                repeats=repeats,
                clips=clips,
            )
        )
    return items


def read_fastvideo(merge: Path) -> list[MediaItem]:
    """FastVideo's `merge.txt`: lines `folder,annotation.json`; relative paths are relative to the file.

    Raises:
        UserError: a line or an annotation is damaged.
    """
    items: list[MediaItem] = []
    for number, line in enumerate(read_text(merge).splitlines(), 1):
        if not line.strip():
            continue
        folder, _, annotation = (part.strip() for part in line.partition(","))
        if not annotation:
            raise UserError(f"{merge}, line {number} must be `folder,annotation.json`")
        base = _resolve(folder, merge.parent)
        items += rows_to_items(file := _resolve(annotation, merge.parent), load_rows(file), folder=base)
    return items


def read_line_files(folder: Path) -> list[MediaItem]:
    """finetrainers' `prompt.txt` and `videos.txt`: line i belongs to line i.

    Raises:
        UserError: the files have different numbers of lines.
    """
    videos = next(folder / name for name in VIDEO_LIST_FILES if (folder / name).is_file())
    prompts = next(folder / name for name in PROMPT_FILES if (folder / name).is_file())
    files, texts = read_text(videos).splitlines(), read_text(prompts).splitlines()
    if len(files) != len(texts):
        raise UserError(
            f"{videos} has {len(files)} lines and {prompts.name} {len(texts)}; line i must belong to line i"
        )
    rows = [{"video": file.strip(), "prompt": text.strip()} for file, text in zip(files, texts, strict=True)]
    return rows_to_items(prompts, rows)


def _resolve(name: str, folder: Path) -> Path:
    """A path of a table: relative to its folder, or to the working folder if it exists only there."""
    relative = (folder / name).absolute()
    elsewhere = Path(name).absolute()
    return elsewhere if not relative.exists() and elsewhere.exists() else relative
