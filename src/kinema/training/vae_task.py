"""Training of the autoencoder: small crops around objects, and whole frames now and then.

A convolutional autoencoder learns as much from a crop around an object as from a whole frame of empty
floor, at a quarter of the cost. On lab videos of 64 x 64 and with equal CPU seconds, crops of 32 reached
29.4 dB and whole frames 27.8 dB (object pixels: 20.3 against 18.5 dB). Whole frames teach it the image
borders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.data import rng
from kinema.data.cropping import DeviceVideoCache, crop_with_latents, random_crop, to_model_input
from kinema.data.dataset import VideoDataset
from kinema.errors import UserError
from kinema.models.flops import vae_flops
from kinema.models.precision import Precision, autocast, compile_modules
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.patchified import PatchifiedBlock
from kinema.models.vae.vae_config import VaeConfig
from kinema.shapes import LatentShape, VideoShape
from kinema.training.discriminator import WINDOW_FRAMES, PatchDiscriminator, adversarial_loss
from kinema.training.loop import LoopConfig, Loss, StepCost
from kinema.training.optimizer import OptimizerConfig

MOTION_THRESHOLD = 0.3
"""A pixel moves if a channel of it changes by more than this, of 2, from one frame to the next."""
DISCRIMINATOR = "discriminator"
"""Name of the discriminator as a submodule of the autoencoder during training."""


@dataclass(frozen=True, kw_only=True)
class VaeTrainConfig:
    """Settings of autoencoder training.

    Attributes:
        seed: of the initial weights and of all random numbers.
        batch_size: videos in a step.
        crop_size: side of the square crops in pixels, a multiple of the spatial stride; 0 trains on whole
            frames.
        full_frame_every: every so many steps the batch has whole frames instead of crops.
        object_crop_p: share of the crops around an object pixel (`kinema.data.cropping`).
        mse_weight: of the squared error, relative to the absolute error. With absolute error alone small
            objects vanish in the first hundreds of steps.
        gradient_loss_weight: of the error of differences between neighbouring pixels.
        motion_loss_weight: additional weight of pixels that change from one frame to the next, and of those
            within two pixels of them.
        adversarial_weight: norm of the discriminator's gradient relative to that of the reconstruction error
            (`kinema.training.discriminator`). It rises linearly over the first tenth of the steps. Meant for
            fine-tuning an autoencoder that is sharp already: 0.25 made `world` sharper by a tenth at the
            same PSNR, but its ghosts as well.
        kl_weight: of the Kullback-Leibler divergence of the latents from the standard normal.
        cache_on_device: keep the videos on the device and crop them there, with random numbers from (seed,
            step), because a CPU can't crop as fast as a GPU trains. Else videos are read from the dataset
            and cropped with random numbers from (seed, step, video).
        precision: of matrix products and activations.
        compile_blocks: compile the blocks of the patchified layout: half a minute, then twice as fast on
            two cores with AMX.
        decoder_only: freeze the encoder, so that existing latents stay valid.
        resampled_p: share of the steps on resampled latents (`kinema.training.resampled_latents`); needs
            `decoder_only` and a transformer, as in the full recipe.
        model: the autoencoder.
        loop: steps, validation and optimizers.
    """

    seed: int = 0
    batch_size: int = 8
    crop_size: int = 32
    full_frame_every: int = 10
    object_crop_p: float = 0.8
    mse_weight: float = 4.0
    gradient_loss_weight: float = 0.5
    motion_loss_weight: float = 0.0
    adversarial_weight: float = 0.0
    kl_weight: float = 1e-4
    cache_on_device: bool = False
    precision: Precision = "auto"
    compile_blocks: bool = False
    decoder_only: bool = False
    resampled_p: float = 0.0
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
        config: settings.
        dataset: videos of one shape to train on.
        held_out: videos to validate on.
        device: of training.
        init_weights: to start from.
        resampled_latents: normalised resampled latents of the first videos of `dataset`.

    Raises:
        UserError: `config.resampled_p` is set without resampled latents or with a trained encoder, or the
            videos are too short for the discriminator.
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
                "resampled_p needs decoder_only and latents that a transformer resampled; "
                "set resampled_p=0, or train the decoder with `kinema train full`"
            )
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.vae = VideoVae(config.model).to(device)
            if init_weights is not None:
                self.vae.load_state_dict(dict(init_weights))
            if config.adversarial_weight:
                if dataset.frames(0).shape[0] <= WINDOW_FRAMES:
                    raise UserError(
                        f"the discriminator scores {WINDOW_FRAMES} frames at a time and needs longer videos; "
                        "set adversarial_weight=0, or train on longer videos"
                    )
                # As a submodule it is trained, saved and resumed with the autoencoder.
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

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors of the module."""
        return self.vae.state_dict()

    def muon_parameters(self) -> Iterable[Tensor]:
        """Yield the layers inside the stages; AdamW trains the first and last layers."""
        for name, parameter in self.vae.named_parameters():
            if parameter.requires_grad and parameter.ndim >= 2 and ".stages." in f".{name}":
                yield parameter

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Return the discriminator, which runs separately; the autoencoder has few parameters."""
        return (self.vae.get_submodule(DISCRIMINATOR),) if self.config.adversarial_weight else ()

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Return the methods that validation calls."""
        return ("encode", "decode")

    def step_cost(self, step: int) -> StepCost:
        """Return the cost of a step on crops or on whole frames."""
        frames, height, width, _ = self.dataset.frames(0).shape
        if not self._is_full_frame_step(step):
            height, width = min(height, self.config.crop_size), min(width, self.config.crop_size)
        shape = LatentShape.of(VideoShape(frames=frames, height=height, width=width), self.vae.stride)
        batch = self.config.batch_size
        flops = sum(
            vae_flops(self.config.model, shape, encoder=encoder, all_frames=True) for encoder in (True, False)
        )
        return StepCost(samples=batch, flops=3 * batch * flops)

    def _is_full_frame_step(self, step: int) -> bool:
        config, (_, height, width, _) = self.config, self.dataset.frames(0).shape
        return (
            not config.crop_size
            or step % config.full_frame_every == 0
            or min(height, width) <= config.crop_size
        )

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the reconstruction loss of crops or whole frames, or of resampled latents."""
        config = self.config
        if config.resampled_p and rng.uniform(config.seed, "worn", step) < config.resampled_p:
            return self._resampled_loss(step, microbatch, num_microbatches)
        indices = self._batch_indices(step, microbatch, num_microbatches, len(self.dataset))
        x = self._load_batch(step, microbatch, num_microbatches, indices)
        shape = LatentShape.of(
            VideoShape(frames=x.shape[2], height=x.shape[3], width=x.shape[4]), self.vae.stride
        )
        size = (self.vae.config.z_dim, shape.frames, shape.height, shape.width)
        if self.device_cache is None:
            noise = torch.stack([rng.normal(size, config.seed, "vae", step, i) for i in indices])
        else:
            generator = torch.Generator(self.device)
            generator.manual_seed(rng.derive_seed(config.seed, "vae", step))
            whole_batch = torch.randn((config.batch_size, *size), generator=generator, device=self.device)
            noise = whole_batch[microbatch::num_microbatches]
        with autocast(config.precision, self.device):
            output = self.vae(x, noise.to(self.device))
        value, logs = self._decoder_loss(output.frames, x, step, indices)
        mean, log_variance = output.posterior.mean.float(), output.posterior.log_variance.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        share = len(indices) / config.batch_size
        logs["kl"] = kl.detach()
        return Loss(
            value=(value + config.kl_weight * kl) * share,
            logs={name: number * share for name, number in logs.items()},
        )

    def _resampled_loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the loss of decoding resampled latents to the original videos."""
        assert self.resampled_latents is not None
        config = self.config
        indices = self._batch_indices(step, microbatch, num_microbatches, len(self.resampled_latents))
        pixels, latents = [], []
        for index in indices:
            video, resampled = self.dataset.frames(index), self.resampled_latents[index]
            if not self._is_full_frame_step(step):
                video, resampled = crop_with_latents(
                    video, resampled, config.crop_size, config.object_crop_p, self._crop_rng(step, index)
                )
            pixels.append(video)
            latents.append(resampled)
        x = to_model_input(np.stack(pixels), self.device)
        with autocast(config.precision, self.device):
            decoded = self.vae.decode_raw(self.vae.denormalize(torch.stack(latents).to(self.device)))
        value, logs = self._decoder_loss(decoded, x, step, indices)
        share = len(indices) / config.batch_size
        return Loss(
            value=value * share,
            logs={f"resampled_{name}": number * share for name, number in logs.items()},
        )

    def _decoder_loss(
        self, reconstruction: Tensor, target: Tensor, step: int, indices: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the videos `indices` and the values to log."""
        config, reconstruction = self.config, reconstruction.float()
        value, l1 = self._reconstruction_loss(reconstruction, target)
        logs = {"l1": l1.detach()}
        if not config.adversarial_weight:
            return value, logs
        discriminator = self.vae.get_submodule(DISCRIMINATOR)
        assert isinstance(discriminator, PatchDiscriminator)
        (gradient,) = torch.autograd.grad(value, reconstruction, retain_graph=True)
        noise = torch.stack(
            [rng.normal(reconstruction.shape[1:], config.seed, "critic", step, i) for i in indices]
        )
        with autocast(config.precision, self.device):
            terms = adversarial_loss(
                discriminator, reconstruction, target, noise.to(reconstruction), first_frame=step % 2
            )
        logs["discriminator"] = terms.discriminator_loss.detach()
        # Scaled for each video separately, so that microbatches add up to the step.
        own_norm = terms.generator_gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        scale = gradient.flatten(1).norm(dim=1) / own_norm
        scale = scale * config.adversarial_weight * min(1.0, step / (0.1 * config.loop.steps))
        # This value has the scaled generator gradient; the discriminator gets gradients from its own loss
        # only.
        adversarial = (scale * (reconstruction * terms.generator_gradient).flatten(1).sum(1)).sum()
        return value + adversarial + terms.discriminator_loss, logs

    def _reconstruction_loss(self, reconstruction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted reconstruction loss, and its absolute error alone."""
        config, error = self.config, reconstruction.float() - target
        l1 = error.abs().mean()
        gradient_error = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        weighted = l1 + config.mse_weight * error.square().mean()
        if config.motion_loss_weight:
            moving_error = error * _near_moving_pixels(target)
            moving = moving_error.abs().mean() + config.mse_weight * moving_error.square().mean()
            weighted = weighted + config.motion_loss_weight * moving
        return weighted + config.gradient_loss_weight * gradient_error, l1

    def _batch_indices(self, step: int, microbatch: int, num_microbatches: int, num_videos: int) -> list[int]:
        """Return the videos of a microbatch, of `num_videos`."""
        batch_size = self.config.batch_size
        batch = rng.batch_indices(step, batch_size, num_videos, self.config.seed)
        indices = batch[microbatch::num_microbatches]
        if not indices:
            raise UserError(
                f"a batch of {batch_size} videos can't be split into {num_microbatches} parts; "
                "raise batch_size or lower gradient_accumulation_steps"
            )
        return indices

    def _load_batch(self, step: int, microbatch: int, num_microbatches: int, indices: list[int]) -> Tensor:
        """Return crops or whole frames in [-1, 1]."""
        config, full_frames = self.config, self._is_full_frame_step(step)
        if self.device_cache is not None:
            if full_frames:
                return self.device_cache.full_videos(indices)
            generator = rng.generator(config.seed, "crops", step)
            uniforms = torch.rand(config.batch_size, 4, generator=generator)[microbatch::num_microbatches]
            return self.device_cache.crops(indices, uniforms, config.crop_size, config.object_crop_p)
        videos = []
        for index in indices:
            frames = self.dataset.frames(index)
            if not full_frames:
                crop_rng = self._crop_rng(step, index)
                frames = random_crop(frames, config.crop_size, config.object_crop_p, crop_rng)
            videos.append(frames)
        return to_model_input(np.stack(videos), self.device)

    def _crop_rng(self, step: int, index: int) -> np.random.Generator:
        return np.random.default_rng(rng.derive_seed(self.config.seed, "crop", step, index))

    def validate(self) -> Mapping[str, float]:
        """Return `reconstruction_quality` on the held-out videos."""
        return reconstruction_quality(self.vae, self.held_out, self.device)

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Compare by the PSNR of object pixels; with a discriminator the last checkpoint is the best.

        PSNR does not measure the sharpness that adversarial training improves.
        """
        if self.config.adversarial_weight:
            return True
        return best is None or scores["objects_psnr"] > best["objects_psnr"]


def _moving_pixels(video: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b 1 f h w"]:
    """Return 1 for pixels that differ from the previous or the next frame by `MOTION_THRESHOLD`, else 0."""
    if video.shape[2] < 2:
        return torch.zeros_like(video[:, :1])
    change = (video.diff(dim=2).abs().amax(1, keepdim=True) > MOTION_THRESHOLD).to(video.dtype)
    return torch.maximum(F.pad(change, (0, 0, 0, 0, 0, 1)), F.pad(change, (0, 0, 0, 0, 1, 0)))


def _near_moving_pixels(video: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b 1 f h w"]:
    """Return 1 within two pixels of moving pixels, else 0."""
    return F.max_pool3d(_moving_pixels(video), (1, 5, 5), stride=1, padding=(0, 2, 2))


@torch.no_grad()
def reconstruction_quality(vae: VideoVae, dataset: VideoDataset, device: torch.device) -> dict[str, float]:
    """Return PSNR in dB on the held-out videos.

    `psnr` is of all pixels, `objects_psnr` of those with a saturation above one half, and `moving_psnr` of
    those that change from one frame to the next.
    """
    error = {"psnr": 0.0, "objects_psnr": 0.0, "moving_psnr": 0.0}
    pixels = dict.fromkeys(error, 0)
    for index in range(len(dataset)):
        x = to_model_input(dataset.frames(index)[None], device)
        squared = ((vae.decode(vae.encode(x)) - x) / 2).square()
        masks = {
            "psnr": torch.ones_like(x, dtype=torch.bool),
            "objects_psnr": (x.amax(1, keepdim=True) - x.amin(1, keepdim=True) > 0.5).expand_as(x),
            "moving_psnr": (_moving_pixels(x) > 0).expand_as(x),
        }
        for name, mask in masks.items():
            error[name] += squared[mask].sum().item()
            pixels[name] += int(mask.sum())
    return {name: -10 * math.log10(max(error[name] / max(pixels[name], 1), 1e-10)) for name in error}


@torch.no_grad()
def latent_statistics(
    vae: VideoVae, dataset: VideoDataset, device: torch.device, *, limit: int = 256
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each latent channel.

    Args:
        vae: encodes the videos; the posterior means are measured.
        dataset: its first videos are measured.
        device: of the encoder.
        limit: number of videos.
    """
    means = [
        vae.encode_posterior(to_model_input(dataset.frames(i)[None], device)).mean.cpu()
        for i in range(min(limit, len(dataset)))
    ]
    values = torch.cat(means).double().transpose(0, 1).flatten(1)
    return tuple(values.mean(1).tolist()), tuple(values.std(1).clamp(min=1e-3).tolist())
