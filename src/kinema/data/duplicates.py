"""Near-duplicates: clips of different sources whose perceptual hashes are nearly the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from kinema.data.clip_table import ClipRow
from kinema.data.selection import HASHES_PER_CLIP


def mark_duplicates(
    rows: Sequence[ClipRow], max_distance: float, *, against: Iterable[ClipRow] = ()
) -> list[ClipRow]:
    """Drop kept clips that repeat another. The larger clip stays, among equals that of the sharper source.

    Clips of one source are not compared: consecutive clips before a still camera look alike. Neither are
    clips that the simulator rendered, whose backgrounds look alike.

    Args:
        rows: of all sources.
        max_distance: mean bits of difference up to which clips are duplicates; negative drops none.
        against: kept clips of an earlier set, which stay.

    Returns:
        The same rows with distances, in the same order.
    """
    sharpness: dict[str, float] = {}
    for row in rows:
        sharpness[row.source] = max(sharpness.get(row.source, 0.0), row.sharpness)
    known = [row for row in against if row.kept and len(row.hashes) == HASHES_PER_CLIP]
    order = sorted(
        (index for index, row in enumerate(rows) if row.kept and row.caption_source != "simulator"),
        key=lambda index: (
            -rows[index].crop[2] * rows[index].crop[3],
            -sharpness[rows[index].source],
            rows[index].source,
            rows[index].start_s,
            rows[index].clip_id,
        ),
    )
    capacity = len(known) + len(order)
    hashes = np.zeros((capacity, HASHES_PER_CLIP), np.uint64)
    sources: dict[str, int] = {}
    source_of = np.zeros(capacity, np.int64)
    moving = np.zeros(capacity, bool)
    kept: list[ClipRow] = []

    def add(row: ClipRow, source: str) -> None:
        hashes[len(kept)] = row.hashes
        source_of[len(kept)] = sources.setdefault(source, len(sources))
        moving[len(kept)] = row.num_frames > 1
        kept.append(row)

    for row in known:
        add(row, f"earlier set {row.source}")
    result = list(rows)
    for index in order:
        row = rows[index]
        count = len(kept)
        own = sources.setdefault(row.source, len(sources))
        others = (source_of[:count] != own) & (moving[:count] == (row.num_frames > 1))
        if others.any():
            different = hashes[:count] ^ np.array(row.hashes, np.uint64)
            distances = np.where(others, np.bitwise_count(different).mean(axis=1), 64.0)
            nearest = int(distances.argmin())
            distance = round(float(distances[nearest]), 4)
            row = dataclasses.replace(row, duplicate_distance=distance)
            if distance <= max_distance:
                row = dataclasses.replace(
                    row,
                    kept=False,
                    reason="duplicate",
                    duplicate_of=kept[nearest].clip_id,
                    detail=f"{distance:g} bits from {kept[nearest].source}",
                )
            result[index] = row
        if row.kept:
            add(row, row.source)
    return result
