"""A critic of films: what a decoder is finished against, so that it commits itself.

Where a latent leaves open where a fast thing is, the film with the least error is a blur over all places it
may be in. No real film looks so, and a critic that learns to tell copies from films says it: a decoder that
listens to it draws the thing whole in one of the places. It looks at patches of a few frames that follow each
other, so it also sees things drawn anew from one group of frames to the next.

The two are told apart in pairs, a film and its own copy (relativistic pairing, arXiv 1807.00734); the critic
is kept smooth by asking for the same score under a little noise (approximated R1, arXiv 2501.08316).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

WINDOW_FRAMES = 3
"""Frames that are looked at together."""
_R1_NOISE_STD, _R1_WEIGHT = 0.01, 10.0
"""Deviation of the noise, of films in [-1, 1], and weight of the squared change of the score under it."""


class PatchDiscriminator(nn.Module):
    """Scores of a film's patches: the higher, the more it looks like a film and the less like a copy.

    Args:
        channels: of the films.
        width: channels of the first layer; the others have two and four times as many.
    """

    def __init__(self, channels: int = 3, width: int = 48) -> None:
        super().__init__()
        widths = (channels * WINDOW_FRAMES, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, video: Float[Tensor, "b c f h w"], first_frame: int = 0) -> Float[Tensor, "n 1 h2 w2"]:
        """Of every second window of frames, from frame `first_frame` on; `n` is films times windows."""
        seen = video[:, :, first_frame:].unfold(2, WINDOW_FRAMES, 2)
        x = seen.permute(0, 2, 5, 1, 3, 4).flatten(2, 3).flatten(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return self.score(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class AdversarialTerms:
    """What a critic says of copies.

    Attributes:
        generator_gradient: the gradient, by the copies, of how easily they are told from the films.
        discriminator_loss: of the critic, to be descended with its own parameters.
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
    """Show a critic films and their copies.

    Args:
        discriminator: it gets no gradient but by `discriminator_loss`.
        fake: copies; no gradient flows back to what made them but by `generator_gradient`.
        real: the films.
        noise: standard normal.
        first_frame: frame of the first window.
    """
    fake = fake.detach()
    copies = fake.clone().requires_grad_()
    genuine = discriminator(real, first_frame)
    told = F.softplus((genuine.detach() - discriminator(copies, first_frame)).float()).mean()
    (better,) = torch.autograd.grad(told, copies)
    copied = discriminator(fake, first_frame)
    loss = F.softplus((copied - genuine).float()).mean()
    for film, score in ((real, genuine), (fake, copied)):
        change = discriminator(film + _R1_NOISE_STD * noise, first_frame) - score
        loss = loss + _R1_WEIGHT * change.float().square().mean()
    return AdversarialTerms(generator_gradient=better, discriminator_loss=loss)
