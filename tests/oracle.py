"""Models that know the answer: what is made with them must be the simulated film, whatever the path to it.

`OracleDit` speaks as a `Dit` and returns the true velocity of known films, (x_t − x_0) / t. `exact_vae` folds
pixels into channels and nothing else, so its round trip is exact. `oracle_pipeline` puts both behind a real
`Pipeline`:

    films = {"a red ball": simulated(seed=1), "a blue cube": simulated(seed=2)}
    pipe = oracle_pipeline(films)
    assert (pipe.generate("a red ball", frames=17).frames == films["a red ball"]).all()

Each latent frame shows the film of the prompt that speaks there (a storyboard therefore cuts between films);
the negative prompt, and any other that is not among the films, agrees with the prompt it is paired with, so
guidance changes nothing.

Which part of the film a call is about is read from what the caller passes, never from hidden state: behind a
cache it is the next frame after those the cache has seen; without one, frames that are given clean (t = 0)
are looked up in the film, and everything else is placed in relation to them. With nothing given it is the
film's beginning, or wherever the latents agree best with the film. A call about a part of the picture is
placed where its latents agree best with the film.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinema.generate.pipeline import Pipeline
from kinema.generate.residency import Choice
from kinema.models.dit import Dit
from kinema.models.dit_cache import DitCache
from kinema.models.dit_config import DitConfig
from kinema.models.dit_context import KeysValues, TextContext
from kinema.models.recipe import Recipe
from kinema.models.text import TextStates
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from kinema.models.vae_layers import Tape
from kinema.models.weights import StoredTensor
from kinema.world.clip import ClipSpec, make_clip


@functools.cache
def simulated(
    seed: int = 1, *, frames: int = 17, side: int = 32, fps: float = 8.0, event: str = "roll"
) -> np.ndarray:
    """A film of the lab, uint8 `f h w 3`. Do not write into it: it is made once."""
    spec = ClipSpec(seed=seed, lab=True, event=event, height=side, width=side, frames=frames, fps=fps)
    made = make_clip(spec).frames
    assert made is not None
    return made


# ---- the autoencoder


class _Encoder(nn.Module):
    def forward(self, x: Tensor, tape: Tape) -> Tensor:
        return torch.cat([x, torch.full_like(x, -30.0)], dim=-1)


class _Decoder(nn.Module):
    def forward(self, x: Tensor, tape: Tape) -> Tensor:
        return x


def exact_config(*, spatial: int = 4, temporal: int = 4) -> VaeConfig:
    """Of an autoencoder whose latent channels are all the pixels of a cell."""
    channels = 3 * temporal * spatial**2
    return VaeConfig(
        base_dim=8,
        z_dim=channels,
        dim_mult=(1,),
        num_res_blocks=1,
        temporal_downsample=(),
        patch_size=spatial,
        temporal_fold=temporal,
        latents_mean=(0.0,) * channels,
        latents_std=(1.0,) * channels,
    )


def exact_vae(*, spatial: int = 4, temporal: int = 4) -> VideoVae:
    """An autoencoder that loses nothing: decode(encode(film)) is the film."""
    vae = VideoVae(exact_config(spatial=spatial, temporal=temporal))
    vae.encoder, vae.decoder = _Encoder(), _Decoder()
    return vae.eval()


def to_float(frames: np.ndarray) -> Tensor:
    """uint8 `f h w 3` to `1 3 f h w` in [-1, 1]."""
    return torch.tensor(frames).float().div(127.5).sub(1).permute(3, 0, 1, 2)[None].contiguous()


# ---- the transformer


class OracleDit(Dit):
    """The true velocity of known films, with `Dit`'s calls.

    Args:
        films: clean latents `1 c f h w`, one for each prompt of `words`, in order. A film that ends before it
            is asked to stands still from there on.
        first: the latent frame at which a call begins that has neither a cache nor clean frames;
            None: wherever its latents agree best with the film; noise agrees with its beginning.
    """

    def __init__(self, films: Sequence[Tensor], *, patch: int = 1, first: int | None = 0) -> None:
        channels = films[0].shape[1]
        super().__init__(
            DitConfig(
                in_channels=channels, out_channels=channels, width=8, heads=1, layers=1, mlp_width=8,
                patch=patch, text="joint", text_width=1, learned_frames=2,
            )
        )  # fmt: skip
        self.films = [film[0] for film in films]
        self.first = first
        self.calls: list[tuple[int, int]] = []
        """First latent frame and frame count of every velocity asked for."""

    def context(self, states: TextStates, image: Tensor | None = None) -> TextContext:
        """`pooled` carries the film's number, -1 where the prompt is none of the films'."""
        b = len(states.states)
        empty = torch.zeros(b, 1, 1, 1)
        number = states.states[:, :1, :1] - 1
        return TextContext(text=(KeysValues(keys=empty, values=empty),), pooled=number)

    def forward(
        self,
        latents: Tensor,
        time: Tensor,
        context: TextContext,
        *,
        blocks: tuple[int, ...] = (),
        cache: DitCache | None = None,
        recompute: bool = False,
    ) -> Tensor:
        batch, _, frames = latents.shape[:3]
        assert context.batch % batch == 0
        assert time.shape == (batch, frames)
        assert not blocks or (sum(blocks) == frames and cache is None)
        assert context.pooled is not None
        assert context.pooled.shape[1] in (1, frames)
        told = context.pooled[..., 0].expand(-1, frames).long()
        rows = []
        for index in range(context.batch):
            sample = index % batch
            own, paired = told[index], told[sample]
            # Prompts that are no film's follow the prompt in front of them in the batch.
            which = torch.where(own < 0, paired.clamp(min=0), own)
            rows.append(self._velocity(latents[sample], time[sample], which, cache))
        return torch.stack(rows).to(latents.dtype)

    def remember(self, latents: Tensor, time: Tensor, context: TextContext, cache: DitCache) -> DitCache:
        """The values that are kept are the latents themselves, one key for each latent frame."""
        seen = torch.arange(cache.seen, cache.seen + latents.shape[2]).float()
        many = context.batch // len(latents)
        values = latents.permute(0, 2, 1, 3, 4).flatten(2)[:, None].repeat(many, 1, 1, 1)
        keys = seen.view(1, 1, -1, 1).expand(len(values), -1, -1, values.shape[-1])
        return cache.extended((KeysValues(keys=keys, values=values),), 1)

    def _velocity(self, x: Tensor, time: Tensor, which: Tensor, cache: DitCache | None) -> Tensor:
        first = self._place(x, time, which) if cache is None else cache.seen
        self.calls.append((first, x.shape[1]))
        clean = torch.stack([self._frame(int(n), first + f) for f, n in enumerate(which)], dim=1).to(x)
        level = time.to(x).view(1, -1, 1, 1)
        if clean.shape != x.shape:
            clean = self._part(x, level, clean)
        # Clean frames have no velocity that matters; the solver holds them.
        return torch.where(level > 0, (x - clean) / level.clamp(min=1e-9), torch.zeros_like(x))

    def _part(self, x: Tensor, level: Tensor, clean: Tensor) -> Tensor:
        """The part of the picture that `x` is of, by least squares: E[x_t] = (1 − t)·x₀."""
        height, width = x.shape[2:]
        patch = self.config.patch
        parts = [
            clean[:, :, top : top + height, left : left + width]
            for top in range(0, clean.shape[2] - height + 1, patch)
            for left in range(0, clean.shape[3] - width + 1, patch)
        ]
        return min(parts, key=lambda part: (x - (1 - level) * part).square().sum().item())

    def _frame(self, number: int, frame: int) -> Tensor:
        film = self.films[number]
        return film[:, min(max(frame, 0), film.shape[1] - 1)]

    def _place(self, x: Tensor, time: Tensor, which: Tensor) -> int:
        given = [f for f in range(x.shape[1]) if time[f] == 0]
        longest = max(film.shape[1] for film in self.films)
        if not given:
            if self.first is not None:
                return self.first
            return self._agreeing(x, time, which, longest) if time.max() < 1 else 0

        def misfit(first: int) -> float:
            return sum(
                (x[:, f] - self._frame(int(which[f]), first + f).to(x)).abs().mean().item() for f in given
            )

        starts = range(longest - given[0])
        # Ties (a film that stands still) go to the earliest.
        return min(starts, key=lambda first: (round(misfit(first), 6), first))

    def _agreeing(self, x: Tensor, time: Tensor, which: Tensor, longest: int) -> int:
        """Where frames that were let go belong, by least squares: E[x_t] = (1 − t)·x₀."""

        def misfit(first: int) -> float:
            each = [
                x[:, f] - (1 - time[f]) * self._frame(int(n), first + f).to(x) for f, n in enumerate(which)
            ]
            return torch.stack(each).square().mean().item()

        return min(range(longest), key=lambda first: (round(misfit(first), 6), first))


# ---- all of it behind a pipeline


@dataclass(frozen=True, kw_only=True)
class Words:
    """A text encoder that knows a few prompts by heart: one state, its number from 1; 0 for any other."""

    prompts: tuple[str, ...]
    width: int = 1

    def encode(self, prompts: Sequence[str]) -> TextStates:
        numbers = [self.prompts.index(prompt) + 1 if prompt in self.prompts else 0 for prompt in prompts]
        return TextStates(
            states=torch.tensor(numbers).float().view(-1, 1, 1), lengths=torch.ones(len(numbers)).long()
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class OracleModel:
    """A `ModelFolder` without a folder."""

    prompts: tuple[str, ...]
    oracle: OracleDit
    autoencoder: VideoVae
    recipe: Recipe
    name: str = "oracle"
    folder: Path = field(default_factory=Path)
    sees_pictures: bool = False

    @property
    def dit(self) -> DitConfig:
        return self.oracle.config

    @property
    def vae(self) -> VaeConfig:
        return self.autoencoder.config

    def load_transformer(self, expert: int = 0, *, dtype: torch.dtype, device: torch.device) -> Dit:
        return self.oracle

    def load_vae(self, *, device: torch.device) -> VideoVae:
        return self.autoencoder

    def load_text(self, *, dtype: torch.dtype, device: torch.device) -> Words:
        return Words(prompts=self.prompts)

    def stored(self, part: str) -> dict[str, StoredTensor]:
        return {}


def oracle_model(
    films: Mapping[str, np.ndarray],
    *,
    spatial: int = 4,
    temporal: int = 4,
    patch: int = 1,
    frames: int | None = None,
    fps: float = 8.0,
    first: int | None = 0,
) -> OracleModel:
    """The model whose films these are, by prompt: uint8 `f h w 3`, all of one size.

    Args:
        films: 4k + 1 frames each (for a temporal stride of 4).
        spatial: pixels to a latent pixel.
        temporal: frames to a latent frame.
        patch: latent pixels to a token.
        frames: the length the model says it was trained for; None: the first film's.
        fps: of the films.
        first: see `OracleDit`.
    """
    vae = exact_vae(spatial=spatial, temporal=temporal)
    with torch.no_grad():
        latents = [vae.encode(to_float(film)) for film in films.values()]
    shape = next(iter(films.values())).shape
    recipe = Recipe(
        steps=4,
        guidance=(3.0,),
        shift=1.0,
        solver="euler",
        schedule="linear",
        pictures="frames",
        size=(shape[2], shape[1]),
        frames=frames or shape[0],
        fps=fps,
    )
    return OracleModel(
        prompts=tuple(films),
        oracle=OracleDit(latents, patch=patch, first=first).eval(),
        autoencoder=vae,
        recipe=recipe,
    )


def oracle_pipeline(films: Mapping[str, np.ndarray], **settings: int | float | None) -> Pipeline:
    """A pipeline of `oracle_model`, whose settings these are."""
    choice = Choice(dtype=torch.float32, int8=False, keep=True)
    return Pipeline(oracle_model(films, **settings), device=torch.device("cpu"), choice=choice)
