"""The exact frames of clips, read from their sources: cropped, and scaled to their buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from kinema.data.aspect_buckets import CoverCrop, Size, apply_cover_crop, plan_cover_crop
from kinema.data.clip_table import ClipRow
from kinema.data.item_reader import local_path, read_frames
from kinema.errors import UserError
from kinema.frames import FrameArray


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """A clip to read.

    Attributes:
        row: of the table.
        size: of the bucket; None reads the cropped clip in its own size.
        picks: positions in the clip to read; None reads all frames.
    """

    row: ClipRow
    size: Size | None = None
    picks: tuple[int, ...] | None = None

    @property
    def frames(self) -> tuple[int, ...]:
        """The source's frames to read."""
        chosen = self.row.frames
        return chosen if self.picks is None else tuple(chosen[index] for index in self.picks)

    def plan(self) -> tuple[tuple[int, ...], CoverCrop | None]:
        """What is done to each frame."""
        crop = self.row.crop
        return crop, None if self.size is None else plan_cover_crop((crop[2], crop[3]), self.size)


def read_requests(requests: Iterable[ClipRequest]) -> Iterator[tuple[ClipRequest, FrameArray]]:
    """Read clips; each run of consecutive requests of one source decodes it once.

    Yields:
        Requests and their frames; within a source in the order of their last frames.

    Raises:
        UserError: a source is missing or has changed.
    """
    group: list[ClipRequest] = []
    for request in requests:
        if group and request.row.item != group[0].row.item:
            yield from _read_source(group)
            group = []
        group.append(request)
    if group:
        yield from _read_source(group)


def read_order(request: ClipRequest) -> tuple[str, int, int, str]:
    """The order in which `read_requests` reads a source's clips: by the last frame."""
    return request.row.source, request.frames[-1], request.frames[0], request.row.clip_id


def _read_source(requests: Sequence[ClipRequest]) -> Iterator[tuple[ClipRequest, FrameArray]]:
    waiting = sorted(requests, key=read_order)
    plans = {request: request.plan() for request in waiting}
    needed: dict[int, set[tuple[tuple[int, ...], CoverCrop | None]]] = {}
    uses: Counter[tuple[int, object]] = Counter()
    for request in waiting:
        for index in set(request.frames):
            needed.setdefault(index, set()).add(plans[request])
            uses[index, plans[request]] += 1
    stored: dict[tuple[int, object], UInt8[np.ndarray, "h w 3"]] = {}
    item, position = waiting[0].row.item, 0
    with local_path(item) as path:
        for index, frame in enumerate(read_frames(item, path)):
            for plan in needed.get(index, ()):
                stored[index, plan] = _transform(frame.image, *plan)
            while position < len(waiting) and waiting[position].frames[-1] <= index:
                request = waiting[position]
                plan = plans[request]
                yield request, np.stack([stored[one, plan] for one in request.frames])
                for one in set(request.frames):
                    uses[one, plan] -= 1
                    if not uses[one, plan]:
                        del stored[one, plan]
                position += 1
            if position == len(waiting):
                return
    raise UserError(
        f"{item.name} ended before frame {waiting[position].frames[-1]}; it has changed since the set was "
        "made: run `kinema data build` again"
    )


def _transform(
    image: UInt8[np.ndarray, "h w 3"], crop: tuple[int, ...], plan: CoverCrop | None
) -> UInt8[np.ndarray, "h2 w2 3"]:
    left, top, width, height = crop
    inside = image[top : top + height, left : left + width]
    return np.ascontiguousarray(inside) if plan is None else apply_cover_crop(inside, plan)
