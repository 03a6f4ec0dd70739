"""Training the autoencoder: small crops where something is, whole films now and then.

A convolutional autoencoder learns as much from a crop round an object as from a whole frame of empty
floor, at a quarter of the cost: on lab films (64 x 64, equal CPU seconds) crops of 32 reached 29.4 dB where
whole frames reached 27.8 (objects 20.3 against 18.5). Whole films teach it the borders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.models.vae.autoencoder.patchified import PatchifiedBlock
from kinema.models.vae.autoencoder.vae_config import VaeConfig
from kinema.shapes import LatentShape, VideoShape
from kinema.train import chance
from kinema.train.critic import WINDOW, Critic, opposition
from kinema.train.crops import ResidentFilms, as_input, cropped, cropped_alike
from kinema.train.films import Films
from kinema.train.loop import LoopConfig, Loss, Work
from kinema.train.operations import vae_operations
from kinema.train.optimizer import OptimizerConfig
from kinema.train.precision import Precision, compile_parts, mixed

CRITIC = "critic"
"""Under which name a critic is a part of the autoencoder while it is trained."""


@dataclass(frozen=True, kw_only=True)
class VaeTraining:
    """How an autoencoder is trained."""

    seed: int = 0
    batch: int = 8
    crop: int = 32
    """Side of the square crops, a multiple of the spatial stride; 0 trains on whole films only."""
    whole_every: int = 10
    """Every so many steps the batch is whole films, not crops."""
    near_things: float = 0.8
    """Share of crops placed round a pixel that stands out from its film, or that changes in it."""
    square: float = 4.0
    """Weight of the squared error beside the absolute one. Absolute error alone paints small things away
    for the first hundreds of steps."""
    gradient: float = 0.5
    """Weight of the error of differences between neighbouring pixels."""
    adversarial: float = 0.0
    """Size of a critic's gradient over that of the errors (`kinema.train.critic`); it rises to that over the
    first tenth of the steps. To finish an autoencoder that is sharp already; 0.25 made `world` sharper by a
    tenth at the same PSNR, and its ghosts, too."""
    divergence: float = 1e-4
    """Weight of the Kullback-Leibler divergence of the latents from the standard normal."""
    resident: bool = False
    """Films lie on the device and crops are cut there, drawn from (seed, step): a processor that cuts them
    can't keep up with a GPU. Else they are read where they are and drawn from (seed, step, film)."""
    precision: Precision = "auto"
    compiled: bool = False
    """Compile the blocks of the folded layout: half a minute, then twice as fast on two cores with AMX."""
    decoder_only: bool = False
    """The encoder stays as it is, so that latents that were made by it stay valid."""
    worn: float = 0.0
    """Share of the steps on latents as a transformer makes them (`kinema.train.worn`), not as the encoder
    does; for `decoder_only`, where a transformer is at hand: in `kinema train release`."""
    model: VaeConfig = field(default_factory=VaeConfig.small)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            ema=0.998,
            optimizer=OptimizerConfig(
                learning_rate=3e-3, muon_learning_rate=3e-3, betas=(0.9, 0.99), warmup=50
            ),
        )
    )


class VaeTask:
    """The autoencoder as a `kinema.train.loop.Task`.

    Args:
        config: how to train.
        films: to train on, of one shape.
        held_out: to validate on.
        device: where.
        start: weights to go on from.
        worn: normalised latents of the first films, as a transformer makes them.

    Raises:
        UserError: `config.worn` asks for such latents and there are none, or the encoder is trained, too.
    """

    def __init__(
        self,
        config: VaeTraining,
        films: Films,
        held_out: Films,
        device: torch.device,
        *,
        start: Mapping[str, Tensor] | None = None,
        worn: Float[Tensor, "n c f h w"] | None = None,
    ) -> None:
        if config.worn and (worn is None or not config.decoder_only):
            raise UserError(
                "a share of worn latents needs decoder_only and a transformer that makes them; "
                "set worn=0, or train the decoder in kinema train release"
            )
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.vae = VideoVae(config.model).to(device)
            if start is not None:
                self.vae.load_state_dict(dict(start))
            if config.adversarial:
                if films.frames(0).shape[0] <= WINDOW:
                    raise UserError(
                        f"a critic looks at {WINDOW} frames at a time and at films that are longer; "
                        "set adversarial=0, or train on longer films"
                    )
                # A part of what is trained, saved and resumed, under names that no autoencoder has.
                self.vae.add_module(CRITIC, Critic(config.model.channels).to(device))
        if config.decoder_only:
            self.vae.encoder.requires_grad_(False)
        if config.compiled:
            blocks = [m for m in self.vae.modules() if isinstance(m, PatchifiedBlock)]
            compile_parts(blocks, device, shapes_vary=False)
        self.config = config
        self.films = films
        self.resident = ResidentFilms.of(films, device, seed=config.seed) if config.resident else None
        self.held_out = held_out
        self.worn = worn
        self.device = device

    @property
    def module(self) -> nn.Module:
        """The autoencoder."""
        return self.vae

    def matrices(self) -> Iterable[Tensor]:
        """The convolutions and mixings inside the stages; the first and last layers stay with AdamW."""
        for name, parameter in self.vae.named_parameters():
            if parameter.requires_grad and parameter.ndim >= 2 and ".stages." in f".{name}":
                yield parameter

    def blocks(self) -> Iterable[nn.Module]:
        """The critic, which runs by itself; the other parameters are few."""
        return (self.vae.get_submodule(CRITIC),) if self.config.adversarial else ()

    def methods(self) -> Iterable[str]:
        """What validation calls."""
        return ("encode", "decode")

    def work(self, step: int) -> Work:
        """Of crops, or of whole films."""
        frames, height, width, _ = self.films.frames(0).shape
        if not self._whole(step):
            height, width = min(height, self.config.crop), min(width, self.config.crop)
        shape = LatentShape.of(VideoShape(frames=frames, height=height, width=width), self.vae.stride)
        batch = self.config.batch
        return Work(samples=batch, operations=3 * batch * vae_operations(self.config.model, shape))

    def _whole(self, step: int) -> bool:
        """Whether a step is on whole films."""
        config, (_, height, width, _) = self.config, self.films.frames(0).shape
        return not config.crop or step % config.whole_every == 0 or min(height, width) <= config.crop

    def loss(self, step: int, part: int, parts: int) -> Loss:
        """Reconstruction of crops or, every so often, of whole films."""
        config = self.config
        if config.worn and chance.uniform(config.seed, "worn", step) < config.worn:
            return self._worn_loss(step, part, parts)
        chosen = self._chosen(step, part, parts, len(self.films))
        x = self._pieces(step, part, parts, chosen)
        shape = LatentShape.of(
            VideoShape(frames=x.shape[2], height=x.shape[3], width=x.shape[4]), self.vae.stride
        )
        sizes = (self.vae.config.z_dim, shape.frames, shape.height, shape.width)
        if self.resident is None:
            noise = torch.stack([chance.normal(sizes, config.seed, "vae", step, i) for i in chosen])
        else:
            place = torch.Generator(self.device).manual_seed(chance.key(config.seed, "vae", step))
            whole = (config.batch, *sizes)
            noise = torch.randn(whole, generator=place, device=self.device)[part::parts]
        with mixed(config.precision, self.device):
            made = self.vae(x, noise.to(self.device))
        likeness, seen = self._judged(made.frames, x, step, chosen)
        mean, variance = made.posterior.mean.float(), made.posterior.log_variance.float()
        divergence = 0.5 * (mean.square() + variance.exp() - 1 - variance).mean()
        value = likeness + config.divergence * divergence
        share = len(chosen) / config.batch
        seen["kl"] = divergence.detach()
        logs = {name: number * share for name, number in seen.items()}
        return Loss(value=value * share, logs=logs)

    def _chosen(self, step: int, part: int, parts: int, count: int) -> list[int]:
        """Which of `count` films this part of a step is on."""
        batch = self.config.batch
        chosen = chance.batch_at(step, batch, count, self.config.seed)[part::parts]
        if not chosen:
            raise UserError(
                f"a step of {batch} films can't be split among {parts}; raise batch or accumulate less"
            )
        return chosen

    def _judged(
        self, made: Tensor, true: Tensor, step: int, chosen: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is trained of the `chosen` films that were made, and what to log of it."""
        config, made = self.config, made.float()
        value, absolute = self._likeness(made, true)
        seen = {"l1": absolute.detach()}
        if not config.adversarial:
            return value, seen
        critic = self.vae.get_submodule(CRITIC)
        assert isinstance(critic, Critic)
        (worse,) = torch.autograd.grad(value, made, retain_graph=True)
        noise = torch.stack([chance.normal(made.shape[1:], config.seed, "critic", step, i) for i in chosen])
        with mixed(config.precision, self.device):
            said = opposition(critic, made, true, noise.to(made), first=step % 2)
        seen["critic"] = said.loss.detach()
        # Film by film, so that parts of a step add up to the step.
        size = worse.flatten(1).norm(dim=1) / said.better.flatten(1).norm(dim=1).clamp(min=1e-12)
        size = size * config.adversarial * min(1.0, step / (0.1 * config.loop.steps))
        # A value whose gradient is the wanted one; the critic's parameters get theirs from its loss alone.
        return value + (size * (made * said.better).flatten(1).sum(1)).sum() + said.loss, seen

    def _likeness(self, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """How far films are from the true ones: the value that is trained, and its absolute error alone."""
        config, error = self.config, made.float() - true
        absolute = error.abs().mean()
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return absolute + config.square * error.square().mean() + config.gradient * edges, absolute

    def _worn_loss(self, step: int, part: int, parts: int) -> Loss:
        """The true films from worn latents; crops begin where a latent does."""
        assert self.worn is not None
        config = self.config
        chosen = self._chosen(step, part, parts, len(self.worn))
        frames, latents = [], []
        for index in chosen:
            film, known = self.films.frames(index), self.worn[index]
            if not self._whole(step):
                draw = np.random.default_rng(chance.key(config.seed, "crop", step, index))
                film, known = cropped_alike(film, known, config.crop, config.near_things, draw)
            frames.append(film)
            latents.append(known)
        x = as_input(np.stack(frames), self.device)
        with mixed(config.precision, self.device):
            made = self.vae.decode_raw(self.vae.denormalize(torch.stack(latents).to(self.device)))
        value, seen = self._judged(made, x, step, chosen)
        share = len(chosen) / config.batch
        logs = {f"worn_{name}": number * share for name, number in seen.items()}
        return Loss(value=value * share, logs=logs)

    def _pieces(self, step: int, part: int, parts: int, chosen: list[int]) -> Tensor:
        """What a step is trained on, in [-1, 1]."""
        config, whole = self.config, self._whole(step)
        if self.resident is not None:
            if whole:
                return self.resident.whole(chosen)
            place = chance.generator(config.seed, "crops", step)
            picks = torch.rand(config.batch, 4, generator=place)[part::parts]
            return self.resident.crops(chosen, picks, config.crop, config.near_things)
        pieces = []
        for index in chosen:
            frames = self.films.frames(index)
            if not whole:
                draw = np.random.default_rng(chance.key(config.seed, "crop", step, index))
                frames = cropped(frames, config.crop, config.near_things, draw)
            pieces.append(frames)
        return as_input(np.stack(pieces), self.device)

    def validate(self) -> Mapping[str, float]:
        """PSNR on held-out films: of all pixels, and of the strongly coloured ones, which are the things."""
        return reconstruction_quality(self.vae, self.held_out, self.device)

    def better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Things count more than floors. Errors say nothing of what a critic mends: then it is the last."""
        if self.config.adversarial:
            return True
        return best is None or scores["objects_psnr"] > best["objects_psnr"]


@torch.no_grad()
def reconstruction_quality(vae: VideoVae, films: Films, device: torch.device) -> dict[str, float]:
    """PSNR in dB over films: `psnr` of all pixels, `objects_psnr` of those with saturation above half."""
    error = error_objects = 0.0
    pixels = objects = 0
    for index in range(len(films)):
        x = as_input(films.frames(index)[None], device)
        made = vae.decode(vae.encode(x))
        squared = ((made - x) / 2).square()
        coloured = (x.amax(1, keepdim=True) - x.amin(1, keepdim=True) > 0.5).expand_as(x)
        error += squared.sum().item()
        pixels += squared.numel()
        error_objects += squared[coloured].sum().item()
        objects += int(coloured.sum())
    return {
        "psnr": -10 * math.log10(max(error / pixels, 1e-10)),
        "objects_psnr": -10 * math.log10(max(error_objects / max(objects, 1), 1e-10)),
    }


@torch.no_grad()
def latent_statistics(
    vae: VideoVae, films: Films, device: torch.device, *, limit: int = 256
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of the posterior means, over the first `limit` films."""
    means = [
        vae.encode_posterior(as_input(films.frames(i)[None], device)).mean.cpu()
        for i in range(min(limit, len(films)))
    ]
    values = torch.cat(means).double().transpose(0, 1).flatten(1)
    return tuple(values.mean(1).tolist()), tuple(values.std(1).clamp(min=1e-3).tolist())
