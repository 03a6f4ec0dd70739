"""Train the slot classifier of the prompt rewriter on captions of simulated clips, which are not rendered."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
from torch import Tensor

from kinema.atomic_io import atomic_write
from kinema.data import rng
from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import KinemaCheckpoint, save_slot_classifier
from kinema.models.slot_classifier import SlotClassifier, convert_slots
from kinema.models.text_encoders.minilm import MiniLm
from kinema.process_pool import run_jobs
from kinema.simulator.annotation_io import annotations_from_json, annotations_to_arrays, annotations_to_json
from kinema.simulator.annotations import ClipAnnotations, Event
from kinema.simulator.captions.everyday.lab_wording import write_lab_caption
from kinema.simulator.captions.vocabulary import unique_words
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.training.loop import LoopConfig, load_ema_weights
from kinema.training.optimizer import OptimizerConfig
from kinema.training.render_shards import LAB_EVENTS, MIN_CLIPS_FOR_WORKERS
from kinema.training.run_context import Progress, RunContext
from kinema.training.slot_task import SlotTask, SlotTrainConfig, write_caption
from kinema.training.stages import train_network

CLASSIFIER_FOLDER = "slot-classifier"
_MAX_ATTEMPTS = 20
NUM_VOCABULARY_CAPTIONS = 20_000
_MIN_WORD_COUNT = 3


@dataclass(frozen=True, kw_only=True)
class PromptRewriterRunConfig:
    """Settings of a run that trains the slot classifier.

    Attributes:
        num_lab_clips: simulated clips of the lab, with its events in `lab_events`.
        num_other_clips: of the whole simulator: from them the classifier learns what the lab does not have.
        num_held_out: clips of the lab for validation.
        lab_events: with their shares.
        three_objects_p: share of the clips of the lab that have three objects at rest in place of an event.
        seed: of the clips.
        init_from: a model whose classifier is trained further, also for other slots; empty starts from random
            weights.
        training: settings of the training.
    """

    num_lab_clips: int = 1600
    num_other_clips: int = 400
    num_held_out: int = 200
    lab_events: tuple[tuple[Event, float], ...] = LAB_EVENTS
    three_objects_p: float = 0.08
    seed: int = 0
    init_from: str = ""
    training: SlotTrainConfig = field(default_factory=SlotTrainConfig)


def usual() -> PromptRewriterRunConfig:
    """Return the preset of the shipped model."""
    loop = LoopConfig(
        steps=2000,
        ema_decay=0.99,
        validate_every=200,
        save_every=100,
        keep_last=1,
        optimizer=OptimizerConfig(learning_rate=7e-4, muon_learning_rate=0.0, warmup_steps=100),
    )
    return PromptRewriterRunConfig(training=SlotTrainConfig(loop=loop))


def tiny() -> PromptRewriterRunConfig:
    """Return the preset for tests, which ends in seconds with a useless classifier."""
    training = usual().training
    return PromptRewriterRunConfig(
        num_lab_clips=12,
        num_other_clips=2,
        num_held_out=4,
        training=dataclasses.replace(
            training,
            batch_size=4,
            model=dataclasses.replace(training.model, width=32, heads=2, encoder_layers=1, decoder_layers=1),
            loop=training.loop.with_steps(10),
        ),
    )


def train_prompt_rewriter(config: PromptRewriterRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train the classifier and yield the progress. Afterwards `load_trained_classifier` returns it."""
    init_weights = _load_init_weights(config, run_context)
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    seed, shares = config.seed, config.lab_events
    datasets: list[list[ClipAnnotations]] = []
    for name, count, events in (
        ("lab clips", config.num_lab_clips, shares),
        ("other clips", config.num_other_clips, ()),
        ("held-out clips", config.num_held_out, shares),
    ):
        path = _clips_path(run_context.run_dir, name)
        if not path.is_file():
            jobs = [
                _ClipJob(
                    seed=seed, name=name, index=index, events=events, three_objects_p=config.three_objects_p
                )
                for index in range(count)
            ]
            clips: list[ClipAnnotations] = []
            for clip in run_context.until_stopped(run_jobs(_simulate, jobs, _num_workers(count))):
                clips.append(clip)
                yield Progress(stage=f"simulate {name}", done=len(clips), total=count)
            if run_context.stop_requested():
                return
            _save_clips(path, clips)
        datasets.append(_load_clips(path))
    lab, other, held_out = datasets
    encoder = run_context.load_text_encoder()
    assert isinstance(encoder, MiniLm)
    task = SlotTask(config.training, lab, other, held_out, encoder, run_context.device, init_weights)
    yield from train_network(
        run_context, task, config.training, folder=CLASSIFIER_FOLDER, stage="slot classifier"
    )


def _load_init_weights(config: PromptRewriterRunConfig, run_context: RunContext) -> dict[str, Tensor] | None:
    """The classifier's weights of a model, for the slots of this run; None where no model is set.

    It is called before clips are simulated, so that a wrong name ends the run at once.
    """
    name = config.init_from
    if not name:
        return None
    model = open_model(name)
    if not isinstance(model, KinemaCheckpoint) or not model.has_prompt_rewriter:
        raise UserError(f"{name} has no prompt rewriter; leave out --from")
    classifier = model.load_slot_classifier(device=run_context.device)
    return convert_slots(classifier.state_dict(), classifier.config.slots, config.training.model.slots)


def load_trained_classifier(config: PromptRewriterRunConfig, run_context: RunContext) -> SlotClassifier:
    """Load the averaged weights of a finished run."""
    classifier = SlotClassifier(config.training.model)
    classifier.load_state_dict(load_ema_weights(run_context.run_dir / CLASSIFIER_FOLDER))
    return classifier.eval()


def export_prompt_rewriter(config: PromptRewriterRunConfig, run_context: RunContext, folder: Path) -> None:
    """Write a finished run's classifier as a folder's `prompt_rewriter`, which can be copied into a model's
    folder, and the words of the captions that it was trained on and that the lab can show."""
    lab = _load_clips(_clips_path(run_context.run_dir, "lab clips"))
    counts: Counter[str] = Counter()
    for index in range(NUM_VOCABULARY_CAPTIONS):
        text, meaning = write_caption(lab, random.Random(f"vocabulary {index}"), "all", "all")
        if write_lab_caption(meaning, random.Random(0)) is not None:
            counts.update(unique_words(text))
    save_slot_classifier(
        folder,
        load_trained_classifier(config, run_context),
        vocabulary=[word for word, count in counts.items() if count >= _MIN_WORD_COUNT],
    )


def _num_workers(num_clips: int) -> int:
    """Few clips are simulated sooner than worker processes start."""
    return 1 if num_clips < MIN_CLIPS_FOR_WORKERS else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class _ClipJob:
    seed: int
    name: str
    index: int
    events: tuple[tuple[Event, float], ...]
    """Of the lab; empty for the whole simulator."""
    three_objects_p: float


def _simulate(job: _ClipJob) -> ClipAnnotations:
    """Simulate a clip; some seeds have no clip, so others are tried."""
    for attempt in range(_MAX_ATTEMPTS):
        seed = rng.derive_seed("prompt rewriter", job.seed, job.name, job.index, attempt) >> 32
        event = outcome = None
        if job.events and rng.uniform("three", job.seed, job.name, job.index, attempt) < job.three_objects_p:
            event, outcome = "still", "three"
        elif job.events:
            edges = list(itertools.accumulate(share for _, share in job.events))
            place = rng.uniform("event", job.seed, job.name, job.index, attempt) * edges[-1]
            event = next(name for (name, _), edge in zip(job.events, edges, strict=True) if place < edge)
        try:
            spec = ClipSpec(
                seed=seed, lab=bool(job.events), event=event, outcome=outcome, num_frames=17, fps=8.0
            )
            clip = make_clip(spec, render=False).annotations
        except UserError:
            continue
        # In the lab, 'box' means a cube.
        if job.events or all(entity.shape != "box" for entity in clip.entities):
            return clip
    raise UserError(f"no clip was found for {job.name} {job.index} in {_MAX_ATTEMPTS} tries; change the seed")


def _clips_path(run_dir: Path, name: str) -> Path:
    return run_dir / f"{name.replace(' ', '-')}.safetensors"


def _save_clips(path: Path, clips: Sequence[ClipAnnotations]) -> None:
    tensors = {
        f"{index}.{name}": array
        for index, clip in enumerate(clips)
        for name, array in annotations_to_arrays(clip).items()
    }
    texts = json.dumps([annotations_to_json(clip) for clip in clips]).encode()
    tensors["annotations"] = np.frombuffer(texts, np.uint8)
    with atomic_write(path) as target:
        safetensors.numpy.save_file(tensors, target)


def _load_clips(path: Path) -> list[ClipAnnotations]:
    tensors = safetensors.numpy.load_file(path)
    texts = json.loads(tensors.pop("annotations").tobytes())
    arrays: list[dict[str, np.ndarray]] = [{} for _ in texts]
    for name, array in tensors.items():
        index, _, field_name = name.partition(".")
        arrays[int(index)][field_name] = array
    return [annotations_from_json(text, own) for text, own in zip(texts, arrays, strict=True)]
