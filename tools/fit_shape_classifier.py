"""Fit the weights of `kinema.evaluation.shape_classifier`: `python -m tools.fit_shape_classifier OUT.npz`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from kinema.errors import UserError
from kinema.evaluation import palette
from kinema.evaluation.corruptions import DEFAULT_CORRUPTION, CorruptionConfig, corrupt_frames
from kinema.evaluation.prompt_parser import SHAPES
from kinema.evaluation.segmentation import find_blobs
from kinema.evaluation.shape_classifier import shape_features
from kinema.simulator.annotations import Event
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec

_TRAINING_CLIPS: tuple[tuple[Event, str | None, int], ...] = (
    ("still", None, 70), ("count", "stand", 25), ("count", "roll", 15), ("drop", "no bounce", 40),
    ("drop", "lands on", 25), ("drop", "falls beside", 30), ("roll", None, 30), ("collide", "tips over", 40),
    ("collide", "pushed", 20), ("collide", "stays", 25), ("occlude", "re-emerges", 20),
    ("occlude", "stays hidden", 20), ("occlude", "in front", 20),
)  # fmt: skip
"""Event, outcome and number of the training clips at 64 pixels; half as many at 128."""


def fit_shape_classifier(out: Path) -> float:
    """Fit the classifier on clean and corrupted training clips and write its weights.

    Multinomial logistic regression on the standardised features and their squares, with equal weight for each
    class, by L-BFGS with an L2 penalty of 2e-4.

    Args:
        out: the .npz file.

    Returns:
        Accuracy on the training clips.
    """
    samples: list[np.ndarray] = []
    labels: list[int] = []
    for size, num_frames, fps, fraction in ((64, 17, 8.0, 1.0), (128, 33, 12.0, 0.5)):
        for event, outcome, number in _TRAINING_CLIPS:
            for seed in range(1000, 1000 + int(number * fraction)):
                spec = ClipSpec(
                    seed=seed, lab=True, event=event, outcome=outcome, split="train", height=size,
                    width=size, num_frames=num_frames, fps=fps,
                )  # fmt: skip
                _collect_features(spec, samples, labels)
    x, y = np.stack(samples), torch.tensor(labels)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.clip((x - mean) / spread, -4, 4)
    inputs = torch.tensor(np.concatenate([z, z * z - 1], axis=1), dtype=torch.float32)
    weight = torch.zeros(inputs.shape[1], len(SHAPES), requires_grad=True)
    bias = torch.zeros(len(SHAPES), requires_grad=True)
    class_weights = 1 / torch.bincount(y, minlength=len(SHAPES)).float()
    class_weights = class_weights / class_weights.mean()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ weight + bias, y, weight=class_weights)
        value = value + 2e-4 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    np.savez(
        out,
        mean=mean.astype(np.float32),
        spread=spread.astype(np.float32),
        weight=weight.detach().numpy(),
        bias=bias.detach().numpy(),
    )
    return float(((inputs @ weight + bias).argmax(dim=1) == y).float().mean())


def _collect_features(spec: ClipSpec, samples: list[np.ndarray], labels: list[int]) -> None:
    """Append the features and class indices of all blobs of a clip."""
    try:
        clip = make_clip(spec)
    except UserError:
        # Some seeds do not give this outcome.
        return
    if clip.frames is None:
        return
    frames = clip.frames[:: 2 if spec.height == 64 else 4]
    rng = np.random.default_rng(spec.seed)
    shapes = {entity.colour: entity.shape for entity in clip.annotations.entities}
    random_corruption = CorruptionConfig(blur=float(rng.uniform(0, 1)), noise=float(rng.uniform(0, 0.03)))
    for corruption in (CorruptionConfig(), DEFAULT_CORRUPTION, random_corruption):
        for blobs in find_blobs(corrupt_frames(frames, corruption, seed=spec.seed)):
            for blob in blobs:
                shape = shapes.get(palette.COLOURS[blob.colour_index])
                if shape in SHAPES and not blob.touches_border and not blob.neighbours:
                    samples.append(shape_features(blob))
                    labels.append(SHAPES.index(shape))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the .npz file to write")
    print(f"accuracy {fit_shape_classifier(parser.parse_args().out):.4f}")
