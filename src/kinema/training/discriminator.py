"""A patch discriminator for adversarial fine-tuning of the decoder.

Where a latent leaves the position of a fast object open, the reconstruction with the least error is a blur
over the possible positions. A discriminator penalises blur: the decoder then draws a sharp object in one of
them. It scores patches of a few consecutive frames, so it also sees discontinuities between groups of frames.

Real and reconstructed videos are compared in pairs (relativistic loss, arXiv 1807.00734). The discriminator
is regularised by an approximate R1 penalty (arXiv 2501.08316).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

WINDOW_FRAMES = 3
"""Consecutive frames that are scored together."""
_R1_NOISE_STD, _R1_WEIGHT = 0.01, 10.0
"""R1 penalty: standard deviation of the noise, on videos in [-1, 1], and weight of the squared change of the
score."""


class PatchDiscriminator(nn.Module):
    """Score the patches of a video: higher for real videos than for reconstructions.

    Args:
        channels: of the videos.
        width: channels of the first layer; the next ones have two and four times as many.
    """

    def __init__(self, channels: int = 3, width: int = 48) -> None:
        super().__init__()
        widths = (channels * WINDOW_FRAMES, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, video: Float[Tensor, "b c f h w"], first_frame: int = 0) -> Float[Tensor, "n 1 h2 w2"]:
        """Score every second window of frames, from `first_frame` on; `n` is videos times windows."""
        windows = video[:, :, first_frame:].unfold(2, WINDOW_FRAMES, 2)
        x = windows.permute(0, 2, 5, 1, 3, 4).flatten(2, 3).flatten(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return self.score(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class AdversarialTerms:
    """The two sides of the adversarial loss.

    Attributes:
        generator_gradient: gradient of the generator's loss with respect to the reconstructions.
        discriminator_loss: to be minimised over the discriminator's parameters.
    """

    generator_gradient: Float[Tensor, "b c f h w"]
    discriminator_loss: Tensor


def adversarial_loss(
    discriminator: PatchDiscriminator,
    fake: Float[Tensor, "b c f h w"],
    real: Float[Tensor, "b c f h w"],
    noise: Float[Tensor, "b c f h w"],
    *,
    first_frame: int = 0,
) -> AdversarialTerms:
    """Compute the adversarial terms of reconstructions and the videos that they reconstruct.

    Args:
        discriminator: gets gradients from `discriminator_loss` only.
        fake: reconstructions in [-1, 1]; no gradient flows back through them except `generator_gradient`.
        real: the original videos.
        noise: standard normal, for the R1 penalty.
        first_frame: first frame of the first window.
    """
    fake = fake.detach()
    leaf = fake.clone().requires_grad_()
    real_score = discriminator(real, first_frame)
    generator_loss = F.softplus((real_score.detach() - discriminator(leaf, first_frame)).float()).mean()
    (generator_gradient,) = torch.autograd.grad(generator_loss, leaf)
    fake_score = discriminator(fake, first_frame)
    loss = F.softplus((fake_score - real_score).float()).mean()
    for video, score in ((real, real_score), (fake, fake_score)):
        change = discriminator(video + _R1_NOISE_STD * noise, first_frame) - score
        loss = loss + _R1_WEIGHT * change.float().square().mean()
    return AdversarialTerms(generator_gradient=generator_gradient, discriminator_loss=loss)
