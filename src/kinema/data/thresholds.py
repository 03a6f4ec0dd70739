"""The limits of the filters of curation, their presets, and changes of them by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from kinema.errors import UserError, did_you_mean

PRESETS = ("strict", "usual", "all")


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The limits of the filters. On the command line they are written with a dot: `motion.min`.

    Attributes:
        cut_adaptive: see `kinema.data.scenes.CutOptions`.
        cut_adaptive_min: see `CutOptions.adaptive_minimum`.
        cut_content: see `CutOptions.content`.
        cut_network: see `CutOptions.network`.
        cut_trim: seconds that are left out on both sides of a change of scene.
        letterbox_min: black bars of at least this share of a side are cropped.
        black_max: largest share of black frames.
        white_max: largest share of white frames.
        frozen_max: largest share of steps in which nothing changes.
        motion_min: smallest mean motion.
        motion_max: largest mean motion.
        motion_patch_min: smallest motion of the patch that moves least.
        sharpness_min: smallest variance of the Laplacian.
        flicker_max: largest mean second difference of the brightness.
        duplicates_max: clips whose hashes differ by at most this many bits on average are duplicates.
        resolution_min: smallest shorter side in pixels.
        resolution_upscale: largest factor by which a clip is enlarged to its bucket.
        rate_min: smallest rate of the source as a share of the rate of the clips.
    """

    cut_adaptive: float = 3.0
    cut_adaptive_min: float = 15.0
    cut_content: float = 27.0
    cut_network: float = 0.5
    cut_trim: float = 0.5
    letterbox_min: float = 0.02
    black_max: float = 0.5
    white_max: float = 0.5
    frozen_max: float = 0.6
    motion_min: float = 0.15
    motion_max: float = 40.0
    motion_patch_min: float = 0.0
    sharpness_min: float = 7.0
    flicker_max: float = 12.0
    duplicates_max: float = 6.0
    resolution_min: float = 64.0
    resolution_upscale: float = 4.0
    rate_min: float = 0.5


def preset(name: str) -> Thresholds:
    """The limits of a preset: `usual`, `strict`, or `all`, which keeps whatever can be trained on.

    Raises:
        UserError: there is no such preset.
    """
    if name == "usual":
        return Thresholds()
    if name == "strict":
        return Thresholds(
            black_max=0.05,
            white_max=0.05,
            frozen_max=0.3,
            motion_min=0.6,
            motion_max=25.0,
            motion_patch_min=0.01,
            sharpness_min=15.0,
            flicker_max=5.0,
            duplicates_max=8.0,
            resolution_min=240.0,
            resolution_upscale=1.5,
            rate_min=0.9,
        )
    if name == "all":
        return Thresholds(
            black_max=1.0,
            white_max=1.0,
            frozen_max=1.0,
            motion_min=0.0,
            motion_max=255.0,
            sharpness_min=0.0,
            flicker_max=255.0,
            duplicates_max=-1.0,
            resolution_min=1.0,
            resolution_upscale=math.inf,
            rate_min=0.0,
        )
    raise UserError(
        f"unknown preset {name!r}{did_you_mean(name, PRESETS)}; choose one of {', '.join(PRESETS)}"
    )


def with_settings(thresholds: Thresholds, settings: Sequence[str]) -> Thresholds:
    """Change limits by `name=value`, for example `motion.min=0.5`.

    Raises:
        UserError: a name is unknown or a value is not a number.
    """
    names = {field.name.replace("_", ".", 1): field.name for field in dataclasses.fields(Thresholds)}
    changes: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        name = name.strip()
        if name not in names:
            raise UserError(
                f"unknown threshold {name!r}{did_you_mean(name, names)}; choose one of {', '.join(names)}"
            )
        try:
            changes[names[name]] = float(value)
        except ValueError:
            raise UserError(f"{setting!r} must be a number after `=`, for example {name}=0.5") from None
    return dataclasses.replace(thresholds, **changes)
