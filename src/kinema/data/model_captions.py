"""Captions that a vision-language model writes, kept next to the set."""

from __future__ import annotations

import json
from pathlib import Path

CAPTIONS_FILE = "captions.jsonl"


def load_captions(folder: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Source and captions of each clip_id; the last entry of a clip counts. A half-written line is ignored."""
    path = folder / CAPTIONS_FILE
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    if not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            captions = tuple(str(text) for text in values["captions"] if str(text).strip())
            clip_id, source = str(values["clip_id"]), str(values["source"])
        except (ValueError, KeyError, TypeError):
            continue
        if captions:
            found[clip_id] = (source, captions)
    return found
