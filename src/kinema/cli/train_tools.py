"""`kinema train scaling` and `kinema train carry`: beside the trainings themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import UseAppendAction


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Loss against operations for several sizes on the same films: a plot and its numbers."""

    out: Path
    """Folder to write; a comparison that is there goes on."""
    latents: Path
    """Folder of a run that has latents and text states: what `release` or `train dit` left."""
    num_videos: int | None = None
    """Use the first so many films."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """A setting to change, as name.of.setting=value: --set operations=1e13"""

    def run(self) -> None:
        """Train, plot, and say where it is."""
        import torch

        from kinema.cli.train import resolve_device
        from kinema.models.transformer.dit_config import small
        from kinema.training import scaling
        from kinema.training.overrides import apply_overrides
        from kinema.training.stages import load_latent_datasets

        config = apply_overrides(scaling.ScalingConfig(), self.set)
        data = load_latent_datasets(self.latents)
        films, held_out = data.train[0], data.held_out[0]
        films = films if self.num_videos is None else films.subset(0, self.num_videos)
        channels, _, height, width = films.latents.shape[1:]
        model = small(channels=channels, grid=(height // 2, width // 2))
        points = []
        device = torch.device(resolve_device(self.device))
        for point in scaling.measure_scaling(config, model, films, held_out, self.out, device):
            points.append(point)
            print(
                f"{point.size}: {point.flops:.2e} operations, {point.samples} films, "
                f"loss {point.loss:.4f}, right over wrong {point.caption_loss_ratio:.3f}",
                flush=True,
            )
        scaling.write_scaling(config, points, self.out)
        print(self.out / "scaling.png")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Prepare a folder with which a machine without a network runs the release recipe."""

    out: Path
    """Folder to write."""
    clips: int = 400
    """Clips of the film set whose words the text encoder keeps."""
    wheels: UseAppendAction[tuple[str, ...]] = ()
    """Packages that the machine lacks; by default what one made for learning lacks."""
    no_wheels: bool = False
    """Take no packages."""
    python: str = "3.12"
    """Of the machine."""

    def run(self) -> None:
        """Prepare it and say how large it is."""
        from tools.offline_bundle import DEFAULT_WHEELS, build_bundle

        wheels = () if self.no_wheels else (self.wheels or DEFAULT_WHEELS)
        made = build_bundle(self.out, num_clips=self.clips, wheels=wheels, python=self.python)
        for part, size in made.bytes_per_part.items():
            print(f"{part:8} {size / 2**20:6.1f} MiB")
        print(f"{'all':8} {made.total_bytes / 2**20:6.1f} MiB in {made.folder}")
        print(f"there: bash {made.folder.name}/start.sh RUN --scale whole --budget 25m")
