"""Write the result of fine-tuning: LoRA files, or a whole model in the layout of the one it started from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from kinema.atomic_io import write_text
from kinema.data.clip_table import CLIPS_FILE
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import ModelCheckpoint, open_model
from kinema.models.formats.native import VOCABULARY_FILE, KinemaCheckpoint, save_checkpoint
from kinema.models.formats.serialization import to_json
from kinema.models.formats.wan import WanCheckpoint
from kinema.models.lora.writer import save_lora
from kinema.models.transformer.dit import Dit
from kinema.pipeline.prompt_vocabulary import model_vocabulary
from kinema.simulator.captions.vocabulary import unique_words
from kinema.training.overrides import to_plain
from kinema.training.recipes.finetune import (
    EXPERT_NAMES,
    FinetuneRunConfig,
    load_trained_expert,
    open_sets,
    read_training_state,
)
from kinema.training.run_context import RunContext

METADATA_KEY = "kinema"
"""Key of the JSON object in the header of a LoRA file."""
MAX_VOCABULARY = 20_000
"""Words that are stored with a model, in alphabetical order."""
SETTINGS_FILE, SCORES_FILE = "training.json", "scores.json"
SHARD_BYTES = 5 * 10**9


def export_finetuned(config: FinetuneRunConfig, run_context: RunContext) -> list[Path]:
    """Write the averaged weights of a finished run; return the files, or the folder of the model."""
    model = open_model(config.model)
    vocabulary = caption_vocabulary(open_sets(config, model).captions(), model_vocabulary(model))
    if isinstance(model, KinemaCheckpoint):
        vocabulary = tuple(sorted({*vocabulary, *model.vocabulary}))[:MAX_VOCABULARY]
    if config.lora is None:
        return [_export_model(config, model, vocabulary, run_context)]
    paths = []
    for expert in config.experts:
        suffix = f"_{EXPERT_NAMES[expert]}" if model.sampling_defaults.num_experts > 1 else ""
        path = run_context.run_dir / f"lora{suffix}.safetensors"
        save_lora(
            path,
            load_trained_expert(model, expert, run_context.run_dir),
            alpha=config.lora.alpha,
            lora_format=config.lora_format,
            expert=expert,
            metadata=lora_metadata(config, model, expert, vocabulary, run_context.run_dir),
        )
        paths.append(path)
    return paths


def caption_vocabulary(captions: Iterable[str], known: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The words of captions except those that are known already, in lower case, sorted."""
    words: set[str] = set()
    for caption in captions:
        words |= unique_words(caption)
    return tuple(sorted(words - known))[:MAX_VOCABULARY]


def lora_metadata(
    config: FinetuneRunConfig,
    model: ModelCheckpoint,
    expert: int,
    vocabulary: tuple[str, ...],
    run_dir: Path,
) -> dict[str, str]:
    """The strings of a LoRA's header: base model, data, steps, settings. No paths, no captions."""
    assert config.lora is not None
    state = read_training_state(model, expert, run_dir)
    component = "transformer" if expert == 0 else "transformer_2"
    settings = to_plain(config)
    settings["sets"] = [
        {"name": Path(one.folder).name, "weight": one.weight, "sha256": set_digest(one.folder)}
        for one in config.sets
    ]
    settings["model"] = _public_name(model)
    values = {
        "base_model": _public_name(model),
        "base_fingerprint": fingerprint(model.part(component)),
        "steps": state["steps"],
        "validation": state["scores"],
        "vocabulary": list(vocabulary),
        "settings": settings,
    }
    return {METADATA_KEY: json.dumps(values, sort_keys=True)}


def set_digest(folder: str) -> str:
    """SHA-256 of a set's table of clips, which has the digests of its sources."""
    return hashlib.sha256((Path(folder) / CLIPS_FILE).read_bytes()).hexdigest()


def _public_name(model: ModelCheckpoint) -> str:
    """The name of a model without the path of a folder on this machine."""
    return Path(model.name).name if Path(model.name).is_dir() else model.name


def _export_model(
    config: FinetuneRunConfig, model: ModelCheckpoint, vocabulary: tuple[str, ...], run_context: RunContext
) -> Path:
    folder, device = run_context.run_dir / "weights", torch.device("cpu")
    vae = model.load_vae(device=device)
    transformers = []
    for expert in range(model.sampling_defaults.num_experts):
        dit = model.load_transformer(expert, dtype=torch.float32, device=device)
        if expert in config.experts:
            dit = _with_weights(dit, load_trained_expert(model, expert, run_context.run_dir))
        transformers.append(dit)
    if isinstance(model, KinemaCheckpoint):
        save_checkpoint(
            folder,
            sampling_defaults=model.sampling_defaults,
            transformer=transformers[0],
            vae=vae,
            vocabulary=vocabulary,
        )
        if model.part(VOCABULARY_FILE).is_file():
            write_text(folder / VOCABULARY_FILE, model.part(VOCABULARY_FILE).read_text())
    else:
        assert isinstance(model, WanCheckpoint)
        if not (folder / "model_index.json").is_file():
            for dit in transformers:
                dit.cast(torch.bfloat16)
            model.save(folder, transformers=transformers, vae=vae, shard_bytes=SHARD_BYTES)
    public = dataclasses.replace(config, model=_public_name(model))
    write_text(folder / SETTINGS_FILE, to_json(public))
    scores = {
        str(expert): dict(read_training_state(model, expert, run_context.run_dir))
        for expert in config.experts
    }
    write_text(folder / SCORES_FILE, json.dumps(scores, indent=1) + "\n")
    return folder


def _with_weights(dit: Dit, weights: Mapping[str, Tensor]) -> Dit:
    dit.load_state_dict(dict(weights))
    return dit
