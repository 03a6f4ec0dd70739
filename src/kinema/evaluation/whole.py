"""Scores a video of the whole simulator against what its prompt says, with the scene classifier.

The classifier (`kinema train scene-classifier`) was trained on simulated videos alone. What it does not name
reliably on simulated videos that it never saw (`MIN_ACCURACY`) is not scored.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from kinema.frames import FrameArray
from kinema.models.formats.scene_classifier import load_scene_classifier
from kinema.models.scene_classifier import SceneClassifier
from kinema.simulator.scene_attributes import SCENE_ATTRIBUTES, merge_alike

WholeMeasure = Literal[
    "event", "outcome", "camera move", "setting", "shapes", "colours", "materials", "everything"
]
WHOLE_MEASURES: tuple[WholeMeasure, ...] = get_args(WholeMeasure)
_ATTRIBUTES: dict[WholeMeasure, tuple[str, ...]] = {
    "event": ("event",),
    "outcome": ("outcome",),
    "camera move": ("camera",),
    "setting": ("floor", "place", "background"),
    "shapes": ("shapes",),
    "colours": ("colours",),
    "materials": ("materials",),
}
"""The attributes that each measure needs."""
MIN_ACCURACY = 0.95
"""Smallest accuracy of an attribute that is scored."""
CLASSIFIER_FOLDER = Path(__file__).with_name("scene_classifier")


@dataclass(frozen=True, kw_only=True)
class SceneMeaning:
    """What a prompt of the whole simulator says.

    Attributes:
        stated: values by the name of the attribute (`kinema.simulator.scene_attributes`); one, or for the
            attributes of objects any number. What the prompt leaves open is left out.
    """

    stated: Mapping[str, frozenset[str]]


@functools.cache
def scene_classifier() -> tuple[SceneClassifier, dict[str, float]]:
    """The classifier and the accuracy of each attribute, loaded once in every process."""
    return load_scene_classifier(CLASSIFIER_FOLDER, device=torch.device("cpu"))


def scored_attributes() -> dict[str, float]:
    """The attributes that are scored, with the accuracy of the classifier."""
    accuracy = scene_classifier()[1]
    return {one.name: accuracy[one.name] for one in SCENE_ATTRIBUTES if accuracy[one.name] >= MIN_ACCURACY}


def score_scene(meaning: SceneMeaning, frames: FrameArray) -> dict[WholeMeasure, bool | None]:
    """Score a video against a prompt of the whole simulator.

    Returns:
        Pass or fail by every measure; None where the prompt states nothing of it, or where the classifier is
        not reliable. `everything` is the conjunction of all others.
    """
    seen = scene_classifier()[0].predict([frames])[0]
    return check_scene(meaning, seen, frozenset(scored_attributes()))


def check_scene(
    meaning: SceneMeaning, seen: Mapping[str, frozenset[str]], scored: frozenset[str]
) -> dict[WholeMeasure, bool | None]:
    """Compare what was seen in a video with what the prompt says.

    Args:
        meaning: of the prompt.
        seen: the values of each attribute.
        scored: names of the attributes to score.
    """
    verdicts: dict[WholeMeasure, bool | None] = {}
    for measure, attributes in _ATTRIBUTES.items():
        checks = [
            merge_alike(meaning.stated[name]) <= merge_alike(seen[name])
            for name in attributes
            if meaning.stated.get(name) and name in scored
        ]
        verdicts[measure] = all(checks) if checks else None
    known = [verdict for verdict in verdicts.values() if verdict is not None]
    return {**verdicts, "everything": all(known) if known else None}
