"""Checks on what is not an event: the camera, the names, the place, the causes."""

from __future__ import annotations

import numpy as np

from kinema.world.audit.evidence import Evidence, Verdict
from kinema.world.audit.reading import Statement


def check_camera(see: Evidence, said: Statement) -> Verdict:
    """Whether the camera moves as is said, from its positions, headings and lenses."""
    rows = see.facts.cameras
    path = rows[-1, :3] - rows[0, :3]
    right = rows[0, 3:6]
    sideways = float(path @ right)
    ahead = float(path @ rows[len(rows) // 2, 9:12])
    length = float(np.linalg.norm(path))
    heading = np.unwrap(np.arctan2(rows[:, 10], rows[:, 9]))
    turn = float(heading[-1] - heading[0])
    tilt = float(rows[-1, 11] - rows[0, 11])
    zoom = float(rows[-1, 12] / rows[0, 12])
    fixed, same_lens = length < 0.02, abs(zoom - 1) < 0.01
    match said.value:
        case "static":
            return fixed and same_lens and abs(turn) < 0.01 and abs(tilt) < 0.01
        case "pan left":
            return fixed and same_lens and turn > 0.02
        case "pan right":
            return fixed and same_lens and turn < -0.02
        case "tilt up":
            return fixed and same_lens and tilt > 0.02
        case "tilt down":
            return fixed and same_lens and tilt < -0.02
        case "zoom in":
            return fixed and zoom < 0.95
        case "zoom out":
            return fixed and zoom > 1.05
        case "dolly in":
            return same_lens and ahead > 0.1 and abs(sideways) < 0.5 * length
        case "dolly out":
            return same_lens and ahead < -0.1 and abs(sideways) < 0.5 * length
        case "orbit left":
            return sideways < -0.1 and turn < -0.05
        case "orbit right":
            return sideways > 0.1 and turn > 0.05
        case "truck left":
            return sideways < -0.1 and abs(turn) < 0.02
        case "truck right":
            return sideways > 0.1 and abs(turn) < 0.02
        case "crane up":
            return path[2] > 0.1 and abs(turn) < 0.1
        case "crane down":
            return path[2] < -0.1 and abs(turn) < 0.1
    return None


def check_named(see: Evidence, said: Statement) -> Verdict:
    """Whether there is such a thing, and it is seen."""
    if said.value:
        return False
    return any(bool((see.tracks.pixels[:, k] > 0).any()) for k in see.members(said.subject))


def check_behind(see: Evidence, said: Statement) -> Verdict:
    """Whether it stands farther away than what the clip is about."""
    one = see.one(said.subject)
    main = [e.index for e in see.facts.entities if e.role == "main" and (e.named or e.group)]
    frame = min(see.facts.event_frame, see.last)
    nearest = min(see.tracks.depth[frame, k] for k in main)
    return bool(see.tracks.depth[frame, one] > nearest) and bool(see.tracks.pixels[:, one].max() > 0)


def check_because(see: Evidence, said: Statement) -> Verdict:
    """Whether there is such a cause: a wall, no wall, a gap."""
    walls = [e for e in see.facts.entities if e.shape in ("wall", "screen")]
    if said.value == "no wall":
        return not walls
    if said.value == "wall":
        return bool(walls)
    rows = sorted({e.group for e in see.facts.entities if e.shape == "domino" and e.group})
    members = see.members(rows[0]) if rows else []
    along = np.sort(see.tracks.position[0, members, 0])
    gaps = np.diff(along)
    return len(gaps) > 1 and bool(gaps.max() > 1.4 * np.median(gaps))


def check_scene(see: Evidence, said: Statement) -> Verdict:
    """Whether the sky, floor or scenery is the one said."""
    return getattr(see.facts.setting, said.kind) == said.value
