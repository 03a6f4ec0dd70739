"""Fine-tune a model on curated sets: all weights, or a LoRA; for Wan 2.2 A14B one expert after the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

from kinema.atomic_io import atomic_write
from kinema.data.clip_table import parse_bucket, read_clips
from kinema.data.encoded_set import EncodedSet, encode_set, open_encoded_set
from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint, open_model, refuse_distilled
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.lora.writer import LoraFormat
from kinema.models.text_encoders.base import TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.pipeline.lazy_module import empty_cache
from kinema.shapes import LatentShape, VideoShape
from kinema.training import checkpoint
from kinema.training.clip_encoders import ModelClipEncoder, text_fingerprint
from kinema.training.finetune_samples import (
    FinetuneSampleConfig,
    SamplePrompt,
    finetune_sample_callback,
)
from kinema.training.finetune_task import FinetuneConfig, FinetuneTask, WeightedSet
from kinema.training.frozen_linear import BaseDtype, freeze_base
from kinema.training.interruption import StopRequested
from kinema.training.loop import LoopConfig, StepReport, ValidationCallback, load_ema_weights, train
from kinema.training.lora_layers import LoraConfig, add_lora
from kinema.training.optimizer import OptimizerConfig
from kinema.training.overrides import to_plain
from kinema.training.recipes.datasets import SetConfig
from kinema.training.run_context import Progress, RunContext
from kinema.training.sigma_sampling import SigmaSamplingConfig
from kinema.training.step_budget import fit_steps_to_budget
from kinema.training.validation_samples import sheet_path

EXPERT_NAMES = ("high_noise", "low_noise")
"""Of the experts of Wan 2.2 A14B, as in the names of LoRA files."""
PROMPTS_FILE = "prompts.safetensors"
"""States of the sample prompts of a run."""


@dataclass(frozen=True, kw_only=True)
class FinetuneRunConfig:
    """Settings of a fine-tuning run.

    Attributes:
        model: what is fine-tuned: `world-teacher`, a folder, or owner/name of a hub model.
        sets: curated sets, mixed by their weights.
        held_out_share: share of each set to validate on, by source file.
        lora: None trains all weights.
        lora_format: of the LoRA files, see `kinema.models.lora.writer`.
        base_dtype: of the frozen weights under a LoRA; `auto` is bfloat16 on a GPU and for models that are
            stored in it, else float32.
        swapped_blocks: that many blocks of frozen weights stay in the CPU's memory.
        experts: of a model with two experts, those to train: 0 is for high noise, 1 for low noise.
        training: settings of the training.
        samples: settings of the sample videos.
        budget: seconds for the training of each expert; None: as many steps as `training.loop` says.
    """

    model: str
    sets: tuple[SetConfig, ...]
    held_out_share: float = 0.05
    lora: LoraConfig | None = None
    lora_format: LoraFormat = "original"
    base_dtype: Literal["auto"] | BaseDtype = "auto"
    swapped_blocks: int = 0
    experts: tuple[int, ...] = (0,)
    training: FinetuneConfig = field(default_factory=FinetuneConfig)
    samples: FinetuneSampleConfig = field(default_factory=FinetuneSampleConfig)
    budget: float | None = None


def default_config(
    model: ModelCheckpoint, sets: Sequence[SetConfig], *, lora: LoraConfig | None
) -> FinetuneRunConfig:
    """Return settings that work for a model.

    Our own models keep the distribution of sigmas that they were trained with, so that they can still extend
    and animate. Wan has one sigma for all frames, with the shift of its schedule up to 5; image-to-video by
    clean frames (TI2V-5B) has a clean first frame in a third of the samples.

    Args:
        model: to fine-tune.
        sets: to train on.
        lora: None trains all weights.
    """
    defaults = model.sampling_defaults
    is_own = isinstance(model, KinemaCheckpoint)
    sigma_sampling = SigmaSamplingConfig()
    if not is_own:
        sigma_sampling = SigmaSamplingConfig.shifted(min(max(defaults.flow_shift, 1.0), 5.0))
        if defaults.image_conditioning == "frames":
            sigma_sampling = dataclasses.replace(sigma_sampling, prefix_p=1 / 3, max_prefix_frames=1)
    if lora is None:
        learning_rate, steps = (3e-4, 3000) if is_own else (1e-5, 2000)
    else:
        learning_rate, steps = (1e-3, 2000) if is_own else (1e-4, 2000)
    optimizer = OptimizerConfig(
        learning_rate=learning_rate,
        muon_learning_rate=0.0,
        betas=(0.9, 0.99),
        weight_decay=0.0 if lora is not None else 0.01,
        warmup_steps=100,
        decay_share=0.3,
    )
    return FinetuneRunConfig(
        model=model.name,
        sets=tuple(sets),
        lora=lora,
        experts=tuple(range(defaults.num_experts)),
        training=FinetuneConfig(
            batch_size=16 if is_own else 1,
            causal_p=0.1 if is_own and defaults.streaming_mode == "cache" else 0.0,
            activation_checkpointing=not is_own,
            sigma_sampling=sigma_sampling,
            loop=LoopConfig(ema_decay=0.99, optimizer=optimizer, keep_last=1).with_steps(steps),
        ),
    )


def expert_config(config: FinetuneRunConfig, model: ModelCheckpoint, expert: int) -> FinetuneConfig:
    """Return the training settings of one expert: its range of sigma, and the steps of the run."""
    boundary = model.sampling_defaults.boundary_ratio
    if boundary is None:
        return config.training
    sampling = config.training.sigma_sampling
    if expert == 0:
        sampling = dataclasses.replace(sampling, min_sigma=boundary)
    else:
        sampling = dataclasses.replace(sampling, max_sigma=boundary)
    return dataclasses.replace(config.training, sigma_sampling=sampling)


def part_name(model: ModelCheckpoint, expert: int) -> str:
    """Return the name of an expert's folder in the run, and of its stage."""
    return f"transformer_{EXPERT_NAMES[expert]}" if model.sampling_defaults.num_experts > 1 else "transformer"


def run_finetune(config: FinetuneRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Encode the sets, then train; yields the progress.

    Raises:
        UserError: a set or the model can't be used, or settings contradict each other.
    """
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    model = open_model(config.model)
    check_config(config, model)
    largest_clip(config, model)
    yield from _encode_sets(config, model, run_context)
    if run_context.stop_requested():
        return
    sets = open_sets(config, model)
    prompts = _load_prompts(config, model, sets, run_context)
    for expert in config.experts:
        yield from _train_expert(config, model, expert, sets, prompts, run_context)
        if run_context.stop_requested():
            return


def check_config(config: FinetuneRunConfig, model: ModelCheckpoint) -> None:
    """Check what no single setting shows.

    Raises:
        UserError: settings contradict each other or do not fit the model.
    """
    refuse_distilled(model)
    count = model.sampling_defaults.num_experts
    if not config.sets:
        raise UserError("there is no data; give --data SET, a folder that `kinema data build` wrote")
    if not config.experts or any(expert not in range(count) for expert in config.experts):
        raise UserError(
            f"{config.model} has {count} transformer{'s' * (count > 1)}; experts are 0 to {count - 1}"
        )
    if config.lora is None and (config.swapped_blocks or config.base_dtype in ("fp8", "int8")):
        raise UserError(
            "8-bit weights and swapped blocks are for frozen weights; train a LoRA (kinema train lora), or "
            "leave out base_dtype and swapped_blocks"
        )
    if not 0 <= config.swapped_blocks <= model.dit.layers:
        raise UserError(
            f"{config.model} has {model.dit.layers} blocks and {config.swapped_blocks} can't be swapped"
        )


def resolve_base_dtype(config: FinetuneRunConfig, model: ModelCheckpoint, device: torch.device) -> BaseDtype:
    """Return the type of the frozen weights."""
    if config.base_dtype != "auto":
        return config.base_dtype
    return "bfloat16" if device.type == "cuda" or not isinstance(model, KinemaCheckpoint) else "float32"


def build_transformer(
    config: FinetuneRunConfig, model: ModelCheckpoint, expert: int, device: torch.device
) -> Dit:
    """Load a transformer for training: with a LoRA over frozen weights, or float32 with all weights free."""
    if config.lora is None:
        return model.load_transformer(expert, dtype=torch.float32, device=device).requires_grad_(True)
    base_dtype = resolve_base_dtype(config, model, device)
    dtype = torch.float32 if base_dtype == "float32" else torch.bfloat16
    dit = model.load_transformer(expert, dtype=dtype, device=torch.device("cpu"))
    freeze_base(dit, base_dtype, device, swapped_blocks=config.swapped_blocks)
    add_lora(dit, config.lora, seed=config.training.seed, device=device)
    return dit


def largest_clip(config: FinetuneRunConfig, model: ModelCheckpoint) -> VideoShape:
    """Return the shape of the sets' clips that needs the most memory.

    Raises:
        UserError: a set has no kept clips, or its sizes do not fit the model.
    """
    shapes = []
    for one in config.sets:
        buckets = {bucket for row in read_clips(Path(one.folder)) if row.kept for bucket in row.buckets}
        for bucket in sorted(buckets):
            width, height, frames = parse_bucket(bucket)
            shapes.append(VideoShape(frames=frames, height=height, width=width))
    if not shapes:
        raise UserError(
            f"{config.sets[0].folder} has no kept clips; see `kinema data report` for the reasons"
        )
    patch, stride = model.dit.patch_size, model.vae.stride
    for shape in shapes:
        if shape.rounded(stride, patch) != shape:
            fitting = shape.rounded(stride, patch)
            raise UserError(
                f"clips of {shape.frames} frames at {shape.width}x{shape.height} do not fit {config.model}, "
                f"which takes {fitting.frames} frames at {fitting.width}x{fitting.height}; "
                f"build the set with --model {config.model}"
            )
    return max(shapes, key=lambda shape: LatentShape.of(shape, stride).tokens(patch))


def _encode_sets(
    config: FinetuneRunConfig, model: ModelCheckpoint, run_context: RunContext
) -> Iterator[Progress]:
    """Encode what the sets lack. The encoders are dropped afterwards."""
    with run_context.dist_context.main_process_first():
        if not run_context.dist_context.is_main:
            return
        encoder = ModelClipEncoder(model, run_context.device, precision=config.training.precision)
        for one in config.sets:
            encoding = encode_set(
                Path(one.folder),
                encoder,
                text_fingerprint(model),
                lambda: _load_text_encoder(model, run_context),
                captions=config.training.captions,
                device=run_context.device,
                precision=config.training.precision,
            )
            for progress in run_context.until_stopped(encoding):
                yield Progress(stage=f"encode {progress.stage}", done=progress.done, total=progress.total)
            if run_context.should_stop():
                return
        del encoder
        empty_cache()


def _load_text_encoder(model: ModelCheckpoint, run_context: RunContext) -> TextEncoder:
    if isinstance(model, KinemaCheckpoint):
        return run_context.load_text_encoder()
    dtype = torch.bfloat16 if run_context.device.type == "cuda" else torch.float32
    return model.load_text_encoder(dtype=dtype, device=run_context.device)


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedSets:
    """The encoded sets of a run: to train on with their weights, and to validate on."""

    train: tuple[WeightedSet, ...]
    held_out: tuple[EncodedSet, ...]

    def captions(self) -> list[str]:
        """Every caption, for the vocabulary of the model."""
        parts = [*(one.clips for one in self.train), *self.held_out]
        return [text for clips in parts for sample in clips.samples for text in sample.captions]


def open_sets(config: FinetuneRunConfig, model: ModelCheckpoint) -> OpenedSets:
    """Open the encoded sets.

    Raises:
        UserError: a set is not encoded, or too small to hold clips out.
    """
    clip_fingerprint = ModelClipEncoder(
        model, torch.device("cpu"), precision=config.training.precision
    ).fingerprint
    train_sets, held_out = [], []
    for one in config.sets:
        opened = open_encoded_set(
            Path(one.folder), clip_fingerprint=clip_fingerprint, text_fingerprint=text_fingerprint(model)
        )
        own, validation = opened.split(config.held_out_share)
        train_sets.append(WeightedSet(clips=own, weight=one.weight))
        held_out.append(validation)
    return OpenedSets(train=tuple(train_sets), held_out=tuple(held_out))


def _load_prompts(
    config: FinetuneRunConfig, model: ModelCheckpoint, sets: OpenedSets, run_context: RunContext
) -> list[SamplePrompt]:
    """The sample prompts with their states, which are encoded once and kept in the run's folder."""
    clips = [
        (one, index)
        for one in (*sets.held_out, *(weighted.clips for weighted in sets.train))
        for index in range(len(one.samples))
    ]
    texts = list(config.samples.prompts)
    if not texts:
        captions = [config.training.captions.texts(one.samples[index].captions) for one, index in clips]
        texts = list(dict.fromkeys(own[0] for own in captions if own))[: config.samples.num_samples]
    if not texts:
        return []
    path = run_context.run_dir / PROMPTS_FILE
    with run_context.dist_context.main_process_first():
        if not path.is_file():
            encoder = _load_text_encoder(model, run_context)
            states: dict[str, Tensor] = {}
            for name, text in [
                *((str(i), text) for i, text in enumerate(texts)),
                ("negative", model.sampling_defaults.negative_prompt),
            ]:
                encoded = encoder.encode([text])
                states[name] = encoded.hidden_states[0, : int(encoded.lengths[0])].cpu().contiguous()
            del encoder
            empty_cache()
            with atomic_write(path) as temporary:
                safetensors.torch.save_file(states, temporary)
    states = safetensors.torch.load_file(path)
    found = []
    for index, text in enumerate(texts):
        one, clip = clips[index % len(clips)]
        found.append(
            SamplePrompt(
                prompt=text, text=states[str(index)], negative=states["negative"], tensors=one.tensors(clip)
            )
        )
    return found


def _train_expert(
    config: FinetuneRunConfig,
    model: ModelCheckpoint,
    expert: int,
    sets: OpenedSets,
    prompts: Sequence[SamplePrompt],
    run_context: RunContext,
) -> Iterator[Progress]:
    part, training = part_name(model, expert), expert_config(config, model, expert)
    run_dir = run_context.run_dir / part
    newest = checkpoint.list_steps(run_dir)
    if config.budget is None and newest and newest[-1] >= training.loop.steps:
        return
    dit = build_transformer(config, model, expert, run_context.device)
    task = FinetuneTask(
        training,
        dit,
        sets.train,
        sets.held_out,
        run_context.device,
        shard_tokens=run_context.dist_context.sequence,
    )
    if config.budget is not None:
        loop = fit_steps_to_budget(
            run_context, f"{part}.json", task, training.loop, config.budget / len(config.experts)
        )
        training = dataclasses.replace(training, loop=loop)
    sheets = run_context.run_dir / "samples" / part
    callback = None
    if prompts:
        callback = finetune_sample_callback(
            dit,
            model,
            prompts,
            config.samples,
            sheets,
            device=run_context.device,
            expert=expert,
            precision=training.precision,
            dist_context=run_context.dist_context,
        )
    if not newest:
        before = _validate_before(task, callback, training.loop.steps, run_context)
        if before is None:
            return
        yield _make_progress(part, before, sheets)
    for report in train(
        task,
        training.loop,
        run_dir,
        settings=to_plain(training) | {"lora": None if config.lora is None else to_plain(config.lora)},
        should_stop=run_context.should_stop,
        interruptible=run_context.interruptible,
        validation_callback=callback,
        dist_context=run_context.dist_context,
    ):
        yield _make_progress(part, report, sheets)
    del task, dit
    empty_cache()


def _validate_before(
    task: FinetuneTask, callback: ValidationCallback | None, num_steps: int, run_context: RunContext
) -> StepReport | None:
    """Scores and samples of the model as it is, as step 0; None: the run should stop."""
    task.module.eval()
    try:
        with run_context.interruptible(), torch.no_grad():
            scores = dict(task.validate()) | dict(callback(0) if callback is not None else {})
    except StopRequested:
        return None
    task.module.train()
    return StepReport(
        step=0,
        num_steps=num_steps,
        loss=scores.get("loss", math.nan),
        grad_norm=0.0,
        logs={},
        seconds=0.0,
        steps_per_second=0.0,
        samples_per_second=0.0,
        flops_per_second=0.0,
        scores={f"ema/{name}": value for name, value in scores.items()},
    )


def _make_progress(stage: str, report: StepReport, sheets: Path) -> Progress:
    path = sheet_path(sheets, report.step)
    sheet = path if report.scores is not None and path.is_file() else None
    return Progress(stage=stage, done=report.step, total=report.num_steps, report=report, sheet=sheet)


def load_trained_expert(model: ModelCheckpoint, expert: int, run_dir: Path) -> dict[str, Tensor]:
    """Load the averaged weights of the last step: of the LoRA, or of all layers."""
    return load_ema_weights(run_dir / part_name(model, expert), use_best=False)


def read_training_state(model: ModelCheckpoint, expert: int, run_dir: Path) -> Mapping[str, object]:
    """Return the number of steps of an expert's training, and its best validation."""
    saved = checkpoint.load(run_dir / part_name(model, expert))
    return {"steps": saved.step, "best": saved.state["best"], "scores": saved.state["best_scores"]}
