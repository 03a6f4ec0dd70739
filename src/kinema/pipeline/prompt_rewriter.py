"""Rewrites prompts in everyday English into the wording that a model was trained on.

A model of ours follows the captions of its training set, and little else. Its folder may have a classifier
(`kinema.models.slot_classifier`), which reads a prompt as slots: objects, colours, counts, event, direction,
relation and camera. They are written as a caption, and what the prompt leaves open is chosen by the seed.
Larger systems do the same with a language model (arXiv 2310.16656, section 3; DALL-E 3).
"""

from __future__ import annotations

import random
import re

import torch

from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.slot_classifier import SlotClassifier
from kinema.models.text_encoders.base import TextEncoder
from kinema.models.text_encoders.minilm import MiniLm
from kinema.pipeline.lazy_module import LazyModule
from kinema.pipeline.prompt_vocabulary import model_vocabulary
from kinema.pipeline.unknown_words import find_unknown_words, known_synonym
from kinema.simulator.captions.everyday.lab_wording import is_lab_caption, write_lab_caption
from kinema.simulator.captions.everyday.meaning import Meaning
from kinema.simulator.captions.everyday.slots import slots_to_meaning, used_slots

MIN_PROBABILITY = 0.3
"""Probability of all slots together below which a prompt stays as it is."""
_MAX_REMEMBERED = 256


class PromptRewriter:
    """Rewrites prompts for one model.

    Args:
        text_encoder: of the model.
        classifier: of the model.
        vocabulary: words that it was trained on. Others are read as a known word of the same sense, if there
            is one.
    """

    def __init__(
        self,
        text_encoder: LazyModule[TextEncoder],
        classifier: LazyModule[SlotClassifier],
        *,
        vocabulary: frozenset[str] = frozenset(),
    ) -> None:
        self._text_encoder, self._classifier = text_encoder, classifier
        self._vocabulary = vocabulary
        self._meanings: dict[str, Meaning | None] = {}

    @classmethod
    def of(
        cls, model: ModelCheckpoint, text_encoder: LazyModule[TextEncoder], device: torch.device
    ) -> PromptRewriter | None:
        """The rewriter of a model; None for a model without one."""
        if not isinstance(model, KinemaCheckpoint) or not model.has_prompt_rewriter:
            return None
        return cls(
            text_encoder,
            LazyModule(lambda: model.load_slot_classifier(device=device), keep_loaded=True),
            vocabulary=model_vocabulary(model),
        )

    def preload(self) -> None:
        """Load classifier and text encoder now rather than with the first prompt."""
        self._classifier.get()
        self._text_encoder.get()

    def rewrite(self, prompt: str, *, seed: int, chooses: bool = True) -> str:
        """The prompt in the wording of the model's captions, or as it is.

        It stays as it is if it has that wording already, if it is too unclear (`MIN_PROBABILITY`), or if it
        describes what the captions do not have.

        Args:
            prompt: what a person wrote.
            seed: chooses what the prompt leaves open; the same seed chooses the same.
            chooses: False keeps a prompt that leaves something open.
        """
        if not prompt.strip() or is_lab_caption(prompt):
            return prompt
        known = self._in_known_words(prompt)
        if is_lab_caption(known):
            return known
        meaning = self._read(known)
        if meaning is None:
            return prompt
        written = write_lab_caption(meaning, random.Random(f"{seed} {prompt}"))
        if not chooses and written != write_lab_caption(meaning, random.Random(f"{seed} {prompt} again")):
            return prompt
        return written or prompt

    def _in_known_words(self, prompt: str) -> str:
        """The prompt with unknown words replaced by known ones of the same sense: 'marble' by 'ball'."""
        for word in find_unknown_words([prompt], self._vocabulary).words:
            if synonym := known_synonym(word, self._vocabulary):
                prompt = re.sub(rf"\b{re.escape(word)}\b", synonym, prompt, flags=re.IGNORECASE)
        return prompt

    def _read(self, prompt: str) -> Meaning | None:
        """The meaning of a prompt; None if it is unclear, or none of the lab."""
        if prompt not in self._meanings:
            if len(self._meanings) >= _MAX_REMEMBERED:
                self._meanings.clear()
            self._meanings[prompt] = self._classify(prompt)
        return self._meanings[prompt]

    @torch.inference_mode()
    def _classify(self, prompt: str) -> Meaning | None:
        classifier = self._classifier.get()
        config = classifier.config
        with self._text_encoder.use() as encoder:
            assert isinstance(encoder, MiniLm)
            tokens, lengths = encoder.tokenize([prompt])
            states = encoder(tokens, lengths, num_layers=config.text_layers)
        logits = classifier(states, lengths)
        values = {slot.name: slot.values[int(logits[slot.name].argmax())] for slot in config.slots}
        probability = 1.0
        for name in used_slots(values):
            probability *= float(logits[name].softmax(dim=1).max())
        return slots_to_meaning(values) if probability >= MIN_PROBABILITY else None
