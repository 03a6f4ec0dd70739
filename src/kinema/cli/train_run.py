"""Start, continue and export a training run in a folder."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.cli.disk_errors import disk_errors
from kinema.cli.options import MachineArgs
from kinema.errors import UserError
from kinema.memory import return_large_blocks

if TYPE_CHECKING:
    import torch

    from kinema.models.transformer.dit_config import DitConfig
    from kinema.models.vae.vae_config import VaeConfig
    from kinema.training.recipes.dit import DitRunConfig
    from kinema.training.recipes.finetune import FinetuneRunConfig
    from kinema.training.recipes.full_config import RecipeConfig
    from kinema.training.recipes.phyworld import PhyWorldRunConfig
    from kinema.training.recipes.prompt_rewriter import PromptRewriterRunConfig
    from kinema.training.recipes.scene_classifier import SceneClassifierRunConfig
    from kinema.training.recipes.super_resolution import SuperResolutionRunConfig
    from kinema.training.recipes.vae import VaeRunConfig
    from kinema.training.run_context import RunContext
    from kinema.training.validation_samples import Scorer

    RunConfig = (
        RecipeConfig
        | VaeRunConfig
        | DitRunConfig
        | FinetuneRunConfig
        | PromptRewriterRunConfig
        | SuperResolutionRunConfig
        | PhyWorldRunConfig
        | SceneClassifierRunConfig
    )

RUN_CONFIG_FILES = {
    "full": "full.json",
    "vae": "vae-run.json",
    "dit": "dit-run.json",
    "finetune": "finetune-run.json",
    "prompt-rewriter": "prompt-rewriter-run.json",
    "super-resolution": "super-resolution-run.json",
    "phyworld": "phyworld-run.json",
    "scene-classifier": "scene-classifier-run.json",
}
"""The file with the settings of a run, by the kind of run."""


def start_run(
    config: RunConfig,
    overrides: tuple[str, ...],
    run_dir: Path,
    kind: str,
    machine: MachineArgs,
) -> None:
    """Apply overrides to a preset, save the settings in the run's folder, and execute the run.

    Raises:
        UserError: a setting does not exist, or the folder has another run.
    """
    from kinema.atomic_io import write_text
    from kinema.models.formats.serialization import to_json
    from kinema.training.overrides import apply_overrides, to_plain

    config = apply_overrides(config, overrides)
    for other, name in RUN_CONFIG_FILES.items():
        if other != kind and (run_dir / name).is_file():
            raise UserError(f"{run_dir} has a run of another kind ({name}); choose another folder")
    is_new = not (run_dir / RUN_CONFIG_FILES[kind]).is_file()
    if not is_new:
        if to_plain(load_run_config(run_dir, kind)) != to_plain(config):
            raise UserError(
                f"{run_dir} has a run with other settings; "
                f"continue it with `kinema train resume {run_dir}`, or choose another folder"
            )
    else:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_text(run_dir / RUN_CONFIG_FILES[kind], to_json(config))
    try:
        execute_run(config, run_dir, machine)
    except UserError:
        if is_new:
            _remove_unused(run_dir, RUN_CONFIG_FILES[kind])
        raise


def _remove_unused(run_dir: Path, config_file: str) -> None:
    """Remove the settings of a run that failed before it wrote anything: another try may change them."""
    from kinema.training.run_lock import LOCK_FILE, lock_run

    settings = {run_dir / config_file, run_dir / LOCK_FILE}
    # Another process may have started the same run; then it has the lock.
    with contextlib.suppress(OSError, UserError), lock_run(run_dir):
        if set(run_dir.iterdir()) <= settings:
            for path in settings:
                path.unlink(missing_ok=True)
            run_dir.rmdir()


def load_run_config(run_dir: Path, kind: str) -> RunConfig:
    """The settings of a run in a folder.

    Raises:
        UserError: the file is damaged.
    """
    from kinema.models.formats.serialization import from_json
    from kinema.training.recipes.dit import DitRunConfig
    from kinema.training.recipes.finetune import FinetuneRunConfig
    from kinema.training.recipes.full_config import RecipeConfig
    from kinema.training.recipes.phyworld import PhyWorldRunConfig
    from kinema.training.recipes.prompt_rewriter import PromptRewriterRunConfig
    from kinema.training.recipes.scene_classifier import SceneClassifierRunConfig
    from kinema.training.recipes.super_resolution import SuperResolutionRunConfig
    from kinema.training.recipes.vae import VaeRunConfig

    path = run_dir / RUN_CONFIG_FILES[kind]
    config_types = {
        "full": RecipeConfig,
        "vae": VaeRunConfig,
        "dit": DitRunConfig,
        "finetune": FinetuneRunConfig,
        "prompt-rewriter": PromptRewriterRunConfig,
        "super-resolution": SuperResolutionRunConfig,
        "phyworld": PhyWorldRunConfig,
        "scene-classifier": SceneClassifierRunConfig,
    }
    return from_json(config_types[kind], path.read_text(), source=str(path))


def execute_run(config: RunConfig, run_dir: Path, machine: MachineArgs) -> None:
    """Execute a run with progress bars and a log, and export the weights at its end.

    SIGTERM and Ctrl-C save a checkpoint and end the run.

    Raises:
        UserError: the machine lacks the device, or data can't be read.
    """
    from kinema.cli.train_logging import install_stop_handler, run_logged
    from kinema.distributed.process_group import SINGLE_PROCESS, init_distributed
    from kinema.models.text_encoders.minilm import MiniLm
    from kinema.pipeline.device import resolve_device
    from kinema.training.recipes.dit import DitRunConfig, train_dit
    from kinema.training.recipes.finetune import FinetuneRunConfig, run_finetune
    from kinema.training.recipes.full import run_recipe
    from kinema.training.recipes.full_config import RecipeConfig
    from kinema.training.recipes.phyworld import PhyWorldRunConfig, train_phyworld
    from kinema.training.recipes.prompt_rewriter import PromptRewriterRunConfig, train_prompt_rewriter
    from kinema.training.recipes.scene_classifier import (
        SceneClassifierRunConfig,
        train_scene_classifier,
    )
    from kinema.training.recipes.super_resolution import (
        SuperResolutionRunConfig,
        train_super_resolution,
    )
    from kinema.training.recipes.vae import VaeRunConfig, train_vae
    from kinema.training.run_context import RunContext
    from kinema.training.run_lock import lock_run

    device = resolve_device(machine.device)
    should_stop = install_stop_handler()
    with contextlib.ExitStack() as stack:
        if machine.context_parallel > 1 and not isinstance(config, DitRunConfig | FinetuneRunConfig):
            raise UserError("--context-parallel is for training transformers: `kinema train dit` and `lora`")
        dist_context = stack.enter_context(
            init_distributed(device.type, context_parallel=machine.context_parallel)
        )
        if dist_context.is_main:
            stack.enter_context(lock_run(run_dir))
        context = RunContext(
            run_dir=run_dir,
            device=device,
            load_text_encoder=lambda: MiniLm.load(machine.text_encoder).to(device),
            should_stop=should_stop,
            interruptible=should_stop.interruptible
            if dist_context.world_size == 1
            else contextlib.nullcontext,
            scorer=_sample_scorer(config, run_dir),
            dist_context=dist_context,
            render_device=machine.render_device,
        )
        match config:
            case RecipeConfig():
                steps = run_recipe(config, context)
            case VaeRunConfig():
                steps = train_vae(config, context)
            case DitRunConfig():
                steps = train_dit(config, context)
            case FinetuneRunConfig():
                steps = run_finetune(config, context)
            case PromptRewriterRunConfig():
                steps = train_prompt_rewriter(config, context)
            case SuperResolutionRunConfig():
                steps = train_super_resolution(config, context)
            case PhyWorldRunConfig():
                steps = train_phyworld(config, context)
            case SceneClassifierRunConfig():
                steps = train_scene_classifier(config, context)
        if dist_context.is_main:
            _print_plan(config, run_dir, device)
        if isinstance(config, FinetuneRunConfig) and device.type == "cpu":
            return_large_blocks()  # What the plan says holds with it.
        # A set's cache is next to the set, and may be on another disk than the run.
        sets = [one.folder for one in config.sets] if isinstance(config, FinetuneRunConfig) else []
        with disk_errors(" or ".join([str(run_dir), *sets])):
            run_logged(steps, run_dir, is_main=dist_context.is_main)
        if dist_context.any_rank(should_stop()):
            if dist_context.is_main:
                print(f"stopped; continue with: kinema train resume {run_dir}")
            return
        if dist_context.is_main:
            single = dataclasses.replace(context, dist_context=SINGLE_PROCESS)
            for path in export_run(config, single):
                print(path)
        dist_context.barrier()


def _print_plan(config: RunConfig, run_dir: Path, device: torch.device) -> None:
    """Print the size of the run's folder and the memory of fine-tuning; refuse what does not fit.

    Raises:
        UserError: the disk or the memory is too small.
    """
    from kinema.cli.train_logging import format_memory
    from kinema.models.formats.loader import open_model
    from kinema.training.memory_estimate import check_train_memory, estimate_run_memory
    from kinema.training.recipes.finetune import FinetuneRunConfig, check_config, largest_clip
    from kinema.training.run_size import check_disk, estimate_run_size

    size = estimate_run_size(config)
    check_disk(size, run_dir)
    if isinstance(config, FinetuneRunConfig):
        model = open_model(config.model)
        check_config(config, model)
        memory = estimate_run_memory(config, model, largest_clip(config, model), device)
        check_train_memory(memory, config, device)
        print(format_memory(memory))
    print(size.line(), flush=True)


def _sample_scorer(config: RunConfig, run_dir: Path) -> Scorer | None:
    """The evaluator of validation samples, for runs on simulated clips: of the lab, or of all others."""
    from kinema.evaluation.lab_scores import lab_scores
    from kinema.evaluation.whole_scores import HeldOutScorer
    from kinema.training.recipes.dit import DitRunConfig
    from kinema.training.recipes.full_config import RecipeConfig
    from kinema.training.recipes.vae import VaeRunConfig
    from kinema.training.stages import split_dirs

    if not isinstance(config, RecipeConfig | DitRunConfig | VaeRunConfig):
        return None
    if isinstance(config, DitRunConfig) and not config.data.render.lab and not config.data.folders:
        # The samples have the captions of the first dataset.
        held_out = HeldOutScorer(folder=run_dir / split_dirs(0)[1])
        return lambda samples: held_out.score([(s.prompt, s.frames) for s in samples])
    fps = config.render.fps if isinstance(config, RecipeConfig) else config.data.render.fps
    return lambda samples: lab_scores([(s.prompt, s.frames) for s in samples], fps)


def export_run(config: RunConfig, context: RunContext) -> list[Path]:
    """Write the trained models of a finished run: to its folder `weights`, or as LoRA files."""
    from kinema.training.export import export, export_dit, export_phyworld, export_vae, write_vocabulary
    from kinema.training.export_finetuned import export_finetuned
    from kinema.training.recipes.dit import DitRunConfig, load_trained_dit
    from kinema.training.recipes.finetune import FinetuneRunConfig
    from kinema.training.recipes.full import load_trained
    from kinema.training.recipes.full_config import RecipeConfig
    from kinema.training.recipes.phyworld import PhyWorldRunConfig, load_trained_phyworld
    from kinema.training.recipes.prompt_rewriter import PromptRewriterRunConfig, export_prompt_rewriter
    from kinema.training.recipes.scene_classifier import (
        SceneClassifierRunConfig,
        export_scene_classifier,
    )
    from kinema.training.recipes.super_resolution import (
        SuperResolutionRunConfig,
        export_super_resolution,
    )
    from kinema.training.recipes.vae import VaeRunConfig, load_autoencoder, load_trained_vae

    folder = context.run_dir / "weights"
    match config:
        case RecipeConfig():
            export(load_trained(config, context), folder)
            write_vocabulary(folder, context.run_dir, config.init_from)
            return [folder]
        case VaeRunConfig():
            return [export_vae(config, load_trained_vae(config, context), folder)]
        case DitRunConfig():
            vae = load_autoencoder(config.vae, context)
            export_dit(config, vae, load_trained_dit(config, context), folder)
            write_vocabulary(folder, context.run_dir, config.init_from)
            return [folder]
        case FinetuneRunConfig():
            return export_finetuned(config, context)
        case PromptRewriterRunConfig():
            export_prompt_rewriter(config, context, folder)
            return [folder]
        case SuperResolutionRunConfig():
            export_super_resolution(config, context, folder)
            return [folder]
        case PhyWorldRunConfig():
            return [export_phyworld(config, *load_trained_phyworld(config, context), folder)]
        case SceneClassifierRunConfig():
            export_scene_classifier(config, context, folder)
            return [folder]


def init_from_pretrained(config: RecipeConfig, model_name: str) -> RecipeConfig:
    """The recipe started from the weights of a model, with the shapes of its modules."""
    dit, vae = load_model_configs(model_name)
    decoder = None if config.decoder is None else dataclasses.replace(config.decoder, model=vae)
    return dataclasses.replace(
        config,
        init_from=model_name,
        vae=dataclasses.replace(config.vae, model=vae),
        decoder=decoder,
        dit=dataclasses.replace(config.dit, model=dit),
    )


def load_model_configs(name: str) -> tuple[DitConfig, VaeConfig]:
    """The configurations of transformer and autoencoder of a model to train further.

    Raises:
        UserError: it is distilled.
    """
    from kinema.models.formats.loader import open_model, refuse_distilled

    model = open_model(name)
    refuse_distilled(model)
    return model.dit, model.vae


def parse_duration(text: str) -> float:
    """Parse `90s`, `25m`, `2h` or a plain number into seconds.

    Raises:
        UserError: the text is not a positive duration.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{text!r} is not a duration; write 90s, 25m or 2h")
    return seconds
