"""The video autoencoder: films to latents and back, whole or as streams.

Films are `b c f h w` in [-1, 1], latents `b z f h w`, normalised channel by channel to about unit
variance with the constants of the config. Time is causal: the first frame is a latent frame of its own,
each later latent frame stands for the next group of `stride.temporal` frames, and nothing sees a later
frame. That is why a film can be coded piece by piece, with the past handed in and out as a `VaeCache`,
and give the same numbers as in one piece.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.module_init import skip_init
from kinema.models.vae.layers import CausalCache, Conv1x1
from kinema.models.vae.patchified import PatchifiedDecoder, PatchifiedEncoder
from kinema.models.vae.static_frames import encode_static_tail
from kinema.models.vae.vae_config import VaeConfig
from kinema.models.vae.wan import WanDecoder, WanEncoder
from kinema.shapes import LatentShape, Stride, VideoShape

# The widest activation of one piece of a film, in bytes. Several of that size are alive at a time.
_CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class VaeCache:
    """What the layers of the encoder or of the decoder remember of the frames so far."""

    past_frames: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """A Gaussian for each latent number, before normalisation."""

    mean: Float[Tensor, "b z f h w"]
    log_variance: Float[Tensor, "b z f h w"]
    """Within [-30, 20]."""

    def sample(self, noise: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b z f h w"]:
        """mean + σ · noise."""
        return self.mean + noise * torch.exp(0.5 * self.log_variance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """A film through the autoencoder, for training."""

    frames: Float[Tensor, "b c f h w"]
    """Not clamped."""
    posterior: Posterior


class VideoVae(nn.Module):
    """A causal video autoencoder in any of the layouts of `VaeConfig`.

    In the Wan layouts the names and shapes in `state_dict()` are those of the diffusers folder layout.
    Gradients flow through every method; the fastest CPU routes are taken only under `torch.no_grad()` or
    `torch.inference_mode()`. They prepare weights anew in each call, so results always follow the parameters.
    """

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        if config.temporal_patch_size > 1:
            self.encoder: nn.Module = PatchifiedEncoder(config)
            self.decoder: nn.Module = PatchifiedDecoder(config)
        else:
            self.encoder = WanEncoder(config)
            self.decoder = WanDecoder(config)
            self.quant_conv = Conv1x1(2 * config.z_dim, 2 * config.z_dim)
            self.post_quant_conv = Conv1x1(config.z_dim, config.z_dim)
        self.reset_latent_statistics()

    def reset_latent_statistics(self, device: torch.device | None = None) -> None:
        """Set the mean and standard deviation of the latents from the config; no weights file has them."""
        for name in ("latents_mean", "latents_std"):
            values = torch.tensor(getattr(self.config, name), device=device).view(-1, 1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    @property
    def stride(self) -> Stride:
        """How many video pixels one latent pixel stands for."""
        return self.config.stride

    def normalize(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b z f h w"]:
        """(latents − mean) / std, channel by channel."""
        return (latents - self.latents_mean) / self.latents_std

    def denormalize(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b z f h w"]:
        """latents · std + mean: the inverse of `normalize`."""
        return latents * self.latents_std + self.latents_mean

    def with_latent_statistics(self, mean: Sequence[float], std: Sequence[float]) -> VideoVae:
        """The same parameters (shared, not copied) under other normalising constants."""
        config = dataclasses.replace(self.config, latents_mean=tuple(mean), latents_std=tuple(std))
        with skip_init():
            other = VideoVae(config)
        other.load_state_dict(self.state_dict(keep_vars=True), assign=True)
        other.reset_latent_statistics()
        other.latents_mean = other.latents_mean.to(self.latents_mean)
        other.latents_std = other.latents_std.to(self.latents_std)
        return other.train(self.training)

    def forward(
        self, frames: Float[Tensor, "b c f h w"], noise: Float[Tensor, "b z f2 h2 w2"]
    ) -> Reconstruction:
        """A training pass: encode, sample with standard normal `noise` of the latents' shape, decode.

        Raises:
            UserError: the film does not divide evenly into latents.
        """
        posterior = self.encode_posterior(frames)
        return Reconstruction(frames=self.decode_raw(posterior.sample(noise)), posterior=posterior)

    # ---- encoding

    def encode(self, frames: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b z f2 h2 w2"]:
        """The normalised mean of the posterior of whole films in [-1, 1].

        Raises:
            UserError: the film does not divide evenly into latents.
        """
        return self.normalize(self.encode_posterior(frames).mean)

    def encode_posterior(self, frames: Float[Tensor, "b c f h w"]) -> Posterior:
        """The posterior of whole films in [-1, 1].

        Raises:
            UserError: the film does not divide evenly into latents.
        """
        self._check_frames(frames)
        shape = VideoShape(frames=frames.shape[2], height=frames.shape[3], width=frames.shape[4])
        latent = LatentShape.of(shape, self.stride)
        groups = self._groups_per_chunk(frames, latent.height * latent.width, self.config.base_dim)
        moments: list[Tensor] = []
        cache: VaeCache | None = None
        # The first piece holds the first frame, which is a group of its own.
        first = 1 + (groups - 1) * self.stride.temporal
        later = frames[:, :, first:].split(groups * self.stride.temporal, dim=2)
        for piece in (frames[:, :, :first], *later):
            if piece.shape[2]:
                piece_moments, cache = self._encode_moments(piece, cache, keep=groups < latent.frames)
                moments.append(piece_moments)
        return _posterior(torch.cat(moments, dim=2))

    def encode_zero_padded(
        self, prefix: Float[Tensor, "b c k h w"], num_frames: int
    ) -> Float[Tensor, "b z f2 h2 w2"]:
        """`encode` of a film of `num_frames` frames: those given, then zeros, as image-to-video conditions are.

        The Wan layouts do the work only until the zeros have nothing new to say; the numbers are those of
        `encode`.

        Raises:
            UserError: the film does not divide evenly into latents, or is shorter than what is given.
        """
        self._check_frames(prefix)
        b, c, k, h, w = prefix.shape
        latent = LatentShape.of(VideoShape(frames=num_frames, height=h, width=w), self.stride)
        if not 0 < k <= num_frames:
            raise UserError(f"{k} frames are given for a film of {num_frames}; give 1 to {num_frames}")
        if not isinstance(self.encoder, WanEncoder):
            return self.encode(torch.cat([prefix, prefix.new_zeros(b, c, num_frames - k, h, w)], dim=2))
        film = torch.cat([prefix, prefix.new_zeros(b, c, min(1, num_frames - k), h, w)], dim=2)
        groups = self._groups_per_chunk(film, latent.height * latent.width, self.config.base_dim)
        piece = groups * self.stride.temporal
        moments = encode_static_tail(self.encoder, self._patchify(film, start=True), num_frames, piece)
        moments = self.quant_conv(moments).permute(0, 4, 1, 2, 3)
        return self.normalize(_posterior(moments).mean)

    def encode_chunk(
        self, frames: Float[Tensor, "b c f h w"], cache: VaeCache | None
    ) -> tuple[Float[Tensor, "b z f2 h2 w2"], VaeCache]:
        """The latents of the next frames of a film.

        Args:
            frames: one more than a multiple of `stride.temporal` at the start of a film, a multiple later.
            cache: what the last call returned; None at the start.

        Raises:
            UserError: the frame count or a side does not divide evenly.
        """
        self._check_frames(frames)
        extra = 0 if cache is None else 1
        count = frames.shape[2] + extra
        LatentShape.of(VideoShape(frames=count, height=frames.shape[3], width=frames.shape[4]), self.stride)
        if count < 2 and extra:
            raise UserError("a later chunk of a film is empty; give at least one group of frames")
        moments, cache = self._encode_moments(frames, cache, keep=True)
        return self.normalize(_posterior(moments).mean), cache

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Latents as the frames come in; memory doesn't grow with the film.

        Takes films of `b c f h w` with any number of frames in each, gives latents of `b z f h w`.

        Raises:
            UserError: frames are left over at the end that don't make a whole group.
        """
        cache: VaeCache | None = None
        waiting: Tensor | None = None
        for chunk in chunks:
            waiting = chunk if waiting is None else torch.cat([waiting, chunk], dim=2)
            first = 1 if cache is None else 0
            ready = (waiting.shape[2] - first) // self.stride.temporal * self.stride.temporal + first
            if ready > 0:
                latents, cache = self.encode_chunk(waiting[:, :, :ready], cache)
                waiting = waiting[:, :, ready:]
                yield latents
        if waiting is not None and waiting.shape[2]:
            raise UserError(
                f"the film ends {waiting.shape[2]} frames into a group; "
                f"give a multiple of {self.stride.temporal} frames plus 1"
            )

    def _encode_moments(
        self, frames: Tensor, cache: VaeCache | None, *, keep: bool
    ) -> tuple[Float[Tensor, "b z2 f2 h2 w2"], VaeCache]:
        tape = CausalCache(None if cache is None else cache.past_frames, keep=keep)
        y = self.encoder(self._patchify(frames, start=tape.is_start), tape)
        if self.config.temporal_patch_size == 1:
            y = self.quant_conv(y)
        return y.permute(0, 4, 1, 2, 3), VaeCache(past_frames=tape.updated())

    # ---- decoding

    def decode(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b c f2 h2 w2"]:
        """Whole films, clamped to [-1, 1], from normalised latents.

        Raises:
            UserError: the latents have another number of channels or are empty.
        """
        self._check_latents(latents)
        return self.decode_raw(self.denormalize(latents)).clamp(-1, 1)

    def decode_raw(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b c f2 h2 w2"]:
        """Whole films, not clamped, from latents before normalisation: the decoder as training sees it."""
        self._check_latents(latents)
        frames: list[Tensor] = []
        cache: VaeCache | None = None
        groups = self._groups_per_chunk(latents, latents.shape[3] * latents.shape[4], self.config.decoder_dim)
        for piece in latents.split(groups, dim=2):
            piece_frames, cache = self._decode_frames(piece, cache, keep=groups < latents.shape[2])
            frames.append(piece_frames)
        return torch.cat(frames, dim=2)

    def decode_chunk(
        self, latents: Float[Tensor, "b z f h w"], cache: VaeCache | None, *, last: bool = False
    ) -> tuple[Float[Tensor, "b c f2 h2 w2"], VaeCache]:
        """The next frames of a film, clamped to [-1, 1].

        Args:
            latents: any number of the next latent frames, normalised.
            cache: what the last call returned; None at the start.
            last: no more follow, so nothing is kept for them: the cache returned is empty.

        Raises:
            UserError: the latents have another number of channels or are empty.
        """
        self._check_latents(latents)
        frames, cache = self._decode_frames(self.denormalize(latents), cache, keep=not last)
        return frames.clamp(-1, 1), cache

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Frames as the latents come in; memory doesn't grow with the film.

        Takes latents of `b z f h w` with any number of frames in each, gives films of `b c f h w`.
        """
        cache: VaeCache | None = None
        for chunk in chunks:
            frames, cache = self.decode_chunk(chunk, cache)
            yield frames

    def _decode_frames(
        self, latents: Tensor, cache: VaeCache | None, *, keep: bool
    ) -> tuple[Float[Tensor, "b c f2 h2 w2"], VaeCache]:
        tape = CausalCache(None if cache is None else cache.past_frames, keep=keep)
        z = latents.permute(0, 2, 3, 4, 1)
        if self.config.temporal_patch_size == 1:
            z = self.post_quant_conv(z)
        return self._unpatchify(self.decoder(z, tape), start=tape.is_start), VaeCache(
            past_frames=tape.updated()
        )

    # ---- pixels and channels

    def _patchify(self, frames: Float[Tensor, "b c f h w"], *, start: bool) -> Float[Tensor, "b f2 h2 w2 c2"]:
        """Groups of frames and squares of pixels into channels, ordered time, c, column, row."""
        fold, patch = self.config.temporal_patch_size, self.config.patch_size
        if start and fold > 1:
            frames = torch.cat([frames[:, :, :1].expand(-1, -1, fold - 1, -1, -1), frames], dim=2)
        b, c, f, h, w = frames.shape
        cells = frames.reshape(b, c, f // fold, fold, h // patch, patch, w // patch, patch)
        return cells.permute(0, 2, 4, 6, 3, 1, 7, 5).reshape(b, f // fold, h // patch, w // patch, -1)

    def _unpatchify(self, x: Float[Tensor, "b f h w c"], *, start: bool) -> Float[Tensor, "b c2 f2 h2 w2"]:
        fold, patch = self.config.temporal_patch_size, self.config.patch_size
        b, f, h, w, _ = x.shape
        cells = x.reshape(b, f, h, w, fold, -1, patch, patch).permute(0, 5, 1, 4, 2, 7, 3, 6)
        frames = cells.reshape(b, -1, f * fold, h * patch, w * patch)
        return frames[:, :, fold - 1 :] if start else frames

    # ---- sizes

    def _groups_per_chunk(self, video: Tensor, latent_pixels: int, channels: int) -> int:
        """How many latent frames to code in one piece: no activation exceeds `_CHUNK_BYTES`.

        Under autograd all activations stay alive anyway, and one piece is fastest.
        """
        if torch.is_grad_enabled():
            return video.shape[2]
        config = self.config
        pixels = latent_pixels * (self.stride.spatial // config.patch_size) ** 2
        frames = self.stride.temporal // config.temporal_patch_size
        return max(1, _CHUNK_BYTES // (video.shape[0] * pixels * frames * channels * video.element_size()))

    def _check_frames(self, frames: Tensor) -> None:
        if frames.ndim != 5 or frames.shape[1] != self.config.channels or not frames.is_floating_point():
            raise UserError(
                f"the autoencoder takes floating-point films of batch x {self.config.channels} x frames x "
                f"height x width in [-1, 1], not {frames.dtype} of {tuple(frames.shape)}"
            )

    def _check_latents(self, latents: Tensor) -> None:
        if latents.ndim != 5 or latents.shape[1] != self.config.z_dim or 0 in latents.shape:
            raise UserError(
                f"the autoencoder takes latents of batch x {self.config.z_dim} x frames x height x width, "
                f"none of them 0, not {tuple(latents.shape)}"
            )


def _posterior(moments: Float[Tensor, "b z2 f h w"]) -> Posterior:
    mean, log_variance = moments.chunk(2, dim=1)
    return Posterior(mean=mean, log_variance=log_variance.clamp(-30, 20))
