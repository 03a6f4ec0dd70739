"""When one thing reaches another, as far as the picture tells."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kinema.evaluation import thresholds
from kinema.evaluation.tracking import Track, TrackedVideo


def first_contact_frame(video: TrackedVideo, one: Track, two: Track) -> int | None:
    """The first frame in which the gap between their outlines is closed, up to blur."""
    allowed = thresholds.MAX_CONTACT_GAP * min(one.radius, two.radius) + video.scale
    # Between two frames a fast thing touches and leaves again: what it covers in one frame counts.
    steps = np.linalg.norm(np.diff(one.centre, axis=0, prepend=one.centre[:1]), axis=1)
    reach = allowed + np.nan_to_num(ndimage.maximum_filter1d(np.nan_to_num(steps), 3))
    for frame in np.flatnonzero(one.visible & two.visible):
        a, b = one.blobs[frame], two.blobs[frame]
        if a is None or b is None or min(a.gap, b.gap) > reach[frame]:
            continue
        if np.hypot(a.x - b.x, a.y - b.y) < 2 * (one.radius + two.radius):
            return int(frame)
    hidden = np.flatnonzero(one.visible & ~two.visible)
    return int(hidden[0]) if len(hidden) and hidden[0] > 0 and one.touching[hidden[0] - 1] else None
