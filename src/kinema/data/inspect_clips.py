"""Clips of a set as MP4 files: exactly the frames that training reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.data.clip_reader import ClipRequest, read_order, read_requests
from kinema.data.clip_table import ClipRow, parse_bucket
from kinema.errors import UserError
from kinema.media import write_video
from kinema.media.images import save_png


def choose_clips(
    rows: Sequence[ClipRow], *, clip_ids: Sequence[str] = (), reason: str = "", count: int = 8
) -> list[ClipRow]:
    """Clips to look at.

    Args:
        rows: of the table.
        clip_ids: identifiers or their beginnings; empty takes kept clips.
        reason: clips that were dropped for it instead.
        count: at most so many.

    Raises:
        UserError: there is no such clip, or none with frames.
    """
    if clip_ids:
        chosen = [row for row in rows if any(row.clip_id.startswith(one) for one in clip_ids)]
        missing = [one for one in clip_ids if not any(row.clip_id.startswith(one) for row in chosen)]
        if missing:
            raise UserError(f"there is no clip {missing[0]!r}; take identifiers from the report or the table")
        count = len(chosen)
    else:
        chosen = [row for row in rows if row.reason == reason]
    shown = [row for row in chosen if row.frames]
    if not shown:
        known = sorted({row.reason for row in rows if row.frames and row.reason})
        raise UserError(
            f"no clip with frames has the reason {reason!r}; known: {', '.join(known) or 'none'}"
            if reason
            else "the set has no such clip with frames; see `kinema data report`"
        )
    return shown[:count]


def write_inspected(rows: Sequence[ClipRow], out: Path) -> Iterator[tuple[Path, ClipRow]]:
    """Write clips in each of their buckets, with their captions; images as PNG.

    Raises:
        UserError: a file can't be written, or a source has changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    requests = [ClipRequest(row=row, size=parse_bucket(bucket)[:2]) for row in rows for bucket in row.buckets]
    for request, frames in read_requests(sorted(requests, key=read_order)):
        row = request.row
        name = f"{row.clip_id[:12]}-{frames.shape[2]}x{frames.shape[1]}x{len(frames)}"
        if len(frames) == 1:
            path = out / f"{name}.png"
            save_png(path, frames[0])
        else:
            path = out / f"{name}.mp4"
            write_video(path, frames, row.clip_fps or 16.0, quality="best")
        write_text(path.with_suffix(".txt"), "\n".join(row.captions) + "\n")
        yield path, row
