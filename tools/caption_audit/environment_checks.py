"""Checks of statements about the camera, the objects named, the environment and causes."""

from __future__ import annotations

import numpy as np

from tools.caption_audit.measurements import CheckResult, ClipMeasurements
from tools.caption_audit.parser import Statement


def check_camera(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    """Whether the camera moves as stated, by its positions, directions and fields of view."""
    rows = clip.annotations.cameras
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
    match statement.value:
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


def check_exists(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    """Whether the object exists and is visible."""
    if statement.value:
        return False
    return any(bool((clip.tracks.pixels[:, k] > 0).any()) for k in clip.members(statement.subject))


def check_background(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    """Whether a background object is farther away than the main object."""
    one = clip.entity_index(statement.subject)
    main = [e.index for e in clip.annotations.entities if e.role == "main" and (e.named or e.group)]
    frame = min(clip.annotations.event_frame, clip.last_frame)
    nearest = min(clip.tracks.depth[frame, k] for k in main)
    return bool(clip.tracks.depth[frame, one] > nearest) and bool(clip.tracks.pixels[:, one].max() > 0)


def check_cause(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    """Whether the stated cause exists: a wall, no wall, or a gap."""
    walls = [e for e in clip.annotations.entities if e.shape in ("wall", "screen")]
    if statement.value == "no wall":
        return not walls
    if statement.value == "wall":
        return bool(walls)
    rows = sorted({e.group for e in clip.annotations.entities if e.shape == "domino" and e.group})
    members = clip.members(rows[0]) if rows else []
    along = np.sort(clip.tracks.position[0, members, 0])
    gaps = np.diff(along)
    return len(gaps) > 1 and bool(gaps.max() > 1.4 * np.median(gaps))


def check_environment(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    """Whether the sky, floor or background is as stated."""
    return getattr(clip.annotations.environment, statement.kind) == statement.value
