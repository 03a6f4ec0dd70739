"""The words that a model was trained on, see `kinema.pipeline.unknown_words`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.lora.reader import LoraFile
from kinema.simulator.captions.vocabulary import known_words


def model_vocabulary(model: ModelCheckpoint) -> frozenset[str]:
    """The words of a model's training captions, and those that its prompt rewriter understands.

    It is empty for open models, which know more than can be listed.

    A model that does not record them was trained on the simulator's captions.
    """
    if not isinstance(model, KinemaCheckpoint):
        return frozenset()
    base = model.base_vocabulary()
    own = (known_words() if base is None else base) | frozenset(model.vocabulary)
    return own | model.rewriter_vocabulary()


def lora_vocabulary(files: Iterable[LoraFile]) -> frozenset[str]:
    """The words of the captions that LoRAs of `kinema train lora` were trained on, from their headers."""
    words: set[str] = set()
    for file in files:
        try:
            listed = json.loads(file.metadata.get("kinema", "{}")).get("vocabulary", [])
        except (ValueError, AttributeError):
            continue
        if isinstance(listed, list):
            words |= {word for word in listed if isinstance(word, str)}
    return frozenset(words)
