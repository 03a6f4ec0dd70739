"""The causal video autoencoder: videos to latents and back, whole, in chunks or as streams.

Videos are `b c f h w` in [-1, 1]. Latents are `b z f h w`, normalised per channel to about unit variance with
the statistics in the config. The first frame becomes a latent frame of its own, each later latent frame
encodes the next group of `stride.temporal` frames, and no layer reads later frames. A video can therefore be
encoded and decoded in chunks, with the past passed in and out as a `VaeCache`, with the same result.
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
from kinema.models.vae.layers import CausalCache, Conv1x1, RowSharding
from kinema.models.vae.patchified import PatchifiedDecoder, PatchifiedEncoder
from kinema.models.vae.static_frames import encode_static_tail
from kinema.models.vae.vae_config import VaeConfig
from kinema.models.vae.wan import WanDecoder, WanEncoder
from kinema.shapes import LatentShape, Stride, VideoShape

# Largest activation of one chunk of a video, in bytes. Several of that size exist at a time.
_CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class VaeCache:
    """The past frames of every layer of the encoder or decoder, passed from one chunk to the next."""

    past_frames: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """A Gaussian for each latent value, before normalisation."""

    mean: Float[Tensor, "b z f h w"]
    log_variance: Float[Tensor, "b z f h w"]
    """Within [-30, 20]."""

    def sample(self, noise: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b z f h w"]:
        """mean + σ · noise."""
        return self.mean + noise * torch.exp(0.5 * self.log_variance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """A reconstructed video and its posterior, for training."""

    frames: Float[Tensor, "b c f h w"]
    """Not clamped."""
    posterior: Posterior


class VideoVae(nn.Module):
    """A causal video autoencoder in any of the layouts of `VaeConfig`.

    In the Wan layouts the names and shapes in `state_dict()` are those of the diffusers folder layout.
    All methods are differentiable. The fastest CPU kernels run only under `torch.no_grad()` or
    `torch.inference_mode()`; they transform the weights in each call, so results follow the parameters.
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
        """Video frames and pixels per latent frame and pixel."""
        return self.config.stride

    def normalize(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b z f h w"]:
        """(latents − mean) / std, per channel."""
        return (latents - self.latents_mean) / self.latents_std

    def denormalize(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b z f h w"]:
        """latents · std + mean, the inverse of `normalize`."""
        return latents * self.latents_std + self.latents_mean

    def with_latent_statistics(self, mean: Sequence[float], std: Sequence[float]) -> VideoVae:
        """An autoencoder with the same parameters (shared, not copied) and other latent statistics."""
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
        """Encode, sample the posterior with standard normal `noise`, decode: a training step.

        Raises:
            UserError: the video's shape does not fit the strides.
        """
        posterior = self.encode_posterior(frames)
        return Reconstruction(frames=self.decode_raw(posterior.sample(noise)), posterior=posterior)

    # ---- encoding

    def encode(self, frames: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b z f2 h2 w2"]:
        """The normalised posterior mean of complete videos in [-1, 1].

        Raises:
            UserError: the video's shape does not fit the strides.
        """
        return self.normalize(self.encode_posterior(frames).mean)

    def encode_posterior(self, frames: Float[Tensor, "b c f h w"]) -> Posterior:
        """The posterior of complete videos in [-1, 1].

        Raises:
            UserError: the video's shape does not fit the strides.
        """
        self._check_frames(frames)
        shape = VideoShape(frames=frames.shape[2], height=frames.shape[3], width=frames.shape[4])
        latent = LatentShape.of(shape, self.stride)
        groups = self._groups_per_chunk(frames, latent.height * latent.width, self.config.base_dim)
        moments: list[Tensor] = []
        cache: VaeCache | None = None
        # The first chunk contains the first frame, which is a group of its own.
        first = 1 + (groups - 1) * self.stride.temporal
        later = frames[:, :, first:].split(groups * self.stride.temporal, dim=2)
        for chunk in (frames[:, :, :first], *later):
            if chunk.shape[2]:
                chunk_moments, cache = self._encode_moments(chunk, cache, keep=groups < latent.frames)
                moments.append(chunk_moments)
        return _posterior(torch.cat(moments, dim=2))

    def encode_zero_padded(
        self, prefix: Float[Tensor, "b c k h w"], num_frames: int
    ) -> Float[Tensor, "b z f2 h2 w2"]:
        """`encode` of `prefix` followed by zeros up to `num_frames` frames: an image-to-video condition.

        The Wan encoders stop computing once all layers repeat their output; the result equals that of
        `encode`.

        Args:
            prefix: the first frames, in [-1, 1].
            num_frames: frames of the video.

        Raises:
            UserError: the video's shape does not fit the strides, or the video is shorter than the prefix.
        """
        self._check_frames(prefix)
        b, c, k, h, w = prefix.shape
        latent = LatentShape.of(VideoShape(frames=num_frames, height=h, width=w), self.stride)
        if not 0 < k <= num_frames:
            raise UserError(f"the prefix has {k} frames and the video {num_frames}; give 1 to {num_frames}")
        if not isinstance(self.encoder, WanEncoder):
            return self.encode(torch.cat([prefix, prefix.new_zeros(b, c, num_frames - k, h, w)], dim=2))
        video = torch.cat([prefix, prefix.new_zeros(b, c, min(1, num_frames - k), h, w)], dim=2)
        groups = self._groups_per_chunk(video, latent.height * latent.width, self.config.base_dim)
        chunk_frames = groups * self.stride.temporal
        moments = encode_static_tail(
            self.encoder, self._patchify(video, start=True), num_frames, chunk_frames
        )
        moments = self.quant_conv(moments).permute(0, 4, 1, 2, 3)
        return self.normalize(_posterior(moments).mean)

    def encode_chunk(
        self, frames: Float[Tensor, "b c f h w"], cache: VaeCache | None
    ) -> tuple[Float[Tensor, "b z f2 h2 w2"], VaeCache]:
        """The latents of the next frames of a video.

        Args:
            frames: a multiple of `stride.temporal`, plus 1 at the start of a video.
            cache: the cache that the last call returned; None at the start.

        Raises:
            UserError: the number of frames or a side does not fit the strides.
        """
        self._check_frames(frames)
        extra = 0 if cache is None else 1
        count = frames.shape[2] + extra
        LatentShape.of(VideoShape(frames=count, height=frames.shape[3], width=frames.shape[4]), self.stride)
        if count < 2 and extra:
            raise UserError("a later chunk of a video is empty; give at least one group of frames")
        moments, cache = self._encode_moments(frames, cache, keep=True)
        return self.normalize(_posterior(moments).mean), cache

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Latents `b z f h w` of a stream of frames; memory does not grow with the length.

        Args:
            chunks: videos `b c f h w` with any number of frames each.

        Raises:
            UserError: the frames at the end do not fill a group.
        """
        cache: VaeCache | None = None
        pending: Tensor | None = None
        for chunk in chunks:
            pending = chunk if pending is None else torch.cat([pending, chunk], dim=2)
            first = 1 if cache is None else 0
            ready = (pending.shape[2] - first) // self.stride.temporal * self.stride.temporal + first
            if ready > 0:
                latents, cache = self.encode_chunk(pending[:, :, :ready], cache)
                pending = pending[:, :, ready:]
                yield latents
        if pending is not None and pending.shape[2]:
            raise UserError(
                f"the last group of the video has only {pending.shape[2]} frames; "
                f"give a multiple of {self.stride.temporal} frames plus 1"
            )

    def _encode_moments(
        self, frames: Tensor, cache: VaeCache | None, *, keep: bool
    ) -> tuple[Float[Tensor, "b z2 f2 h2 w2"], VaeCache]:
        causal_cache = CausalCache(None if cache is None else cache.past_frames, keep=keep)
        y = self.encoder(self._patchify(frames, start=causal_cache.is_start), causal_cache)
        if self.config.temporal_patch_size == 1:
            y = self.quant_conv(y)
        return y.permute(0, 4, 1, 2, 3), VaeCache(past_frames=causal_cache.updated())

    # ---- decoding

    def decode(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b c f2 h2 w2"]:
        """Complete videos, clamped to [-1, 1], from normalised latents.

        Raises:
            UserError: the latents have another number of channels or are empty.
        """
        self._check_latents(latents)
        return self.decode_raw(self.denormalize(latents)).clamp(-1, 1)

    def decode_raw(self, latents: Float[Tensor, "b z f h w"]) -> Float[Tensor, "b c f2 h2 w2"]:
        """Complete videos, not clamped, from latents before normalisation, as in training."""
        self._check_latents(latents)
        frames: list[Tensor] = []
        cache: VaeCache | None = None
        groups = self._groups_per_chunk(latents, latents.shape[3] * latents.shape[4], self.config.decoder_dim)
        for chunk in latents.split(groups, dim=2):
            chunk_frames, cache = self._decode_frames(chunk, cache, keep=groups < latents.shape[2])
            frames.append(chunk_frames)
        return torch.cat(frames, dim=2)

    def decode_chunk(
        self,
        latents: Float[Tensor, "b z f h w"],
        cache: VaeCache | None,
        *,
        last: bool = False,
        rows: RowSharding | None = None,
    ) -> tuple[Float[Tensor, "b c f2 h2 w2"], VaeCache]:
        """The next frames of a video, clamped to [-1, 1].

        Args:
            latents: any number of the next latent frames, normalised.
            cache: the cache that the last call returned; None at the start.
            last: whether this is the last chunk; then the returned cache is empty.
            rows: the rows of this process, where several decode one video: all pass the same latents, and
                each gets its own rows of the frames.

        Raises:
            UserError: the latents have another number of channels or are empty.
        """
        self._check_latents(latents)
        frames, cache = self._decode_frames(self.denormalize(latents), cache, keep=not last, rows=rows)
        return frames.clamp(-1, 1), cache

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Videos `b c f h w` of a stream of latents; memory does not grow with the length.

        Args:
            chunks: normalised latents `b z f h w` with any number of frames each.
        """
        cache: VaeCache | None = None
        for chunk in chunks:
            frames, cache = self.decode_chunk(chunk, cache)
            yield frames

    def _decode_frames(
        self, latents: Tensor, cache: VaeCache | None, *, keep: bool, rows: RowSharding | None = None
    ) -> tuple[Float[Tensor, "b c f2 h2 w2"], VaeCache]:
        causal_cache = CausalCache(None if cache is None else cache.past_frames, keep=keep, rows=rows)
        z = latents.permute(0, 2, 3, 4, 1)
        if rows is not None:
            z = z[:, :, rows.own].contiguous()
        if self.config.temporal_patch_size == 1:
            z = self.post_quant_conv(z)
        return self._unpatchify(self.decoder(z, causal_cache), start=causal_cache.is_start), VaeCache(
            past_frames=causal_cache.updated()
        )

    # ---- pixels and channels

    def _patchify(self, frames: Float[Tensor, "b c f h w"], *, start: bool) -> Float[Tensor, "b f2 h2 w2 c2"]:
        """Move groups of frames and squares of pixels into channels, ordered time, c, column, row."""
        group, patch = self.config.temporal_patch_size, self.config.patch_size
        if start and group > 1:
            frames = torch.cat([frames[:, :, :1].expand(-1, -1, group - 1, -1, -1), frames], dim=2)
        b, c, f, h, w = frames.shape
        cells = frames.reshape(b, c, f // group, group, h // patch, patch, w // patch, patch)
        return cells.permute(0, 2, 4, 6, 3, 1, 7, 5).reshape(b, f // group, h // patch, w // patch, -1)

    def _unpatchify(self, x: Float[Tensor, "b f h w c"], *, start: bool) -> Float[Tensor, "b c2 f2 h2 w2"]:
        group, patch = self.config.temporal_patch_size, self.config.patch_size
        b, f, h, w, _ = x.shape
        cells = x.reshape(b, f, h, w, group, -1, patch, patch).permute(0, 5, 1, 4, 2, 7, 3, 6)
        frames = cells.reshape(b, -1, f * group, h * patch, w * patch)
        return frames[:, :, group - 1 :] if start else frames

    # ---- sizes

    def _groups_per_chunk(self, video: Tensor, latent_pixels: int, channels: int) -> int:
        """Number of latent frames per chunk, so that no activation exceeds `_CHUNK_BYTES`.

        With autograd all activations are kept anyway, and one chunk is fastest.
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
                f"the autoencoder takes floating-point videos of batch x {self.config.channels} x frames x "
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
