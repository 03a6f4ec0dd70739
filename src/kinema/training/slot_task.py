"""Training of the slot classifier on everyday captions of simulated clips. No video is rendered.

Every step writes new captions: a clip of the simulator with its colours exchanged, another situation,
sentence pattern and words (`kinema.simulator.captions.everyday`). The meaning of each caption is known.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from kinema.data import rng
from kinema.models.slot_classifier import Slot, SlotClassifier, SlotClassifierConfig
from kinema.models.text_encoders.minilm import MiniLm
from kinema.simulator.annotations import ClipAnnotations
from kinema.simulator.attributes import LAB_COLOURS
from kinema.simulator.captions.everyday.evaluation_list import evaluation_prompts
from kinema.simulator.captions.everyday.meaning import Meaning, extract_meaning
from kinema.simulator.captions.everyday.realization import realize_caption
from kinema.simulator.captions.everyday.slots import SLOTS, meaning_to_slots
from kinema.simulator.captions.everyday.split import Split
from kinema.training.loop import LoopConfig, Loss, StepCost

ALL_RIGHT = "all_right"
"""Share of captions with held-out patterns whose slots are all right."""
NEW_WORDS_ALL_RIGHT = "new_words_all_right"
"""The same with held-out words too, where these are held out."""
LIST_ALL_RIGHT = "everyday_list_all_right"
"""The same for the prompts of the evaluation list `everyday`. It does not choose the weights."""
_SLOTS = tuple(Slot(name=name, values=values) for name, values in SLOTS.items())
_NO_LABEL = -100
NUM_VALIDATION_CAPTIONS = 400
_OPENINGS = (
    "ok, ", "ok so ", "hey, ", "hi, ", "so, ", "well, ", "now ", "and ", "look, ", "wow, ", "oh, ", "hmm, ",
    "then ", "prompt: ", "video: ", "clip: ", "short clip: ", "quick test: ", "render: ", "animation: ",
    "task: ", "I want this: ", "imagine: ", "for example ", "basically ", "maybe ", "simply ", "next up, ",
    "let's say ",
)  # fmt: skip
_TAILS = (
    ", 4k", ", 8k", ", highly detailed", ", cinematic", ", cinematic lighting", ", realistic",
    ", photorealistic", ", high quality", ", best quality", ", smooth", ", simple background",
    ", plain background", ", short clip", ", studio lighting", ", nothing else", ", nothing more",
    ", that's all", ", that's it", ", if possible", ", please", " please", ", thank you", ", ok",
    ", you know", ", right", ", as always", ", for a test", " now", " again", ", minimal", ", 3d render",
    ", simple scene", ", wide shot", ", full shot",
)  # fmt: skip
"""Words that people put around prompts, and that change nothing."""
_CAPTIONS_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class SlotTrainConfig:
    """Settings of the training.

    Attributes:
        seed: of all random choices.
        batch_size: captions in a step.
        other_p: share of the captions that are of the whole simulator. From them the classifier learns what
            the lab does not have.
        filler_p: share of the captions with words around them that say nothing, as people write them.
        words: `train` holds some words of each sense out of training, so that the effect of unknown words is
            measured; `all` trains on every word.
        unknown_token_p: share of the tokens that are replaced by random ones in half of the captions, so that
            unknown words do not change what the other words mean.
        model: size of the classifier.
        loop: settings of the training loop.
    """

    seed: int = 0
    batch_size: int = 64
    other_p: float = 0.06
    filler_p: float = 0.3
    words: Literal["train", "all"] = "all"
    unknown_token_p: float = 0.15
    model: SlotClassifierConfig = field(default_factory=lambda: SlotClassifierConfig(slots=_SLOTS))
    loop: LoopConfig = field(default_factory=LoopConfig)


class SlotTask:
    """The slot classifier as a `kinema.training.loop.Task`.

    Args:
        config: settings of the training.
        clips: annotations of simulated clips of the lab to caption.
        other: of clips of the whole simulator.
        held_out: of other clips, for validation.
        encoder: the text encoder; it is not trained.
        device: of training.
        init_weights: of a classifier of this size, to start from.
    """

    def __init__(
        self,
        config: SlotTrainConfig,
        clips: Sequence[ClipAnnotations],
        other: Sequence[ClipAnnotations],
        held_out: Sequence[ClipAnnotations],
        encoder: MiniLm,
        device: torch.device,
        init_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config, self.clips, self.other, self.device = config, clips, other, device
        self.encoder = encoder.to(device)
        torch.manual_seed(config.seed)
        self.classifier = SlotClassifier(config.model).to(device)
        if init_weights is not None:
            self.classifier.load_state_dict(init_weights)
        splits: dict[str, Split] = {ALL_RIGHT: "all"}
        if config.words == "train":
            splits = {ALL_RIGHT: "train", NEW_WORDS_ALL_RIGHT: "held_out"}
        self._validation = {
            name: [
                write_caption(held_out, random.Random(f"validation {index}"), "held_out", words)
                for index in range(NUM_VALIDATION_CAPTIONS)
            ]
            for name, words in splits.items()
        }
        self._list = [(item.prompt, item.meaning) for item in evaluation_prompts()]

    @property
    def module(self) -> nn.Module:
        """The module to train."""
        return self.classifier

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that checkpoints and the averaged weights have, as references."""
        return dict(self.classifier.state_dict())

    def muon_parameters(self) -> Iterable[Tensor]:
        """Return no parameters: everything is trained by AdamW."""
        return ()

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Return no submodules: the classifier is small."""
        return ()

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Return no methods."""
        return ()

    def step_cost(self, step: int) -> StepCost:  # noqa: ARG002 - every step is alike
        """Return the cost of a step for captions of 20 tokens, forward and backward."""
        config, captions = self.config, self.config.batch_size
        size = config.model.width**2
        encoder = 2 * 20 * 12 * config.model.text_width**2 * config.model.text_layers
        tokens = 2 * 20 * size * (12 * config.model.encoder_layers + 2 * config.model.decoder_layers)
        queries = 2 * len(SLOTS) * size * 14 * config.model.decoder_layers
        return StepCost(samples=captions, flops=float(captions * (encoder + 3 * (tokens + queries))))

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the mean cross-entropy of the slots of new captions."""
        size = self.config.batch_size // num_microbatches
        pairs = [self._training_pair(step, microbatch * size + index) for index in range(size)]
        tokens, lengths = self.encoder.tokenize([text for text, _ in pairs])
        tokens = self._replace_tokens(tokens, lengths, step, microbatch)
        # Dropout, too, depends on the step alone, so that a resumed run continues as it would have.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(rng.derive_seed(self.config.seed, "dropout", step, microbatch) >> 1)
            logits = self._logits(tokens, lengths)
        labels = self._labels([meaning for _, meaning in pairs])
        losses = [
            functional.cross_entropy(logits[name], labels[name], ignore_index=_NO_LABEL)
            for name in SLOTS
            if bool((labels[name] != _NO_LABEL).any())
        ]
        return Loss(value=torch.stack(losses).mean() / num_microbatches)

    def _training_pair(self, step: int, index: int) -> tuple[str, Meaning]:
        source = random.Random(rng.derive_seed(self.config.seed, "caption", step, index))
        is_other = source.random() < self.config.other_p
        text, meaning = write_caption(
            self.other if is_other else self.clips, source, "train", self.config.words
        )
        return add_fillers(text, source) if source.random() < self.config.filler_p else text, meaning

    def _replace_tokens(
        self, tokens: Int[Tensor, "b l"], lengths: Int[Tensor, " b"], step: int, microbatch: int
    ) -> Int[Tensor, "b l"]:
        generator = rng.generator(self.config.seed, "tokens", step, microbatch)
        vocabulary = self.encoder.word_embeddings.num_embeddings
        position = torch.arange(tokens.shape[1])
        inside = (position > 0) & (position < lengths[:, None] - 1)
        chosen = torch.rand(tokens.shape, generator=generator) < self.config.unknown_token_p
        chosen &= inside & (torch.rand(len(tokens), 1, generator=generator) < 0.5)
        words = torch.randint(1000, vocabulary, tokens.shape, generator=generator)
        return torch.where(chosen.to(tokens.device), words.to(tokens.device), tokens)

    def _logits(self, tokens: Int[Tensor, "b l"], lengths: Int[Tensor, " b"]) -> dict[str, Tensor]:
        """The logits of each slot. Captions of similar lengths run together, so that little is padding."""
        order = lengths.argsort()
        parts = []
        for rows in order.split(_CAPTIONS_AT_ONCE):
            own_tokens, own_lengths = tokens[rows, : int(lengths[rows].max())], lengths[rows]
            with torch.no_grad():
                states = self.encoder(own_tokens, own_lengths, num_layers=self.config.model.text_layers)
            parts.append(self.classifier(states, own_lengths))
        back = order.argsort()
        return {name: torch.cat([part[name] for part in parts])[back] for name in SLOTS}

    def _labels(self, meanings: Sequence[Meaning]) -> dict[str, Int[Tensor, " b"]]:
        rows = [meaning_to_slots(meaning) for meaning in meanings]
        return {
            name: torch.tensor([_NO_LABEL if row[name] is None else row[name] for row in rows]).to(
                self.device
            )
            for name in SLOTS
        }

    @torch.no_grad()
    def validate(self) -> Mapping[str, float]:
        """Return `ALL_RIGHT`, `NEW_WORDS_ALL_RIGHT`, `LIST_ALL_RIGHT`, and the share of each slot that is
        right."""
        scores: dict[str, float] = {}
        for measure, pairs in {**self._validation, LIST_ALL_RIGHT: self._list}.items():
            right = self._right(pairs)
            if measure == ALL_RIGHT:
                scores = {f"right/{name}": float(values.float().mean()) for name, values in right.items()}
            scores[measure] = float(torch.stack(list(right.values())).all(dim=0).float().mean())
        return scores

    def _right(self, pairs: Sequence[tuple[str, Meaning]]) -> dict[str, Tensor]:
        """Whether each slot is right; true for a slot that has no value."""
        tokens, lengths = self.encoder.tokenize([text for text, _ in pairs])
        logits, labels = self._logits(tokens, lengths), self._labels([meaning for _, meaning in pairs])
        return {
            name: (logits[name].argmax(dim=1) == labels[name]) | (labels[name] == _NO_LABEL) for name in SLOTS
        }

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Return whether more captions are all right."""
        return best is None or scores[ALL_RIGHT] > best[ALL_RIGHT]


def write_caption(
    clips: Sequence[ClipAnnotations], source: random.Random, patterns: Split, words: Split
) -> tuple[str, Meaning]:
    """An everyday caption of one of the clips, and its meaning.

    Args:
        clips: to choose from.
        source: of all random choices.
        patterns: which sentence patterns to use.
        words: which words to use.
    """
    clip = exchange_colours(source.choice(clips), source)
    caption = realize_caption(clip, source, pattern_split=patterns, word_split=words)
    return caption.text, extract_meaning(caption)


def add_fillers(text: str, source: random.Random) -> str:
    """The caption with words in front of it or behind it that say nothing about the scene."""
    place = source.random()
    if place < 0.6:
        text = source.choice(_OPENINGS) + text
    if place > 0.4:
        text = text.rstrip(".!") + source.choice(_TAILS)
    return text


def exchange_colours(clip: ClipAnnotations, source: random.Random) -> ClipAnnotations:
    """A lab clip with its colours exchanged for others, equal ones for equal ones; others are unchanged."""
    if not clip.lab:
        return clip
    colours = dict(zip(LAB_COLOURS, source.sample(LAB_COLOURS, len(LAB_COLOURS)), strict=True))
    entities = tuple(
        dataclasses.replace(
            entity, colour=colours.get(entity.colour, entity.colour) if entity.colour else None
        )
        for entity in clip.entities
    )
    return dataclasses.replace(clip, entities=entities)
