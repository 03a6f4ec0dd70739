"""`kinema train`: the release recipe, its parts alone, and going on after a stop."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg, subcommand

from kinema.cli.train_tools import Bundle, Scaling
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.models.transformer.dit_config import DitConfig
    from kinema.models.vae.vae_config import VaeConfig
    from kinema.training.recipes.full import RecipeConfig
    from kinema.training.recipes.single_model import DataConfig, DitRunConfig, VaeRunConfig
    from kinema.training.stages import RunContext

RUN_CONFIG_FILES = {"release": "release.json", "vae": "vae-run.json", "dit": "dit-run.json"}
"""The file in a run's folder that holds its settings, by the kind of run."""


@dataclass(frozen=True, kw_only=True)
class MachineArgs:
    """What every run asks about the machine."""

    device: str = "auto"
    """cpu, cuda, or auto."""
    text_encoder: Path | None = None
    """Folder of the text encoder (model.safetensors, tokenizer.json); its package otherwise."""
    render_device: Literal["cpu", "cuda"] = "cpu"
    """What draws the pictures of the film set; cuda needs the extra kinema[cuda]."""


@dataclass(frozen=True, kw_only=True)
class FullRecipe(MachineArgs):
    """Film the set, train the autoencoder and the transformer, export the weights: everything, offline."""

    out: Path
    """Folder of the run; a run that is there goes on."""
    budget: str = "2h"
    """Time for everything: 90s, 25m, 2h."""
    scale: Literal["auto", "lab", "whole", "tiny"] = "auto"
    """`lab` for two cores, `whole` for a GPU, `tiny` to rehearse; auto takes what the machine is for."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Go on from a model: `world` (shipped), or an exported folder. Its latents are kept."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """A setting to change, as name.of.setting=value: --set dit.batch=16 --set filming.count=2000"""

    def run(self) -> None:
        """Run the recipe."""
        from kinema.training.recipes import full

        scale = self.scale
        if scale == "auto":
            scale = "whole" if resolve_device(self.device) == "cuda" else "lab"
        presets = {"lab": full.lab, "whole": full.full_simulator, "tiny": full.tiny}
        config = presets[scale](budget=parse_duration(self.budget))
        if self.init_from:
            config = init_from_pretrained(config, self.init_from)
        start_run(config, self.set, self.out, "release", self)


@dataclass(frozen=True, kw_only=True)
class Vae(MachineArgs):
    """Train an autoencoder alone."""

    out: Path
    """Folder of the run; a run that is there goes on."""
    preset: Literal["lab", "whole", "tiny"] = "lab"
    """`lab` for two cores, `whole` for a GPU, `tiny` to rehearse."""
    videos: UseAppendAction[tuple[Path, ...]] = ()
    """A folder of films (`kinema world films`, or a run's films); filmed on the way otherwise."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Go on from weights: `world` (shipped), or a folder that has a part `vae`."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """A setting to change, as name.of.setting=value: --set training.batch=8"""

    def run(self) -> None:
        """Train it."""
        from kinema.training.recipes import single_model

        presets = {
            "lab": single_model.vae_lab,
            "whole": single_model.vae_full_simulator,
            "tiny": single_model.vae_tiny,
        }
        config = presets[self.preset]()
        config = dataclasses.replace(config, data=with_video_folders(config.data, self.videos))
        if self.init_from:
            training = dataclasses.replace(
                config.training, model=single_model.read_autoencoder_config(self.init_from)
            )
            config = dataclasses.replace(config, init_from=self.init_from, training=training)
        start_run(config, self.set, self.out, "vae", self)


@dataclass(frozen=True, kw_only=True)
class Dit(MachineArgs):
    """Train a transformer over an autoencoder that is there."""

    out: Path
    """Folder of the run; a run that is there goes on."""
    vae: str
    """The autoencoder: a folder that has a part `vae`, or `world` (shipped)."""
    preset: Literal["lab", "whole", "tiny"] = "lab"
    """`lab` for two cores, `whole` for a GPU, `tiny` to rehearse."""
    videos: UseAppendAction[tuple[Path, ...]] = ()
    """A folder of films (`kinema world films`, or a run's films), one for each shape; filmed otherwise."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Go on from weights: `world` (shipped), or an exported folder."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """A setting to change, as name.of.setting=value: --set training.model.width=256"""

    def run(self) -> None:
        """Train it."""
        from kinema.training.recipes import single_model

        presets = {
            "lab": single_model.dit_lab,
            "whole": single_model.dit_full_simulator,
            "tiny": single_model.dit_tiny,
        }
        config = presets[self.preset](vae=self.vae)
        config = dataclasses.replace(config, data=with_video_folders(config.data, self.videos))
        if self.init_from:
            dit, _ = load_model_configs(self.init_from)
            training = dataclasses.replace(config.training, model=dit)
            config = dataclasses.replace(config, init_from=self.init_from, training=training)
        start_run(config, self.set, self.out, "dit", self)


@dataclass(frozen=True, kw_only=True)
class Resume(MachineArgs):
    """Go on with a run that was stopped or killed, exactly where its last checkpoint was."""

    run_dir: Positional[Path]
    """The run's folder."""

    def run(self) -> None:
        """Go on."""
        kind = next(
            (kind for kind, note in RUN_CONFIG_FILES.items() if (self.run_dir / note).is_file()), None
        )
        if kind is None:
            raise UserError(
                f"{self.run_dir} holds no run (no {', '.join(RUN_CONFIG_FILES.values())}); "
                "name the folder given as --out"
            )
        execute_run(load_run_config(self.run_dir, kind), self.run_dir, self)


@dataclass(frozen=True, kw_only=True)
class Train:
    """What to train."""

    command: (
        Annotated[FullRecipe, subcommand("release")]
        | Annotated[Vae, subcommand("vae")]
        | Annotated[Dit, subcommand("dit")]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Scaling, subcommand("scaling")]
        | Annotated[Bundle, subcommand("carry")]
    )

    def run(self) -> None:
        """Train it."""
        self.command.run()


def start_run(
    config: Any, overrides: tuple[str, ...], run_dir: Path, kind: str, machine: MachineArgs
) -> None:
    """Change a preset by settings, note it in the run's folder, and carry it out.

    Raises:
        UserError: a setting does not exist, or the folder holds another run.
    """
    from kinema.atomic_io import write_text
    from kinema.models.formats.serialization import to_json
    from kinema.training.overrides import apply_overrides, to_plain

    config = apply_overrides(config, overrides)
    for other, name in RUN_CONFIG_FILES.items():
        if other != kind and (run_dir / name).is_file():
            raise UserError(f"{run_dir} holds a run of another kind ({name}); choose another folder")
    if (run_dir / RUN_CONFIG_FILES[kind]).is_file():
        if to_plain(load_run_config(run_dir, kind)) != to_plain(config):
            raise UserError(
                f"{run_dir} holds a run with other settings; "
                f"go on with `kinema train resume {run_dir}`, or choose another folder"
            )
    else:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_text(run_dir / RUN_CONFIG_FILES[kind], to_json(config))
    execute_run(config, run_dir, machine)


def load_run_config(run_dir: Path, kind: str) -> RecipeConfig | VaeRunConfig | DitRunConfig:
    """The settings that a run began with."""
    from kinema.models.formats.serialization import from_json
    from kinema.training.recipes.full import RecipeConfig
    from kinema.training.recipes.single_model import DitRunConfig, VaeRunConfig

    note = run_dir / RUN_CONFIG_FILES[kind]
    kinds = {"release": RecipeConfig, "vae": VaeRunConfig, "dit": DitRunConfig}
    return from_json(kinds[kind], note.read_text(), source=str(note))


def execute_run(
    config: RecipeConfig | VaeRunConfig | DitRunConfig, run_dir: Path, machine: MachineArgs
) -> None:
    """Run it: with bars and a log, saved on SIGTERM and Ctrl-C; in the end the weights are exported."""
    import torch

    from kinema.cli.train_logging import install_stop_handler, make_lab_scorer, run_logged
    from kinema.distributed.process_group import SINGLE_PROCESS, init_distributed
    from kinema.models.text_encoders.minilm import MiniLm
    from kinema.training.recipes import single_model
    from kinema.training.recipes.full import RecipeConfig, run_recipe
    from kinema.training.stages import RunContext

    device = torch.device(resolve_device(machine.device))
    stopping = install_stop_handler()
    fps = config.render.fps if isinstance(config, RecipeConfig) else config.data.render.fps
    with init_distributed(device.type) as crowd:
        bench = RunContext(
            run_dir=run_dir,
            device=device,
            load_text_encoder=lambda: MiniLm.load(machine.text_encoder).to(device),
            should_stop=stopping,
            scorer=make_lab_scorer(fps),
            dist_context=crowd,
            render_device=machine.render_device,
        )
        match config:
            case RecipeConfig():
                steps = run_recipe(config, bench)
            case single_model.VaeRunConfig():
                steps = single_model.train_vae(config, bench)
            case single_model.DitRunConfig():
                steps = single_model.train_dit(config, bench)
        run_logged(steps, run_dir, is_main=crowd.is_main)
        if crowd.any_rank(stopping()):
            if crowd.is_main:
                print(f"stopped; go on with: kinema train resume {run_dir}")
            return
        if crowd.is_main:
            print(export_run(config, dataclasses.replace(bench, dist_context=SINGLE_PROCESS)))
        crowd.barrier()


def export_run(config: RecipeConfig | VaeRunConfig | DitRunConfig, context: RunContext) -> Path:
    """Write what a finished run made to the folder `weights` in it."""
    from kinema.training.export import export, export_dit, export_vae
    from kinema.training.recipes import single_model
    from kinema.training.recipes.full import RecipeConfig, load_trained

    folder = context.run_dir / "weights"
    match config:
        case RecipeConfig():
            return export(load_trained(config, context), folder)
        case single_model.VaeRunConfig():
            return export_vae(config, single_model.load_trained_vae(config, context), folder)
        case single_model.DitRunConfig():
            vae = single_model.load_autoencoder(config.vae, context)
            return export_dit(config, vae, single_model.load_trained_dit(config, context), folder)


def init_from_pretrained(config: RecipeConfig, model_name: str) -> RecipeConfig:
    """The recipe, going on from a model: of its shapes, and with its autoencoder."""
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
    """Of the parts of a model of our own."""
    from kinema.models.formats.loader import open_model

    model = open_model(name)
    return model.dit, model.vae


def with_video_folders(config: DataConfig, folders: tuple[Path, ...]) -> DataConfig:
    """The films of these folders, if there are any, else those that are filmed."""
    return dataclasses.replace(config, folders=tuple(str(folder) for folder in folders))


def resolve_device(device: str) -> str:
    """`cpu` or `cuda`.

    Raises:
        UserError: cuda is wished for and there is none, or the name is neither.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"{device!r} is no device; choose cpu, cuda or auto")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no usable GPU; leave --device out, or say --device cpu")
    return device


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `25m`, `2h` or a plain number.

    Raises:
        UserError: the text is none of these.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{text!r} is no length of time; write 90s, 25m or 2h")
    return seconds
