"""What a film will cost here: time and peak memory of every stage, before anything is spent.

Operations and bytes are counted from the model's settings; how fast this machine is at them is measured
in about a second, on products, attention and convolutions of the model's own sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.errors import UserError
from kinema.generate.machine import free_memory
from kinema.generate.residency import Choice, weight_bytes
from kinema.generate.speed import Speed
from kinema.models.dit_config import DitConfig
from kinema.models.source import ModelFolder
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from kinema.models.weights import unfilled
from kinema.shapes import LatentShape, VideoShape

TEXT_TOKENS = 64
"""Of a prompt; usual ones have 20 to 120."""
_DECODE_COPIES = 12.5
"""Peak of the decoder in units of one full-size activation of a chunk; measured at several sizes."""
CHUNK_PIXELS = 2**16
"""Film pixels decoded at a time: enough to be fast, little enough to stay small beside the weights."""
_FIXED = 400 * 2**20
"""The interpreter and its libraries."""


Name = Literal["text", "pictures", "steps", "decode"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One stage: its operations, how long it takes, and memory while it runs, all weights included."""

    name: Name
    operations: float
    seconds: float
    peak: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages of a film.

    Attributes:
        film: its shape.
        steps: of the solver.
        costs: in the order in which they come.
        room: bytes that this process may have in all.
    """

    film: VideoShape
    steps: int
    costs: tuple[Cost, ...]
    room: int

    @property
    def peak(self) -> int:
        """Bytes at the worst moment."""
        return max(cost.peak for cost in self.costs)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(cost.seconds for cost in self.costs)

    def times(self, takes: int) -> Plan:
        """The same for so many takes, one after the other."""
        costs = tuple(
            dataclasses.replace(cost, operations=takes * cost.operations, seconds=takes * cost.seconds)
            for cost in self.costs
        )
        return dataclasses.replace(self, costs=costs, steps=takes * self.steps)

    @property
    def fits(self) -> bool:
        """Whether the worst moment has room."""
        return self.peak <= self.room


def plan(
    model: ModelFolder,
    film: VideoShape,
    *,
    device: torch.device,
    choice: Choice,
    steps: int,
    guided: bool,
    pictures: int,
    speed: Speed,
    resident: int = 0,
) -> Plan:
    """Count what a film costs.

    Args:
        model: its settings and files' headers are read.
        film: a shape that fits the model.
        device: where it is made.
        choice: in which type, and whether parts stay.
        steps: of the solver.
        guided: whether each step runs twice.
        pictures: how many are given.
        speed: of this machine.
        resident: bytes that parts of this model take already.
    """
    weights = weight_bytes(model, choice.dtype, int8=choice.int8)
    memory = peaks(
        model, film, weights=weights, device=device, choice=choice, guided=guided, pictures=pictures
    )
    shape = LatentShape.of(film, model.vae.stride)
    text = sum(
        tensor.size
        for tensor in model.stored("text_encoder").values()
        if len(tensor.shape) == 2 and "shared" not in tensor.name and "embed" not in tensor.name
    )
    operations = {"text": 2.0 * text * 2 * TEXT_TOKENS}
    reading = weights.get("text_encoder", 0) / speed.bytes
    seconds = {"text": max(operations["text"] / speed.product, reading)}
    if pictures:
        whole = model.recipe.pictures == "channels"
        operations["pictures"] = coder_operations(model.vae, shape, encoder=True, whole=whole)
        seconds["pictures"] = operations["pictures"] / speed.convolution
    linear, attention = step_operations(model.dit, shape)
    times = steps * (2 if guided else 1)
    operations["steps"] = times * (linear + attention)
    seconds["steps"] = times * (linear / speed.product + attention / speed.attention)
    operations["decode"] = coder_operations(model.vae, shape, encoder=False, whole=True)
    seconds["decode"] = operations["decode"] / speed.convolution
    costs = tuple(
        Cost(name=name, operations=operations[name], seconds=seconds[name], peak=peak)
        for name, peak in memory.items()
    )
    return Plan(film=film, steps=steps, costs=costs, room=_room(device, resident))


def peaks(
    model: ModelFolder,
    film: VideoShape,
    *,
    weights: Mapping[str, int],
    device: torch.device,
    choice: Choice,
    guided: bool,
    pictures: int,
) -> dict[Name, int]:
    """Bytes of each stage at its worst moment, in the order in which they come."""
    shape = LatentShape.of(film, model.vae.stride)
    numbers = film.frames * film.height * film.width * 3
    latents = 16 * model.vae.z_dim * shape.frames * shape.height * shape.width
    tokens = (2 if guided else 1) * shape.tokens(model.dit.patch)
    inside = tokens * (9 * model.dit.width + 2 * model.dit.mlp_width) * choice.dtype.itemsize
    encoding = 8 * numbers + int(_DECODE_COPIES * _piece(model.vae, film, model.vae.base_dim))
    decoding = 5 * numbers + int(_DECODE_COPIES * _piece(model.vae, film, model.vae.decoder_dim))
    stages: list[tuple[Name, int, tuple[str, ...]]] = [("text", 0, ("text_encoder",))]
    if pictures:
        stages.append(("pictures", encoding, ("vae", "image_encoder")))
    stages.append(("steps", inside, ("transformer",)))
    stages.append(("decode", decoding, ("vae",)))
    base = latents + (_FIXED if device.type == "cpu" else 0)
    return {
        name: base
        + scratch
        + (sum(weights.values()) if choice.keep else sum(weights.get(part, 0) for part in parts))
        for name, scratch, parts in stages
    }


def _room(device: torch.device, resident: int) -> int:
    """Bytes that this process may have in all, as `peaks` counts them."""
    return free_memory(device) + resident + (_FIXED if device.type == "cpu" else 0)


def step_operations(config: DitConfig, shape: LatentShape) -> tuple[float, float]:
    """Operations of linear layers and of attention, for one sample and one step."""
    tokens = shape.tokens(config.patch)
    cross = 2 if config.text == "cross" else 0
    width = config.width
    seen = TEXT_TOKENS + (257 if config.image_width else 0)
    linear = 2.0 * tokens * width * ((4 + cross) * width + 2 * config.mlp_width)
    keys = tokens + (0 if cross else TEXT_TOKENS)
    attention = 4.0 * tokens * width * (keys + (seen if cross else 0))
    return config.layers * linear, config.layers * attention


def coder_operations(config: VaeConfig, shape: LatentShape, *, encoder: bool, whole: bool) -> float:
    """Operations of the encoder or decoder, counted on a small film and scaled: they grow with the pixels.

    `whole` is all latent frames; else the first alone.
    """
    with unfilled():
        vae = VideoVae(config)
    side, stride = 4, config.stride
    counts = []
    for frames in (1, 2):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            if encoder:
                pixels = (1 + (frames - 1) * stride.temporal, side * stride.spatial, side * stride.spatial)
                vae.encode_posterior(torch.empty(1, config.channels, *pixels, device="meta"))
            else:
                vae.decode_raw(torch.empty(1, config.z_dim, frames, side, side, device="meta"))
        counts.append(counter.get_total_flops())
    scale = shape.height * shape.width / side**2
    later = (shape.frames - 1) * (counts[1] - counts[0]) if whole else 0
    return scale * (counts[0] + later)


def check(
    model: ModelFolder,
    wanted: Plan,
    *,
    device: torch.device,
    choice: Choice,
    guided: bool,
    pictures: int,
    fps: float,
) -> None:
    """Refuse a film that has no room, and say what has.

    Raises:
        UserError: the plan does not fit.
    """
    if wanted.fits:
        return

    def fits(film: VideoShape, chosen: Choice) -> bool:
        weights = weight_bytes(model, chosen.dtype, int8=chosen.int8)
        worst = peaks(
            model, film, weights=weights, device=device, choice=chosen, guided=guided, pictures=pictures
        )
        return max(worst.values()) <= wanted.room

    ways = []
    low = dataclasses.replace(choice, keep=False)
    frugal = [
        ("memory low", low),
        ("dtype bfloat16 and memory low", dataclasses.replace(low, dtype=torch.bfloat16)),
    ]
    if device.type == "cpu":
        frugal.append(("dtype int8 and memory low", dataclasses.replace(low, int8=True)))
    for name, chosen in frugal:
        if chosen != choice and fits(wanted.film, chosen):
            ways.append(f"this film with {name}")
            break
    smaller = _largest(model, wanted.film, lambda film: fits(film, choice))
    if smaller is not None:
        ways.append(
            f"{smaller.width}x{smaller.height} for {smaller.frames / fps:.1f} s ({smaller.frames} frames)"
        )
    what = " or ".join(ways) if ways else "nothing of this model fits; use a smaller model"
    raise UserError(
        f"{wanted.film.frames} frames at {wanted.film.width}x{wanted.film.height} need "
        f"{wanted.peak / 2**30:.1f} GiB and {wanted.room / 2**30:.1f} GiB are free; what fits: {what}"
    )


def _largest(model: ModelFolder, film: VideoShape, fits: Callable[[VideoShape], bool]) -> VideoShape | None:
    """The film made shorter and smaller until it fits, in its proportions."""
    for scale in (1.0, 0.84, 0.7, 0.6, 0.5, 0.42, 0.35, 0.25, 0.18, 0.125):
        for length in (1.0, 0.75, 0.5, 0.25):
            smaller = VideoShape(
                frames=max(1, round(film.frames * length)),
                height=max(1, round(film.height * scale)),
                width=max(1, round(film.width * scale)),
            ).rounded(model.vae.stride, model.dit.patch)
            if smaller != film and fits(smaller):
                return smaller
    return None


def _piece(config: VaeConfig, film: VideoShape, width: int) -> int:
    """Bytes of one activation at full size of the frames that are coded at once."""
    pixels = film.height * film.width
    group = max(1, CHUNK_PIXELS // (pixels * config.stride.temporal)) * config.stride.temporal
    cells = pixels // config.patch_size**2
    frames = min(group, film.frames) // config.temporal_fold or 1
    return 4 * width * cells * frames
