"""Phrases for directions, sides, speeds, manners of motion and camera moves."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.simulator.annotations import CameraMove

PARTITIVES = {
    "all": ("all of them", "every one of them"),
    "none": ("none of them",),
    "some": ("{number} of them",),
    "one": ("just one of them", "only one of them"),
}

CAUSE_CLAUSES = {
    "no wall": ("because there is no wall", "because no wall is in the way", "since there is no wall"),
    "wall": ("because a wall is in the way", "because there is a wall"),
    "gap": ("because the gap is too wide", "because the next one is too far away"),
}


@dataclass(frozen=True, kw_only=True)
class Phrasing:
    """The phrases of one meaning, by register."""

    core: str
    terse: str
    plain: tuple[str, ...]
    casual: tuple[str, ...]


DIRECTIONS = {
    "left": Phrasing(
        core="to the left",
        terse="left",
        plain=("to the left", "left", "toward the left", "from right to left"),
        casual=("off to the left", "over to the left", "leftward", "toward the left-hand side"),
    ),
    "right": Phrasing(
        core="to the right",
        terse="right",
        plain=("to the right", "right", "toward the right", "from left to right"),
        casual=("off to the right", "over to the right", "rightward", "toward the right-hand side"),
    ),
    "away": Phrasing(
        core="away from the camera",
        terse="away",
        plain=("away from the camera", "away from the viewer", "into the distance"),
        casual=("away from us", "off into the distance"),
    ),
    "toward": Phrasing(
        core="toward the camera",
        terse="toward camera",
        plain=("toward the camera", "towards the viewer", "to the front"),
        casual=("towards us", "straight at us"),
    ),
    "down": Phrasing(core="down", terse="down", plain=("down", "downward"), casual=("downward",)),
}

PUSH_DIRECTIONS = {
    "left": Phrasing(
        core="to the left",
        terse="left",
        plain=("to the left", "left"),
        casual=("off to the left", "away to the left"),
    ),
    "right": Phrasing(
        core="to the right",
        terse="right",
        plain=("to the right", "right"),
        casual=("off to the right", "away to the right"),
    ),
    "away": Phrasing(core="away", terse="away", plain=("away",), casual=("away",)),
    "aside": Phrasing(
        core="aside", terse="aside", plain=("aside", "to one side"), casual=("out of the way",)
    ),
}

SIDES = {
    side: Phrasing(
        core=f"on the {side}",
        terse=side,
        plain=(f"on the {side}", f"on the {side} side", f"at the {side}"),
        casual=(f"on the {side}-hand side", f"over on the {side}"),
    )
    for side in ("left", "right")
}

TURNS = {
    "clockwise": Phrasing(
        core="clockwise",
        terse="clockwise",
        plain=("clockwise", "clockwise seen from above"),
        casual=("clockwise",),
    ),
    "counterclockwise": Phrasing(
        core="counterclockwise",
        terse="counterclockwise",
        plain=("counterclockwise", "anticlockwise", "counterclockwise seen from above"),
        casual=("anticlockwise", "counterclockwise"),
    ),
}

SPEEDS = {
    "slowly": Phrasing(
        core="slowly", terse="slowly", plain=("slowly", "gently", "unhurriedly"), casual=("slowly", "lazily")
    ),
    "quickly": Phrasing(
        core="quickly",
        terse="quickly",
        plain=("quickly", "swiftly", "at high speed", "fast"),
        casual=("fast", "rapidly", "at full speed"),
    ),
}

BOUNCES = {
    "high": Phrasing(core="high", terse="high", plain=("high", "high into the air"), casual=("way up high",)),
    "little": Phrasing(
        core="a little", terse="a little", plain=("a little", "slightly"), casual=("just a bit", "a tiny bit")
    ),
}


@dataclass(frozen=True, kw_only=True)
class MotionVerbs:
    """The verbs of one manner of motion, and verbs that also express a slow or quick speed."""

    core: str
    plain: tuple[str, ...]
    casual: tuple[str, ...]
    slow: tuple[str, ...] = ("creep", "crawl")
    quick: tuple[str, ...] = ("zoom", "race", "shoot", "dash")


MOTION_VERBS = {
    "roll": MotionVerbs(core="roll", plain=("roll",), casual=("roll", "trundle")),
    "drive": MotionVerbs(
        core="drive",
        plain=("drive", "travel"),
        casual=("cruise", "drive"),
        quick=("zoom", "speed", "race", "zip"),
    ),
    "slide": MotionVerbs(core="slide", plain=("slide", "glide"), casual=("glide", "slide", "skid")),
    "tumble": MotionVerbs(core="tumble", plain=("tumble", "move"), casual=("tumble",)),
    "move": MotionVerbs(core="move", plain=("move", "travel"), casual=("move",)),
}

GROUND_PHRASES = ("on the ground", "on the floor")


@dataclass(frozen=True, kw_only=True)
class CameraPhrasing:
    """The phrases of one camera move: clauses with the camera as subject, and shot labels."""

    core: str
    plain: tuple[str, ...]
    casual: tuple[str, ...]
    label: tuple[str, ...]


CAMERA_PHRASES: dict[CameraMove, CameraPhrasing] = {
    "static": CameraPhrasing(
        core="[stay] still",
        plain=("[stay] still", "[be] still", "[!move]"),
        casual=("[stay] put", "[hold] still"),
        label=("static shot", "fixed camera"),
    ),
    "pan left": CameraPhrasing(
        core="[pan] left",
        plain=("[pan] to the left", "[pan] left"),
        casual=("[swing] round to the left", "[turn] left"),
        label=("pan left", "panning shot to the left"),
    ),
    "pan right": CameraPhrasing(
        core="[pan] right",
        plain=("[pan] to the right", "[pan] right"),
        casual=("[swing] round to the right", "[turn] right"),
        label=("pan right", "panning shot to the right"),
    ),
    "tilt up": CameraPhrasing(
        core="[tilt] up", plain=("[tilt] up", "[tilt] upward"), casual=("[look] upward",), label=("tilt up",)
    ),
    "tilt down": CameraPhrasing(
        core="[tilt] down",
        plain=("[tilt] down", "[tilt] downward"),
        casual=("[look] downward",),
        label=("tilt down",),
    ),
    "zoom in": CameraPhrasing(
        core="[zoom] in",
        plain=("[zoom] in", "[zoom] in slowly"),
        casual=("[zoom] in closer",),
        label=("zoom in",),
    ),
    "zoom out": CameraPhrasing(
        core="[zoom] out",
        plain=("[zoom] out", "[zoom] out slowly"),
        casual=("[zoom] back out",),
        label=("zoom out",),
    ),
    "dolly in": CameraPhrasing(
        core="[move] closer",
        plain=("[push] in", "[move] forward", "[dolly] in", "[move] closer"),
        casual=("[creep] closer", "[get] closer"),
        label=("dolly in", "push in"),
    ),
    "dolly out": CameraPhrasing(
        core="[pull] back",
        plain=("[pull] back", "[move] backward", "[dolly] out", "[move] away"),
        casual=("[back] away", "[drift] backward"),
        label=("dolly out", "pull back"),
    ),
    "orbit left": CameraPhrasing(
        core="[circle] to the left",
        plain=("[circle] around to the left", "[orbit] to the left", "[arc] to the left"),
        casual=("[go] around to the left",),
        label=("orbit left",),
    ),
    "orbit right": CameraPhrasing(
        core="[circle] to the right",
        plain=("[circle] around to the right", "[orbit] to the right", "[arc] to the right"),
        casual=("[go] around to the right",),
        label=("orbit right",),
    ),
    "truck left": CameraPhrasing(
        core="[slide] left",
        plain=("[slide] to the left", "[track] left", "[truck] left", "[move] sideways to the left"),
        casual=("[drift] left", "[drift] to the left"),
        label=("truck left", "tracking shot to the left"),
    ),
    "truck right": CameraPhrasing(
        core="[slide] right",
        plain=("[slide] to the right", "[track] right", "[truck] right", "[move] sideways to the right"),
        casual=("[drift] right", "[drift] to the right"),
        label=("truck right", "tracking shot to the right"),
    ),
    "crane up": CameraPhrasing(
        core="[rise]",
        plain=("[rise]", "[move] up", "[crane] up"),
        casual=("[float] upward", "[lift] up"),
        label=("crane up",),
    ),
    "crane down": CameraPhrasing(
        core="[sink] down",
        plain=("[sink] down", "[move] down", "[crane] down"),
        casual=("[float] downward", "[come] down"),
        label=("crane down",),
    ),
}

CAMERA_CLAUSES = ("as the camera {clause}", "while the camera {clause}")
CAMERA_SENTENCES = (
    "the camera {clause}",
    "meanwhile, the camera {clause}",
    "throughout, the camera {clause}",
)
CAMERA_LABELS = ("{label}: {sentence}", "{label}. {capital}")
VIDEO_OF = (
    "a video of {noun}",
    "a clip of {noun}",
    "footage of {noun}",
    "a short film of {noun}",
    "an animation of {noun}",
)
EVERYDAY_OPENINGS = (
    "look, {sentence}",
    "we see how {sentence}",
    "watch how {sentence}",
    "you can see how {sentence}",
)
BACKGROUND_TEMPLATES = (
    "{things} [stand] in the background",
    "in the background [stand] {things}",
    "farther back [stand] {things}",
)
ENVIRONMENT_OPENINGS = ("the scene is set", "all this happens", "it takes place")

ROW_TEMPLATES = (
    "{things} [stand] in a row, from left to right",
    "{things} [be] lined up from left to right",
    "from left to right, {things} [stand] side by side",
)
"""Templates for objects in a row; the order of the names is part of the statement."""

TRIPLE_TEMPLATES = (
    "{left} [be] on the left, {middle} in the middle and {right} on the right",
    "{left} [stand] on the left, {middle} in the middle and {right} on the right",
)
BETWEEN_TEMPLATE = "{middle} [stand] between {left} on the left and {right} on the right"
EXISTENCE_TEMPLATES = ("{things} [be] {ground}", "{things} [rest] {ground}", "{things} [sit] {ground}")
"""Templates for objects about which nothing else is claimed."""
