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

from kinema.data import rng
from kinema.data.cropping import DeviceVideoCache, crop_with_latents, random_crop, to_model_input
from kinema.data.dataset import VideoDataset
from kinema.errors import UserError
from kinema.models.precision import Precision, autocast, compile_modules
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.patchified import PatchifiedBlock
from kinema.models.vae.vae_config import VaeConfig
from kinema.shapes import LatentShape, VideoShape
from kinema.training.discriminator import WINDOW_FRAMES, PatchDiscriminator, adversarial_loss
from kinema.training.flops import vae_forward_flops
from kinema.training.loop import LoopConfig, Loss, StepCost
from kinema.training.optimizer import OptimizerConfig

DISCRIMINATOR = "critic"
"""Under which name a critic is a part of the autoencoder while it is trained."""


@dataclass(frozen=True, kw_only=True)
class VaeTrainConfig:
    """How an autoencoder is trained."""

    seed: int = 0
    batch_size: int = 8
    crop_size: int = 32
    """Side of the square crops, a multiple of the spatial stride; 0 trains on whole films only."""
    full_frame_every: int = 10
    """Every so many steps the batch is whole films, not crops."""
    object_crop_p: float = 0.8
    """Share of crops placed round a pixel that stands out from its film, or that changes in it."""
    mse_weight: float = 4.0
    """Weight of the squared error beside the absolute one. Absolute error alone paints small things away
    for the first hundreds of steps."""
    gradient_loss_weight: float = 0.5
    """Weight of the error of differences between neighbouring pixels."""
    adversarial_weight: float = 0.0
    """Size of a critic's gradient over that of the errors (`kinema.training.discriminator`); it rises to that over the
    first tenth of the steps. To finish an autoencoder that is sharp already; 0.25 made `world` sharper by a
    tenth at the same PSNR, and its ghosts, too."""
    kl_weight: float = 1e-4
    """Weight of the Kullback-Leibler divergence of the latents from the standard normal."""
    cache_on_device: bool = False
    """Films lie on the device and crops are cut there, drawn from (seed, step): a processor that cuts them
    can't keep up with a GPU. Else they are read where they are and drawn from (seed, step, film)."""
    precision: Precision = "auto"
    compile_blocks: bool = False
    """Compile the blocks of the folded layout: half a minute, then twice as fast on two cores with AMX."""
    decoder_only: bool = False
    """The encoder stays as it is, so that latents that were made by it stay valid."""
    resampled_p: float = 0.0
    """Share of the steps on latents as a transformer makes them (`kinema.training.resampled_latents`), not as the encoder
    does; for `decoder_only`, where a transformer is at hand: in `kinema train release`."""
    model: VaeConfig = field(default_factory=VaeConfig.small)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            ema_decay=0.998,
            optimizer=OptimizerConfig(
                learning_rate=3e-3, muon_learning_rate=3e-3, betas=(0.9, 0.99), warmup_steps=50
            ),
        )
    )


class VaeTask:
    """The autoencoder as a `kinema.training.loop.Task`.

    Args:
        config: how to train.
        dataset: to train on, of one shape.
        held_out: to validate on.
        device: where.
        start: weights to go on from.
        resampled_latents: normalised latents of the first films, as a transformer makes them.

    Raises:
        UserError: `config.resampled_latents` asks for such latents and there are none, or the encoder is trained, too.
    """

    def __init__(
        self,
        config: VaeTrainConfig,
        dataset: VideoDataset,
        held_out: VideoDataset,
        device: torch.device,
        *,
        init_weights: Mapping[str, Tensor] | None = None,
        resampled_latents: Float[Tensor, "n c f h w"] | None = None,
    ) -> None:
        if config.resampled_p and (resampled_latents is None or not config.decoder_only):
            raise UserError(
                "a share of worn latents needs decoder_only and a transformer that makes them; "
                "set worn=0, or train the decoder in kinema train release"
            )
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.vae = VideoVae(config.model).to(device)
            if init_weights is not None:
                self.vae.load_state_dict(dict(init_weights))
            if config.adversarial_weight:
                if dataset.frames(0).shape[0] <= WINDOW_FRAMES:
                    raise UserError(
                        f"a critic looks at {WINDOW_FRAMES} frames at a time and at films that are longer; "
                        "set adversarial=0, or train on longer films"
                    )
                # A part of what is trained, saved and resumed, under names that no autoencoder has.
                self.vae.add_module(DISCRIMINATOR, PatchDiscriminator(config.model.channels).to(device))
        if config.decoder_only:
            self.vae.encoder.requires_grad_(False)
        if config.compile_blocks:
            blocks = [m for m in self.vae.modules() if isinstance(m, PatchifiedBlock)]
            compile_modules(blocks, device, dynamic_shapes=False)
        self.config = config
        self.dataset = dataset
        self.device_cache = (
            DeviceVideoCache.from_dataset(dataset, device, seed=config.seed)
            if config.cache_on_device
            else None
        )
        self.held_out = held_out
        self.resampled_latents = resampled_latents
        self.device = device

    @property
    def module(self) -> nn.Module:
        """The autoencoder."""
        return self.vae

    def muon_parameters(self) -> Iterable[Tensor]:
        """The convolutions and mixings inside the stages; the first and last layers stay with AdamW."""
        for name, parameter in self.vae.named_parameters():
            if parameter.requires_grad and parameter.ndim >= 2 and ".stages." in f".{name}":
                yield parameter

    def fsdp_units(self) -> Iterable[nn.Module]:
        """The critic, which runs by itself; the other parameters are few."""
        return (self.vae.get_submodule(DISCRIMINATOR),) if self.config.adversarial_weight else ()

    def fsdp_forward_methods(self) -> Iterable[str]:
        """What validation calls."""
        return ("encode", "decode")

    def step_cost(self, step: int) -> StepCost:
        """Of crops, or of whole films."""
        frames, height, width, _ = self.dataset.frames(0).shape
        if not self._is_full_frame_step(step):
            height, width = min(height, self.config.crop_size), min(width, self.config.crop_size)
        shape = LatentShape.of(VideoShape(frames=frames, height=height, width=width), self.vae.stride)
        batch = self.config.batch_size
        return StepCost(samples=batch, flops=3 * batch * vae_forward_flops(self.config.model, shape))

    def _is_full_frame_step(self, step: int) -> bool:
        """Whether a step is on whole films."""
        config, (_, height, width, _) = self.config, self.dataset.frames(0).shape
        return (
            not config.crop_size
            or step % config.full_frame_every == 0
            or min(height, width) <= config.crop_size
        )

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Reconstruction of crops or, every so often, of whole films."""
        config = self.config
        if config.resampled_p and rng.uniform(config.seed, "worn", step) < config.resampled_p:
            return self._resampled_loss(step, microbatch, num_microbatches)
        chosen = self._batch_indices(step, microbatch, num_microbatches, len(self.dataset))
        x = self._load_batch(step, microbatch, num_microbatches, chosen)
        shape = LatentShape.of(
            VideoShape(frames=x.shape[2], height=x.shape[3], width=x.shape[4]), self.vae.stride
        )
        sizes = (self.vae.config.z_dim, shape.frames, shape.height, shape.width)
        if self.device_cache is None:
            noise = torch.stack([rng.normal(sizes, config.seed, "vae", step, i) for i in chosen])
        else:
            place = torch.Generator(self.device).manual_seed(rng.derive_seed(config.seed, "vae", step))
            whole = (config.batch_size, *sizes)
            noise = torch.randn(whole, generator=place, device=self.device)[microbatch::num_microbatches]
        with autocast(config.precision, self.device):
            made = self.vae(x, noise.to(self.device))
        likeness, seen = self._decoder_loss(made.frames, x, step, chosen)
        mean, variance = made.posterior.mean.float(), made.posterior.log_variance.float()
        divergence = 0.5 * (mean.square() + variance.exp() - 1 - variance).mean()
        value = likeness + config.kl_weight * divergence
        share = len(chosen) / config.batch_size
        seen["kl"] = divergence.detach()
        logs = {name: number * share for name, number in seen.items()}
        return Loss(value=value * share, logs=logs)

    def _batch_indices(self, step: int, microbatch: int, num_microbatches: int, num_videos: int) -> list[int]:
        """Which of `num_videos` films this part of a step is on."""
        batch = self.config.batch_size
        chosen = rng.batch_indices(step, batch, num_videos, self.config.seed)[microbatch::num_microbatches]
        if not chosen:
            raise UserError(
                f"a step of {batch} films can't be split among {num_microbatches}; raise batch or accumulate less"
            )
        return chosen

    def _decoder_loss(
        self, reconstruction: Tensor, target: Tensor, step: int, indices: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is trained of the `indices` films that were made, and what to log of it."""
        config, reconstruction = self.config, reconstruction.float()
        value, absolute = self._reconstruction_loss(reconstruction, target)
        seen = {"l1": absolute.detach()}
        if not config.adversarial_weight:
            return value, seen
        critic = self.vae.get_submodule(DISCRIMINATOR)
        assert isinstance(critic, PatchDiscriminator)
        (worse,) = torch.autograd.grad(value, reconstruction, retain_graph=True)
        noise = torch.stack(
            [rng.normal(reconstruction.shape[1:], config.seed, "critic", step, i) for i in indices]
        )
        with autocast(config.precision, self.device):
            said = adversarial_loss(
                critic, reconstruction, target, noise.to(reconstruction), first_frame=step % 2
            )
        seen["critic"] = said.discriminator_loss.detach()
        # Film by film, so that parts of a step add up to the step.
        size = worse.flatten(1).norm(dim=1) / said.generator_gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        size = size * config.adversarial_weight * min(1.0, step / (0.1 * config.loop.steps))
        # A value whose gradient is the wanted one; the critic's parameters get theirs from its loss alone.
        return value + (
            size * (reconstruction * said.generator_gradient).flatten(1).sum(1)
        ).sum() + said.discriminator_loss, seen

    def _reconstruction_loss(self, reconstruction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """How far films are from the true ones: the value that is trained, and its absolute error alone."""
        config, error = self.config, reconstruction.float() - target
        absolute = error.abs().mean()
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return (
            absolute + config.mse_weight * error.square().mean() + config.gradient_loss_weight * edges,
            absolute,
        )

    def _resampled_loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """The true films from worn latents; crops begin where a latent does."""
        assert self.resampled_latents is not None
        config = self.config
        chosen = self._batch_indices(step, microbatch, num_microbatches, len(self.resampled_latents))
        frames, latents = [], []
        for index in chosen:
            film, known = self.dataset.frames(index), self.resampled_latents[index]
            if not self._is_full_frame_step(step):
                draw = np.random.default_rng(rng.derive_seed(config.seed, "crop", step, index))
                film, known = crop_with_latents(film, known, config.crop_size, config.object_crop_p, draw)
            frames.append(film)
            latents.append(known)
        x = to_model_input(np.stack(frames), self.device)
        with autocast(config.precision, self.device):
            made = self.vae.decode_raw(self.vae.denormalize(torch.stack(latents).to(self.device)))
        value, seen = self._decoder_loss(made, x, step, chosen)
        share = len(chosen) / config.batch_size
        logs = {f"worn_{name}": number * share for name, number in seen.items()}
        return Loss(value=value * share, logs=logs)

    def _load_batch(self, step: int, microbatch: int, num_microbatches: int, indices: list[int]) -> Tensor:
        """What a step is trained on, in [-1, 1]."""
        config, whole = self.config, self._is_full_frame_step(step)
        if self.device_cache is not None:
            if whole:
                return self.device_cache.full_videos(indices)
            place = rng.generator(config.seed, "crops", step)
            picks = torch.rand(config.batch_size, 4, generator=place)[microbatch::num_microbatches]
            return self.device_cache.crops(indices, picks, config.crop_size, config.object_crop_p)
        pieces = []
        for index in indices:
            frames = self.dataset.frames(index)
            if not whole:
                draw = np.random.default_rng(rng.derive_seed(config.seed, "crop", step, index))
                frames = random_crop(frames, config.crop_size, config.object_crop_p, draw)
            pieces.append(frames)
        return to_model_input(np.stack(pieces), self.device)

    def validate(self) -> Mapping[str, float]:
        """PSNR on held-out films: of all pixels, and of the strongly coloured ones, which are the things."""
        return reconstruction_quality(self.vae, self.held_out, self.device)

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Things count more than floors. Errors say nothing of what a critic mends: then it is the last."""
        if self.config.adversarial_weight:
            return True
        return best is None or scores["objects_psnr"] > best["objects_psnr"]


@torch.no_grad()
def reconstruction_quality(vae: VideoVae, dataset: VideoDataset, device: torch.device) -> dict[str, float]:
    """PSNR in dB over films: `psnr` of all pixels, `objects_psnr` of those with saturation above half."""
    error = error_objects = 0.0
    pixels = objects = 0
    for index in range(len(dataset)):
        x = to_model_input(dataset.frames(index)[None], device)
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
    vae: VideoVae, dataset: VideoDataset, device: torch.device, *, limit: int = 256
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of the posterior means, over the first `limit` films."""
    means = [
        vae.encode_posterior(to_model_input(dataset.frames(i)[None], device)).mean.cpu()
        for i in range(min(limit, len(dataset)))
    ]
    values = torch.cat(means).double().transpose(0, 1).flatten(1)
    return tuple(values.mean(1).tolist()), tuple(values.std(1).clamp(min=1e-3).tolist())
