"""Training the transformer by flow matching, every latent frame at a noise level of its own.

x_t = (1 − t)·x₀ + t·noise and the network predicts noise − x₀ (Lipman et al., 2023; Liu et al., 2023). One t
per latent frame is diffusion forcing (Chen et al., 2024): with some frames clean, the same model continues,
connects and animates pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.dit import Dit
from kinema.models.dit_config import DitConfig, small
from kinema.models.text import TextStates
from kinema.train import chance
from kinema.train.loop import LoopConfig, Loss
from kinema.train.optimizer import OptimizerConfig

LEVELS = tuple((i + 0.5) / 8 for i in range(8))
"""Noise levels of the validation loss."""


@dataclass(frozen=True, kw_only=True)
class TimeConfig:
    """How noise levels are drawn: t = sigmoid(N(mean, 1)).

    Where things stand and which is which is decided above t = 0.9. A mean of 0 samples that 1.4% of the time
    and leaves left and right at chance; 1.2 learned it. The rest of the samples, at `low_mean`, keep the
    details sharp.
    """

    mean: float = 1.2
    low_mean: float = 0.0
    low_share: float = 0.3
    forcing: float = 0.15
    """Share of samples whose latent frames, in chunks, have independent levels."""
    chunk: int = 3
    """Largest number of latent frames that share a level there."""
    given: float = 0.1
    """Share of samples whose first latent frames are given clean (t = 0) and not scored."""


@dataclass(frozen=True, kw_only=True)
class DitTraining:
    """How a transformer is trained."""

    seed: int = 0
    batch: int = 32
    caption_dropout: float = 0.1
    causal: float = 0.1
    """Share of steps under a block-causal mask, one latent frame a block, for films made as a stream."""
    plain_captions: float = 0.5
    """Share of samples that use a clip's first caption, the plain one; the rest draw among all."""
    time: TimeConfig = field(default_factory=TimeConfig)
    model: DitConfig = field(default_factory=small)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=2e-3)
        )
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentFilms:
    """Films as latents, with captions and the text states of every caption."""

    latents: Float[Tensor, "n c f h w"]
    """Normalised."""
    captions: tuple[tuple[int, ...], ...]
    """For each film, the rows of `states` that caption it; the plain caption first."""
    states: tuple[Float[Tensor, "_ d"], ...]
    """Text states of each distinct caption; the last row is the empty prompt's."""

    def __len__(self) -> int:
        return len(self.latents)

    def part(self, first: int, last: int) -> LatentFilms:
        """Films `first` up to `last`."""
        return LatentFilms(
            latents=self.latents[first:last], captions=self.captions[first:last], states=self.states
        )

    def text(self, rows: Sequence[int]) -> TextStates:
        """The states of some captions as one batch."""
        return TextStates.of([self.states[row].float() for row in rows])


class DitTask:
    """The transformer as a `kinema.train.loop.Task`."""

    def __init__(
        self, config: DitTraining, films: LatentFilms, held_out: LatentFilms, device: torch.device
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.dit = Dit(config.model).to(device)
        every = torch.cat([state.float() for state in films.states])
        self.dit.set_text_statistics(every.mean(0), every.std(0))
        self.config = config
        self.films = films
        self.held_out = held_out
        self.device = device

    @property
    def module(self) -> nn.Module:
        """The transformer."""
        return self.dit

    def matrices(self) -> Iterable[Tensor]:
        """The linear maps inside the blocks."""
        for name, parameter in self.dit.named_parameters():
            if name.startswith("blocks.") and parameter.ndim == 2:
                yield parameter

    def loss(self, step: int, part: int, parts: int) -> Loss:
        """Mean squared velocity error over the latent frames that are not given."""
        config, films = self.config, self.films
        chosen = chance.batch_at(step, config.batch, len(films), config.seed)[part::parts]
        clean = films.latents[chosen].float()
        places = [chance.generator(config.seed, "dit", step, index) for index in chosen]
        times = torch.stack([drawn_times(config.time, clean.shape[2], place) for place in places])
        noise = torch.stack([torch.randn(clean.shape[1:], generator=place) for place in places])
        rows = [self._caption(index, place) for index, place in zip(chosen, places, strict=True)]
        blocks: tuple[int, ...] = ()
        if chance.uniform(config.seed, "causal", step) < config.causal:
            blocks = (1,) * clean.shape[2]
        error = self._error(self.dit, clean, times, noise, films.text(rows), blocks)
        scored = (times > 0).to(error)
        value = (error * scored).sum() / scored.sum()
        share = len(chosen) / config.batch
        return Loss(value=value * share)

    def _caption(self, index: int, place: torch.Generator) -> int:
        drop, plain, pick = torch.rand(3, generator=place).tolist()
        if drop < self.config.caption_dropout:
            return len(self.films.states) - 1
        rows = self.films.captions[index]
        return rows[0] if plain < self.config.plain_captions else rows[int(pick * len(rows))]

    def _error(
        self,
        dit: Dit,
        clean: Float[Tensor, "b c f h w"],
        times: Float[Tensor, "b f"],
        noise: Float[Tensor, "b c f h w"],
        text: TextStates,
        blocks: tuple[int, ...] = (),
    ) -> Float[Tensor, "b f"]:
        """Mean squared error of the velocity of each latent frame."""
        mix = times[:, None, :, None, None]
        noisy = (1 - mix) * clean + mix * noise
        velocity = dit(noisy.to(self.device), times, dit.context(text), blocks=blocks)
        return (velocity.float() - (noise - clean).to(self.device)).square().mean(dim=(1, 3, 4))

    def validate(self) -> Mapping[str, float]:
        """Loss on held-out films with fixed noise at 8 levels: with right, wrong and no captions."""
        films, count = self.held_out, len(self.held_out)
        right = [rows[0] for rows in films.captions]
        wrong = right[count // 2 :] + right[: count // 2]
        empty = [len(films.states) - 1] * count
        losses: dict[str, list[float]] = {"right": [], "wrong": [], "empty": []}
        for level in LEVELS:
            sums = dict.fromkeys(losses, 0.0)
            for first in range(0, count, 64):
                picked = range(first, min(first + 64, count))
                clean = films.latents[picked.start : picked.stop].float()
                times = torch.full((len(picked), clean.shape[2]), level)
                noise = torch.stack([chance.normal(tuple(clean.shape[1:]), 0, "held out", i) for i in picked])
                for name, rows in (("right", right), ("wrong", wrong), ("empty", empty)):
                    text = films.text([rows[i] for i in picked])
                    sums[name] += self._error(self.dit, clean, times, noise, text).sum().item()
            for name, total in sums.items():
                losses[name].append(total / (count * films.latents.shape[2]))
        scores = {f"loss_{level:.4f}": value for level, value in zip(LEVELS, losses["right"], strict=True)}
        means = {name: sum(values) / len(values) for name, values in losses.items()}
        # At high noise only the words say what the film shows: that is where text that is ignored shows.
        gap = losses["right"][-1] / losses["wrong"][-1]
        return scores | {f"loss_{name}": value for name, value in means.items()} | {"right_over_wrong": gap}

    def better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Whether the words are heeded more.

        The mean loss prefers models that bind worse; the ratio of right to wrong captions does not.
        """
        return best is None or scores["right_over_wrong"] < best["right_over_wrong"]


def drawn_times(config: TimeConfig, frames: int, place: torch.Generator) -> Float[Tensor, " f"]:
    """Noise levels of one sample's latent frames."""
    kind, low = torch.rand(2, generator=place).tolist()
    mean = config.low_mean if low < config.low_share else config.mean
    if kind < config.forcing:
        levels = torch.sigmoid(torch.randn(frames, generator=place) + mean)
        chunk = 1 + int(torch.randint(config.chunk, (1,), generator=place))
        return levels[torch.arange(frames) // chunk]
    times = torch.sigmoid(torch.randn(1, generator=place) + mean).repeat(frames)
    if kind < config.forcing + config.given and frames > 1:
        given = 1 if low < 0.7 else 1 + int(torch.randint(frames - 1, (1,), generator=place))
        times[:given] = 0.0
    return times
