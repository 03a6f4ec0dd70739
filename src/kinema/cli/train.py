"""`kinema train`: the full recipe, single models, resuming, and the scaling comparison."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg, subcommand

from kinema.cli.options import MachineArgs
from kinema.cli.train_finetune import Finetune, Lora, parse_set
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.training.recipes.datasets import DataConfig

Preset = Literal["lab", "full-simulator", "tiny"]


@dataclass(frozen=True, kw_only=True)
class FullRecipe(MachineArgs):
    """Render videos, train autoencoder and transformer, export the weights; without a network."""

    out: Path
    """Folder of the run; an interrupted run continues."""
    budget: str = "2h"
    """Time for everything: 90s, 25m, 2h."""
    scale: Literal["auto"] | Preset = "auto"
    """`lab` for two cores, `full-simulator` for a GPU, `tiny` for a test; auto depends on the device."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Start from a model: `world-teacher` (shipped) or an exported folder. Its latent space is kept."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set dit.batch_size=16 --set render.num_clips=2000"""

    def run(self) -> None:
        """Run the recipe."""
        from kinema.cli.train_run import init_from_pretrained, parse_duration, start_run
        from kinema.pipeline.device import resolve_device
        from kinema.training.recipes import full_config

        scale = self.scale
        if scale == "auto":
            scale = "full-simulator" if resolve_device(self.device).type == "cuda" else "lab"
        presets = {
            "lab": full_config.lab,
            "full-simulator": full_config.full_simulator,
            "tiny": full_config.tiny,
        }
        config = presets[scale](budget=parse_duration(self.budget))
        if self.init_from:
            config = init_from_pretrained(config, self.init_from)
        start_run(config, self.set, self.out, "full", self)


@dataclass(frozen=True, kw_only=True)
class VideoRunArgs(MachineArgs):
    """Options of a run on videos."""

    out: Path
    """Folder of the run; an interrupted run continues."""
    preset: Preset = "lab"
    """`lab` for two cores, `full-simulator` for a GPU, `tiny` for a test."""
    videos: UseAppendAction[tuple[Path, ...]] = ()
    """A folder of videos (from `kinema dataset build`, or of a run); without one, videos are rendered."""
    data: UseAppendAction[tuple[str, ...]] = ()
    """A set of `kinema data build`, with a weight after a colon: --data cats:2 --data dogs:1."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set training.batch_size=8"""

    def with_videos(self, config: DataConfig) -> DataConfig:
        """The data settings with the folders of `--videos` and the sets of `--data`."""
        return dataclasses.replace(
            config,
            folders=tuple(str(folder) for folder in self.videos),
            sets=tuple(parse_set(text) for text in self.data),
        )


@dataclass(frozen=True, kw_only=True)
class SingleModelArgs(VideoRunArgs):
    """Options of a run that trains one model."""

    init_from: Annotated[str, arg(name="from")] = ""
    """Start from weights: `world` (shipped) or an exported folder."""


@dataclass(frozen=True, kw_only=True)
class Vae(SingleModelArgs):
    """Train an autoencoder."""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import start_run
        from kinema.training.recipes import vae

        presets = {"lab": vae.lab, "full-simulator": vae.full_simulator, "tiny": vae.tiny}
        config = presets[self.preset]()
        config = dataclasses.replace(config, data=self.with_videos(config.data))
        if self.init_from:
            training = dataclasses.replace(config.training, model=vae.read_autoencoder_config(self.init_from))
            config = dataclasses.replace(config, init_from=self.init_from, training=training)
        start_run(config, self.set, self.out, "vae", self)


@dataclass(frozen=True, kw_only=True)
class Dit(SingleModelArgs):
    """Train a transformer on the latents of an autoencoder; give --videos once for each shape."""

    vae: str
    """The autoencoder: `world` (shipped) or a folder with a part `vae`."""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import load_model_configs, start_run
        from kinema.training.recipes import dit

        presets = {"lab": dit.lab, "full-simulator": dit.full_simulator, "tiny": dit.tiny}
        config = presets[self.preset](vae=self.vae)
        config = dataclasses.replace(config, data=self.with_videos(config.data))
        if self.init_from:
            model, _ = load_model_configs(self.init_from)
            training = dataclasses.replace(config.training, model=model)
            config = dataclasses.replace(config, init_from=self.init_from, training=training)
        start_run(config, self.set, self.out, "dit", self)


@dataclass(frozen=True, kw_only=True)
class Distill(VideoRunArgs):
    """Distil a model to a few steps without guidance."""

    model: str
    """The teacher: `world-teacher` (shipped) or an exported folder."""
    steps: int = 4
    """Solver steps of the distilled model."""
    guidance_scale: float | None = None
    """Of the teacher; by default the model's own."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Start the student from a distilled model (`world`, or an exported folder) in place of the teacher: to
    distil a teacher again that was trained further."""

    def run(self) -> None:
        """Distil it."""
        from kinema.cli.train_run import start_run
        from kinema.training.recipes import dit

        presets = {"lab": dit.lab, "full-simulator": dit.full_simulator, "tiny": dit.tiny}
        config = dit.distilled(
            presets[self.preset](vae=self.model),
            self.model,
            num_steps=self.steps,
            guidance_scale=self.guidance_scale,
            init_from=self.init_from,
        )
        config = dataclasses.replace(config, data=self.with_videos(config.data))
        start_run(config, self.set, self.out, "dit", self)


@dataclass(frozen=True, kw_only=True)
class PromptRewriter(MachineArgs):
    """Train the prompt rewriter of models of the lab: everyday English to the wording of captions."""

    out: Path
    """Folder of the run; an interrupted run continues."""
    preset: Literal["usual", "tiny"] = "usual"
    """`tiny` for a test."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Start from the rewriter of a model: `world` (shipped) or a folder."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set training.loop.steps=4000"""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import start_run
        from kinema.training.recipes import prompt_rewriter

        presets = {"usual": prompt_rewriter.usual, "tiny": prompt_rewriter.tiny}
        config = dataclasses.replace(presets[self.preset](), init_from=self.init_from)
        start_run(config, self.set, self.out, "prompt-rewriter", self)


@dataclass(frozen=True, kw_only=True)
class SuperResolution(MachineArgs):
    """Train the network that upscales a model's videos, on simulated clips in three sizes."""

    out: Path
    """Folder of the run; an interrupted run continues."""
    model: str = "world"
    """Whose autoencoder decodes the small videos: `world` (shipped) or an exported folder."""
    preset: Literal["lab", "tiny"] = "lab"
    """`tiny` for a test."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set training.loop.steps=4000"""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import start_run
        from kinema.training.recipes import super_resolution

        presets = {"lab": super_resolution.lab, "tiny": super_resolution.tiny}
        config = dataclasses.replace(presets[self.preset](), model=self.model)
        start_run(config, self.set, self.out, "super-resolution", self)


@dataclass(frozen=True, kw_only=True)
class PhyWorld(MachineArgs):
    """Train a model on PhyWorld's scenarios (arXiv 2411.02385): it continues three frames of a simple motion.

    `python -m benchmarks phyworld --model OUT/weights` measures it.
    """

    out: Path
    """Folder of the run; an interrupted run continues."""
    autoencoder: str = ""
    """The folder of a model from another run, whose autoencoder is used; by default one is trained."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Start from the transformer of a model of another run."""
    preset: Literal["lab", "experiment", "tiny"] = "lab"
    """`experiment` for one kind of clips, with a smaller model; `tiny` for a test."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set 'clips.scenarios=["uniform"]'"""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import start_run
        from kinema.training.recipes import phyworld

        presets = {"lab": phyworld.lab, "experiment": phyworld.experiment, "tiny": phyworld.tiny}
        config = dataclasses.replace(
            presets[self.preset](), autoencoder=self.autoencoder, init_from=self.init_from
        )
        start_run(config, self.set, self.out, "phyworld", self)


@dataclass(frozen=True, kw_only=True)
class SceneClassifier(MachineArgs):
    """Train the network that scores videos of the whole simulator, on simulated clips alone."""

    out: Path
    """Folder of the run; an interrupted run continues."""
    preset: Literal["usual", "tiny"] = "usual"
    """`tiny` for a test."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Start from the classifier in a folder, for example `weights` of another run."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set training.loop.steps=4000"""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import start_run
        from kinema.training.recipes import scene_classifier

        presets = {"usual": scene_classifier.usual, "tiny": scene_classifier.tiny}
        config = dataclasses.replace(presets[self.preset](), init_from=self.init_from)
        start_run(config, self.set, self.out, "scene-classifier", self)


@dataclass(frozen=True, kw_only=True)
class Resume(MachineArgs):
    """Continue an interrupted run from its last checkpoint; the result is that of an uninterrupted run."""

    run_dir: Positional[Path]
    """Folder of the run."""

    def run(self) -> None:
        """Continue it."""
        from kinema.cli.train_run import RUN_CONFIG_FILES, execute_run, load_run_config

        for kind, name in RUN_CONFIG_FILES.items():
            if (self.run_dir / name).is_file():
                execute_run(load_run_config(self.run_dir, kind), self.run_dir, self)
                return
        raise UserError(
            f"{self.run_dir} has no run (no {', '.join(RUN_CONFIG_FILES.values())}); "
            "give the folder that was --out"
        )


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Compare loss against training FLOPs for several model sizes on the same data."""

    out: Path
    """Folder to write; an interrupted comparison continues."""
    latents: Path
    """Folder of a run with latents and text embeddings, from `train full` or `train dit`."""
    num_videos: int | None = None
    """Train on the first so many videos only."""
    device: str = "auto"
    """cpu, cuda or auto."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set max_flops=1e13"""

    def run(self) -> None:
        """Train all sizes, print their losses, and plot them."""
        from kinema.data.latent_cache import load_latent_datasets
        from kinema.models.transformer.dit_config import small
        from kinema.pipeline.device import resolve_device
        from kinema.training import scaling
        from kinema.training.overrides import apply_overrides

        config = apply_overrides(scaling.ScalingConfig(), self.set)
        datasets = load_latent_datasets(self.latents)
        dataset, held_out = datasets.train[0], datasets.held_out[0]
        if self.num_videos is not None:
            dataset = dataset.subset(0, self.num_videos)
        channels, _, height, width = dataset.latents.shape[1:]
        model = small(channels=channels, grid=(height // 2, width // 2))
        points = []
        device = resolve_device(self.device)
        for point in scaling.measure_scaling(config, model, dataset, held_out, self.out, device):
            points.append(point)
            print(
                f"{point.size}: {point.flops:.2e} FLOPs, {point.samples} videos, "
                f"loss {point.loss:.4f}, caption loss ratio {point.caption_loss_ratio:.3f}",
                flush=True,
            )
        scaling.write_scaling(config, points, self.out)
        print(self.out / "scaling.png")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train models."""

    command: (
        Annotated[FullRecipe, subcommand("full")]
        | Annotated[Vae, subcommand("vae")]
        | Annotated[Dit, subcommand("dit")]
        | Annotated[Distill, subcommand("distill")]
        | Annotated[Finetune, subcommand("finetune")]
        | Annotated[Lora, subcommand("lora")]
        | Annotated[PromptRewriter, subcommand("prompt-rewriter")]
        | Annotated[SuperResolution, subcommand("super-resolution")]
        | Annotated[PhyWorld, subcommand("phyworld")]
        | Annotated[SceneClassifier, subcommand("scene-classifier")]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Scaling, subcommand("scaling")]
    )

    def run(self) -> None:
        """Run the subcommand."""
        self.command.run()
