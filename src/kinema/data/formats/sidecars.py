"""Folders of videos and images with a caption file of the same stem next to each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kinema.data.media_item import ClipOptions, MediaItem, media_kind
from kinema.errors import UserError

CAPTION_SUFFIXES = (".txt", ".caption")
DEFAULT_CAPTION = "default"
"""Stem of the caption file of every file without its own (ai-toolkit)."""
_SKIPPED_FOLDERS = ("_controls",)


def read_text(path: Path) -> str:
    """The text of a caption file, stripped.

    Raises:
        UserError: it is not UTF-8 or can't be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; convert it to UTF-8") from None
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}; change its permissions") from None


def read_folder(
    folder: Path,
    *,
    caption_suffixes: Iterable[str] = CAPTION_SUFFIXES,
    recursive: bool = True,
    split_lines: bool = False,
    default_caption: str = "",
    repeats: int = 1,
    clips: ClipOptions | None = None,
) -> list[MediaItem]:
    """Every video and image of a folder, with its captions, sorted by path.

    A folder of images with a caption file of the same name next to it is one video. A caption file without
    a video or image becomes an item of its own, so that it is reported.

    Args:
        folder: to read; hidden files and `_controls` are left out.
        caption_suffixes: of caption files; the first that exists is used.
        recursive: read folders inside it, too.
        split_lines: each line is a caption of its own (SimpleTuner).
        default_caption: caption of files without one.
        repeats: of each item.
        clips: options of each item.
    """
    suffixes = tuple(one if one.startswith(".") else f".{one}" for one in caption_suffixes)
    items: list[MediaItem] = []
    for base, names in _walk(folder, recursive):
        captions = {base / name for name in names if Path(name).suffix.lower() in suffixes}
        used: set[Path] = set()
        frame_folders = [path for path in _image_folders(base) if _caption_file(path, suffixes, captions)]
        fallback = next((base / f"{DEFAULT_CAPTION}{one}" for one in suffixes), None)
        fallback = fallback if fallback in captions else None
        for path in sorted([base / name for name in names if media_kind(name)] + frame_folders):
            kind = "frames" if path in frame_folders else media_kind(path.name)
            file = _caption_file(path, suffixes, captions)
            text, source = "", ""
            if file is not None:
                used.add(file)
                text, source = read_text(file), "sidecar"
            elif fallback is not None:
                text, source = read_text(fallback), fallback.name
            if not text and default_caption:
                text, source = default_caption, "default"
            lines = [line.strip() for line in text.splitlines()] if split_lines else [text]
            items.append(
                MediaItem(
                    path=str(path),
                    kind=kind or "video",
                    captions=tuple(line for line in lines if line),
                    caption_source=source if text else "",
                    repeats=repeats,
                    clips=clips,
                )
            )
        orphans = captions - used - ({fallback} if fallback else set())
        items += [
            MediaItem(path=str(path), kind="caption_only", captions=(read_text(path),))
            for path in sorted(orphans)
        ]
    return items


def read_file(path: Path) -> MediaItem:
    """One video or image with the caption file next to it, if there is one."""
    file = next((path.with_suffix(one) for one in CAPTION_SUFFIXES if path.with_suffix(one).is_file()), None)
    text = read_text(file) if file else ""
    return MediaItem(
        path=str(path.absolute()),
        kind=media_kind(path.name) or "video",
        captions=(text,) if text else (),
        caption_source="sidecar" if text else "",
    )


def read_captions_json(
    folder: Path, captions: dict[str, object], *, repeats: int = 1, clips: ClipOptions | None = None
) -> list[MediaItem]:
    """diffusion-pipe's `captions.json`: file name to a list of captions. It replaces all sidecars.

    Files of the folder that it does not name have no caption; names without a file are reported.

    Raises:
        UserError: a value is neither a text nor a list of texts.
    """
    items: dict[str, MediaItem] = {}
    for name, value in captions.items():
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{folder / 'captions.json'}: {name!r} must have a list of captions")
        path = folder / name
        items[str(path)] = MediaItem(
            path=str(path),
            kind=(media_kind(name) or "video") if path.is_file() else "missing",
            captions=tuple(text.strip() for text in texts if text.strip()),
            caption_source="captions.json",
            repeats=repeats,
            clips=clips,
        )
    for name in sorted(os.listdir(folder)):
        kind = media_kind(name)
        if kind and str(folder / name) not in items:
            items[str(folder / name)] = MediaItem(
                path=str(folder / name), kind=kind, repeats=repeats, clips=clips
            )
    return [items[key] for key in sorted(items)]


def frames_folder(path: Path) -> bool:
    """Whether a folder has images, which are then the frames of one video."""
    return path.is_dir() and any(media_kind(name) == "image" for name in os.listdir(path))


def _walk(folder: Path, recursive: bool) -> Iterable[tuple[Path, list[str]]]:
    for base, folders, names in os.walk(folder):
        path = Path(base)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not _is_captioned_frames(path / name)
        )
        yield path, sorted(name for name in names if not name.startswith("."))
        if not recursive:
            return


def _is_captioned_frames(path: Path) -> bool:
    return any(path.with_name(f"{path.name}{one}").is_file() for one in CAPTION_SUFFIXES) and frames_folder(
        path
    )


def _image_folders(base: Path) -> list[Path]:
    with os.scandir(base) as entries:
        return sorted(
            base / entry.name for entry in entries if entry.is_dir() and frames_folder(base / entry.name)
        )


def _caption_file(path: Path, suffixes: Iterable[str], captions: set[Path]) -> Path | None:
    stem = path.name if path.is_dir() else path.stem
    return next(
        (path.with_name(stem + one) for one in suffixes if path.with_name(stem + one) in captions), None
    )
