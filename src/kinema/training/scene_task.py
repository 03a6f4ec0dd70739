"""Training of the scene classifier on clips of the simulator, with the labels of their annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.data import rng
from kinema.data.video_shards import ShardedVideos
from kinema.models.precision import Precision, autocast
from kinema.models.scene_classifier import (
    SIDE,
    SceneClassifier,
    SceneClassifierConfig,
    classifier_flops,
    to_classifier_input,
)
from kinema.simulator.scene_attributes import (
    SCENE_ATTRIBUTES,
    SceneLabels,
    measure_accuracy,
    mirror_labels,
    read_scene_labels,
)
from kinema.training.loop import LoopConfig, Loss, StepCost
from kinema.training.optimizer import OptimizerConfig

_NO_LABEL = -100
MEAN_ACCURACY = "accuracy"
"""Mean of the accuracies of all attributes."""
_VALIDATION_BATCH = 16
_MAX_NOISE = 0.1
"""Largest standard deviation of noise that is added to a video, of 2."""


@dataclass(frozen=True, kw_only=True)
class SceneTrainConfig:
    """Settings of the training.

    Attributes:
        seed: of the initial weights and of all random choices.
        batch_size: clips in a step.
        image_p: share of the steps on single frames, of as many clips as a batch of clips has frames. They
            teach what a place, a shape and a colour look like, at a fraction of the cost.
        blur_p: share of the clips that are blurred, because generated videos are less sharp than rendered
            ones; another share of the same size gets noise.
        label_smoothing: of attributes with one value.
        precision: of matrix products and activations.
        model: the classifier.
        loop: steps, validation and optimizer.
    """

    seed: int = 0
    batch_size: int = 16
    image_p: float = 0.5
    blur_p: float = 0.3
    label_smoothing: float = 0.05
    precision: Precision = "auto"
    model: SceneClassifierConfig = field(
        default_factory=lambda: SceneClassifierConfig(attributes=SCENE_ATTRIBUTES)
    )
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            ema_decay=0.995,
            optimizer=OptimizerConfig(
                learning_rate=1e-3, muon_learning_rate=2e-3, betas=(0.9, 0.99), weight_decay=0.05
            ),
        )
    )


class SceneTask:
    """The classifier as a `kinema.training.loop.Task`.

    Args:
        config: settings.
        videos: to train on, with annotations.
        held_out: to validate on, with annotations.
        device: of training.
        init_weights: to start from.
    """

    def __init__(
        self,
        config: SceneTrainConfig,
        videos: Sequence[ShardedVideos],
        held_out: Sequence[ShardedVideos],
        device: torch.device,
        *,
        init_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.classifier = SceneClassifier(config.model).to(device)
        if init_weights is not None:
            self.classifier.load_state_dict(dict(init_weights))
        self.config, self.device = config, device
        self.videos, self.held_out = videos, held_out
        self._clips = [
            (dataset, index, read_scene_labels(text))
            for dataset in videos
            for index, text in enumerate(dataset.annotations)
        ]

    @property
    def module(self) -> nn.Module:
        """The classifier."""
        return self.classifier

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors of the classifier."""
        return dict(self.classifier.state_dict())

    def muon_parameters(self) -> Iterable[Tensor]:
        """Yield the weights inside of blocks and layers; AdamW trains the first and last layers."""
        for name, parameter in self.classifier.named_parameters():
            if name.startswith(("fine.", "coarse.", "encoder.", "decoder.")) and parameter.ndim >= 2:
                yield parameter

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Return no submodules: the classifier is small."""
        return ()

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Return no methods."""
        return ()

    def step_cost(self, step: int) -> StepCost:
        """Return the cost of a step, forward and backward; a step on images has as many frames as others."""
        config = self.config
        flops = 3 * config.batch_size * classifier_flops(config.model)
        return StepCost(samples=self._num_samples(step), flops=flops)

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the sum of the losses of all attributes, as a mean over the clips."""
        config = self.config
        size = self._num_samples(step)
        batch = rng.batch_indices(step, size, len(self._clips), config.seed)
        indices = batch[microbatch::num_microbatches]
        samples = [self._sample(step, index) for index in indices]
        video = torch.stack([sample[0] for sample in samples]).to(self.device)
        # Dropout depends on the step alone, so that a resumed run continues as it would have.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(rng.derive_seed(config.seed, "dropout", step, microbatch) >> 1)
            with autocast(config.precision, self.device):
                logits = self.classifier(video)
        targets = make_targets(config.model, [sample[1] for sample in samples], self.device)
        total = torch.zeros((), device=self.device)
        for attribute in config.model.attributes:
            predicted, target = logits[attribute.name].float(), targets[attribute.name]
            if attribute.several:
                total = total + F.binary_cross_entropy_with_logits(predicted, target, reduction="none").sum()
            else:
                total = total + F.cross_entropy(
                    predicted,
                    target,
                    ignore_index=_NO_LABEL,
                    reduction="sum",
                    label_smoothing=config.label_smoothing,
                )
        return Loss(value=total / size)

    def _num_samples(self, step: int) -> int:
        """Return the clips of a step, or its single frames."""
        return self.config.batch_size * (self.config.model.num_frames if self._is_image_step(step) else 1)

    def _is_image_step(self, step: int) -> bool:
        return rng.uniform(self.config.seed, "image", step) < self.config.image_p

    def _sample(self, step: int, index: int) -> tuple[Float[Tensor, "3 n s s"], SceneLabels]:
        """Return a clip or a frame of it, mirrored half of the times, and possibly blurred or noisy."""
        dataset, number, labels = self._clips[index]
        generator = np.random.default_rng(rng.derive_seed(self.config.seed, "clip", step, index))
        frames, num_frames = dataset.frames(number), self.config.model.num_frames
        if self._is_image_step(step):
            frames, num_frames = frames[int(generator.integers(len(frames)))][None], 1
        video = to_classifier_input(frames, num_frames)
        if generator.random() < 0.5:
            video, labels = video.flip(-1), mirror_labels(labels)
        chance = generator.random()
        if chance < self.config.blur_p:
            side = int(generator.integers(SIDE // 3, SIDE))
            small = F.interpolate(video.transpose(0, 1), size=(side, side), mode="area")
            video = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear").transpose(0, 1)
        elif chance < 2 * self.config.blur_p:
            deviation = float(generator.uniform(0, _MAX_NOISE))
            noise = generator.standard_normal(tuple(video.shape), dtype=np.float32)
            video = video + deviation * torch.from_numpy(noise)
        return video, labels

    def validate(self) -> Mapping[str, float]:
        """Return the accuracy of each attribute on the held-out clips, and their mean."""
        self.classifier.eval()
        try:
            accuracy = validate_classifier(self.classifier, self.held_out)
        finally:
            self.classifier.train()
        return {**accuracy, MEAN_ACCURACY: sum(accuracy.values()) / len(accuracy)}

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Compare the mean accuracy."""
        return best is None or scores[MEAN_ACCURACY] > best[MEAN_ACCURACY]


def validate_classifier(classifier: SceneClassifier, datasets: Sequence[ShardedVideos]) -> dict[str, float]:
    """Return the accuracy of each attribute on clips with annotations."""
    pairs = []
    for dataset in datasets:
        for first in range(0, len(dataset), _VALIDATION_BATCH):
            indices = range(first, min(first + _VALIDATION_BATCH, len(dataset)))
            seen = classifier.predict([dataset.frames(index) for index in indices])
            labels = [read_scene_labels(dataset.annotations[index]) for index in indices]
            pairs += zip(labels, seen, strict=True)
    return measure_accuracy(pairs)


def make_targets(
    config: SceneClassifierConfig, labels: Sequence[SceneLabels], device: torch.device
) -> dict[str, Tensor]:
    """Return the targets of each attribute: class indices, or for several values zeros and ones."""
    targets = {}
    for attribute in config.attributes:
        if attribute.several:
            rows = [
                [float(value in one.several[attribute.name]) for value in attribute.values] for one in labels
            ]
            targets[attribute.name] = torch.tensor(rows, device=device)
        else:
            values = [one.one.get(attribute.name) for one in labels]
            targets[attribute.name] = torch.tensor(
                [_NO_LABEL if value is None else attribute.values.index(value) for value in values],
                device=device,
            )
    return targets
