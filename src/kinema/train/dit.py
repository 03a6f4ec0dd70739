"""Training the transformer by flow matching, every latent frame at a noise level of its own.

x_t = (1 − t)·x₀ + t·noise and the network predicts noise − x₀ (Lipman et al., 2023; Liu et al., 2023). One t
per latent frame is diffusion forcing (Chen et al., 2024): with some frames clean, the same model continues,
connects and animates pictures. Films of several shapes, and pictures, are trained on in turn (Brooks et al.,
"Video generation models as world simulators", 2024: 'native' size).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig, small
from kinema.shapes import LatentShape
from kinema.train import chance
from kinema.train.buckets import Drawn, Group, buckets_of
from kinema.train.latents import LatentFilms, StateTable
from kinema.train.levels import LEVELS, TimeConfig, drawn_times, drawn_together, least_given
from kinema.train.loop import LoopConfig, Loss, Work
from kinema.train.operations import dit_operations
from kinema.train.optimizer import OptimizerConfig
from kinema.train.precision import Precision, compile_parts, mixed

FACTS = "facts_right"
"""The score of tracked facts, which decides between checkpoints where it is known."""
CHANCE = 0.1
"""By how much two shares of some seventy facts may differ for no reason (two standard deviations)."""


@dataclass(frozen=True, kw_only=True)
class DitTraining:
    """How a transformer is trained."""

    seed: int = 0
    batch: int = 32
    """Films in a step; of shapes with fewer tokens there are more."""
    pictures: float = 0.0
    """Share of steps on single pictures, the first frames of films."""
    caption_dropout: float = 0.1
    causal: float = 0.1
    """Share of steps under a block-causal mask, one latent frame a block, for films made as a stream."""
    plain_captions: float = 0.5
    """Share of samples that use a clip's first caption, the plain one; the rest draw among all."""
    draws: Literal["sample", "step"] = "sample"
    """Whether noise, levels and captions come from (seed, step, sample), made on the CPU and the same on any
    machine, or from (seed, step), in one batch and the noise on the GPU: a thousand times as fast there."""
    precision: Precision = "auto"
    compiled: bool = False
    """Compile the blocks: slower for a minute, then faster."""
    recompute: bool = False
    """Forget activations and compute them again for the gradient, where memory is short."""
    time: TimeConfig = field(default_factory=TimeConfig)
    model: DitConfig = field(default_factory=small)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=2e-3)
        )
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drawn:
    """Everything random of a step, for some of its samples."""

    times: Float[Tensor, "b f"]
    noise: Float[Tensor, "b c f h w"]
    rows: list[int]
    scored: float
    """Latent frames that are scored in the whole step."""


class DitTask:
    """The transformer as a `kinema.train.loop.Task`.

    Args:
        config: how to train.
        films: a group for each shape; their states are the same.
        held_out: groups to validate on, the first of them in full.
        device: where.
        start: weights to go on from.
        blocks: weights of a model over another autoencoder: all but what reads and writes latents begins
            with them. Which word means what, and what follows from it, need not be learned again.
    """

    def __init__(
        self,
        config: DitTraining,
        films: Sequence[LatentFilms],
        held_out: Sequence[LatentFilms],
        device: torch.device,
        *,
        start: Mapping[str, Tensor] | None = None,
        blocks: Mapping[str, Tensor] | None = None,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.dit = Dit(config.model).to(device)
        self.states = StateTable(films[0].states, device)
        if start is not None:
            self.dit.load_state_dict(dict(start))
        elif blocks is not None:
            self.dit.load_state_dict(_transplanted(self.dit, blocks))
        else:
            self.dit.set_text_statistics(*self.states.statistics())
        if config.compiled:
            compile_parts(self.dit.blocks, device, shapes_vary=device.type != "cpu")
        self.config = config
        # A GPU has room for all latents; a processor has them already.
        self.latents = [group.latents.to(device) for group in films]
        self.captions = [group.captions for group in films]
        self.levels = [config.time.of_stretches() if group.midway else config.time for group in films]
        self.held_out = held_out
        self.device = device
        self.buckets = buckets_of(
            [self._group(latents) for latents in self.latents],
            batch=config.batch,
            pictures=config.pictures,
            seed=config.seed,
        )

    def _group(self, latents: Tensor) -> Group:
        shape = _shape(latents)
        one = LatentShape(frames=1, height=shape.height, width=shape.width)
        return Group(count=len(latents), frames=shape.frames, tokens=one.tokens(self.config.model.patch_size))

    def shape(self, group: int) -> LatentShape:
        """Of the films of a group."""
        return _shape(self.latents[group])

    @property
    def module(self) -> nn.Module:
        """The transformer."""
        return self.dit

    def matrices(self) -> Iterable[Tensor]:
        """The linear maps inside the blocks."""
        for name, parameter in self.dit.named_parameters():
            if name.startswith("blocks.") and parameter.ndim == 2:
                yield parameter

    def blocks(self) -> Iterable[nn.Module]:
        """The transformer's."""
        return self.dit.blocks

    def methods(self) -> Iterable[str]:
        """The text runs through the blocks before the film does."""
        return ("context",)

    def work(self, step: int) -> Work:
        """Of the step's shape and batch."""
        bucket = self.buckets.at(step).bucket
        shape = _shape(self.latents[bucket.group][:, :, : bucket.frames])
        text = float(self.states.lengths.float().mean())
        each = dit_operations(self.config.model, shape, text)
        return Work(samples=bucket.batch, operations=3 * bucket.batch * each)

    def loss(self, step: int, part: int, parts: int) -> Loss:
        """Mean squared velocity error over the latent frames that are not given."""
        config = self.config
        drawn = self.buckets.at(step)
        latents = self.latents[drawn.bucket.group]
        chosen = list(drawn.films)[part::parts]
        if not chosen:
            raise UserError(
                f"a step of {len(drawn.films)} films can't be split among {parts}; "
                "raise batch or accumulate less"
            )
        clean = latents[torch.tensor(chosen, device=latents.device), :, : drawn.bucket.frames].float()
        random = self._drawn(step, drawn, part, parts, latents.shape[1])
        blocks: tuple[int, ...] = ()
        if chance.uniform(config.seed, "causal", step) < config.causal:
            blocks = (1,) * clean.shape[2]
        # A program is compiled for each shape: lengths in steps keep them few.
        text = self.states.batch(random.rows, multiple=16 if config.compiled else 1)
        error = self._error(clean, random.times, random.noise, text, blocks)
        scored = (random.times > 0).to(error)
        return Loss(value=(error * scored).sum() / random.scored)

    def _drawn(self, step: int, drawn: Drawn, part: int, parts: int, channels: int) -> _Drawn:
        config, films = self.config, drawn.films
        latents = self.shape(drawn.bucket.group)
        shape = (channels, drawn.bucket.frames, latents.height, latents.width)
        captions, levels = self.captions[drawn.bucket.group], self.levels[drawn.bucket.group]
        if config.draws == "sample":
            places = [chance.generator(config.seed, "dit", step, index) for index in films]
            # Levels come first, so that every process knows how many frames are scored in the whole step.
            times = torch.stack([drawn_times(levels, shape[1], place) for place in places])
            places = places[part::parts]
            noise = torch.stack([torch.randn(shape, generator=place) for place in places]).to(self.device)
            picks = torch.stack([torch.rand(3, generator=place) for place in places])
        else:
            place = chance.generator(config.seed, "dit", step)
            times = drawn_together(levels, len(films), shape[1], place)
            picks = torch.rand(len(films), 3, generator=place)[part::parts]
            there = torch.Generator(self.device).manual_seed(chance.key(config.seed, "noise", step))
            noise = torch.randn(len(films), *shape, generator=there, device=self.device)[part::parts]
        rows = [
            self._caption(captions[index], *pick)
            for index, pick in zip(films[part::parts], picks.tolist(), strict=True)
        ]
        return _Drawn(times=times[part::parts], noise=noise, rows=rows, scored=float((times > 0).sum()))

    def _caption(self, rows: tuple[int, ...], drop: float, plain: float, pick: float) -> int:
        if drop < self.config.caption_dropout:
            return self.states.empty
        return rows[0] if plain < self.config.plain_captions else rows[int(pick * len(rows))]

    def _error(
        self,
        clean: Float[Tensor, "b c f h w"],
        times: Float[Tensor, "b f"],
        noise: Float[Tensor, "b c f h w"],
        text: TextEmbeddings,
        blocks: tuple[int, ...] = (),
    ) -> Float[Tensor, "b f"]:
        """Mean squared error of the velocity of each latent frame, in float32."""
        mix = times[:, None, :, None, None].to(self.device)
        noisy = (1 - mix) * clean + mix * noise
        with mixed(self.config.precision, self.device):
            context = self.dit.context(text)
            velocity = self.dit(noisy, times, context, blocks=blocks, recompute=self.config.recompute)
        return (velocity.float() - (noise - clean)).square().mean(dim=(1, 3, 4))

    def validate(self) -> Mapping[str, float]:
        """Loss on held-out films with fixed noise at 8 levels: with right, wrong and no captions.

        Of groups after the first, the mean with right captions, over those of one shape.
        """
        films, count = self.held_out[0], len(self.held_out[0])
        right = [rows[0] for rows in films.captions]
        wrong = right[count // 2 :] + right[: count // 2]
        losses = {
            "right": self._by_level(films, right),
            "wrong": self._by_level(films, wrong),
            "empty": self._by_level(films, [self.states.empty] * count),
        }
        scores = {f"loss_{level:.4f}": value for level, value in zip(LEVELS, losses["right"], strict=True)}
        scores |= {f"loss_{name}": sum(values) / len(values) for name, values in losses.items()}
        # At high noise only the words say what the film shows: that is where text that is ignored shows.
        scores["right_over_wrong"] = losses["right"][-1] / losses["wrong"][-1]
        others: dict[str, list[float]] = {}
        for group in self.held_out[1:]:
            shape = _shape(group.latents)
            name = f"loss_{shape.frames}x{shape.height}x{shape.width}" + "_midway" * group.midway
            others.setdefault(name, []).extend(self._by_level(group, [rows[0] for rows in group.captions]))
        return scores | {name: sum(each) / len(each) for name, each in others.items()}

    def _by_level(self, films: LatentFilms, rows: Sequence[int]) -> list[float]:
        """The mean loss under these captions, at each level, of all latent frames that are not given."""
        losses, count = [], len(films)
        frames = films.latents.shape[2]
        given = least_given(frames) if films.midway else 0
        for level in LEVELS:
            total = 0.0
            for first in range(0, count, 64):
                picked = range(first, min(first + 64, count))
                clean = films.latents[picked.start : picked.stop].float().to(self.device)
                times = torch.full((len(picked), frames), level)
                times[:, :given] = 0
                noise = torch.stack([chance.normal(tuple(clean.shape[1:]), 0, "held out", i) for i in picked])
                text = self.states.batch([rows[i] for i in picked])
                error = self._error(clean, times, noise.to(self.device), text)
                total += error[:, given:].sum().item()
            losses.append(total / (count * (frames - given)))
        return losses

    def better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Whether clearly more of what the prompts ask for is in the films; where that is unknown or within
        chance, whether the words are heeded more.

        The mean loss prefers models that bind worse; the ratio of right to wrong captions does not.
        """
        if best is None:
            return True
        if FACTS in scores and FACTS in best and abs(scores[FACTS] - best[FACTS]) > CHANCE:
            return scores[FACTS] > best[FACTS]
        return scores["right_over_wrong"] < best["right_over_wrong"]


def _shape(latents: Float[Tensor, "n c f h w"]) -> LatentShape:
    return LatentShape(frames=latents.shape[2], height=latents.shape[3], width=latents.shape[4])


LATENT_LAYERS = ("patch_embedding.", "proj_out.")
"""What reads and writes latents: it means nothing over another autoencoder."""


def _transplanted(dit: Dit, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of another transformer, but for the layers next to the latents."""
    own = dit.state_dict()
    inner = {name for name in own if not name.startswith(LATENT_LAYERS)}
    unlike = sorted(n for n in inner if n not in others or others[n].shape != own[n].shape)
    unlike += sorted(n for n in others if n not in own)
    if unlike:
        raise UserError(
            f"the model to take blocks from differs in {unlike[0]} and {len(unlike) - 1} other weights; "
            "train a transformer of the same width and depth, or begin without blocks_from"
        )
    return own | {name: others[name] for name in inner}
