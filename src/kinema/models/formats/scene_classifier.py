"""The folder of a scene classifier: its configuration, its weights, and its accuracy.

config.json         SceneClassifierConfig
accuracy.json       accuracy of each attribute on clips that it was not trained on
model.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.models.formats.native import SHARD_BYTES
from kinema.models.formats.safetensors_io import list_tensors, load_into, read_json, save_tensors
from kinema.models.formats.serialization import from_json, to_json
from kinema.models.module_init import skip_init
from kinema.models.scene_classifier import SceneClassifier, SceneClassifierConfig

_COMPONENT = "scene classifier"


def save_scene_classifier(target: Path, classifier: SceneClassifier, accuracy: Mapping[str, float]) -> None:
    """Write a classifier in bfloat16; it is run in float32. The configuration is written last.

    Args:
        target: the folder, created if it does not exist.
        classifier: the classifier.
        accuracy: of each attribute.
    """
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.to(torch.bfloat16) for name, value in classifier.state_dict().items()}
    save_tensors(tensors, target, shard_bytes=SHARD_BYTES)
    write_text(target / "accuracy.json", json.dumps(dict(accuracy), indent=1) + "\n")
    write_text(target / "config.json", to_json(classifier.config))


def load_scene_classifier(folder: Path, *, device: torch.device) -> tuple[SceneClassifier, dict[str, float]]:
    """Read a classifier and the accuracy of each of its attributes.

    Raises:
        UserError: there is none, or its weights are missing or of another classifier.
    """
    settings = json.dumps(read_json(folder / "config.json", component=_COMPONENT))
    config = from_json(SceneClassifierConfig, settings, source=str(folder / "config.json"))
    with skip_init():
        module = SceneClassifier(config)
    infos = list_tensors(folder, component=_COMPONENT)
    load_into(module, infos, component=_COMPONENT, dtype=torch.float32, device=device)
    found = read_json(folder / "accuracy.json", component=_COMPONENT)
    accuracy = {name: value for name, value in found.items() if isinstance(value, int | float)}
    missing = {attribute.name for attribute in config.attributes} - set(accuracy)
    if missing:
        raise UserError(f"{folder / 'accuracy.json'} lacks {', '.join(sorted(missing))}; train it again")
    return module.eval(), accuracy
